"""Checkpoints of a run: a folder each, complete or not there at all.

    checkpoint-00001000/model.safetensors      variables by Google's names
    checkpoint-00001000/optimizer.safetensors  slots, NAME/adam_m and NAME/adam_v
    checkpoint-00001000/bert_config.json
    checkpoint-00001000/state.json             step, position in the data, and what identifies the run

Dropout and masks are drawn from the seed and the step, so that nothing else has a state.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bert_ko.data.manifest import read_json, write_json
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import Arrays

MODEL_NAME = "model.safetensors"
OPTIMIZER_NAME = "optimizer.safetensors"
CONFIG_NAME = "bert_config.json"
STATE_NAME = "state.json"
_NAME = re.compile(r"checkpoint-(\d+)")
_TEMPORARY = re.compile(r"\.checkpoint-\d+\.tmp")
_FILES = (STATE_NAME, MODEL_NAME, OPTIMIZER_NAME, CONFIG_NAME)


class Checkpoint(NamedTuple):
    """Everything that a run needs to go on."""

    parameters: Arrays
    slots: Arrays
    state: dict[str, Any]


def list_checkpoints(folder: str) -> list[str]:
    """Paths of the complete checkpoints in a run's folder, the oldest first."""
    if not os.path.isdir(folder):
        return []
    found = [
        (int(match[1]), name)
        for name in os.listdir(folder)
        if (match := _NAME.fullmatch(name))
        and os.path.isfile(os.path.join(folder, name, STATE_NAME))
    ]
    return [os.path.join(folder, name) for _, name in sorted(found)]


def save_checkpoint(
    folder: str, step: int, checkpoint: Checkpoint, config: BertConfig, keep: int
) -> str:
    """Writes a checkpoint, then removes the oldest of the run's.

    Args:
        folder: of the run.
        step: updates done.
        checkpoint: arrays and state.
        config: of the model.
        keep: so many checkpoints stay; 0 keeps all.

    Returns:
        Its path.
    """
    path = os.path.join(folder, f"checkpoint-{step:08d}")
    temporary = os.path.join(folder, f".checkpoint-{step:08d}.tmp")
    _remove(temporary)
    os.makedirs(temporary)
    save_file(checkpoint.parameters, os.path.join(temporary, MODEL_NAME))
    save_file(checkpoint.slots, os.path.join(temporary, OPTIMIZER_NAME))
    for name in (MODEL_NAME, OPTIMIZER_NAME):
        _sync(os.path.join(temporary, name))
    write_json(os.path.join(temporary, CONFIG_NAME), config.to_dict())
    write_json(os.path.join(temporary, STATE_NAME), checkpoint.state)
    _remove(path)  # an incomplete one
    os.rename(temporary, path)
    _sync(folder)
    for old in list_checkpoints(folder)[:-keep] if keep else []:
        _remove(old)
    return path


def load_checkpoint(path: str) -> Checkpoint:
    """Reads a checkpoint of this run.

    Raises:
        ValueError: a file is missing or damaged.
    """
    state = read_json(os.path.join(path, STATE_NAME))
    if state is None:
        raise ValueError(f"{path} has no {STATE_NAME}; it is no checkpoint.")
    return Checkpoint(
        load_arrays(os.path.join(path, MODEL_NAME)),
        load_arrays(os.path.join(path, OPTIMIZER_NAME)),
        state,
    )


def load_arrays(path: str) -> Arrays:
    """Reads a safetensors file.

    Raises:
        ValueError: it is missing or damaged.
    """
    try:
        arrays: Arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} can't be read ({error}). Delete its folder to go on from the checkpoint "
            "before, if there is one."
        ) from None
    return arrays


def remove_unfinished(folder: str) -> None:
    """Removes what a run that was killed while it wrote a checkpoint has left."""
    for name in os.listdir(folder):
        if _TEMPORARY.fullmatch(name):
            _remove(os.path.join(folder, name))


def _remove(path: str) -> None:
    """Removes a checkpoint: our own files, and the folder if nothing else is in it."""
    # state.json first: a kill half-way must not leave what looks like a checkpoint.
    for name in _FILES:
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
    """What differs between the run that a checkpoint is of and the one that is asked for."""
    return [
        f"--{name} was {stands.get(name)!r}, now {wanted.get(name)!r}"
        for name in sorted({*stands, *wanted})
        if stands.get(name) != wanted.get(name)
    ]
