"""Rows that hold several sequences, as encoders and heads see them.

A batch is packed if it has these features beside the others, int32:

- sequence_ids [B, L]: number of a piece's sequence in its row, from 1; 0 at padding;
- position_ids [B, L]: from 0 in each sequence;
- first_positions [B, S]: where each sequence begins, at its [CLS]; 0 in unused slots;
- sequence_lengths [B, S]: pieces of each sequence; 0 in unused slots.

What an unpacked batch has of each sequence, [B, ...], has the shape [B, S, ...] in a packed one;
its weight is 0 in unused slots. Heads compute a row for each sequence, so that a loss is the same
sum.

Legend: B rows of a batch, L its length, S most sequences of a row, N sequences: B, or B * S of a
packed batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bert_ko.modeling.compute import Features
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.ops import ops


def is_packed(features: Mapping[str, Any]) -> bool:
    """Whether rows hold several sequences."""
    return "sequence_ids" in features


def of_sequences(features: Features, name: str) -> Tensor:
    """A feature of sequences, [B, ...] or packed [B, S, ...], to [N, ...]."""
    values = features[name]
    return ops.reshape(values, (-1, *values.shape[2:])) if is_packed(features) else values


def take_rows(x: Tensor, positions: Tensor) -> Tensor:
    """The vectors at positions of each row: [B, L, H] and int32 [B, P] to [B * P, H]."""
    batch, length, units = ops.shape(x)
    rows = ops.reshape(positions + ops.arange(batch, dtype="int32")[:, None] * length, (-1,))
    return ops.take(ops.reshape(x, (-1, units)), rows, axis=0)


def take_first(features: Features, x: Tensor) -> Tensor:
    """The vector at the [CLS] of each sequence: [B, L, H] to [N, H]."""
    return take_rows(x, features["first_positions"]) if is_packed(features) else x[:, 0]


def separate(features: Features, x: Tensor) -> Tensor:
    """A row for each sequence, which begins where the sequence does: [B, M, ...] to [N, M, ...].

    Rows may lack their last positions, or their first ones: then each sequence lacks as many. What
    follows a sequence is of its neighbours, see ``sequence_mask``.
    """
    if not is_packed(features):
        return x
    batch, length, *units = x.shape
    first = features["first_positions"]
    places = ops.minimum(first[:, :, None] + ops.arange(length, dtype="int32"), length - 1)
    places = ops.reshape(places, (batch, -1))  # [B, S * M]
    found = take_rows(ops.reshape(x, (batch, length, -1)), places)
    return ops.reshape(found, (-1, length, *units))


def sequence_mask(features: Features) -> Tensor:
    """1 for the pieces of each sequence, as ``separate`` places them: float32 [N, L]."""
    if not is_packed(features):
        return ops.cast(features["input_mask"], "float32")
    length = features["input_ids"].shape[1]
    column = ops.arange(length, dtype="int32")
    return ops.cast(column < of_sequences(features, "sequence_lengths")[:, None], "float32")
