"""The labels of a classifier or a tagger, in a file beside its weights.

labels.json  {"labels": ["O", "B-PS", ...]}, in the order of the rows of the output weights
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from bert_ko.json_files import read_json, write_json
from bert_ko.training.places import folders_beside

LABELS_NAME = "labels.json"

Labels = tuple[str, ...]


def write_labels(folder: str, labels: Sequence[str]) -> None:
    """Writes labels.json; a regression, whose only output is a number, has none."""
    write_json(os.path.join(folder, LABELS_NAME), {"labels": list(labels)})


def read_labels(folder: str) -> Labels | None:
    """Reads labels.json, or id2label of a Hugging Face config.json; None if there is neither.

    Raises:
        ValueError: labels.json has no list of labels, or id2label something else than names.
    """
    path = os.path.join(folder, LABELS_NAME)
    values = read_json(path)
    if values is not None:
        found = values.get("labels")
        if not (isinstance(found, list) and all(isinstance(label, str) for label in found)):
            raise ValueError(f"{path} has no list of labels.")
        return tuple(found)
    id2label = (read_json(os.path.join(folder, "config.json")) or {}).get("id2label")
    if not isinstance(id2label, dict):
        return None
    names = [id2label.get(str(number)) for number in range(len(id2label))]
    if any(isinstance(name, (dict, list)) for name in names):
        raise ValueError(f"{os.path.join(folder, 'config.json')}: id2label must name labels.")
    if None in names or names == list(map(made_up_label, range(len(names)))):
        return None
    return tuple(map(str, names))


def labels_beside(path: str) -> Labels | None:
    """The labels that belong to weights; see ``read_source``."""
    found = map(read_labels, folders_beside(path))
    return next((labels for labels in found if labels is not None), None)


def made_up_label(number: int) -> str:
    """Transformers' name for a label that has none."""
    return f"LABEL_{number}"
