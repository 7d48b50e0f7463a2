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
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from bert_ko import files
from bert_ko.json_files import read_json
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.parameters import Arrays
from bert_ko.tensor_files import load_arrays, save_arrays

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


Kind = Literal["checkpoint", "best"]
KINDS: tuple[Kind, ...] = ("checkpoint", "best")


class Checkpoint(NamedTuple):
    """Everything that a run needs to resume."""

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


def find_weights(folder: str) -> str | None:
    """The checkpoint that a run's folder predicts with: its best, else its last; None for none."""
    found = list_checkpoints(folder, "best") or list_checkpoints(folder)
    return found[-1] if found else None


def folders_beside(path: str) -> list[str]:
    """Where files that belong to weights may be, the nearest first.

    Args:
        path: see ``initialization.read_source``.
    """
    if path.endswith(".safetensors"):
        path = os.path.dirname(path) or "."
    if not os.path.isdir(path):  # the prefix of a TF1 checkpoint
        return [os.path.dirname(path) or "."]
    found = [path]
    weights = find_weights(path)
    if weights is not None:
        found.append(weights)
    elif os.path.isfile(os.path.join(path, STATE_NAME)):  # a checkpoint in the folder of a run
        found.append(os.path.dirname(os.path.abspath(path)))
    return found


def save_checkpoint(
    folder: str,
    step: int,
    checkpoint: Checkpoint,
    config: ModelConfig,
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
    # A run that resumes from before its best evaluation may write a best one of fewer updates.
    others = [other for other in list_checkpoints(folder, kind) if other != path]
    for old in others[: max(0, len(others) + 1 - keep)] if keep else []:
        _remove(old)
    return path


def _save_json(path: str, value: Mapping[str, Any]) -> None:
    with files.durable_writer(path) as file:
        file.write((json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode())


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
            raise ValueError(f"{path} has no {STATE_NAME}; it is not a checkpoint.")
        return Checkpoint(
            load_arrays(os.path.join(path, MODEL_NAME)),
            load_arrays(os.path.join(path, OPTIMIZER_NAME)) if with_slots else {},
            state,
        )
    except ValueError as error:
        others = [other for other in list_checkpoints(os.path.dirname(path)) if other != path]
        advice = f"resume from {others[-1]}" if others else "start again"
        raise ValueError(f"{error} Delete the folder {path} to {advice}.") from None


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
