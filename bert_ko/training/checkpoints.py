"""Checkpoints of a run: a folder each, complete or not there at all.

    checkpoint-00001000/model.safetensors      variables by Google's names
    checkpoint-00001000/optimizer.safetensors  slots, NAME/adam_m and NAME/adam_v, and what the
                                               head carries from batch to batch
    checkpoint-00001000/bert_config.json
    checkpoint-00001000/state.json             step, position in the data, what identifies the run,
                                               and its own checksum; arrays have theirs
    best-00000900                              the same without slots, of the best evaluation

Dropout and masks are drawn from the seed and the step, so that nothing else has a state.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import google_crc32c

from bert_ko import files
from bert_ko.json_files import expect, format_json, parse_json, read_json
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import config_from_values
from bert_ko.modeling.parameters import Arrays
from bert_ko.temporary import remove_leftovers
from bert_ko.tensor_files import load_arrays, save_arrays
from bert_ko.training.state_checks import check_state

MODEL_NAME = "model.safetensors"
OPTIMIZER_NAME = "optimizer.safetensors"
CONFIG_NAME = "bert_config.json"
STATE_NAME = "state.json"
_NAME = re.compile(r"(checkpoint|best)-(\d+)")
_TEMPORARY = re.compile(r"\.(checkpoint|best)-\d+\.tmp")
# The state comes last when a checkpoint is written, and goes first.
CHECKPOINT_FILES = (MODEL_NAME, OPTIMIZER_NAME, CONFIG_NAME, STATE_NAME)

_POSITIONS = "trained_positions"
_CHECKSUM = "crc32c"  # of everything else in a state
_CONFIG_CHECKSUM = "bert_config_crc32c"

Kind = Literal["checkpoint", "best"]
KINDS: tuple[Kind, ...] = ("checkpoint", "best")


class Checkpoint(NamedTuple):
    """Everything that a run needs to resume."""

    parameters: Arrays
    slots: Arrays
    state: dict[str, Any]
    path: str = ""  # where it was read


def list_checkpoints(folder: str, kind: Kind = "checkpoint") -> list[str]:
    """Paths of the complete checkpoints in a run's folder, the oldest first."""
    if not os.path.isdir(folder):
        return []
    names = os.listdir(folder)
    states = (os.path.join(name, STATE_NAME) for name in names if _NAME.fullmatch(name))
    found = [state for state in states if os.path.isfile(os.path.join(folder, state))]
    return [os.path.join(folder, name) for name in whole_checkpoints(found, kind)]


def whole_checkpoints(paths: Iterable[str], kind: Kind = "checkpoint") -> list[str]:
    """The folders of checkpoints whose state, which is written last, is among paths of files.

    >>> whole_checkpoints(["run/checkpoint-00000003/state.json", "checkpoint-00000006/optimizer"])
    ['run/checkpoint-00000003']
    """
    folders = (os.path.split(path) for path in paths)
    found = [folder for folder, name in folders if name == STATE_NAME]
    steps = {folder: split_checkpoint(os.path.basename(folder)) for folder in found}
    return sorted(
        (folder for folder, known in steps.items() if known is not None and known[0] == kind),
        key=lambda folder: (os.path.dirname(folder), steps[folder]),
    )


def split_checkpoint(name: str) -> tuple[str, int] | None:
    """The kind and the step of which the name of a checkpoint's folder is made; None for others."""
    match = _NAME.fullmatch(name)
    return None if match is None else (match[1], int(match[2]))


def find_weights(folder: str) -> str | None:
    """The checkpoint that a run's folder predicts with, if any: its best, else its last."""
    found = list_checkpoints(folder, "best") or list_checkpoints(folder)
    return found[-1] if found else None


