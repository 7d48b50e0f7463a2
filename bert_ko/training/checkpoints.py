"""Checkpoints of a run: a folder each, complete or not there at all.

    checkpoint-00001000/model.safetensors      variables by Google's names
    checkpoint-00001000/optimizer.safetensors  slots, NAME/adam_m and NAME/adam_v
    checkpoint-00001000/bert_config.json
    checkpoint-00001000/state.json             step, position in the data, what identifies the run
    best-00000900                              the same without slots, of the best evaluation

Dropout and masks are drawn from the seed and the step, so that nothing else has a state.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bert_ko.data.manifest import read_json
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import Arrays

MODEL_NAME = "model.safetensors"
OPTIMIZER_NAME = "optimizer.safetensors"
CONFIG_NAME = "bert_config.json"
STATE_NAME = "state.json"
_NAME = re.compile(r"(checkpoint|best)-(\d+)")
_TEMPORARY = re.compile(r"\.(checkpoint|best)-\d+\.tmp")
# The state comes last when a checkpoint is written, and goes first.
_FILES = (MODEL_NAME, OPTIMIZER_NAME, CONFIG_NAME, STATE_NAME)
# What files.write_atomic leaves of a run's other files when it is killed.
_HALF_FILE = re.compile(r"\..+\.(json|jsonl|txt|html|npz|model|dic)\.\d+\.tmp")

# Numbers that weights may have in a file; everything computes in float32.
_FLOATS = ("float32", "float16", "bfloat16", "float64")

Kind = Literal["checkpoint", "best"]


class Checkpoint(NamedTuple):
    """Everything that a run needs to go on."""

    parameters: Arrays
    slots: Arrays
    state: dict[str, Any]


def list_checkpoints(folder: str, kind: Kind = "checkpoint") -> list[str]:
    """Paths of the complete checkpoints in a run's folder, the oldest first."""
    if not os.path.isdir(folder):
        return []
    found = [
        (int(match[2]), name)
        for name in os.listdir(folder)
        if (match := _NAME.fullmatch(name))
        and match[1] == kind
        and os.path.isfile(os.path.join(folder, name, STATE_NAME))
    ]
    return [os.path.join(folder, name) for _, name in sorted(found)]


def save_checkpoint(
    folder: str,
    step: int,
    checkpoint: Checkpoint,
    config: BertConfig,
    keep: int,
    kind: Kind = "checkpoint",
) -> str:
    """Writes a checkpoint, then removes the oldest of the run's.

    Args:
        folder: of the run.
        step: updates done.
        checkpoint: arrays and state.
        config: of the model.
        keep: so many checkpoints of the kind stay; 0 keeps all.
        kind: the first part of its name.

    Returns:
        Its path.
    """
    path = os.path.join(folder, f"{kind}-{step:08d}")
    temporary = os.path.join(folder, f".{kind}-{step:08d}.tmp")
    try:
        os.makedirs(temporary, exist_ok=True)
        save_arrays(os.path.join(temporary, MODEL_NAME), checkpoint.parameters)
        if checkpoint.slots:
            save_arrays(os.path.join(temporary, OPTIMIZER_NAME), checkpoint.slots)
        _save_json(os.path.join(temporary, CONFIG_NAME), config.to_dict())
        _save_json(os.path.join(temporary, STATE_NAME), checkpoint.state)
    except BaseException:  # the disk is full, for example
        _remove(temporary)
        raise
    _publish(temporary, path)
    _sync(folder)
    # A run that goes on from before its best evaluation may write a best one of fewer updates.
    others = [other for other in list_checkpoints(folder, kind) if other != path]
    for old in others[: max(0, len(others) + 1 - keep)] if keep else []:
        _remove(old)
    return path


