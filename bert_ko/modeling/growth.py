"""Another vocabulary for a trained model: rows of the embeddings that change or are added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.heads import OUTPUT_BIAS
from bert_ko.modeling.parameters import Arrays

# Rows of a new piece's parts, by their ids; none where nothing of it was known.
Parts = Sequence[int]


class NewPiece(NamedTuple):
    """A piece that the model has not been trained on: its id, and the ids of its old pieces."""

    id: int
    parts: Parts


def vocabulary_variables(config: ModelConfig) -> tuple[str, ...]:
    """The variables that have a row for each piece."""
    return encoder_of(config).word_embeddings, OUTPUT_BIAS


def resize(arrays: Arrays, config: ModelConfig, rows: int) -> Arrays:
    """Cuts rows off the embeddings, the output bias and their slots, or adds rows of zeros.

    Args:
        arrays: embeddings [V, H], output bias [V] and others by name; slots of an optimizer may be
            among them.
        config: of the model.
        rows: vocab_size afterwards.
    """
    changed = dict(arrays)
    beginnings = tuple(f"{name}/" for name in vocabulary_variables(config))
    for name, array in arrays.items():
        if f"{name}/".startswith(beginnings):
            missing = max(0, rows - len(array))
            padding = [(0, missing)] + [(0, 0)] * (array.ndim - 1)
            changed[name] = np.pad(array[:rows], padding)
    return changed


def add_pieces(
    arrays: Arrays, config: ModelConfig, pieces: Sequence[NewPiece], num_old: int
) -> Arrays:
    """Gives new pieces the mean of their old pieces' rows.

    Args:
        arrays: embeddings [V, H], output bias [V] and others by name.
        config: of the model.
        pieces: new ones; one without parts gets the mean of all old pieces' rows.
        num_old: pieces of the old vocabulary; rows behind them are padding.
    """
    changed = dict(arrays)
    for name in vocabulary_variables(config):
        if name not in arrays:
            continue
        old, new = arrays[name], arrays[name].copy()
        known = np.setdiff1d(np.arange(num_old), [piece.id for piece in pieces])
        of_all = old[known].mean(axis=0)
        for piece in pieces:
            new[piece.id] = old[list(piece.parts)].mean(axis=0) if piece.parts else of_all
        changed[name] = new
    return changed
