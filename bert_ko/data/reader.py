"""Batches of instances from shards: shuffled by seed, interleaved, and resumable at any sequence.

The shards of an epoch are drawn in a random order, and so many of them stand open at once. A window
takes the same number of records from each and shuffles them. A window is known by where its readers
stood at its beginning, and a place in it by a number: that is the whole position, however many
windows lie behind it.

Legend: B batch, L max_seq_length, P max_predictions_per_seq.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.decoding import DamagedRecordError, ExampleDecoder
from bert_ko.data.features import FeatureNames, instance_features
from bert_ko.data.masking import MaskingConfig, mask_tokens
from bert_ko.data.records import ShardReader

Arrays = dict[str, npt.NDArray[Any]]
_CHUNK = 1024  # records decoded and masked together


class ShardSource(NamedTuple):
    """A shard to train on.

    Attributes:
        path: the file.
        next_sentence_weight: 0 where its next_sentence_labels mean nothing.
    """

    path: str
    next_sentence_weight: float = 1.0


@dataclass(frozen=True)
class DynamicMasking:
    """How unmasked shards are masked when they are read.

    Attributes:
        unit: what a word is; a piece alone without whole words.
        config: shares and n-grams.
        mask_id: id of [MASK].
        replacement_ranges: ids that may stand for a masked piece, as (first, last) pairs.
    """

    unit: str  # piece, morpheme or eojeol
    config: MaskingConfig
    mask_id: int
    replacement_ranges: tuple[tuple[int, int], ...]

    def replacements(self) -> npt.NDArray[np.int32]:
        """The ids one by one."""
        return np.concatenate(
            [np.arange(first, last + 1, dtype=np.int32) for first, last in self.replacement_ranges]
        )


@dataclass(frozen=True)
class ReaderConfig:
    """What is read, and in which order.

    Attributes:
        shards: at least one.
        batch_size: B.
        max_seq_length: L.
        max_predictions_per_seq: P.
        vocab_size: ids must be below it.
        feature_names: how the features are called inside the records.
        masking: None for shards with masked_lm_* features.
        seed: of the order and of dynamic masks.
        shuffle_buffer_size: records of a window; 0 reads shard after shard in order.
        interleave: shards that stand open at once.
    """

    shards: tuple[ShardSource, ...]
    batch_size: int
    max_seq_length: int
    max_predictions_per_seq: int
    vocab_size: int
    feature_names: FeatureNames = "v1"
    masking: DynamicMasking | None = None
    seed: int = 0
    shuffle_buffer_size: int = 16384
    interleave: int = 16


class Batch(NamedTuple):
    """A batch, and where the next one begins.

    Attributes:
        features: arrays [B, ...] by Google's names, and next_sentence_weights float32 [B].
        position: for ``InstanceReader``, as values for JSON.
        shards: int32 [B], the shard of each sequence; -1 for padding.
        records: int64 [B], its record there.
        epoch: of the last sequence, from 0.
    """

    features: Arrays
    position: dict[str, Any]
    shards: npt.NDArray[np.int32]
    records: npt.NDArray[np.int64]
    epoch: int


@dataclass
class _Position:
    """The beginning of a window, and how many of its records are used."""

    epoch: int = 0
    window: int = 0
    next_shard: int = 0  # place in the epoch's order of the next shard to open
    open_shards: list[list[int]] = dataclasses.field(default_factory=list)
    used: int = 0


class _Window(NamedTuple):
    records: list[bytes]
    shards: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.int64]
    is_last: bool  # of its epoch


class InstanceReader:
    """Reads batches, epoch after epoch."""

    def __init__(self, config: ReaderConfig, position: dict[str, Any] | None = None):
        """Args: config; position: of the batch after which to go on."""
        self._config = config
        specs = instance_features(
            config.max_seq_length, config.max_predictions_per_seq, config.masking is not None
        )
        self._decoder = ExampleDecoder(specs, config.feature_names)
        self._replacements = config.masking.replacements() if config.masking else None
        self._position = _Position(**position) if position else _Position()
        self._weights = np.array([s.next_sentence_weight for s in config.shards], np.float32)

    def batches(self) -> Iterator[Batch]:
        """Batches without end; one may hold the end of an epoch and the beginning of the next."""
        yield from self._batches(epochs=None)

    def one_epoch(self) -> Iterator[Batch]:
        """The batches of one pass; the last is filled up with padding of weight 0."""
        yield from self._batches(epochs=1)

    def _batches(self, epochs: int | None) -> Iterator[Batch]:
        size = self._config.batch_size
        parts: list[tuple[Arrays, npt.NDArray[np.int32], npt.NDArray[np.int64]]] = []
        count, epoch = 0, 0
        for features, shards, numbers, epoch, start in self._chunks(epochs):
            taken = 0
            while taken < len(shards):
                here = slice(taken, taken + size - count)
                parts.append(
                    ({k: v[here] for k, v in features.items()}, shards[here], numbers[here])
                )
                count += len(shards[here])
                taken += len(shards[here])
                if count == size:
                    position = dataclasses.replace(self._position, used=start + taken)
                    yield _join(parts, position, epoch)
                    parts, count = [], 0
        if count:
            parts.append(_padding(parts[0][0], size - count))
            yield _join(parts, self._position, epoch)

    def _chunks(
        self, epochs: int | None
    ) -> Iterator[tuple[Arrays, npt.NDArray[np.int32], npt.NDArray[np.int64], int, int]]:
        """Decoded parts of windows, with the epoch and their place in the window."""
        while epochs is None or self._position.epoch < epochs:
            position = self._position
            after = dataclasses.replace(
                position, open_shards=[list(s) for s in position.open_shards]
            )
            window = self._read_window(after)
            first = position.used - position.used % _CHUNK
            for start in range(first, len(window.records), _CHUNK):
                skip = max(0, position.used - start)
                yield self._decode(window, start, skip, position)
            self._position = after

    def _read_window(self, position: _Position) -> _Window:
        """Reads the window and moves the position behind it."""
        config = self._config
        order = self._order(position.epoch)
        slots = min(config.interleave, len(order)) if config.shuffle_buffer_size else 1
        quota = max(1, (config.shuffle_buffer_size or _CHUNK) // slots)
        records: list[bytes] = []
        shards: list[int] = []
        numbers: list[int] = []
        while len(position.open_shards) < slots and position.next_shard < len(order):
            position.open_shards.append([int(order[position.next_shard]), 0, 0])
            position.next_shard += 1
        for place in list(position.open_shards):
            wanted = quota
            while wanted:
                with ShardReader(config.shards[place[0]].path, place[1], place[2]) as reader:
                    found = reader.read(wanted)
                    numbers += range(place[2], place[2] + len(found))
                    shards += [place[0]] * len(found)
                    records += found
                    place[1:] = reader.offset, reader.record
                wanted -= len(found)
                if wanted and position.next_shard < len(order):
                    place[:] = [int(order[position.next_shard]), 0, 0]
                    position.next_shard += 1
                elif wanted:
                    position.open_shards.remove(place)
                    break
        is_last = not position.open_shards and position.next_shard == len(order)
        if is_last and not records and position.window == 0:
            raise ValueError(
                f"{', '.join(shard.path for shard in config.shards)}: no record; make the shards "
                "again from a corpus that has text."
            )
        window = _Window(records, np.array(shards, np.int32), np.array(numbers, np.int64), is_last)
        if config.shuffle_buffer_size:
            rng = np.random.default_rng([config.seed, 1, position.epoch, position.window])
            window = _shuffled(window, rng)
        position.used = 0
        position.window += 1
        if is_last:
            position.epoch, position.window, position.next_shard = position.epoch + 1, 0, 0
        return window

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        count = len(self._config.shards)
        if not self._config.shuffle_buffer_size:
            return np.arange(count)
        return np.random.default_rng([self._config.seed, 0, epoch]).permutation(count)

    def _decode(
        self, window: _Window, start: int, skip: int, position: _Position
    ) -> tuple[Arrays, npt.NDArray[np.int32], npt.NDArray[np.int64], int, int]:
        here = slice(start, start + _CHUNK)
        shards, numbers = window.shards[here], window.numbers[here]
        try:
            features = self._decoder.decode(window.records[here])
        except DamagedRecordError as error:
            raise ValueError(
                f"{self._place(shards[error.index], numbers[error.index])}: {error.reason}"
            ) from None
        self._check_ids(features["input_ids"], shards, numbers)
        if self._config.masking is not None:
            rng = np.random.default_rng(
                [self._config.seed, 2, position.epoch, position.window, start]
            )
            features = self._mask(features, rng)
        features["next_sentence_weights"] = self._weights[shards]
        rest = {name: value[skip:] for name, value in features.items()}
        return rest, shards[skip:], numbers[skip:], position.epoch, start + skip

    def _check_ids(
        self,
        ids: npt.NDArray[Any],
        shards: npt.NDArray[np.int32],
        numbers: npt.NDArray[np.int64],
    ) -> None:
        if int(ids.max(initial=0)) < self._config.vocab_size:
            return
        row = int(np.flatnonzero((ids >= self._config.vocab_size).any(axis=1))[0])
        raise ValueError(
            f"{self._place(shards[row], numbers[row])}: piece id {int(ids[row].max())}, but "
            f"vocab_size is {self._config.vocab_size} in the bert_config; take the config of the "
            "vocabulary that the shards were made with."
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
            features["input_ids"],
            is_piece,
            starts,
            masking.mask_id,
            self._replacements,
            masking.config,
            rng,
        )
        return {**features, **masked.features()}


def _shuffled(window: _Window, rng: np.random.Generator) -> _Window:
    order = rng.permutation(len(window.records))
    records = [window.records[i] for i in order.tolist()]
    return _Window(records, window.shards[order], window.numbers[order], window.is_last)


def _join(
    parts: Sequence[tuple[Arrays, npt.NDArray[np.int32], npt.NDArray[np.int64]]],
    position: _Position,
    epoch: int,
) -> Batch:
    features = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    return Batch(
        features,
        dataclasses.asdict(position),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
        epoch,
    )


def _padding(
    like: Arrays, count: int
) -> tuple[Arrays, npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    zeros = {name: np.zeros((count, *value.shape[1:]), value.dtype) for name, value in like.items()}
    return zeros, np.full(count, -1, np.int32), np.full(count, -1, np.int64)


class Prefetcher:
    """Runs an iterator in a thread, a few items ahead; use as a context manager."""

    _END = object()

    def __init__(self, items: Iterator[Batch], ahead: int = 8):
        """Args: items; ahead: how many may wait."""
        self._items = items
        self._queue: queue.Queue[Any] = queue.Queue(ahead)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)

    def __enter__(self) -> Prefetcher:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_closed.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Batch]:
        while (item := self._queue.get()) is not self._END:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _fill(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
            self._put(self._END)
        except BaseException as error:  # raised again where the items are taken
            self._put(error)

    def _put(self, item: Any) -> bool:
        while not self._is_closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
