"""Arrays in safetensors files: one after the other behind a header of names, types and shapes."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from typing import IO, Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.content import HEAD_SIZE, describe

Array = npt.NDArray[Any]

FLOATS = ("float16", "bfloat16", "float32", "float64")
_CHECKSUMS = "crc32c"  # in the metadata: a JSON object of the arrays' names and CRC-32Cs
_POINTER = b"version https://git-lfs.github.com/spec/"
_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32"}


def save_arrays(
    path: str, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a file with checksums, which is synced to the disk when this returns.

    Args:
        path: The file.
        arrays: By name; any shape; float32, float16, bfloat16, int64 or int32, which is kept.
        metadata: For other readers.

    Raises:
        OSError: It can't be written; `filename` is the path.

    Differs: safetensors' own writer makes a temporary file that only its owner may read, and its
    errors are no OSErrors.
    """
    shapes = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    checksums = json.dumps({name: checksum(array) for name, array in arrays.items()})
    with files.durable_writer(path) as stream:
        write_header(stream, shapes, {**(metadata or {}), _CHECKSUMS: checksums})
        for array in arrays.values():
            write_array(stream, array)


def write_header(
    stream: IO[bytes],
    shapes: Mapping[str, tuple[npt.DTypeLike, tuple[int, ...]]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Begins a file whose arrays are then written in the order of `shapes`, whole or in parts."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (like, shape) in shapes.items():
        dtype = np.dtype(like)
        start, end = end, end + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        kind = _DTYPES[dtype.name]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the data are aligned
    stream.write(struct.pack("<Q", len(text)) + text)


def write_array(stream: IO[bytes], array: Array) -> None:
    """Writes the memory of an array of any shape, little-endian, without a copy if possible."""
    stream.write(_bytes(array).data)


def checksum(array: Array) -> int:
    """The CRC-32C of an array with its type and shape."""
    kind = f"{_DTYPES.get(array.dtype.name, array.dtype.name)}{list(array.shape)}".encode()
    return int(google_crc32c.extend(google_crc32c.value(kind), _bytes(array)))


def _bytes(array: Array) -> npt.NDArray[np.uint8]:
    """The memory of an array, little-endian, without a copy if possible."""
    array = np.ascontiguousarray(array)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return little.reshape(-1).view(np.uint8)


def load_arrays(path: str, dtypes: Sequence[str] = FLOATS) -> dict[str, npt.NDArray[np.float32]]:
    """Reads a safetensors file as float32, with the shapes that it has.

    Args:
        path: The file.
        dtypes: Those that its arrays may have.

    Raises:
        ValueError: It is missing or damaged, or an array has another type.
    """
    arrays = load_tensors(path)
    return {name: as_float32(array, name, path, dtypes) for name, array in arrays.items()}


def load_tensors(path: str) -> dict[str, Array]:
    """Reads a safetensors file, each array with its own shape and dtype.

    Raises:
        ValueError: It is missing or damaged, or an array is not the one that was written, where
            `save_arrays` wrote the file.
    """
    import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    refuse_pointer(path)
    try:
        arrays: dict[str, Array] = load_file(path)
    except (SafetensorError, OSError) as error:
        kind = describe(_head(path))
        if kind not in (None, "binary data"):
            raise ValueError(f"{path} is {kind}, not a safetensors file.") from None
        raise ValueError(f"{path} is damaged or not a safetensors file ({error}).") from None
    _compare_checksums(path, arrays)
    return arrays


def _head(path: str) -> bytes:
    """The first bytes of a file; none if it is missing or no file."""
    if not os.path.isfile(path):
        return b""
    with open(path, "rb") as file:
        return file.read(HEAD_SIZE)


def _compare_checksums(path: str, arrays: Mapping[str, Array]) -> None:
    """Raises: ValueError: an array is missing, new, or another than when the file was written."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        metadata = json.loads(file.read(size)).get("__metadata__") or {}
    if _CHECKSUMS not in metadata:  # an older file, or another's
        return
    try:
        checksums = dict(json.loads(metadata[_CHECKSUMS]))
    except (ValueError, TypeError):
        raise ValueError(f"{path} is damaged: its checksums can't be read.") from None
    for name in [*arrays, *checksums]:
        if name not in arrays or name not in checksums:
            change = "is missing" if name in checksums else "was added"
            raise ValueError(f"{path} is damaged: {name} {change} after it was written.")
        if checksum(arrays[name]) != checksums[name]:
            raise ValueError(f"{path} is damaged: {name} is not what was written (its checksum).")


def refuse_pointer(path: str) -> None:
    """Raises: ValueError: Git has put a few lines about the file in its place."""
    if _head(path).startswith(_POINTER):
        raise ValueError(
            f"{path} is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`."
        )


def as_float32(
    array: Array, name: str, path: str, dtypes: Sequence[str] = FLOATS
) -> npt.NDArray[np.float32]:
    """Converts an array of any shape that has one of the dtypes to float32.

    Raises:
        ValueError: The array has another dtype; the message has its name and path.
    """
    if array.dtype.name not in dtypes:
        wanted = f"one of {', '.join(dtypes)}" if len(dtypes) > 1 else dtypes[0]
        raise ValueError(f"{path}: {name} is {array.dtype.name}; weights must be {wanted}.")
    with np.errstate(over="ignore"):  # what float64 alone can hold becomes infinite
        return array.astype(np.float32, copy=False)
