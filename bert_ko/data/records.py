"""Reading records: of one shard from any place on, and of many shards in a resumable random order.

The shards of an epoch are drawn in a random order, and several of them are open at once. A window
takes the same number of records from each and shuffles them. A window is known by the places of its
readers at its beginning, and a place in it by a number: together they are the whole position,
however many windows came before.
"""

from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.compression import COMPRESSIONS
from bert_ko.data.position import PositionError, is_count, require_counts
from bert_ko.data.tfrecord import MAX_RECORD_BYTES, masked_checksum

_BLOCK = 1 << 20
_HEADER, _FOOTER = 12, 4
_UNSHUFFLED = 1024  # records of a window that keeps the order
_size_checksum = functools.lru_cache(masked_checksum)  # sizes are few


class ShardReader:
    """The records of one shard in order, with their checksums verified.

    Attributes:
        path: the file, plain or compressed by its extension, local or remote.
        offset: bytes, decompressed, before the next record.
        record: number of the next record, from 0.
    """

    def __init__(self, path: str, offset: int = 0, record: int = 0):
        """Args: path; offset and record: of an earlier reader, to resume there."""
        self.path, self.offset, self.record = path, offset, record
        self._stream: BinaryIO | None = None
        self._buffer = b""
        self._cursor = 0

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; a later read opens it again at the same place."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._buffer, self._cursor = None, b"", 0

    def read(self, count: int) -> list[bytes]:
        """The next ``count`` records; fewer at the end of the shard.

        Raises:
            ValueError: the shard is cut off or damaged; names it and the record.
        """
        records: list[bytes] = []
        while len(records) < count:
            if not self._has(_HEADER):
                if self._left():
                    raise self._error("the file ends inside it")
                self.close()
                break
            start = self._cursor
            size = self._record_size(self._buffer[start : start + _HEADER])
            if not self._has(_HEADER + size + _FOOTER):
                raise self._error("the file ends inside it")
            start = self._cursor + _HEADER
            body = self._buffer[start : start + size]
            footer = self._buffer[start + size : start + size + _FOOTER]
            if struct.unpack("<I", footer)[0] != masked_checksum(body):
                raise self._error("its checksum is wrong")
            self._cursor = start + size + _FOOTER
            self.offset += _HEADER + size + _FOOTER
            self.record += 1
            records.append(body)
        return records

    def _record_size(self, header: bytes) -> int:
        size, checksum = struct.unpack("<QI", header)
        if checksum != _size_checksum(header[:8]):
            raise self._error("its size is damaged, or this is not a TFRecord file")
        if size > MAX_RECORD_BYTES:
            raise self._error(f"{size:,} bytes are too many for an instance")
        return int(size)

    def _left(self) -> int:
        return len(self._buffer) - self._cursor

    def _has(self, size: int) -> bool:
        """Whether ``size`` bytes are left; reads more when the buffer has fewer."""
        if self._left() >= size:
            return True
        if self._stream is None:
            self._stream = files.open_binary(self.path)
            self._skip(self._stream)
        rest = self._buffer[self._cursor :]
        block = self._read(self._stream, max(_BLOCK, size - len(rest)))
        self._buffer, self._cursor = rest + block, 0
        return len(self._buffer) >= size

    def _skip(self, stream: BinaryIO) -> None:
        """Moves to ``offset``."""
        left = self.offset
        is_plain = not self.path.endswith(tuple(COMPRESSIONS))
        if left and is_plain and not files.is_remote(self.path):
            left -= stream.seek(min(left, files.size(self.path)))
        while left:
            skipped = len(self._read(stream, min(left, _BLOCK)))
            if not skipped:
                raise self._error("the file is shorter than when it was read before")
            left -= skipped

    def _read(self, stream: BinaryIO, size: int) -> bytes:
        try:
            return stream.read(size)
        except ValueError as error:  # from the decompressor, which reads ahead
            cause = error.__cause__ or error
            raise self._error(f"the compressed data are damaged here or later ({cause})") from None

    def _error(self, reason: str) -> ValueError:
        return ValueError(
            f"{self.path}: record {self.record}: {reason}. Make the shard again with "
            "bin/create_pretraining_data, or copy it again."
        )


def read_records(path: str) -> Iterator[bytes]:
    """All records of a shard; errors as of ``ShardReader.read``."""
    with ShardReader(path) as reader:
        while records := reader.read(256):
            yield from records


