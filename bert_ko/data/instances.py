"""Which sentences make an instance, and its pieces as id matrices.

Google's script walks through one document after another. Here every document, in every copy, takes
one step at a time, all in one numpy operation: a plan is rows of offsets, no pieces are moved.

Legend: B batch, L max_seq_length.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.buckets import Bucket
from bert_ko.data.features import NextSentence
from bert_ko.tokenization.encoder import EOJEOL_START, ID_MASK, MORPHEME_START
from bert_ko.tokenization.truncation import truncated_lengths
from bert_ko.tokenization.vocabulary import Vocabulary

Offsets = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Plan(NamedTuple):
    """Instances as two ranges of a bucket's pieces; each array is [B]."""

    a_start: Offsets  # first piece of the first segment
    a_length: Offsets
    b_start: Offsets  # first piece of the second segment
    b_length: Offsets  # 0 where there is only one segment
    label: Offsets  # next_sentence_labels: 1 where the second segment is random (sop: swapped)
    truncated: Offsets  # pieces cut off to fit the length

    @property
    def size(self) -> int:
        """Number of instances."""
        return len(self.a_start)

    def rows(self, index: npt.NDArray[Any] | slice) -> Plan:
        """The chosen instances."""
        return Plan(*(column[index] for column in self))


def plan_instances(
    bucket: Bucket,
    next_sentence: NextSentence,
    max_seq_length: int,
    short_seq_prob: float,
    copies: int,
    rng: np.random.Generator,
) -> Plan:
    """Plans every instance of a bucket.

    Args:
        bucket: its documents.
        next_sentence: nsp: the second segment follows or comes from another document; sop: two
            consecutive segments in order or swapped; none: one segment.
        max_seq_length: L.
        short_seq_prob: share of documents cut to a random shorter length.
        copies: how often each document is walked through (dupe_factor).
        rng: its state alone decides the draws, and the order of the plan, which is random.

    Source: create_instances_from_document of google-research/bert.

    Differs: the random document comes from the same bucket; in a bucket of one document the random
        segment comes from elsewhere in it, and is never what really follows.
    """
    walk = _Walk(bucket, max_seq_length - (2 if next_sentence == "none" else 3), rng)
    step = {"nsp": _step_nsp, "sop": _step_sop, "none": _step_none}[next_sentence]
    if next_sentence == "none":
        walk.split_long_sentences()
    walk.start(copies, short_seq_prob)
    found: list[Plan] = []
    while len(walk.cursor):
        found.append(step(walk))
        walk.drop_finished()
    columns = zip(*found, strict=True) if found else [[np.empty(0, np.int64)]] * 6
    plan = Plan(*map(np.concatenate, columns))
    plan = truncate_pairs(plan.rows(plan.a_length > 0), walk.max_tokens, rng)
    return plan.rows(rng.permutation(plan.size))


