"""Sentences to padded batches of about equal length.

Legend: B batch, L length of the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bert_ko.modeling.heads import HostBatch
from bert_ko.tasks.lengths import choose_lengths
from bert_ko.tasks.sentences import NOWHERE, Ints, Sentences

_MULTIPLE = 8
_MOST_LENGTHS = 12


class Plan(NamedTuple):
    """How sentences are put into batches.

    Attributes:
        batch_size: B.
        lengths: ascending; a batch is padded to the first of them that holds its longest sentence.
    """

    batch_size: int
    lengths: tuple[int, ...]

    def length(self, longest: int) -> int:
        """L, of a batch with a sentence of so many pieces."""
        return next(length for length in self.lengths if length >= longest)


def make_plan(
    first: Sentences,
    batch_size: int,
    max_seq_length: int,
    pieces_of_compiling: float,
    num_devices: int = 1,
) -> Plan:
    """Chooses lengths for all sentences from the first of them.

    Args:
        first: a window of sentences, like which the others may be.
        batch_size: B; less where there are fewer sentences.
        max_seq_length: of all sentences.
        pieces_of_compiling: for a length more, so much less padding is worth it.
        num_devices: B divides by it.
    """
    size = min(batch_size, -(-len(first) // num_devices) * num_devices)
    found: tuple[int, ...] = ()
    padded = np.inf
    for count in range(1, _MOST_LENGTHS + 1):
        lengths = choose_lengths(first.lengths, max_seq_length, count, _MULTIPLE)
        pieces = np.take(lengths, np.searchsorted(lengths, first.lengths)).sum()
        if padded - pieces <= pieces_of_compiling:
            break
        found, padded = lengths, pieces
    return Plan(size, tuple(sorted({*found, max_seq_length})))


def gather_batch(
    sentences: Sentences,
    rows: Ints,
    plan: Plan,
    special_ids: tuple[int, int, int],
    has_weights: bool,
) -> HostBatch:
    """The arrays of a batch.

    Args:
        sentences: of which some are taken.
        rows: their numbers; fewer than batch_size are filled up with the first.
        plan: how batches are made.
        special_ids: of [PAD], [CLS] and [SEP].
        has_weights: with the weights of a mean.

    Returns:
        input_ids, input_mask, segment_ids int32 [B, L]; piece_weights float32 [B, L], which add up
        to 1 over the pieces that are neither [CLS] nor [SEP], or are all 0 where there are none.
    """
    rows = np.concatenate([rows, np.repeat(rows[:1], plan.batch_size - len(rows))])
    length = plan.length(int(sentences.lengths[rows].max()))
    batch: HostBatch = sentences.gather(rows, length, special_ids)
    if has_weights:
        places, mask = sentences.places(rows, length)
        is_text = mask & (sentences.eojeol_ids[places] != NOWHERE)
        counts = np.maximum(is_text.sum(axis=1, keepdims=True), 1)
        batch["piece_weights"] = (is_text / counts).astype(np.float32)
    return batch
