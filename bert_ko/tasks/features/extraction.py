"""The engine: sentences to values, in their order, computed in batches sorted by length.

Legend: S sentences, P pieces of all of them, N layers that are wanted, H hidden_size.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.heads import model_specs
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import count_parameters
from bert_ko.tasks.batches import sorted_batches
from bert_ko.tasks.features.batches import Plan, gather_batch, make_plan
from bert_ko.tasks.features.settings import FeatureSettings, Pooling
from bert_ko.tasks.sentences import Sentences, WindowSize
from bert_ko.training.backend import Backend, DeviceConfig, OutputFunction, Predict
from bert_ko.training.devices import load_backend
from bert_ko.training.model_files import TrainedModel
from bert_ko.training.runs import check_batch_size

Values = npt.NDArray[Any]
_WINDOW_SENTENCES = 1024
_WINDOW_BYTES = 1 << 28  # of values, which are in memory together
# Operations done while a length is compiled: under a second on a CPU, seconds on a GPU.
_CPU_COMPILING, _GPU_COMPILING = 1e11, 3e14


class Device(NamedTuple):
    """What computes: how many devices, and whether they are CPUs."""

    num_devices: int
    is_cpu: bool

    def pieces_of_compiling(self, config: ModelConfig) -> float:
        """So many pieces go through the model while it is compiled for another length."""
        layers = model_specs(config)
        weights = count_parameters({k: v for k, v in layers.items() if k.endswith("/kernel")})
        return (_CPU_COMPILING if self.is_cpu else _GPU_COMPILING) / (2 * max(1, weights))


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
        self._predict, self._config, self._special_ids = predict, config, special_ids
        self._settings, self._device = settings, device
        self._shape = (len(settings.layers), config.hidden_size)
        self._window_size = window_size(settings, config)
        self._plan: Plan | None = None
        self.num_not_finite = 0  # sentences

    def compute(
        self, sentences: Sentences, update: Callable[[int], None] = lambda count: None
    ) -> Values:
        """The values of a window of sentences.

        Args:
            sentences: the first ones decide about the lengths of all batches.
            update: called with the number of sentences that are done.

        Returns:
            [P, N, H], with pooling [S, N, H], in the order of the sentences.
        """
        settings = self._settings
        if self._plan is None:
            self._plan = self._make_plan(sentences)
        is_pooled = settings.pooling != "none"
        count = len(sentences) if is_pooled else sentences.num_pieces
        values = np.empty((count, *self._shape), settings.dtype)
        offsets = sentences.sentence_offsets
        for rows in sorted_batches(sentences.lengths, self._plan.batch_size):
            batch = gather_batch(
                sentences, rows, self._plan, self._special_ids, settings.pooling == "mean"
            )
            found = self._predict(batch)["values"]
            for row, number in enumerate(rows):
                start, end = (
                    (number, number + 1) if is_pooled else (offsets[number], offsets[number + 1])
                )
                with np.errstate(over="ignore"):  # it is counted
                    values[start:end] = found[row] if is_pooled else found[row, : end - start]
                self.num_not_finite += not np.isfinite(values[start:end]).all()
            update(len(rows))
        return values

    def _make_plan(self, first: Sentences) -> Plan:
        size, settings = self._window_size, self._settings
        has_room = first.num_pieces + settings.max_seq_length <= size.pieces
        is_all = len(first) < size.sentences and has_room
        return make_plan(
            first,
            settings.batch_size,
            settings.max_seq_length,
            self._device.pieces_of_compiling(self._config) if is_all else 0,
            self._device.num_devices,
        )


def window_size(settings: FeatureSettings, config: ModelConfig) -> WindowSize:
    """So large that sorting pays, so small that the values of a window are no burden."""
    vector = len(settings.layers) * config.hidden_size * np.dtype(settings.dtype).itemsize
    pieces = sys.maxsize if settings.pooling != "none" else max(1, _WINDOW_BYTES // vector)
    return WindowSize(_WINDOW_SENTENCES, pieces)


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
    config = dataclasses.replace(model.config, num_hidden_layers=max(1, *positions))
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
