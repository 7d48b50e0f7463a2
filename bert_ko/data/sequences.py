"""Planned instances as matrices of ids.

Legend: B batch, L max_seq_length, n pieces of a bucket.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.walk import Flags, Plan
from bert_ko.tokenization.encoder import EOJEOL_START, ID_MASK, MORPHEME_START
from bert_ko.tokenization.vocabulary import Vocabulary

UNITS = {"morpheme": MORPHEME_START, "eojeol": EOJEOL_START}


class Sequences(NamedTuple):
    """A batch of unmasked sequences, ``[CLS] A [SEP] B [SEP] [PAD] …``; each array is [B, L]."""

    input_ids: npt.NDArray[np.int32]
    input_mask: Flags  # false at padding
    segment_ids: Flags  # true at the second segment
    is_piece: Flags  # false at special tokens and padding
    pieces: npt.NDArray[np.uint32]  # ids with start bits; at special tokens and padding [PAD]

    def word_starts(self, unit: str) -> Flags:
        """First piece of each morpheme or eojeol in its segment, [B, L]."""
        found = (self.pieces & np.uint32(UNITS[unit])).astype(np.bool_)
        # A word that truncation has cut begins at the edge of its segment.
        found[:, 1:] |= self.is_piece[:, 1:] & ~self.is_piece[:, :-1]
        return found


class WordNumbers:
    """Which word of a unit each piece of a bucket belongs to."""

    def __init__(self, pieces: npt.NDArray[np.uint32], unit: str):
        """Args: pieces: uint32 [n]; unit: of UNITS."""
        starts = (pieces & np.uint32(UNITS[unit])).astype(np.bool_)
        self._numbers = np.cumsum(starts, dtype=np.int32)  # [n]

    def count(self, plan: Plan) -> int:
        """Words in all segments of the plan; one that is cut off counts in each."""
        total = 0
        for start, length in ((plan.a_start, plan.a_length), (plan.b_start, plan.b_length)):
            start, last = start[length > 0], (start + length - 1)[length > 0]
            total += int((self._numbers[last] - self._numbers[start]).sum()) + len(start)
        return total

    def count_touched(self, plan: Plan, targets: npt.NDArray[Any], max_seq_length: int) -> int:
        """Words of which at least one piece is a target.

        Args:
            plan: B instances.
            targets: int64 [T], ascending places in the flat batch [B * L].
            max_seq_length: L.
        """
        row = targets // max_seq_length
        column = targets - row * max_seq_length
        in_b = column > plan.a_length[row] + 1
        first = np.where(in_b, (plan.b_start - plan.a_length - 2)[row], (plan.a_start - 1)[row])
        # Equal for two targets if they are in the same word of the same segment.
        segment = 2 * row + in_b
        number = self._numbers[first + column]
        is_new = (np.diff(segment) != 0) | (np.diff(number) != 0)
        return int(np.count_nonzero(is_new)) + (len(targets) > 0)


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
    found = np.where(is_piece, pieces.take(source, mode="clip"), np.uint32(vocab.pad_id))
    ids = (found & np.uint32(ID_MASK)).view(np.int32)
    ids[:, 0] = vocab.cls_id
    ids[rows, first_sep] = ids[rows, last_sep] = vocab.sep_id
    in_b = in_mask & (column > first_sep[:, None])
    return Sequences(ids, in_mask, in_b, is_piece, found)


def word_ids(starts: Flags, is_piece: Flags) -> npt.NDArray[np.int32]:
    """Number of each piece's word in its sequence, from 1; 0 elsewhere: int32 [B, L]."""
    return np.where(is_piece, np.cumsum(starts, axis=1, dtype=np.int32), 0)
