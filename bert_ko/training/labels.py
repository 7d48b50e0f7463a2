"""The labels of a classifier or a tagger, which stand beside its weights.

labels.json  {"labels": ["O", "B-PS", ...]}, in the order of the rows of the output weights
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from bert_ko.json_files import read_json, write_json
from bert_ko.training.checkpoints import folders_beside

LABELS_NAME = "labels.json"

Labels = tuple[str, ...]


def write_labels(folder: str, labels: Sequence[str]) -> None:
    """Writes labels.json.

    Args:
        folder: of the weights.
        labels: none for a regression, whose only output is a number.
    """
    write_json(os.path.join(folder, LABELS_NAME), {"labels": list(labels)})


def read_labels(folder: str) -> Labels | None:
    """Reads labels.json, or id2label of a Hugging Face config.json.

    Args:
        folder: of the weights.

    Returns:
        None where there is neither.

    Raises:
        ValueError: labels.json has no list of labels.
    """
    path = os.path.join(folder, LABELS_NAME)
    values = read_json(path)
    if values is not None:
        found = values.get("labels")
        if not (isinstance(found, list) and all(isinstance(label, str) for label in found)):
            raise ValueError(f"{path} has no list of labels.")
        return tuple(found)
    config = read_json(os.path.join(folder, "config.json")) or {}
    return _id2label(config.get("id2label"))


def labels_beside(path: str) -> Labels | None:
    """The labels of a checkpoint, wherever they stand.

    Args:
        path: see ``initialization.read_source``.
    """
    found = map(read_labels, folders_beside(path))
    return next((labels for labels in found if labels is not None), None)


def _id2label(values: Any) -> Labels | None:
    """The values in the order of their numbers; None for the names that transformers makes up."""
    if not isinstance(values, dict):
        return None
    names = [values.get(str(i)) for i in range(len(values))]
    if None in names or names == [made_up_label(i) for i in range(len(names))]:
        return None
    return tuple(map(str, names))


def made_up_label(number: int) -> str:
    """What transformers calls a label whose name is not known."""
    return f"LABEL_{number}"
