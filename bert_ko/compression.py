"""Decompression by a file's extension, with errors that name the file.

fsspec and zstandard are imported only when a file needs them.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol, cast

from bert_ko import content

# By extension, as fsspec calls them; zstd is decompressed here, see _zstd_parts.
_NAMES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
COMPRESSIONS = tuple(_NAMES)

_BUFFER_SIZE = 1 << 20
_MAGIC_SIZE = 16
_ZSTD_CHUNK_SIZE = 1 << 10  # of a highly compressed file it becomes 32 MiB


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


def decompressed(path: str, raw: BinaryIO) -> BinaryIO:
    """Returns a buffered stream of the contents of `raw`, decompressed by the extension of `path`.

    Args:
        path: Names the file in errors; if its extension is not in COMPRESSIONS, the stream has the
            bytes of `raw` themselves.
        raw: The file as it is stored; closed together with the stream.

    Raises:
        ValueError: A package is missing; from reads: the compressed data are damaged.
    """
    source = _Source(raw)
    extension = os.path.splitext(path)[1]
    try:
        if extension == ".zst":
            import zstandard

            # `zstd --long=31` writes windows of 2 GiB; the default refuses more than 128 MiB.
            parts = _zstd_parts(source, zstandard.ZstdDecompressor(max_window_size=1 << 31))
        elif extension in _NAMES:
            from fsspec.compression import compr

            parts = _parts(compr[_NAMES[extension]](source, mode="rb"))
        else:
            parts = _parts(source)
    except ImportError as error:
        raw.close()
        package = (error.name or "fsspec").split(".")[0]
        raise ValueError(f"{path} needs the package {package}: pip install {package}") from None
    stream = PartsStream(_named_errors(path, source, parts), raw.close)
    return cast(BinaryIO, io.BufferedReader(stream, _BUFFER_SIZE))


class _Source:
    """The file as it is stored; remembers the error of the disk or the network, and the head."""

    def __init__(self, raw: BinaryIO):
        self.raw = raw
        self.head = b""
        self.error: Exception | None = None

    def read(self, size: int, /) -> bytes:
        try:
            data = self.raw.read(size)
        except Exception as error:
            self.error = error
            raise
        self.head = self.head or data[: content.HEAD_SIZE]
        return data


class PartsStream(io.RawIOBase):
    """A stream of parts of bytes; closing it calls `close`."""

    def __init__(self, parts: Iterator[bytes], close: Callable[[], None]) -> None:
        self._parts, self._close = parts, close
        self._pending = io.BytesIO()

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; returns 0 at the end."""
        while not (data := self._pending.read(len(buffer))):
            part = next(self._parts, None)
            if part is None:
                return 0
            self._pending = io.BytesIO(part)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Closes what the parts come from."""
        self._close()
        super().close()


def _named_errors(path: str, source: _Source, parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yields decompressed parts; errors for damaged data become ValueErrors with the file's name.

    The decompressors of fsspec, and so their errors, depend on what is installed: every error that
    does not come from the file itself is theirs.
    """
    try:
        yield from parts
    except Exception as error:
        if error is source.error or isinstance(error, MemoryError):
            raise
        raise _damaged(path, source, error) from error
    if not source.head and path.endswith(COMPRESSIONS):  # which gzip takes for no text at all
        raise ValueError(f"{path} is damaged or cut off: it has no bytes")


def _damaged(path: str, source: _Source, error: Exception) -> ValueError:
    head = source.head
    if len(head) < _MAGIC_SIZE:  # gzip gives up after two bytes
        with contextlib.suppress(Exception):
            head += source.raw.read(content.HEAD_SIZE)
    wanted = _NAMES[os.path.splitext(path)[1]].replace("bz2", "bzip2") + " data"
    found = content.describe(head) or ("text" if content.encoding_of(head) else "binary data")
    if head and found not in (wanted, "binary data"):
        return ValueError(f"{path} is not {wanted}, as its name says, but {found}; rename it.")
    return ValueError(f"{path} is damaged or cut off: {error}")


def _parts(reader: _Reader) -> Iterator[bytes]:
    return iter(lambda: reader.read(_BUFFER_SIZE), b"")


def _pieces(source: _Reader, size: int) -> Iterator[bytes]:
    for block in _parts(source):
        yield from (block[start : start + size] for start in range(0, len(block), size))


def _zstd_parts(source: _Reader, decompressor: Any) -> Iterator[bytes]:
    """Decompresses the frames of a file, one after the other.

    zstandard's own stream_reader mistakes a frame that is cut off for the end of the file.

    Raises:
        EOFError: The file is empty or ends inside a frame.
    """
    frame: Any = None
    for chunk in _pieces(source, _ZSTD_CHUNK_SIZE):
        while chunk:
            if frame is None or frame.eof:
                frame = decompressor.decompressobj()
            yield frame.decompress(chunk)
            chunk = frame.unused_data if frame.eof else b""
    if frame is None or not frame.eof:
        raise EOFError("the file ends inside a zstd frame")
