"""Planned instances to id matrices.

Legend: B batch, L max_seq_length.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.instances import Plan
from bert_ko.tokenization.encoder import EOJEOL_START, ID_MASK, MORPHEME_START
from bert_ko.tokenization.vocabulary import Vocabulary

Ids = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]


class Sequences(NamedTuple):
    """A batch of unmasked sequences, ``[CLS] A [SEP] B [SEP] [PAD] …``.

    Attributes:
        input_ids: int32 [B, L].
        input_mask: bool [B, L], false at padding.
        segment_ids: bool [B, L], true at the second segment.
        is_piece: bool [B, L], false at special tokens and padding.
        morpheme_starts: bool [B, L], first piece of each morpheme in its segment.
        eojeol_starts: bool [B, L], first piece of each eojeol in its segment.
    """

    input_ids: Ids
    input_mask: Flags
    segment_ids: Flags
    is_piece: Flags
    morpheme_starts: Flags
    eojeol_starts: Flags


def build_sequences(
    pieces: npt.NDArray[np.uint32], plan: Plan, max_seq_length: int, vocab: Vocabulary
) -> Sequences:
    """Gathers the pieces of planned instances.

    Args:
        pieces: uint32 [n], of the bucket.
        plan: B instances.
        max_seq_length: L.
        vocab: for the special tokens.
    """
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
    """Number of each piece's word in its sequence, from 1; 0 where no piece is; int32 [B, L]."""
    return np.where(is_piece, np.cumsum(starts, axis=1, dtype=np.int32), 0)


def as_features(sequences: Sequences) -> dict[str, npt.NDArray[Any]]:
    """The features that every instance has, by Google's names."""
    return {
        "input_ids": sequences.input_ids,
        "input_mask": sequences.input_mask.view(np.uint8),
        "segment_ids": sequences.segment_ids.view(np.uint8),
    }
