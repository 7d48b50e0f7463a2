"""Arrays in safetensors files: one after the other behind a header of names, types and shapes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from bert_ko import files

Array = npt.NDArray[Any]

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32"}


def save_arrays(
    path: str, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a file, which is synced to the disk when this returns.

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
    with files.durable_writer(path) as stream:
        write_header(stream, shapes, metadata)
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
    array = np.ascontiguousarray(array)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    stream.write(little.reshape(-1).view(np.uint8).data)


def load_arrays(path: str) -> dict[str, npt.NDArray[np.float32]]:
    """Reads a safetensors file as float32, with the shapes that it has.

    Raises:
        ValueError: It is missing or damaged, or an array does not have floating-point numbers.
    """
    return {name: as_float32(array, name, path) for name, array in load_tensors(path).items()}


def load_tensors(path: str) -> dict[str, Array]:
    """Reads a safetensors file, each array with its own shape and dtype.

    Raises:
        ValueError: It is missing or damaged.
    """
    import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: dict[str, Array] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file ({error}).") from None
    return arrays


def as_float32(array: Array, name: str, path: str) -> npt.NDArray[np.float32]:
    """Converts float16, bfloat16, float32 or float64 of any shape to float32.

    Raises:
        ValueError: The array has another dtype; the message has its name and path.
    """
    if array.dtype.name not in _FLOATS:
        raise ValueError(
            f"{path}: {name} is {array.dtype.name}; weights must be one of {', '.join(_FLOATS)}."
        )
    return array.astype(np.float32, copy=False)
