"""Reading a shard from any record on, in blocks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO

from bert_ko import files
from bert_ko.compression import COMPRESSIONS
from bert_ko.data.tfrecord import MAX_RECORD_BYTES, masked_checksum

_BLOCK = 1 << 20
_HEADER, _FOOTER = 12, 4


class ShardReader:
    """The records of one shard in order, with their checksums verified.

    Attributes:
        path: the file, plain or compressed by its extension, local or remote.
        offset: bytes, decompressed, before the next record.
        record: number of the next record, from 0.
    """

    def __init__(self, path: str, offset: int = 0, record: int = 0):
        """Args: path; offset and record: where an earlier reader stood."""
        self.path, self.offset, self.record = path, offset, record
        self._stream: BinaryIO | None = None
        self._buffer = b""
        self._cursor = 0
        self._header_sums: dict[bytes, int] = {}

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; a later read opens it again where this one stood."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._buffer, self._cursor = None, b"", 0

    def read(self, count: int) -> list[bytes]:
        """The next records.

        Args:
            count: of them; fewer at the end of the shard.

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
        size_bytes = header[:8]
        expected = self._header_sums.get(size_bytes)
        if expected is None:
            expected = self._header_sums[size_bytes] = masked_checksum(size_bytes)
        if struct.unpack("<I", header[8:])[0] != expected:
            raise self._error("its size is damaged, or this is no TFRecord file")
        size = int(struct.unpack("<Q", size_bytes)[0])
        if size > MAX_RECORD_BYTES:
            raise self._error(f"{size:,} bytes is no instance")
        return size

    def _left(self) -> int:
        return len(self._buffer) - self._cursor

    def _has(self, size: int) -> bool:
        """Whether so many bytes are left; reads on when the buffer has fewer."""
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
        """Goes to where an earlier reader stood."""
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
        except ValueError as error:  # of the decompressor, which reads ahead
            cause = error.__cause__ or error
            raise self._error(f"the compressed data are damaged here or later ({cause})") from None

    def _error(self, reason: str) -> ValueError:
        return ValueError(
            f"{self.path}: record {self.record}: {reason}. Make the shard again with "
            "bin/create_pretraining_data, or copy it again."
        )


def read_records(path: str) -> Iterator[bytes]:
    """All records of a shard.

    Raises:
        ValueError: the shard is cut off or damaged; names it and the record.
    """
    with ShardReader(path) as reader:
        while records := reader.read(256):
            yield from records
