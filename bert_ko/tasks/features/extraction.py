"""The layers of a model for sentences, in their order, computed in batches sorted by length.

Legend: S sentences, P pieces of all of them, N chosen layers, H hidden_size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.heads import HostBatch, model_specs
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import count_parameters
from bert_ko.tasks.batches import (
    INPUTS,
    BatchPlan,
    batch_lengths,
    lengths_worth_compiling,
    predictions,
)
from bert_ko.tasks.sentences import NOWHERE, BlockSize, Ints, Sentences
from bert_ko.training.backend import Backend, DeviceConfig, OutputFunction, Predict
from bert_ko.training.devices import load_backend
from bert_ko.training.model_files import TrainedModel
from bert_ko.training.positions import UntrainedPositions
from bert_ko.training.runs import check_batch_size

Values = npt.NDArray[Any]
Pooling = Literal["none", "cls", "mean"]
DType = Literal["float32", "float16"]
_BLOCK_SENTENCES = 1024
_BLOCK_BYTES = 1 << 28  # of values, which are in memory together
# Operations done while a length is compiled: under a second on a CPU, seconds on a GPU.
_CPU_COMPILING, _GPU_COMPILING = 1e11, 3e14


@dataclass(frozen=True)
class FeatureSettings:
    """What to extract, and in which batches."""

    layers: tuple[int, ...]  # -1 is the last one, -2 the one before it; 0 the first
    pooling: Pooling = "none"  # none keeps every piece
    dtype: DType = "float32"  # of the values
    max_seq_length: int = 128  # pieces of a sentence with [CLS] and [SEP]
    batch_size: int = 32
    untrained_positions: UntrainedPositions = "extend"

    @property
    def is_pooled(self) -> bool:
        """Whether there is one vector per sentence, not per piece."""
        return self.pooling != "none"

    def positions(self, config: ModelConfig) -> list[int]:
        """The layers counted from the embeddings, which are 0.

        Raises:
            ValueError: the model does not have one of them.
        """
        count = config.num_hidden_layers
        for layer in self.layers:
            if not -count - 1 <= layer < count:
                raise ValueError(
                    f"--layers: there is no layer {layer}; the model has {count}, from 0 to "
                    f"{count - 1} or from -1 back to {-count}, and {-count - 1} for the embeddings."
                )
        return [layer + 1 if layer >= 0 else count + 1 + layer for layer in self.layers]


def all_layers(config: ModelConfig) -> tuple[int, ...]:
    """Every layer of a model from the embeddings to the last.

    >>> all_layers(ModelConfig(vocab_size=5, num_hidden_layers=2))
    (-3, -2, -1)
    """
    return tuple(range(-config.num_hidden_layers - 1, 0))


def parse_layers(texts: Sequence[str]) -> tuple[int, ...]:
    """The layers of a flag.

    Raises:
        ValueError: none, not a number, or one given twice.
    """
    try:
        layers = tuple(map(int, texts))
    except ValueError:
        layers = ()
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(
            f"--layers must be different integers such as -1,-2, got {','.join(texts)!r}."
        )
    return layers


class Rows(Protocol):
    """Sentences of pieces or of words, one after another, as a file of features has them."""

    @property
    def sentence_offsets(self) -> npt.NDArray[np.int64]:
        """[S + 1]; a sentence's pieces are those from one to the next."""

    @property
    def num_pieces(self) -> int:
        """P, of all sentences."""

    def __len__(self) -> int: ...

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays [P] by name."""


class Device(NamedTuple):
    """What computes: how many devices, and whether they are CPUs."""

    num_devices: int
    is_cpu: bool


class _MeanSentences(NamedTuple):
    """Sentences whose batches have weights for a mean."""

    sentences: Sentences

    @property
    def lengths(self) -> Ints:
        return self.sentences.lengths

    def gather(self, rows: Ints, length: int, special_ids: tuple[int, int, int]) -> HostBatch:
        """See Examples; with piece_weights float32 [B, L].

        They add up to 1 over the pieces other than [CLS] and [SEP], or are all 0 if there are none.
        """
        places, mask = self.sentences.places(rows, length)
        is_text = mask & (self.sentences.eojeol_ids[places] != NOWHERE)
        counts = np.maximum(is_text.sum(axis=1, keepdims=True), 1)
        batch = self.sentences.gather(rows, length, special_ids)
        return {**batch, "piece_weights": (is_text / counts).astype(np.float32)}


class Extractor:
    """A model on its devices, with settings."""

    def __init__(
        self,
        predict: Predict,
        config: ModelConfig,
        special_ids: tuple[int, int, int],
        settings: FeatureSettings,
        device: Device,
    ):
        """Args: predict: see ``feature_outputs``; special_ids: of [PAD], [CLS] and [SEP]."""
        self._predict, self._config, self._device = predict, config, device
        self.settings = settings
        lengths = batch_lengths(settings.max_seq_length, length_buckets=True, lengths=None)
        self._plan = BatchPlan(settings.batch_size, special_ids, lengths)
        self.num_not_finite = 0  # sentences

    def choose_plan(self, first: Sentences) -> BatchPlan:
        """Chooses the lengths of all batches by the first block of the sentences."""
        settings, size = self.settings, block_size(self.settings, self._config)
        has_room = first.num_pieces + settings.max_seq_length <= size.pieces
        is_all = len(first) < size.sentences and has_room
        kernels = {k: v for k, v in model_specs(self._config).items() if k.endswith("/kernel")}
        count = count_parameters(kernels)
        pieces = pieces_per_compilation(count, is_cpu=self._device.is_cpu) if is_all else 0
        num_devices = self._device.num_devices
        needed = -(-len(first) // num_devices) * num_devices
        return replace(
            self._plan,
            batch_size=min(settings.batch_size, needed),
            lengths=lengths_worth_compiling(first.lengths, settings.max_seq_length, pieces),
        )

    def compute(
        self,
        sentences: Sentences,
        plan: BatchPlan | None = None,
        update: Callable[[int], None] = lambda count: None,
    ) -> Values:
        """The values [P, N, H] of sentences, with pooling [S, N, H], in their order.

        Args:
            sentences: all of them are in memory with their values.
            plan: of the batches; None for sentences whose lengths were not known before.
            update: called with numbers of finished sentences.
        """
        settings = self.settings
        count = len(sentences) if settings.is_pooled else sentences.num_pieces
        shape = (count, len(settings.layers), self._config.hidden_size)
        values = np.empty(shape, settings.dtype)
        is_mean = settings.pooling == "mean"
        for rows, found in predictions(
            _MeanSentences(sentences) if is_mean else sentences,
            self._predict,
            plan or self._plan,
            inputs=(*INPUTS, "piece_weights") if is_mean else INPUTS,
        ):
            for row, vectors in zip(rows, found["values"], strict=True):
                target = values[sentence_slice(settings, sentences, row)]
                with np.errstate(over="ignore"):  # counted below
                    target[:] = vectors if settings.is_pooled else vectors[: len(target)]
                self.num_not_finite += not np.isfinite(target).all()
            update(len(rows))
        return values

    def compute_blocks(
        self, blocks: Iterable[Sentences], update: Callable[[int], None] = lambda count: None
    ) -> Iterator[tuple[Sentences, Values]]:
        """The values of blocks of sentences (see ``encode_blocks``); see ``compute``."""
        plan = None
        for block in blocks:
            plan = plan or self.choose_plan(block)
            yield block, self.compute(block, plan, update)


def pieces_per_compilation(num_parameters: int, *, is_cpu: bool) -> float:
    """Pieces that go through a model in the time in which it is compiled for another length."""
    return (_CPU_COMPILING if is_cpu else _GPU_COMPILING) / (2 * num_parameters)


def sentence_slice(settings: FeatureSettings, sentences: Rows, number: int) -> slice:
    """The rows of one sentence in the values of all."""
    if settings.is_pooled:
        return slice(number, number + 1)
    return slice(*sentences.sentence_offsets[number : number + 2])


def block_size(settings: FeatureSettings, config: ModelConfig) -> BlockSize:
    """Large enough for sorting to pay, small enough for the values of a block to fit in memory."""
    vector = len(settings.layers) * config.hidden_size * np.dtype(settings.dtype).itemsize
    pieces = sys.maxsize if settings.is_pooled else max(1, _BLOCK_BYTES // vector)
    return BlockSize(_BLOCK_SENTENCES, pieces)


def load_extractor(
    model: TrainedModel, settings: FeatureSettings, devices: DeviceConfig
) -> tuple[Extractor, Backend]:
    """Moves a model onto devices.

    Raises:
        ValueError: the model lacks a layer or variables, or the batches can't be split.
    """
    positions = settings.positions(model.config)
    # Layers above the last chosen one are not computed.
    config = replace(model.config, num_hidden_layers=max(1, *positions))
    model = model.reaching(settings.max_seq_length, settings.untrained_positions)
    arrays = model.arrays(model_specs(config))
    backend = load_backend(devices)
    check_batch_size("batch_size", settings.batch_size, backend.num_devices)
    predict = backend.predictor(config, arrays, feature_outputs(positions, settings.pooling))
    device = Device(backend.num_devices, backend.is_cpu)
    special_ids = model.tokenizer.vocab.special_ids
    return Extractor(predict, config, special_ids, settings, device), backend


def feature_outputs(positions: Sequence[int], pooling: Pooling) -> OutputFunction:
    """A function of a model and a batch to the chosen layers, for a predictor.

    Args:
        positions: of the layers; 0 is the embeddings.
        pooling: of the pieces of a sentence.

    Returns:
        input_ids, input_mask, segment_ids int32 [B, L], and for means piece_weights float32 [B, L],
        to values float32 [B, L, N, H], with pooling [B, N, H].
    """

    def outputs(model: Model, batch: Features) -> dict[str, Tensor]:
        layers = encoder_of(model.config).layers(model, batch)
        found = [ops.cast(layers[position], "float32") for position in positions]
        if pooling == "cls":
            found = [layer[:, 0] for layer in found]
        elif pooling == "mean":
            weights = batch["piece_weights"][:, None, :]
            found = [ops.matmul(weights, layer)[:, 0] for layer in found]
        return {"values": ops.stack(found, axis=-2)}

    return outputs
