"""Batches of instances from shards: shuffled by seed, masked, packed, and resumable at any row.

A row holds one instance, or several where they are packed.

Legend: B batch, L max_seq_length, P max_predictions_per_seq.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bert_ko.data.decoding import DamagedRecordError, ExampleDecoder
from bert_ko.data.features import FeatureNames, instance_features
from bert_ko.data.masking import MaskingConfig, mask_tokens
from bert_ko.data.packed_window import PackedWindow, Sequences, without_padding
from bert_ko.data.packing import RowLimits
from bert_ko.data.prefetch import Prefetcher
from bert_ko.data.records import Position, RecordWindow, RecordWindowReader

Arrays = dict[str, npt.NDArray[Any]]
# Records decoded and masked together. Masks are drawn for a chunk: another number, other masks.
_CHUNK = 1024


class ShardSource(NamedTuple):
    """A shard to train on."""

    path: str
    next_sentence_weight: float = 1.0  # 0 if its next_sentence_labels mean nothing


@dataclass(frozen=True)
class DynamicMasking:
    """How unmasked shards are masked when they are read."""

    unit: Literal["piece", "morpheme", "eojeol"]  # what is masked as a whole
    config: MaskingConfig
    mask_id: int
    # Ids that may replace a masked piece, as (first, last) pairs.
    replacement_ranges: tuple[tuple[int, int], ...]

    def replacements(self) -> npt.NDArray[np.int32]:
        """The replacement ids one by one, int32 [N]."""
        return np.concatenate(
            [np.arange(first, last + 1, dtype=np.int32) for first, last in self.replacement_ranges]
        )


@dataclass(frozen=True)
class ReaderConfig:
    """What is read, and in which order."""

    shards: tuple[ShardSource, ...]  # at least one
    batch_size: int  # B
    max_seq_length: int  # L
    max_predictions_per_seq: int  # P
    vocab_size: int  # ids must be below it
    feature_names: FeatureNames = "v1"
    masking: DynamicMasking | None = None  # None for shards with masked_lm_* features
    packing: RowLimits | None = None  # several instances in a row; None for one
    seed: int = 0  # of the order and of dynamic masks
    shuffle_buffer_size: int = 16384  # records of a window; 0 reads shard after shard in order
    interleave: int = 16  # shards that are open at once

    def __post_init__(self) -> None:
        assert self.shards and self.batch_size > 0
        assert self.shuffle_buffer_size >= 0 and self.interleave > 0


class RecordBatch(NamedTuple):
    """A batch, and where the next one begins."""

    # [B, ...] by Google's names, and next_sentence_weights float32 [B]; or see PackedWindow.take
    features: Arrays
    position: dict[str, Any]  # for InstanceReader, as values for JSON
    # [n], the shard of each sequence, row after row; -1 for a row of padding. n is B if not packed
    shards: npt.NDArray[np.int32]
    records: npt.NDArray[np.int64]  # [n], its record there
    epoch: int  # of the last sequence, from 0


class _Rows(Protocol):
    """Rows to make batches of."""

    def __len__(self) -> int: ...

    def take(self, start: int, stop: int) -> _Part:
        """Those from ``start`` up to ``stop``."""


class _Part(NamedTuple):
    """Some rows of a batch."""

    features: Arrays
    shards: npt.NDArray[np.int32]
    records: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Chunk:
    """Rows of one instance each."""

    part: _Part

    def __len__(self) -> int:
        return len(self.part.shards)

    def take(self, start: int, stop: int) -> _Part:
        here, part = slice(start, stop), self.part
        features = {name: values[here] for name, values in part.features.items()}
        return _Part(features, part.shards[here], part.records[here])


@dataclass(frozen=True)
class _PackedRows:
    """Rows of several instances each."""

    packed: PackedWindow
    shards: npt.NDArray[np.int32]  # in the order of the rows
    records: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.packed)

    def take(self, start: int, stop: int) -> _Part:
        features, here = self.packed.take(start, stop)
        return _Part(features, self.shards[here], self.records[here])


class InstanceReader:
    """Reads batches, epoch after epoch; each call begins at the same position."""

    def __init__(
        self,
        config: ReaderConfig,
        position: dict[str, Any] | None = None,
        announce: Callable[[str], None] = lambda sentence: None,
    ):
        """Opens no file yet.

        Args:
            config: what is read.
            position: of the batch after which to resume.
            announce: told how full the rows of the first packed window are.
        """
        self._config, self._announce = config, announce
        specs = instance_features(
            config.max_seq_length, config.max_predictions_per_seq, config.masking is not None
        )
        self._decoder = ExampleDecoder(specs, config.feature_names)
        self._replacements = config.masking.replacements() if config.masking else None
        self._begin = Position()
        if position is not None:
            self._begin = Position.from_values(position, len(config.shards))
        self._weights = np.array([s.next_sentence_weight for s in config.shards], np.float32)

    def batches(self) -> Iterator[RecordBatch]:
        """Batches without end; one may hold the end of an epoch and the beginning of the next."""
        return self._batches(epochs=None)

    def one_epoch(self) -> Iterator[RecordBatch]:
        """The batches of one pass; the last is filled up with padding of weight 0."""
        return self._batches(epochs=1)

    def place(self, batch: RecordBatch) -> str:
        """Names the first records of a batch in a sentence for a message."""
        first = zip(batch.shards[:3].tolist(), batch.records[:3].tolist(), strict=True)
        places = "; ".join(self._place(shard, record) for shard, record in first)
        return f"Its batch of {len(batch.shards)} begins with {places}"

    def _batches(self, epochs: int | None) -> Iterator[RecordBatch]:
        parts: list[_Part] = []
        missing = self._config.batch_size
        end = self._begin
        for rows, begin, taken in self._rows(epochs):
            while taken < len(rows):
                parts.append(rows.take(taken, min(taken + missing, len(rows))))
                size = len(parts[-1].features["input_ids"])
                taken += size
                missing -= size
                end = dataclasses.replace(begin, used=begin.used + taken)
                if not missing:
                    yield _join(parts, end)
                    parts, missing = [], self._config.batch_size
        if parts:
            yield _join([*parts, _padding(parts[0].features, missing)], end)

    def _rows(self, epochs: int | None) -> Iterator[tuple[_Rows, Position, int]]:
        """Rows of windows, where they begin, and how many of them are used already."""
        if self._config.packing is None:
            yield from self._chunks(epochs)
            return
        # A window is packed while batches are made of the one before.
        with Prefetcher(self._packed_windows(epochs, self._config.packing), ahead=1) as windows:
            yield from windows

    def _chunks(self, epochs: int | None) -> Iterator[tuple[_Rows, Position, int]]:
        for window, begin in self._windows(epochs):
            first = begin.used - begin.used % _CHUNK
            for start in range(first, len(window.records), _CHUNK):
                chunk = _Chunk(self._decode(window, start, begin))
                yield chunk, dataclasses.replace(begin, used=start), max(0, begin.used - start)

    def _packed_windows(
        self, epochs: int | None, limits: RowLimits
    ) -> Iterator[tuple[_Rows, Position, int]]:
        is_first = True
        for window, begin in self._windows(epochs):
            if not window.records:
                continue
            packed = PackedWindow(self._sequences(window, begin), limits)
            if is_first:
                self._announce(packed.describe())
                is_first = False
            order = packed.order
            rows = _PackedRows(packed, window.shards[order], window.numbers[order])
            yield rows, dataclasses.replace(begin, used=0), begin.used

    def _sequences(self, window: RecordWindow, begin: Position) -> list[Sequences]:
        """All sequences of a window, masked by chunks as without packing."""
        starts = range(0, len(window.records), _CHUNK)
        return [without_padding(self._decode(window, start, begin).features) for start in starts]

    def _windows(self, epochs: int | None) -> Iterator[tuple[RecordWindow, Position]]:
        """Windows, and where they begin; of the first, where to go on."""
        config, begin = self._config, self._begin
        paths = [shard.path for shard in config.shards]
        with RecordWindowReader(
            paths, config.seed, config.shuffle_buffer_size, config.interleave, begin
        ) as windows:
            while epochs is None or begin.epoch < epochs:
                yield windows.read(), begin
                begin = windows.position

    def _decode(self, window: RecordWindow, start: int, position: Position) -> _Part:
        """Decodes and masks the chunk that begins at record ``start`` of the window."""
        here = slice(start, start + _CHUNK)
        shards, numbers = window.shards[here], window.numbers[here]
        try:
            features = self._decoder.decode(window.records[here])
        except DamagedRecordError as error:
            raise ValueError(
                f"{self._place(shards[error.index], numbers[error.index])}: {error.reason}"
            ) from None
        for name in ("input_ids", "masked_lm_ids"):
            if name in features:
                self._check_ids(features[name], shards, numbers)
        if self._config.packing is not None:
            self._check_packable(features, shards, numbers)
        if self._config.masking is not None:
            key = [self._config.seed, 2, position.epoch, position.window, start]
            features = self._mask(features, np.random.default_rng(key))
        features["next_sentence_weights"] = self._weights[shards]
        return _Part(features, shards, numbers)

    def _check_ids(
        self, ids: npt.NDArray[Any], shards: npt.NDArray[Any], numbers: npt.NDArray[Any]
    ) -> None:
        if int(ids.max(initial=0)) < self._config.vocab_size:
            return
        row = int(np.flatnonzero((ids >= self._config.vocab_size).any(axis=1))[0])
        raise ValueError(
            f"{self._place(shards[row], numbers[row])}: piece id {int(ids[row].max())}, but "
            f"vocab_size is {self._config.vocab_size} in the bert_config; use the config of the "
            "vocabulary that the shards were made with."
        )

    def _check_packable(
        self, features: Arrays, shards: npt.NDArray[Any], numbers: npt.NDArray[Any]
    ) -> None:
        """Unpacked, a sequence with gaps harms itself alone; packed, it would harm others."""
        mask = features["input_mask"] > 0
        sizes = mask.sum(axis=1)
        fault = "input_mask has gaps or no piece at all"
        wrong = (sizes == 0) | (mask != (np.arange(mask.shape[1]) < sizes[:, None])).any(axis=1)
        if "masked_lm_positions" in features and not wrong.any():
            fault = "masked_lm_positions are beyond its pieces"
            is_beyond = features["masked_lm_positions"] >= sizes[:, None]
            wrong = (is_beyond & (features["masked_lm_weights"] > 0)).any(axis=1)
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"{self._place(shards[row], numbers[row])}: {fault}, so that it can't be packed; "
                "leave out --pack, or make the shard again with bin/create_pretraining_data."
            )

    def _place(self, shard: int, number: int) -> str:
        return f"{self._config.shards[shard].path}: record {number}"

    def _mask(self, features: Arrays, rng: np.random.Generator) -> Arrays:
        masking = self._config.masking
        assert masking is not None and self._replacements is not None
        morphemes, eojeols = features.pop("morpheme_ids"), features.pop("eojeol_ids")
        is_piece = morphemes > 0
        starts = is_piece
        if masking.unit != "piece":
            words = morphemes if masking.unit == "morpheme" else eojeols
            starts = is_piece.copy()
            starts[:, 1:] &= words[:, 1:] != words[:, :-1]
        masked = mask_tokens(
            features["input_ids"], is_piece, starts, masking.mask_id, self._replacements,
            masking.config, rng,
        )  # fmt: skip
        return {**features, **masked.features()}


def _join(parts: Sequence[_Part], position: Position) -> RecordBatch:
    features = {
        name: np.concatenate([part.features[name] for part in parts]) for name in parts[0].features
    }
    return RecordBatch(
        features,
        dataclasses.asdict(position),
        np.concatenate([part.shards for part in parts]),
        np.concatenate([part.records for part in parts]),
        position.epoch,
    )


def _padding(like: Arrays, count: int) -> _Part:
    zeros = {name: np.zeros((count, *value.shape[1:]), value.dtype) for name, value in like.items()}
    return _Part(zeros, np.full(count, -1, np.int32), np.full(count, -1, np.int64))
