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
    column = np.arange(max_seq_length, dtype=np.int32)[None]
    first_sep = (plan.a_length + 1).astype(np.int32)[:, None]
    has_b = (plan.b_length > 0)[:, None]
    total = first_sep + 1 + (plan.b_length[:, None] + has_b).astype(np.int32)
    in_a = column < first_sep
    in_mask = column < total
    a_shift = plan.a_start[:, None] - 1
    b_shift = plan.b_start[:, None] - first_sep - 1
    source = np.where(in_a, a_shift, b_shift) + column
    is_sep = (column == first_sep) | (column == total - 1)
    is_piece = in_mask & ~is_sep
    is_piece[:, 0] = False
    packed = pieces[np.where(is_piece, source, 0)]
    ids = (packed & np.uint32(ID_MASK)).astype(np.int32)
    ids[~is_piece] = vocab.pad_id
    ids[is_sep] = vocab.sep_id
    ids[:, 0] = vocab.cls_id
    # A word that truncation has cut begins at the edge of its segment.
    begins = (column == 1) | (column == first_sep + 1)
    morphemes, eojeols = (
        ((packed & np.uint32(bit) != 0) | begins) & is_piece
        for bit in (MORPHEME_START, EOJEOL_START)
    )
    return Sequences(ids, in_mask, in_mask & (column > first_sep), is_piece, morphemes, eojeols)


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