@dataclass(frozen=True)
class Position:
    """The beginning of a window, and how many of its records are used."""

    epoch: int = 0
    window: int = 0  # of the epoch, from 0
    next_shard: int = 0  # place, in the epoch's order, of the next shard to open
    # Number, offset and record of each open shard; see ShardReader.
    open_shards: list[list[int]] = dataclasses.field(default_factory=list)
    used: int = 0

    @classmethod
    def from_values(cls, values: dict[str, Any], num_shards: int) -> Position:
        """Reads a stored position.

        Raises:
            PositionError: it is none, or has other shards.
        """
        require_counts(values, ("epoch", "window", "next_shard", "used"), ("open_shards",))
        shards = values["open_shards"]
        is_right = isinstance(shards, list) and all(
            isinstance(shard, list) and len(shard) == 3 and all(map(is_count, shard))
            for shard in shards
        )
        if not is_right or max([values["next_shard"], *(s[0] + 1 for s in shards)]) > num_shards:
            raise PositionError(f"open_shards and next_shard are not of {num_shards} shards")
        return cls(**values)


class RecordWindow(NamedTuple):
    """n records in the order of training."""

    records: list[bytes]  # serialised examples
    shards: npt.NDArray[np.int32]  # [n], the shard of each
    numbers: npt.NDArray[np.int64]  # [n], its record there


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
            interleave: shards that are open at once.
            position: where to begin: with the whole window.
        """
        self._paths, self._seed, self._is_shuffled = paths, seed, shuffle_buffer_size > 0
        self._slots = min(interleave, len(paths)) if self._is_shuffled else 1
        self._quota = max(1, (shuffle_buffer_size or _UNSHUFFLED) // self._slots)
        self._epoch, self._window = position.epoch, position.window
        self._waiting = self._order()[position.next_shard :]
        # They stay open from window to window: a compressed shard cannot be entered in the middle.
        self._open = [
            (number, ShardReader(paths[number], offset, record))
            for number, offset, record in position.open_shards
        ]

    def __enter__(self) -> RecordWindowReader:
        return self

    def __exit__(self, *error: object) -> None:
        for _, reader in self._open:
            reader.close()

    @property
    def position(self) -> Position:
        """The beginning of the next window."""
        return Position(
            self._epoch,
            self._window,
            len(self._paths) - len(self._waiting),
            [[number, reader.offset, reader.record] for number, reader in self._open],
        )

    def read(self) -> RecordWindow:
        """The next window; empty when an epoch turns out to have ended with the window before.

        Raises:
            ValueError: a shard is damaged, or no shard has a record.
        """
        window = self._read_open_shards()
        if self._is_shuffled:
            rng = np.random.default_rng([self._seed, 1, self._epoch, self._window])
            order = rng.permutation(len(window.records))
            records = [window.records[i] for i in order.tolist()]
            window = RecordWindow(records, window.shards[order], window.numbers[order])
        if self._open:
            self._window += 1
            return window
        if not window.records and not self._window:
            raise ValueError(
                f"no records in {len(self._paths)} shards (the first is {self._paths[0]}); make "
                "them again from a corpus that has text."
            )
        self._epoch, self._window = self._epoch + 1, 0
        self._waiting = self._order()
        return window

    def _read_open_shards(self) -> RecordWindow:
        """The same number of records of each; when a shard ends, the next one takes its place."""
        records: list[bytes] = []
        shards: list[int] = []
        numbers: list[int] = []
        while len(self._open) < self._slots and self._waiting:
            self._open.append(self._open_next())
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
                    self._open[slot] = self._open_next()
                elif wanted:
                    ended.add(slot)
        self._open = [shard for slot, shard in enumerate(self._open) if slot not in ended]
        return RecordWindow(records, np.array(shards, np.int32), np.array(numbers, np.int64))

    def _open_next(self) -> tuple[int, ShardReader]:
        number = self._waiting.pop(0)
        return number, ShardReader(self._paths[number])

    def _order(self) -> list[int]:
        """Numbers of the shards in the order in which the epoch reads them."""
        count = len(self._paths)
        if not self._is_shuffled:
            return list(range(count))
        rng = np.random.default_rng([self._seed, 0, self._epoch])
        order: list[int] = rng.permutation(count).tolist()
        return order
