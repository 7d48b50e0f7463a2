"""Decompression by a file's extension, with errors that name the file.

zstandard is imported only when a file asks for it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any, BinaryIO, Protocol, cast

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")

_BUFFER_SIZE = 1 << 20
_ZSTD_CHUNK_SIZE = 1 << 16  # small, as one chunk of a highly compressed file can become gigabytes


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


_Opened = tuple[_Reader, tuple[type[Exception], ...]]  # and what its reads raise for damaged data


def decompressed(path: str, raw: BinaryIO) -> BinaryIO:
    """Returns a buffered stream of what `raw` holds, decompressed by the extension of `path`.

    Args:
        path: Names the file in errors; with another extension than COMPRESSIONS, the stream gives
            the bytes of `raw` themselves.
        raw: The file as it is stored; closed together with the stream.

    Raises:
        ValueError: The package zstandard is missing; from reads: the compressed data are damaged.
    """
    opener = _OPENERS.get(os.path.splitext(path)[1], _open_plain)
    try:
        reader, errors = opener(raw)
    except ImportError:
        raw.close()
        raise ValueError(f"{path} needs the package zstandard: pip install zstandard") from None
    stream = io.BufferedReader(_CheckedReader(path, raw, reader, errors), _BUFFER_SIZE)
    return cast(BinaryIO, stream)


def _open_plain(raw: BinaryIO) -> _Opened:
    return raw, ()


def _open_gzip(raw: BinaryIO) -> _Opened:
    import gzip
    import zlib

    return gzip.GzipFile(fileobj=raw), (EOFError, zlib.error, OSError)


def _open_bz2(raw: BinaryIO) -> _Opened:
    import bz2

    return bz2.BZ2File(raw), (EOFError, OSError)


def _open_xz(raw: BinaryIO) -> _Opened:
    import lzma

    return lzma.LZMAFile(raw), (EOFError, lzma.LZMAError)


def _open_zstd(raw: BinaryIO) -> _Opened:
    import zstandard

    return _ZstdReader(raw, zstandard), (EOFError, zstandard.ZstdError)


_OPENERS: dict[str, Callable[[BinaryIO], _Opened]] = {
    ".gz": _open_gzip,
    ".bz2": _open_bz2,
    ".xz": _open_xz,
    ".zst": _open_zstd,
}


class _CheckedReader(io.RawIOBase):
    """Reads from `reader`; its errors for damaged data become ValueErrors with the file's name."""

    def __init__(
        self, path: str, raw: BinaryIO, reader: _Reader, errors: tuple[type[Exception], ...]
    ) -> None:
        self._path = path
        self._raw = raw
        self._reader = reader
        self._errors = errors

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._reader.read(len(buffer))
        except self._errors as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # from the disk or the network, not from the decompressor
            message = f"{self._path} is damaged or cut off: {error}"
            raise ValueError(message) from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _ZstdReader:
    """Decompresses the frames of a file, one after the other.

    zstandard's own stream_reader takes a frame that is cut off for the end of the file.
    """

    def __init__(self, raw: BinaryIO, zstandard: ModuleType) -> None:
        self._raw = raw
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
            chunk = self._raw.read(_ZSTD_CHUNK_SIZE)
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
