"""Decompression by a file's extension, with errors that name the file.

fsspec and zstandard are imported only when a file asks for them.
"""

from __future__ import annotations

import io
import os
from types import ModuleType
from typing import Any, BinaryIO, Protocol, cast

# By extension, as fsspec calls them; zstd is read here, see _ZstdReader.
_NAMES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
COMPRESSIONS = tuple(_NAMES)

_BUFFER_SIZE = 1 << 20
_ZSTD_CHUNK_SIZE = 1 << 16  # small, as one chunk of a highly compressed file can become gigabytes


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


def decompressed(path: str, raw: BinaryIO) -> BinaryIO:
    """Returns a buffered stream of what `raw` holds, decompressed by the extension of `path`.

    Args:
        path: Names the file in errors; with another extension than COMPRESSIONS, the stream gives
            the bytes of `raw` themselves.
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


def _decompressor(extension: str, source: _Reader) -> _Reader:
    """Returns a reader of what `source` holds; of its own bytes for an unknown extension."""
    if extension not in _NAMES:
        return source
    if extension == ".zst":
        import zstandard

        return _ZstdReader(source, zstandard)
    from fsspec.compression import compr

    reader: _Reader = compr[_NAMES[extension]](source, mode="rb")
    return reader


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

    The decompressors of fsspec depend on what is installed, and so do their errors: whatever does
    not come from the file itself is theirs.
    """

    def __init__(self, path: str, raw: BinaryIO) -> None:
        self._path = path
        self._raw = raw
        self._source = _Source(raw)
        self._reader = _decompressor(os.path.splitext(path)[1], self._source)

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


class _ZstdReader:
    """Decompresses the frames of a file, one after the other.

    zstandard's own stream_reader takes a frame that is cut off for the end of the file.
    """

    def __init__(self, source: _Reader, zstandard: ModuleType) -> None:
        self._source = source
        # `zstd --long=31` writes windows of 2 GiB; the default refuses more than 128 MiB.
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._frame: Any = self._decompressor.decompressobj()
        self._is_inside = True  # an empty file is no zstd file
        self._pending = io.BytesIO()

    def read(self, size: int, /) -> bytes:
        """Returns up to `size` bytes, b"" at the end.

        Raises:
            EOFError: The file ends inside a frame.
        """
        while not (data := self._pending.read(size)):
            chunk = self._source.read(_ZSTD_CHUNK_SIZE)
            if not chunk and self._is_inside:
                raise EOFError("the file ends inside a zstd frame")
            if not chunk:
                return b""
            self._pending = io.BytesIO(self._decompress(chunk))
        return data

    def _decompress(self, chunk: bytes) -> bytes:
        parts = []
        while chunk:
            if self._frame.eof:
                self._frame = self._decompressor.decompressobj()
            parts.append(self._frame.decompress(chunk))
            chunk = self._frame.unused_data if self._frame.eof else b""
            self._is_inside = not self._frame.eof
        return b"".join(parts)