def save_checkpoint(
    folder: str,
    step: int,
    checkpoint: Checkpoint,
    config: ModelConfig,
    keep: int,
    kind: Kind = "checkpoint",
) -> str:
    """Writes a checkpoint of a run's folder, then removes the oldest of its kind.

    Args:
        folder: of the run.
        step: updates done.
        checkpoint: arrays and state.
        config: of the model.
        keep: the number of checkpoints to keep; 0 keeps all.
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
        state = json.loads(json.dumps(checkpoint.state))
        state[_CONFIG_CHECKSUM] = _checksum(config.to_dict())
        # Far apart, so that no edit of one place takes both.
        state = {_CHECKSUM: _checksum(state), **state}
        for name, value in ((CONFIG_NAME, config.to_dict()), (STATE_NAME, state)):
            with files.durable_writer(os.path.join(temporary, name)) as file:
                file.write((format_json(value, indent=2) + "\n").encode())
    except BaseException:  # the disk is full, for example
        _remove(temporary)
        raise
    _publish(temporary, path)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    # A run that resumes from before its best evaluation may write a best one of fewer updates.
    others = [other for other in list_checkpoints(folder, kind) if other != path]
    for old in others[: max(0, len(others) + 1 - keep)] if keep else []:
        _remove(old)
    return path


def _publish(temporary: str, path: str) -> None:
    """Gives a finished checkpoint its name."""
    _remove(path)  # an incomplete one
    if not os.path.isdir(path):
        os.rename(temporary, path)
        return
    for name in CHECKPOINT_FILES:  # the user keeps something in the folder
        with contextlib.suppress(FileNotFoundError):  # no slots
            os.replace(os.path.join(temporary, name), os.path.join(path, name))
    _remove(temporary)


def load_checkpoint(path: str, with_slots: bool = True) -> Checkpoint:
    """Reads a checkpoint; only training needs the optimizer's slots.

    Raises:
        ValueError: a file is missing, damaged or edited.
    """
    state = read_state(path)
    state.pop(_CONFIG_CHECKSUM, None)
    try:
        return Checkpoint(
            load_arrays(os.path.join(path, MODEL_NAME), ("float32",)),
            load_arrays(os.path.join(path, OPTIMIZER_NAME), ("float32",)) if with_slots else {},
            state,
            path,
        )
    except ValueError as error:
        raise damaged(path, str(error)) from None


def read_state(path: str) -> dict[str, Any]:
    """The state of a checkpoint, whose values are of the right kind.

    Raises:
        ValueError: the file is missing, damaged or edited.
    """
    name = os.path.join(path, STATE_NAME)
    try:
        state = read_json(name, advice="")
        if state is None:
            raise ValueError(f"{path} has no {STATE_NAME}; it is not a checkpoint.")
        checksum = state.pop(_CHECKSUM, None)
        is_old = checksum is None and _CONFIG_CHECKSUM not in state  # from before the checksums
        if not is_old and checksum != _checksum(state):
            raise ValueError(f"{name} is not what was written (its checksum).")
        check_state(state, name)
        match = _NAME.fullmatch(os.path.basename(os.path.abspath(path)))
        if match and int(match[2]) != state["step"]:
            raise ValueError(f"{name}: step is {state['step']}, but the folder is of {match[2]}.")
    except ValueError as error:
        raise damaged(path, str(error)) from None
    return state


def require_state(path: str, state: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raises: ValueError: the state of a checkpoint lacks one of the names."""
    for name in names:
        if name not in state:
            raise damaged(path, f"{os.path.join(path, STATE_NAME)}: {name} is missing.")


