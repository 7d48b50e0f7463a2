"""HDF5 into any stream.

The library writes here and there, so a stream that can't seek gets a copy; and where a write fails
it prints tracebacks or crashes, so it never learns of it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO


class _Target:
    """A file whose errors of writing are kept, and raised when they are asked for."""

    def __init__(self, raw: io.RawIOBase | Any):
        self._raw = raw
        self._error: OSError | None = None
        self.seek, self.tell, self.readinto = raw.seek, raw.tell, raw.readinto
        self.read, self.flush = raw.read, raw.flush

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._try(lambda: self._write(view))
        return len(view)

    def truncate(self, size: int) -> int:
        self._try(lambda: self._raw.truncate(size))
        return size

    def _write(self, view: memoryview) -> None:
        while len(view):  # a disk that is almost full takes a part
            view = view[self._raw.write(view) :]

    def _try(self, action: Callable[[], object]) -> None:
        if self._error is None:
            try:
                action()
            except OSError as error:
                self._error = error

    def check(self) -> None:
        """Raises: OSError: something could not be written."""
        if self._error is not None:
            raise self._error


class Hdf5File:
    """A new file of data sets."""

    def __init__(self, raw: Any):
        self._target = _Target(raw)
        self._file = importlib.import_module("h5py").File(self._target, "w")

    def describe(self, texts: dict[str, str]) -> None:
        """Adds attributes of the file."""
        self._file.attrs.update(texts)

    def add(self, name: str, values: Any, texts: dict[str, str]) -> None:
        """Adds a data set with attributes.

        Raises:
            OSError: something could not be written.
        """
        data = self._file.create_dataset(name, data=values)
        data.attrs.update(texts)
        self._target.check()

    def close(self) -> None:
        """Raises: OSError: something could not be written."""
        self._file.close()
        self._target.check()


@contextlib.contextmanager
def hdf5_file(stream: BinaryIO) -> Iterator[Hdf5File]:
    """Opens a new file; the stream, empty and open for writing, has all of it at the end.

    Raises:
        OSError: the disk is full, or another error of writing.
    """
    path = _path_of(stream)
    with (
        tempfile.TemporaryFile(buffering=0) if path is None else open(path, "r+b", buffering=0)
    ) as raw:
        file = Hdf5File(raw)
        try:
            yield file
        finally:
            file.close()
        if path is None:
            raw.seek(0)
            shutil.copyfileobj(raw, stream, 1 << 20)


def _path_of(stream: BinaryIO) -> str | None:
    """The local file that a stream writes to, which can be opened again; None for another kind."""
    name = getattr(stream, "name", None)
    if not isinstance(name, str) or not os.path.isfile(name):
        return None
    try:
        is_same = os.path.samestat(os.fstat(stream.fileno()), os.stat(name))
    except OSError:
        return None
    return name if is_same else None
