"""Where weights are, and what belongs to them; remote ones are copied here when asked for."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable

from bert_ko import files, remote
from bert_ko.copies import fetch, local_path
from bert_ko.training.checkpoints import (
    OPTIMIZER_NAME,
    STATE_NAME,
    find_weights,
    split_checkpoint,
    whole_checkpoints,
)
from bert_ko.training.metrics import METRICS_NAME

# Weights of other frameworks, which are not read beside safetensors.
_OTHER_WEIGHTS = (".bin", ".h5", ".msgpack", ".onnx", ".ot", ".pt")


def folders_beside(path: str) -> list[str]:
    """Where files that belong to weights may be, the nearest first; see ``read_source``."""
    path = local_weights(path)
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


def local_weights(path: str) -> str:
    """The path of weights on this machine; remote ones are copied, with what belongs to them."""
    return _fetched(path.rstrip("/")) if files.is_remote(path) else path


@functools.cache
def _fetched(path: str) -> str:
    here = local_path(path)
    if not files.is_remote(here) and os.path.exists(here):  # what this command itself has written
        return here
    below = list(remote.list_tree(path))
    parent, _, name = path.rpartition("/")
    if STATE_NAME in below and split_checkpoint(name) is not None:
        beside = _of_folder(files.list_folder(parent))
        return os.path.join(fetch(parent, [*beside, *(f"{name}/{one}" for one in below)]), name)
    if below:
        own = [one for one in below if one.count("/") < 2]
        chosen = (whole_checkpoints(own, "best") or whole_checkpoints(own))[-1:]
        return fetch(path, _of_folder(n for n in own if os.path.dirname(n) in ("", *chosen)))
    # The prefix of a TF1 checkpoint, a file of weights, or nothing.
    return os.path.join(fetch(parent, _of_prefix(files.list_folder(parent), name)), name)


def _of_folder(names: Iterable[str]) -> list[str]:
    """What is read of a folder with weights in safetensors, or of a few small files."""
    found = [n for n in names if os.path.basename(n) not in (OPTIMIZER_NAME, METRICS_NAME)]
    if any(name.endswith(".safetensors") for name in found):
        found = [name for name in found if not name.endswith(_OTHER_WEIGHTS)]
    return [name for name in found if not name.endswith((".npz", ".lock"))]


def _of_prefix(names: Iterable[str], prefix: str) -> list[str]:
    small = (".json", ".txt", ".model", ".dic")
    return [n for n in names if n == prefix or n.startswith(f"{prefix}.") or n.endswith(small)]
