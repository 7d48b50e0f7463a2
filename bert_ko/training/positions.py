"""Positions that training has reached, and what those that it has not reached begin as.

A model has embeddings for max_position_embeddings positions, but only those that a sequence of its
training had are trained; the others keep their random values. Before longer sequences come, the
trained ones are repeated in their place: what was learnt between neighbours then holds there too.

Source: "Longformer: The Long-Document Transformer" (arXiv:2004.05150), section 5.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.heads import HostBatch
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.initialization import Source

UntrainedPositions = Literal["extend", "keep"]


def longest_sequence(batch: HostBatch) -> int:
    """The positions that a batch trains: pieces of its longest sequence.

    Args:
        batch: input_mask [B, L]; sequence_lengths [B, S] too if several sequences share a row.
    """
    if "sequence_lengths" in batch:
        return int(batch["sequence_lengths"].max())
    used = np.flatnonzero(batch["input_mask"].any(axis=0))
    return int(used[-1]) + 1 if len(used) else 0


def fit_positions(
    source: Source,
    config: ModelConfig,
    new: Arrays,
    max_seq_length: int,
    untrained: UntrainedPositions,
) -> tuple[Source, str]:
    """Prepares weights for sequences that may be longer than those they were trained on.

    Args:
        source: the weights.
        config: of the model to use them in, which may have more positions.
        new: initial values of the model's variables.
        max_seq_length: of its sequences; nothing changes if all of them were trained.
        untrained: extend: row i becomes row i modulo the number of trained ones; keep: rows stay as
            they are, and those that the weights lack are the new ones.

    Returns:
        The weights, and what was done to them, to be printed; "" for nothing.
    """
    name = encoder_of(config).position_embeddings
    old, count = source.arrays.get(name), config.max_position_embeddings
    if old is None or old.ndim != 2 or len(old) > count:
        return source, ""
    trained = len(old) if source.trained_positions is None else source.trained_positions
    if len(old) == count and max_seq_length <= trained:
        return source, ""
    if untrained == "extend" and trained:
        table = old[np.arange(count) % trained]
        what = f"begin as those of the first {trained} repeated"
    else:
        table = np.concatenate([old, new[name][len(old) :]]) if len(old) < count else old
        kept, added = "stay as they are", "are new and random"
        what = kept if len(old) == count else added
        if trained < len(old) < count:
            what = f"{kept}, and those from {len(old)} on {added}"
    line = f"positions {trained} to {count - 1} were never trained: their embeddings {what}"
    return source._replace(arrays={**source.arrays, name: table}), line
