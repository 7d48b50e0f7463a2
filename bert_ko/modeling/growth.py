"""Another vocabulary for a trained model: rows of the embeddings that change or are added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bert_ko.modeling.parameters import OUTPUT_BIAS, WORD_EMBEDDINGS, Arrays

# Rows of a new piece's parts, by their ids; none where nothing of it was known.
Parts = Sequence[int]


class NewPiece(NamedTuple):
    """A piece that the model has not been trained on: its id, and the ids of its old pieces."""

    id: int
    parts: Parts


def resize(arrays: Arrays, rows: int) -> Arrays:
    """Cuts rows off the embeddings, the output bias and their slots, or adds rows of zeros.

    Args:
        arrays: by Google's names; slots of an optimizer may be among them.
        rows: vocab_size afterwards.
    """
    changed = dict(arrays)
    for name, array in arrays.items():
        if f"{name}/".startswith((f"{WORD_EMBEDDINGS}/", f"{OUTPUT_BIAS}/")):
            missing = max(0, rows - len(array))
            padding = [(0, missing)] + [(0, 0)] * (array.ndim - 1)
            changed[name] = np.pad(array[:rows], padding)
    return changed


def add_pieces(arrays: Arrays, pieces: Sequence[NewPiece], num_old: int) -> Arrays:
    """Gives new pieces the mean of their old pieces' rows.

    Args:
        arrays: by Google's names, with a row for each piece.
        pieces: new ones; one without parts gets the mean of all old pieces' rows.
        num_old: pieces of the old vocabulary; rows behind them are padding.
    """
    changed = dict(arrays)
    for name in (WORD_EMBEDDINGS, OUTPUT_BIAS):
        if name not in arrays:
            continue
        old, new = arrays[name], arrays[name].copy()
        known = np.setdiff1d(np.arange(num_old), [piece.id for piece in pieces])
        of_all = old[known].mean(axis=0)
        for piece in pieces:
            new[piece.id] = old[list(piece.parts)].mean(axis=0) if piece.parts else of_all
        changed[name] = new
    return changed
