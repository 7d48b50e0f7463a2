"""Planned instances as matrices of ids.

Legend: B batch, L max_seq_length.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.walk import Flags, Plan
from bert_ko.tokenization.encoder import EOJEOL_START, ID_MASK, MORPHEME_START
from bert_ko.tokenization.vocabulary import Vocabulary


class Sequences(NamedTuple):
    """A batch of unmasked sequences, ``[CLS] A [SEP] B [SEP] [PAD] …``; each array is [B, L]."""

    input_ids: npt.NDArray[np.int32]
    input_mask: Flags  # false at padding
    segment_ids: Flags  # true at the second segment
    is_piece: Flags  # false at special tokens and padding
    morpheme_starts: Flags  # first piece of each morpheme in its segment
    eojeol_starts: Flags


def build_sequences(
    pieces: npt.NDArray[np.uint32], plan: Plan, max_seq_length: int, vocab: Vocabulary
) -> Sequences:
    """Gathers the pieces of B planned instances from those of their bucket, uint32 [n]."""
    rows = np.arange(plan.size)
    column = np.arange(max_seq_length, dtype=np.int32)[None]
    first_sep = (plan.a_length + 1).astype(np.int32)
    last_sep = first_sep + np.where(plan.b_length > 0, plan.b_length + 1, 0).astype(np.int32)
    in_mask = column <= last_sep[:, None]
    is_piece = in_mask.copy()
    for place in (0, first_sep, last_sep):
        is_piece[rows, place] = False
    a_shift = (plan.a_start - 1).astype(np.int32)
    b_shift = (plan.b_start - first_sep - 1).astype(np.int32)
    in_a = column < first_sep[:, None]
    source = np.where(in_a, a_shift[:, None], b_shift[:, None]) + column
    packed = np.where(is_piece, pieces.take(source, mode="clip"), np.uint32(vocab.pad_id))
    ids = (packed & np.uint32(ID_MASK)).astype(np.int32)
    ids[:, 0] = vocab.cls_id
    ids[rows, first_sep] = ids[rows, last_sep] = vocab.sep_id
    starts = []
    for bit in (MORPHEME_START, EOJEOL_START):
        found = (packed & np.uint32(bit)).astype(np.bool_)
        # A word that truncation has cut begins at the edge of its segment.
        for place in (1, np.minimum(first_sep + 1, max_seq_length - 1)):
            found[rows, place] = is_piece[rows, place]
        starts.append(found)
    in_b = in_mask & (column > first_sep[:, None])
    return Sequences(ids, in_mask, in_b, is_piece, *starts)


def word_ids(starts: Flags, is_piece: Flags) -> npt.NDArray[np.int32]:
    """Number of each piece's word in its sequence, from 1; 0 elsewhere: int32 [B, L]."""
    return np.where(is_piece, np.cumsum(starts, axis=1, dtype=np.int32), 0)
