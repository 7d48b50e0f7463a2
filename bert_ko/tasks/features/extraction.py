"""The engine: sentences to values, in their order, computed in batches sorted by length.

Legend: S sentences, P pieces of all of them, N layers that are wanted, H hidden_size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

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
from bert_ko.tasks.features.settings import FeatureSettings, Pooling
from bert_ko.tasks.sentences import NOWHERE, BlockSize, Ints, Sentences
from bert_ko.training.backend import Backend, DeviceConfig, OutputFunction, Predict
from bert_ko.training.devices import load_backend
from bert_ko.training.model_files import TrainedModel
from bert_ko.training.runs import check_batch_size

Values = npt.NDArray[Any]
_BLOCK_SENTENCES = 1024
_BLOCK_BYTES = 1 << 28  # of values, which are in memory together
# Operations done while a length is compiled: under a second on a CPU, seconds on a GPU.
_CPU_COMPILING, _GPU_COMPILING = 1e11, 3e14


class Device(NamedTuple):
    """What computes: how many devices, and whether they are CPUs."""

    num_devices: int
    is_cpu: bool

    def pieces_per_compilation(self, config: ModelConfig) -> float:
        """So many pieces go through the model while it is compiled for another length."""
        layers = model_specs(config)
        weights = count_parameters({k: v for k, v in layers.items() if k.endswith("/kernel")})
        return (_CPU_COMPILING if self.is_cpu else _GPU_COMPILING) / (2 * weights)


class _MeanSentences(NamedTuple):
    """Sentences whose batches have the weights of a mean."""

    sentences: Sentences

    @property
    def lengths(self) -> Ints:
        return self.sentences.lengths

    def gather(self, rows: Ints, length: int, special_ids: tuple[int, int, int]) -> HostBatch:
        """See Examples; with the weights of each sentence's pieces, piece_weights float32 [B, L].

        They add up to 1 over the pieces other than [CLS] and [SEP], or are all 0 if there are none.
        """
        places, mask = self.sentences.places(rows, length)
        is_text = mask & (self.sentences.eojeol_ids[places] != NOWHERE)
        counts = np.maximum(is_text.sum(axis=1, keepdims=True), 1)
        batch = self.sentences.gather(rows, length, special_ids)
        return {**batch, "piece_weights": (is_text / counts).astype(np.float32)}


class Extractor:
    """A model on its devices, and what is wanted of it."""

    def __init__(
        self,
        predict: Predict,
        config: ModelConfig,
        special_ids: tuple[int, int, int],
        settings: FeatureSettings,
        device: Device,
    ):
        """Joins the parts; ``load_extractor`` makes them.

        Args:
            predict: see ``feature_outputs``.
            config: of the model.
            special_ids: of [PAD], [CLS] and [SEP].
            settings: what is wanted.
            device: what computes.
        """
        self._predict, self._config, self._device = predict, config, device
        self.settings = settings
        lengths = batch_lengths(settings.max_seq_length, length_buckets=True, lengths=None)
        self._plan = BatchPlan(settings.batch_size, special_ids, lengths)
        self.num_not_finite = 0  # sentences

    def choose_plan(self, first: Sentences) -> BatchPlan:
        """Chooses the lengths of all batches.

        Args:
            first: the first block of the sentences, which stands for all of them.
        """
        settings, size = self.settings, block_size(self.settings, self._config)
        has_room = first.num_pieces + settings.max_seq_length <= size.pieces
        is_all = len(first) < size.sentences and has_room
        pieces = self._device.pieces_per_compilation(self._config) if is_all else 0
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
        """The values of sentences.

        Args:
            sentences: all of them are in memory with their values.
            plan: how they are put into batches; None for lengths that were not known before.
            update: called with the number of sentences that are done.

        Returns:
            [P, N, H], with pooling [S, N, H], in the order of the sentences.
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
                with np.errstate(over="ignore"):  # it is counted
                    target[:] = vectors if settings.is_pooled else vectors[: len(target)]
                self.num_not_finite += not np.isfinite(target).all()
            update(len(rows))
        return values

    def compute_blocks(
        self, blocks: Iterable[Sentences], update: Callable[[int], None] = lambda count: None
    ) -> Iterator[tuple[Sentences, Values]]:
        """The values of blocks of sentences, in lengths that are chosen by the first of them.

        Args:
            blocks: see ``encode_blocks``.
            update: called with the number of sentences that are done.
        """
        plan = None
        for block in blocks:
            plan = plan or self.choose_plan(block)
            yield block, self.compute(block, plan, update)


def sentence_slice(settings: FeatureSettings, sentences: Sentences, number: int) -> slice:
    """Which of the values of sentences are those of one of them."""
    if settings.is_pooled:
        return slice(number, number + 1)
    return slice(*sentences.sentence_offsets[number : number + 2])


def block_size(settings: FeatureSettings, config: ModelConfig) -> BlockSize:
    """So large that sorting pays, so small that the values of a block are no burden."""
    vector = len(settings.layers) * config.hidden_size * np.dtype(settings.dtype).itemsize
    pieces = sys.maxsize if settings.is_pooled else max(1, _BLOCK_BYTES // vector)
    return BlockSize(_BLOCK_SENTENCES, pieces)


def load_extractor(
    model: TrainedModel, settings: FeatureSettings, devices: DeviceConfig
) -> tuple[Extractor, Backend]:
    """Moves a model onto devices.

    Args:
        model: as found.
        settings: what is wanted of it.
        devices: which.

    Raises:
        ValueError: the model lacks a layer or variables, or the batches can't be split.
    """
    positions = settings.positions(model.config)
    # Layers above the last one that is wanted are not computed.
    config = replace(model.config, num_hidden_layers=max(1, *positions))
    arrays = model.arrays(model_specs(config))
    backend = load_backend(devices)
    check_batch_size("batch_size", settings.batch_size, backend)
    predict = backend.predictor(config, arrays, feature_outputs(positions, settings.pooling))
    special_ids = model.tokenizer.vocab.special_ids
    device = Device(backend.num_devices, backend.is_cpu)
    return Extractor(predict, config, special_ids, settings, device), backend


def feature_outputs(positions: Sequence[int], pooling: Pooling) -> OutputFunction:
    """What is taken from the layers of a model.

    Args:
        positions: of the layers; 0 is the embeddings.
        pooling: what is made of the pieces of a sentence.

    Returns:
        A function for a predictor, of input_ids, input_mask, segment_ids int32 [B, L], and for
        means piece_weights float32 [B, L], to values float32 [B, L, N, H], with pooling [B, N, H].
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