class _Walk:
    """Documents (in all copies) that are not finished, and where each one is.

    cursor, target, document: one item each; sentence offsets are global to the bucket.
    """

    def __init__(self, bucket: Bucket, max_tokens: int, rng: np.random.Generator):
        self.offsets = bucket.sentence_offsets
        self.documents = bucket.document_offsets
        self.max_tokens, self.rng = max_tokens, rng

    def split_long_sentences(self) -> None:
        """Cuts sentences that no sequence can hold, so that nothing of them is lost."""
        lengths = np.diff(self.offsets)
        parts = -(-lengths // self.max_tokens)
        part_offsets = np.concatenate([[0], np.cumsum(parts)])
        rank = np.arange(part_offsets[-1]) - np.repeat(part_offsets[:-1], parts)
        starts = np.repeat(self.offsets[:-1], parts) + rank * self.max_tokens
        self.documents = part_offsets[self.documents]
        self.offsets = np.append(starts, self.offsets[-1])

    def start(self, copies: int, short_seq_prob: float) -> None:
        """Puts every copy of every document at its first sentence and draws its target length."""
        self.document = np.tile(np.arange(len(self.documents) - 1), copies)
        self.cursor = self.documents[self.document]
        short = self.rng.integers(2, self.max_tokens + 1, len(self.document))
        is_short = self.rng.random(len(self.document)) < short_seq_prob
        self.target = np.where(is_short, short, self.max_tokens)

    def document_ends(self) -> Offsets:
        return self.documents[self.document + 1]

    def reach(self, start: Offsets, target: Offsets, limit: Offsets) -> Offsets:
        """The sentence after the one with which at least ``target`` pieces are reached."""
        end = np.searchsorted(self.offsets, self.offsets[start] + target)
        return np.minimum(np.maximum(end, start + 1), limit)

    def drop_finished(self) -> None:
        going = self.cursor < self.document_ends()
        self.cursor, self.target, self.document = (
            self.cursor[going], self.target[going], self.document[going]
        )  # fmt: skip

    def plan(
        self, a: tuple[Offsets, Offsets], b: tuple[Offsets, Offsets], label: npt.NDArray[Any]
    ) -> Plan:
        a_start, b_start = self.offsets[a[0]], self.offsets[b[0]]
        return Plan(
            a_start, self.offsets[a[1]] - a_start, b_start, self.offsets[b[1]] - b_start,
            label.astype(np.int64), np.zeros(len(a_start), np.int64),
        )  # fmt: skip


def _random_cut(walk: _Walk, end: Offsets) -> Offsets:
    """End of the first segment: after 1 to n - 1 of the chunk's n sentences."""
    sentences = end - walk.cursor
    drawn = (walk.rng.random(len(end)) * (sentences - 1)).astype(np.int64)
    return walk.cursor + 1 + np.where(sentences > 1, drawn, 0)


def _step_nsp(walk: _Walk) -> Plan:
    limit = walk.document_ends()
    end = walk.reach(walk.cursor, walk.target, limit)
    cut = _random_cut(walk, end)
    is_random = (end - walk.cursor == 1) | (walk.rng.random(len(end)) < 0.5)
    rest = walk.target - (walk.offsets[cut] - walk.offsets[walk.cursor])
    if len(walk.documents) > 2:
        b_start, b_limit = _other_document(walk)
    else:
        b_start, b_limit, possible = _elsewhere(walk, np.maximum(end, np.minimum(cut + 1, limit)))
        is_random &= possible
    b_end = walk.reach(b_start, rest, b_limit)
    b_start, b_end = np.where(is_random, b_start, cut), np.where(is_random, b_end, end)
    # A lone sentence without a partner makes no instance.
    a_end = np.where(b_end > b_start, cut, walk.cursor)
    plan = walk.plan((walk.cursor, a_end), (b_start, b_end), is_random)
    walk.cursor = np.where(is_random, cut, end)
    return plan


def _other_document(walk: _Walk) -> tuple[Offsets, Offsets]:
    """A random sentence of a random other document, and that document's end."""
    other = (walk.rng.random(len(walk.cursor)) * (len(walk.documents) - 2)).astype(np.int64)
    other += other >= walk.document
    first, limit = walk.documents[other], walk.documents[other + 1]
    return first + (walk.rng.random(len(first)) * (limit - first)).astype(np.int64), limit


def _elsewhere(walk: _Walk, chunk_end: Offsets) -> tuple[Offsets, Offsets, npt.NDArray[np.bool_]]:
    """A random sentence of the same document outside of [cursor, chunk_end), where there is one."""
    first, limit = walk.documents[walk.document], walk.document_ends()
    chunk = chunk_end - walk.cursor
    choices = limit - first - chunk
    drawn = first + (walk.rng.random(len(first)) * choices).astype(np.int64)
    is_before = drawn < walk.cursor
    start = np.where(is_before, drawn, drawn + chunk)
    return np.minimum(start, limit - 1), np.where(is_before, walk.cursor, limit), choices > 0


def _step_sop(walk: _Walk) -> Plan:
    end = walk.reach(walk.cursor, walk.target, walk.document_ends())
    # Two segments need two sentences; a last sentence alone makes no instance.
    end = np.minimum(np.maximum(end, walk.cursor + 2), walk.document_ends())
    cut = _random_cut(walk, end)
    swapped = walk.rng.random(len(end)) < 0.5
    first, second = (walk.cursor, cut), (cut, end)
    a_start, a_end, b_start, b_end = (
        np.where(swapped, b, a) for a, b in zip(first + second, second + first, strict=True)
    )
    paired = end > cut
    plan = walk.plan((a_start, np.where(paired, a_end, a_start)), (b_start, b_end), swapped)
    walk.cursor = end
    return plan


def _step_none(walk: _Walk) -> Plan:
    # Full sentences up to the length: the last one that still fits.
    end = np.searchsorted(walk.offsets, walk.offsets[walk.cursor] + walk.target, "right") - 1
    end = np.minimum(np.maximum(end, walk.cursor + 1), walk.document_ends())
    plan = walk.plan((walk.cursor, end), (end, end), np.zeros(len(end), np.int64))
    walk.cursor = end
    return plan


def truncate_pairs(plan: Plan, max_tokens: int, rng: np.random.Generator) -> Plan:
    """Cuts pairs to ``max_tokens``: piece by piece from the longer side, front or back at random.

    Source: truncate_seq_pair of google-research/bert.
    """
    a_length, b_length = truncated_lengths(plan.a_length, plan.b_length, max_tokens)
    cut_a, cut_b = plan.a_length - a_length, plan.b_length - b_length
    front_a, front_b = rng.binomial(cut_a, 0.5), rng.binomial(cut_b, 0.5)
    return plan._replace(
        a_start=plan.a_start + front_a,
        a_length=a_length,
        b_start=plan.b_start + front_b,
        b_length=b_length,
        truncated=cut_a + cut_b,
    )


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
