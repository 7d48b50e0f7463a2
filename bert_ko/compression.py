"""Decompression by a file's extension, with errors that name the file.

fsspec and zstandard are imported only when a file needs them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol, cast

# By extension, as fsspec calls them; zstd is decompressed here, see _zstd_parts.
_NAMES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
COMPRESSIONS = tuple(_NAMES)

_BUFFER_SIZE = 1 << 20
_ZSTD_CHUNK_SIZE = 1 << 16  # small, as one chunk of a highly compressed file can become gigabytes


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
    try:
        checked = _CheckedReader(path, raw)
    except ImportError as error:
        raw.close()
        package = (error.name or "fsspec").split(".")[0]
        raise ValueError(f"{path} needs the package {package}: pip install {package}") from None
    return cast(BinaryIO, io.BufferedReader(checked, _BUFFER_SIZE))


class _Source:
    """The file as it is stored; remembers the error of the disk or the network."""

    def __init__(self, raw: BinaryIO):
        self._raw = raw
        self.error: Exception | None = None

    def read(self, size: int, /) -> bytes:
        try:
            return self._raw.read(size)
        except Exception as error:
            self.error = error
            raise


class _CheckedReader(io.RawIOBase):
    """Reads decompressed bytes; errors for damaged data become ValueErrors with the file's name.

    The decompressors of fsspec, and so their errors, depend on what is installed: every error that
    does not come from the file itself is theirs.
    """

    def __init__(self, path: str, raw: BinaryIO) -> None:
        self._path = path
        self._raw = raw
        self._source = _Source(raw)
        self._reader: _Reader = self._source
        extension = os.path.splitext(path)[1]
        if extension == ".zst":
            import zstandard

            # `zstd --long=31` writes windows of 2 GiB; the default refuses more than 128 MiB.
            decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
            self._reader = _PartsReader(_zstd_parts(self._source, decompressor))
        elif extension in _NAMES:
            from fsspec.compression import compr

            self._reader = compr[_NAMES[extension]](self._source, mode="rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._reader.read(len(buffer))
        except Exception as error:
            if error is self._source.error or isinstance(error, MemoryError):
                raise
            raise ValueError(f"{self._path} is damaged or cut off: {error}") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PartsReader:
    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._pending = io.BytesIO()

    def read(self, size: int, /) -> bytes:
        while not (data := self._pending.read(size)):
            part = next(self._parts, None)
            if part is None:
                return b""
            self._pending = io.BytesIO(part)
        return data


def _zstd_parts(source: _Reader, decompressor: Any) -> Iterator[bytes]:
    """Decompresses the frames of a file, one after the other.

    zstandard's own stream_reader mistakes a frame that is cut off for the end of the file.

    Raises:
        EOFError: The file is empty or ends inside a frame.
    """
    frame: Any = None
    while chunk := source.read(_ZSTD_CHUNK_SIZE):
        while chunk:
            if frame is None or frame.eof:
                frame = decompressor.decompressobj()
            yield frame.decompress(chunk)
            chunk = frame.unused_data if frame.eof else b""
    if frame is None or not frame.eof:
        raise EOFError("the file ends inside a zstd frame")
