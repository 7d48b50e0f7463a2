"""The engine: sentences to values, in their order, computed in batches sorted by length.

Legend: S sentences, P pieces of all of them, N layers that are wanted, H hidden_size.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import count_parameters, encoder_specs
from bert_ko.tasks.batches import sorted_batches
from bert_ko.tasks.features.batches import Plan, gather_batch, make_plan
from bert_ko.tasks.features.settings import FeatureSettings
from bert_ko.tasks.models import TrainedModel
from bert_ko.tasks.sentences import Sentences, WindowSize
from bert_ko.training.backend import Backend, DeviceConfig, HostBatch
from bert_ko.training.devices import load_backend
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

    def pieces_of_compiling(self, config: BertConfig) -> float:
        """So many pieces go through the model while it is compiled for another length."""
        layers = encoder_specs(config, has_pooler=False)
        weights = count_parameters({k: v for k, v in layers.items() if k.endswith("/kernel")})
        return (_CPU_COMPILING if self.is_cpu else _GPU_COMPILING) / (2 * weights)


class Extractor:
    """A model on its devices, and what is wanted of it."""

    def __init__(
        self,
        predict: Callable[[HostBatch], HostBatch],
        config: BertConfig,
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


def window_size(settings: FeatureSettings, config: BertConfig) -> WindowSize:
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
    arrays = model.arrays(encoder_specs(config, has_pooler=False))
    backend = load_backend(devices)
    check_batch_size("batch_size", settings.batch_size, backend)
    from bert_ko.tasks.features.head import feature_outputs

    program = backend.train_program(config, _no_loss, None, arrays, seed=0)
    predict = program.predictor(feature_outputs(positions, settings.pooling))
    special_ids = model.tokenizer.vocab.special_ids
    device = Device(backend.num_devices, "cpu" in backend.description.lower())
    return Extractor(predict, config, special_ids, settings, device), backend


def _no_loss(model: object, batch: object) -> NoReturn:
    raise AssertionError("nothing is trained")
