"""Batches of instances from shards: shuffled by seed, masked, packed, and resumable at any row.

A row holds one instance, or several where they are packed.

Legend: B batch, L max_seq_length, P max_predictions_per_seq.
"""

from __future__ import annotations

import dataclasses
import functools
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
from bert_ko.data.share import WHOLE, Share

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
    share: Share = WHOLE  # the rows that are made; all hosts read all records

    def __post_init__(self) -> None:
        assert self.shards and self.batch_size > 0
        assert self.shuffle_buffer_size >= 0 and self.interleave > 0


class RecordBatch(NamedTuple):
    """A batch, and where the next one begins."""

    # [B, ...] by Google's names, and next_sentence_weights float32 [B]; or see PackedWindow.take.
    # Of several hosts' batch the rows of this one's share.
    features: Arrays
    position: dict[str, Any]  # for InstanceReader, as values for JSON
    # [n], the shard of each sequence, row after row; -1 for a row of padding. n is B if not packed
    shards: npt.NDArray[np.int32]
    records: npt.NDArray[np.int64]  # [n], its record there
    epoch: int  # of the last sequence, from 0


class _Rows(Protocol):
    """Rows to make batches of."""

    def __len__(self) -> int: ...

    def places(self, start: int, stop: int) -> _Places:
        """Of the sequences in the rows from ``start`` up to ``stop``."""

    def take(self, start: int, stop: int) -> Arrays:
        """The features of these rows."""


class _Places(NamedTuple):
    """Where sequences were read."""

    shards: npt.NDArray[np.int32]
    records: npt.NDArray[np.int64]


class _Chunk:
    """Rows of one instance each, decoded when the first of them is wanted."""

    def __init__(self, places: _Places, decode: Callable[[], Arrays]):
        self._places, self._decode = places, functools.cache(decode)

    def __len__(self) -> int:
        return len(self._places.shards)

    def places(self, start: int, stop: int) -> _Places:
        here = slice(start, stop)
        return _Places(self._places.shards[here], self._places.records[here])

    def take(self, start: int, stop: int) -> Arrays:
        return {name: values[start:stop] for name, values in self._decode().items()}


@dataclass(frozen=True)
class _PackedRows:
    """Rows of several instances each."""

    packed: PackedWindow
    shards: npt.NDArray[np.int32]  # in the order of the rows
    records: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.packed)

    def places(self, start: int, stop: int) -> _Places:
        here = self.packed.places(start, stop)
        return _Places(self.shards[here], self.records[here])

    def take(self, start: int, stop: int) -> Arrays:
        return self.packed.take(start, stop)


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
        size = self._config.batch_size
        own = self._config.share.ranges(size)
        features: list[Arrays] = []
        places: list[_Places] = []
        filled, end = 0, self._begin
        for rows, begin, taken in self._rows(epochs):
            while taken < len(rows):
                count = min(size - filled, len(rows) - taken)
                shift = taken - filled  # from rows of the batch to those of the window
                for part in own:
                    first, last = max(part.start, filled), min(part.stop, filled + count)
                    if first < last:
                        features.append(rows.take(first + shift, last + shift))
                places.append(rows.places(taken, taken + count))
                taken, filled = taken + count, filled + count
                end = dataclasses.replace(begin, used=begin.used + taken)
                if filled == size:
                    yield _join(features, places, end)
                    features, places, filled = [], [], 0
        if filled:
            assert self._config.share.count == 1, "the end of one epoch is on one host"
            missing = size - filled
            features.append(_padding(features[0], missing))
            nowhere = np.full(missing, -1)
            places.append(_Places(nowhere.astype(np.int32), nowhere.astype(np.int64)))
            yield _join(features, places, end)

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
                here = slice(start, start + _CHUNK)
                places = _Places(window.shards[here], window.numbers[here])
                chunk = _Chunk(places, functools.partial(self._decode, window, start, begin))
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
        return [without_padding(self._decode(window, start, begin)) for start in starts]

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

    def _decode(self, window: RecordWindow, start: int, position: Position) -> Arrays:
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
        return features

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


def _join(features: Sequence[Arrays], places: Sequence[_Places], position: Position) -> RecordBatch:
    return RecordBatch(
        {name: np.concatenate([part[name] for part in features]) for name in features[0]},
        dataclasses.asdict(position),
        np.concatenate([part.shards for part in places]),
        np.concatenate([part.records for part in places]),
        position.epoch,
    )


def _padding(like: Arrays, count: int) -> Arrays:
    return {name: np.zeros((count, *value.shape[1:]), value.dtype) for name, value in like.items()}
