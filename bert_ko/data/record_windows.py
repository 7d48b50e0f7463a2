"""Records of many shards in a random order that can be taken up again anywhere.

The shards of an epoch are drawn in a random order, and so many of them stand open at once. A window
takes the same number of records from each and shuffles them. A window is known by where its readers
stood at its beginning, and a place in it by a number: that is the whole position, however many
windows lie behind it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.records import ShardReader

_UNSHUFFLED = 1024  # records of a window that keeps the order


@dataclass(frozen=True)
class Position:
    """The beginning of a window, and how many of its records are used.

    Attributes:
        epoch: from 0.
        window: of the epoch, from 0.
        next_shard: place, in the epoch's order, of the next shard to open.
        open_shards: number, offset and record of each open shard; see ShardReader.
        used: records of the window.
    """

    epoch: int = 0
    window: int = 0
    next_shard: int = 0
    open_shards: list[list[int]] = dataclasses.field(default_factory=list)
    used: int = 0


class RecordWindow(NamedTuple):
    """Records in the order of training: n of them.

    Attributes:
        records: serialised examples.
        shards: int32 [n], the shard of each.
        numbers: int64 [n], its record there.
    """

    records: list[bytes]
    shards: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.int64]


class _OpenShard(NamedTuple):
    number: int
    reader: ShardReader


class RecordWindowReader:
    """Reads windows, epoch after epoch; use as a context manager."""

    def __init__(
        self,
        paths: Sequence[str],
        seed: int,
        shuffle_buffer_size: int,
        interleave: int,
        position: Position,
    ):
        """Opens no file yet.

        Args:
            paths: the shards.
            seed: of the order.
            shuffle_buffer_size: records of a window; 0 reads shard after shard in order.
            interleave: shards that stand open at once.
            position: where to begin: with the whole window.
        """
        self._paths, self._seed, self._is_shuffled = paths, seed, shuffle_buffer_size > 0
        self._slots = min(interleave, len(paths)) if self._is_shuffled else 1
        self._quota = max(1, (shuffle_buffer_size or _UNSHUFFLED) // self._slots)
        self._epoch, self._window = position.epoch, position.window
        self._waiting = self._order()[position.next_shard :]
        # They stay open from window to window: in a compressed shard no one can jump.
        self._open = [self._open_shard(*place) for place in position.open_shards]

    def __enter__(self) -> RecordWindowReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for shard in self._open:
            shard.reader.close()

    @property
    def position(self) -> Position:
        """The beginning of the next window."""
        return Position(
            self._epoch,
            self._window,
            len(self._paths) - len(self._waiting),
            [[shard.number, shard.reader.offset, shard.reader.record] for shard in self._open],
        )

    def read(self) -> RecordWindow:
        """The next window; empty where an epoch ended with the window before, as it turns out.

        Raises:
            ValueError: a shard is damaged, or no shard has a record.
        """
        window = self._read_open_shards()
        if self._is_shuffled:
            rng = np.random.default_rng([self._seed, 1, self._epoch, self._window])
            window = _shuffled(window, rng)
        if self._open:
            self._window += 1
            return window
        if not window.records and not self._window:
            raise ValueError(
                f"no record in {len(self._paths)} shards, {self._paths[0]} the first of them; make "
                "them again from a corpus that has text."
            )
        self._epoch, self._window = self._epoch + 1, 0
        self._waiting = self._order()
        return window

    def _read_open_shards(self) -> RecordWindow:
        """As many records of each; where a shard ends, the next one takes its place."""
        records: list[bytes] = []
        shards: list[int] = []
        numbers: list[int] = []
        while len(self._open) < self._slots and self._waiting:
            self._open.append(self._open_shard(self._waiting.pop(0)))
        ended = set()
        for slot in range(len(self._open)):
            wanted = self._quota
            while wanted and slot not in ended:
                number, reader = self._open[slot]
                first = reader.record
                found = reader.read(wanted)
                records += found
                shards += [number] * len(found)
                numbers += range(first, reader.record)
                wanted -= len(found)
                if wanted and self._waiting:
                    self._open[slot] = self._open_shard(self._waiting.pop(0))
                elif wanted:
                    ended.add(slot)
        self._open = [shard for slot, shard in enumerate(self._open) if slot not in ended]
        return RecordWindow(records, np.array(shards, np.int32), np.array(numbers, np.int64))

    def _open_shard(self, number: int, offset: int = 0, record: int = 0) -> _OpenShard:
        return _OpenShard(number, ShardReader(self._paths[number], offset, record))

    def _order(self) -> list[int]:
        """Numbers of the shards as the epoch reads them."""
        count = len(self._paths)
        if not self._is_shuffled:
            return list(range(count))
        rng = np.random.default_rng([self._seed, 0, self._epoch])
        order: list[int] = rng.permutation(count).tolist()
        return order


def _shuffled(window: RecordWindow, rng: np.random.Generator) -> RecordWindow:
    order = rng.permutation(len(window.records))
    records = [window.records[i] for i in order.tolist()]
    return RecordWindow(records, window.shards[order], window.numbers[order])