def trained_positions(
    path: str, state: Mapping[str, Any], config: ModelConfig | None
) -> int | None:
    """How many positions the training of a checkpoint has reached, over all phases.

    Args:
        path: of the checkpoint.
        state: of it.
        config: of its model; None if unknown.

    Returns:
        None if unknown: older versions did not record it, and the weights began with others.

    Raises:
        ValueError: they are more than the model has.
    """
    limit = None if config is None else config.max_position_embeddings
    found: int | None = state.get(_POSITIONS)
    if found is not None and limit is not None and found > limit:
        raise damaged(
            path,
            f"{os.path.join(path, STATE_NAME)}: {_POSITIONS} is {found}, but the model has {limit} "
            "positions.",
        )
    flags = state.get("identity") or state.get("trained_with") or {}
    length = flags.get("max_seq_length")
    if (
        found is None
        and type(length) is int
        and length > 0
        and flags.get("init_checkpoint", "") is None
    ):
        found = length  # the most that it can have reached
    return found if limit is None or found is None else min(found, limit)


def damaged(path: str, message: str) -> ValueError:
    """The error of a checkpoint that can't be used, with what to do."""
    others = [other for other in list_checkpoints(os.path.dirname(path)) if other != path]
    advice = f"resume from {others[-1]}" if others else "start again"
    return ValueError(f"{message} Delete the folder {path} to {advice}.")


def _checksum(state: Mapping[str, Any]) -> int:
    """The CRC-32C of a state as it is read back."""
    return int(google_crc32c.value(json.dumps(state, sort_keys=True).encode()))


def last_checkpoint(
    folder: str, kind: Kind = "checkpoint", with_slots: bool = False
) -> Checkpoint | None:
    """Reads the last checkpoint in a run's folder, if any."""
    paths = list_checkpoints(folder, kind)
    return load_checkpoint(paths[-1], with_slots) if paths else None


def read_model_config(path: str) -> ModelConfig:
    """Reads bert_config.json.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a configuration.
    """
    values = parse_json(files.read_limited(path), path)
    return config_from_values(expect(values, dict, path), path)


def read_checkpoint_config(folder: str) -> ModelConfig | None:
    """The configuration in a folder, compared with the state if there is one; None if missing.

    Raises:
        ValueError: it is not a configuration, or not the one that was written.
    """
    path = os.path.join(folder, CONFIG_NAME)
    if not os.path.isfile(path):
        return None
    config = read_model_config(path)
    if os.path.isfile(os.path.join(folder, STATE_NAME)):
        checksum = read_state(folder).get(_CONFIG_CHECKSUM)
        if checksum not in (None, _checksum(config.to_dict())):
            raise damaged(folder, f"{path} is not what was written (its checksum).")
    return config


def remove_unfinished(folder: str) -> None:
    """Removes the unfinished files of a run that was killed while writing."""
    remove_leftovers(folder)
    for name in filter(_TEMPORARY.fullmatch, os.listdir(folder)):
        _remove(os.path.join(folder, name))


def _remove(path: str) -> None:
    """Removes a checkpoint's own files, and its folder if nothing else is in it."""
    # The state first: what a kill leaves must not look like a checkpoint.
    for name in reversed(CHECKPOINT_FILES):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(path, name))
    with contextlib.suppress(OSError):  # it is not there, or the user keeps something in it
        os.rmdir(path)


def identity_differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs between a checkpoint's run and the one that is asked for.

    >>> identity_differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    ['--b: c was 2, now 3']
    """
    return [f"--{name}{_difference(*pair)}" for name, pair in _changes(saved, wanted).items()]


def _changes(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    pairs = {key: (saved.get(key), wanted.get(key)) for key in sorted({*saved, *wanted})}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _difference(saved: Any, wanted: Any) -> str:
    if isinstance(saved, Mapping) and isinstance(wanted, Mapping):
        changes = _changes(saved, wanted).items()
        return ": " + ", ".join(f"{key} was {old!r}, now {new!r}" for key, (old, new) in changes)
    if isinstance(saved, list) and isinstance(wanted, list):
        if len(saved) != len(wanted):
            return f" had {len(saved)} items, now {len(wanted)}"
        saved, wanted = next(pair for pair in zip(saved, wanted, strict=True) if pair[0] != pair[1])
        return f" had {saved!r}, now {wanted!r}"
    return f" was {saved!r}, now {wanted!r}"
