"""Which sentences make an instance: planned for all documents of a bucket side by side.

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
from bert_ko.tokenization.truncation import truncated_lengths

Offsets = npt.NDArray[np.int64]


class Plan(NamedTuple):
    """Instances as two ranges of a bucket's pieces; each array has one item an instance.

    Attributes:
        a_start: first piece of the first segment.
        a_length: its pieces.
        b_start: first piece of the second segment.
        b_length: its pieces, 0 where there is one segment alone.
        label: next_sentence_labels: 1 where the second segment is random (sop: swapped).
        truncated: pieces cut off to fit the length.
    """

    a_start: Offsets
    a_length: Offsets
    b_start: Offsets
    b_length: Offsets
    label: Offsets
    truncated: Offsets

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
            following segments in order or swapped; none: one segment.
        max_seq_length: L.
        short_seq_prob: share of documents cut to a random shorter length.
        copies: how often each document is walked through (dupe_factor).
        rng: its state alone decides the draws.

    Returns:
        The plan in random order.

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
    empty = np.empty(0, np.int64)
    plan = (
        Plan(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
        if found
        else (Plan(*[empty] * 6))
    )
    plan = truncate_pairs(plan.rows(plan.a_length > 0), walk.max_tokens, rng)
    return plan.rows(rng.permutation(plan.size))


class _Walk:
    """Documents (in all copies) that are not finished, and where each stands.

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