def save_arrays(path: str, arrays: Arrays, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file, which is on the disk when this returns.

    Args:
        path: of the file.
        arrays: float32, by name.
        metadata: for other readers.

    Differs: safetensors' own writer goes by way of a file of another name that only its owner may
    read, and has errors that are no OSError.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, array in arrays.items():
        assert array.dtype == np.float32
        start, end = end, end + array.nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data are aligned
    with _writer(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(array.astype("<f4", copy=False).tobytes())


def _save_json(path: str, value: Mapping[str, Any]) -> None:
    with _writer(path) as file:
        file.write((json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode())


@contextlib.contextmanager
def _writer(path: str) -> Iterator[BinaryIO]:
    """Opens a file that is on the disk when the block ends; its errors have its name."""
    try:
        with open(path, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = error.filename or path
        raise


def _publish(temporary: str, path: str) -> None:
    """Gives a finished checkpoint its name."""
    _remove(path)  # an incomplete one
    if not os.path.isdir(path):
        os.rename(temporary, path)
        return
    for name in _FILES:  # the user keeps something in the folder
        with contextlib.suppress(FileNotFoundError):  # no slots
            os.replace(os.path.join(temporary, name), os.path.join(path, name))
    _remove(temporary)


def load_checkpoint(path: str, with_slots: bool = True) -> Checkpoint:
    """Reads a checkpoint of this run.

    Args:
        path: its folder.
        with_slots: read the optimizer's slots too, which training alone needs.

    Raises:
        ValueError: a file is missing or damaged.
    """
    try:
        state = read_json(os.path.join(path, STATE_NAME))
        if state is None:
            raise ValueError(f"{path} has no {STATE_NAME}; it is no checkpoint.")
        return Checkpoint(
            load_arrays(os.path.join(path, MODEL_NAME)),
            load_arrays(os.path.join(path, OPTIMIZER_NAME)) if with_slots else {},
            state,
        )
    except ValueError as error:
        others = [other for other in list_checkpoints(os.path.dirname(path)) if other != path]
        advice = f"go on from {others[-1]}" if others else "begin again"
        raise ValueError(f"{error} Delete the folder {path} to {advice}.") from None


def load_arrays(path: str) -> Arrays:
    """Reads a safetensors file as float32.

    Raises:
        ValueError: it is missing or damaged, or an array is not of floating-point numbers.
    """
    return {name: as_float32(array, name, path) for name, array in load_tensors(path).items()}


def load_tensors(path: str) -> dict[str, npt.NDArray[Any]]:
    """Reads a safetensors file, each array with the dtype that it has there.

    Raises:
        ValueError: it is missing or damaged.
    """
    # It teaches numpy bfloat16.
    import ml_dtypes  # noqa: F401

    try:
        arrays: dict[str, npt.NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}).") from None
    return arrays


def as_float32(array: npt.NDArray[Any], name: str, path: str) -> npt.NDArray[np.float32]:
    """The same numbers in float32; exact for float16 and bfloat16.

    Args:
        array: float16, bfloat16, float32 or float64, any shape.
        name: of the array, for the message.
        path: of its file, for the message.

    Raises:
        ValueError: another dtype.
    """
    if array.dtype.name not in _FLOATS:
        raise ValueError(
            f"{path}: {name} is {array.dtype.name}; weights must be one of {', '.join(_FLOATS)}."
        )
    return array.astype(np.float32, copy=False)


def remove_unfinished(folder: str) -> None:
    """Removes what a run that was killed while it wrote has left."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if _TEMPORARY.fullmatch(name):
            _remove(path)
        elif _HALF_FILE.fullmatch(name):
            os.unlink(path)


def _remove(path: str) -> None:
    """Removes a checkpoint: our own files, and the folder if nothing else is in it."""
    # The state first: a kill half-way must not leave what looks like a checkpoint.
    for name in reversed(_FILES):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(path, name))
    with contextlib.suppress(OSError):  # it is not there, or the user keeps something in it
        os.rmdir(path)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def identity_differences(stands: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs between the run that a checkpoint is of and the one that is asked for.

    >>> identity_differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    ['--b: c was 2, now 3']
    """
    return [
        f"--{name}{_difference(stands.get(name), wanted.get(name))}"
        for name in sorted({*stands, *wanted})
        if stands.get(name) != wanted.get(name)
    ]


def _difference(stands: Any, wanted: Any) -> str:
    if isinstance(stands, Mapping) and isinstance(wanted, Mapping):
        keys = sorted({*stands, *wanted})
        changed = [key for key in keys if stands.get(key) != wanted.get(key)]
        return ": " + ", ".join(
            f"{k} was {stands.get(k)!r}, now {wanted.get(k)!r}" for k in changed
        )
    if isinstance(stands, list) and isinstance(wanted, list):
        if len(stands) != len(wanted):
            return f" had {len(stands)} items, now {len(wanted)}"
        pairs = zip(stands, wanted, strict=True)
        first, second = next(pair for pair in pairs if pair[0] != pair[1])
        return f" had {first!r}, now {second!r}"
    return f" was {stands!r}, now {wanted!r}"
