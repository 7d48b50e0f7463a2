"""Every document of a bucket walked through at once, and the instances that are found on the way.

Google's script walks through one document after another. Here every document, in every copy, takes
one step at a time, all in one numpy operation: a plan is rows of offsets, no pieces are moved.

Legend: B instances.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.buckets import Bucket
from bert_ko.tokenization.encoder import MORPHEME_START

Offsets = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
# A cut goes back by as many pieces at most, to where a morpheme begins.
_NEAR = 8


class Plan(NamedTuple):
    """Instances as two ranges of a bucket's pieces; each array is [B]."""

    a_start: Offsets  # first piece of the first segment
    a_length: Offsets
    b_start: Offsets  # first piece of the second segment
    b_length: Offsets  # 0 where there is only one segment
    label: Offsets  # next_sentence_labels: 1 where the second segment is random (sop: swapped)
    truncated: Offsets  # pieces cut off to fit the length, and lost

    @property
    def size(self) -> int:
        """Number of instances."""
        return len(self.a_start)

    def rows(self, index: npt.NDArray[Any] | slice) -> Plan:
        """The chosen instances."""
        return Plan(*(column[index] for column in self))

    def count_seen(self, random_second: bool) -> int:
        """Pieces of the bucket that are in an instance, but not in a random second segment alone.

        Args:
            random_second: the label says that the second segment is random, not that it is swapped.
        """
        follows = self.rows(self.label == 0) if random_second else self
        start = np.concatenate([self.a_start, follows.b_start])
        end = start + np.concatenate([self.a_length, follows.b_length])
        order = np.argsort(start)
        start, end = start[order], end[order]
        before = np.append(0, np.maximum.accumulate(end)[:-1])  # what those before it reach
        return int(np.maximum(0, end - np.maximum(start, before)).sum()) if len(start) else 0


class Walk:
    """Documents (in all copies) that are not finished, and where each one is.

    cursor, place, target, document: one item each, [documents that are not finished]; ``place`` is
    the piece at which the next instance begins, and ``cursor`` the sentence that holds it. Offsets
    of pieces and of sentences are global to the bucket.
    """

    def __init__(self, bucket: Bucket, max_tokens: int, rng: np.random.Generator):
        self.pieces = bucket.pieces
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
        self.go_to_sentence(self.documents[self.document])
        short = self.rng.integers(2, self.max_tokens + 1, len(self.document))
        is_short = self.rng.random(len(self.document)) < short_seq_prob
        self.target = np.where(is_short, short, self.max_tokens)

    def go_to_sentence(self, cursor: Offsets) -> None:
        """The next instances begin with these sentences."""
        self.cursor, self.place = cursor, self.offsets[cursor]

    def go_to_piece(self, place: Offsets) -> None:
        """The next instances begin with these pieces, which may be within a sentence."""
        self.cursor = np.searchsorted(self.offsets, place, "right") - 1
        self.place = place

    def drop_finished(self) -> None:
        """Leaves out the documents that are at their end."""
        going = self.cursor < self.document_ends()
        self.cursor, self.place, self.target, self.document = (
            self.cursor[going], self.place[going], self.target[going], self.document[going]
        )  # fmt: skip

    def document_ends(self) -> Offsets:
        """The sentence after the last one of each document."""
        return self.documents[self.document + 1]

    def reach(self, sentence: Offsets, place: Offsets, target: Offsets, limit: Offsets) -> Offsets:
        """The sentence after the one with which at least ``target`` pieces are reached.

        Args:
            sentence: the one that holds ``place``.
            place: piece to count from.
            target: pieces to reach; at least the rest of the sentence is taken.
            limit: sentence to stop before.
        """
        end = np.searchsorted(self.offsets, place + target)
        return np.minimum(np.maximum(end, sentence + 1), limit)

    def last_fit(self, room: int) -> Offsets:
        """The sentence after the last one that ends within ``room`` pieces of the place."""
        return np.searchsorted(self.offsets, self.place + room, "right") - 1

    def snap(self, place: Offsets, least: Offsets) -> Offsets:
        """Where the morpheme at each place begins, if that is near and after ``least``."""
        start = self._last_start.take(place, mode="clip")
        return np.where((start > least) & (place - start <= _NEAR), start, place)

    @cached_property
    def _last_start(self) -> npt.NDArray[np.int32]:
        """For each piece the first one of its morpheme."""
        is_start = (self.pieces & np.uint32(MORPHEME_START)).astype(np.bool_)
        places = np.arange(len(self.pieces), dtype=np.int32)
        return np.maximum.accumulate(places * is_start)


def plan_of(
    a: tuple[Offsets, Offsets], b: tuple[Offsets, Offsets], label: npt.NDArray[Any]
) -> Plan:
    """Instances of two ranges of pieces, of which nothing is lost."""
    (a_start, a_end), (b_start, b_end) = a, b
    return Plan(
        a_start, a_end - a_start, b_start, b_end - b_start,
        label.astype(np.int64), np.zeros(len(a_start), np.int64),
    )  # fmt: skip


def swap(first: tuple[Offsets, Offsets], second: tuple[Offsets, Offsets], swapped: Flags) -> Plan:
    """Pairs of which the swapped ones have what comes second in the document first."""
    a, b = (
        (np.where(swapped, two[0], one[0]), np.where(swapped, two[1], one[1]))
        for one, two in ((first, second), (second, first))
    )
    return plan_of(a, b, swapped)


def random_cut(walk: Walk, end: Offsets) -> Offsets:
    """End of the first segment: after 1 to n - 1 of the chunk's n sentences."""
    sentences = end - walk.cursor
    drawn = (walk.rng.random(len(end)) * (sentences - 1)).astype(np.int64)
    return walk.cursor + 1 + np.where(sentences > 1, drawn, 0)


def random_sentence(walk: Walk, chunk_end: Offsets) -> tuple[Offsets, Offsets, Flags]:
    """Where random second segments begin.

    Args:
        walk: the documents.
        chunk_end: where the bucket has one document, a random sentence must be outside of
            [cursor, chunk_end).

    Returns:
        The sentence, the one to stop before, and whether there is any.
    """
    if len(walk.documents) > 2:
        return (*_other_document(walk), np.ones(len(walk.cursor), np.bool_))
    return _elsewhere(walk, chunk_end)


def _other_document(walk: Walk) -> tuple[Offsets, Offsets]:
    """A random sentence of a random other document, and that document's end."""
    other = (walk.rng.random(len(walk.cursor)) * (len(walk.documents) - 2)).astype(np.int64)
    other += other >= walk.document
    first, limit = walk.documents[other], walk.documents[other + 1]
    return first + (walk.rng.random(len(first)) * (limit - first)).astype(np.int64), limit


def _elsewhere(walk: Walk, chunk_end: Offsets) -> tuple[Offsets, Offsets, Flags]:
    """A random sentence of the same document outside of [cursor, chunk_end), where there is one."""
    first, limit = walk.documents[walk.document], walk.document_ends()
    chunk = chunk_end - walk.cursor
    choices = limit - first - chunk
    drawn = first + (walk.rng.random(len(first)) * choices).astype(np.int64)
    is_before = drawn < walk.cursor
    start = np.where(is_before, drawn, drawn + chunk)
    return np.minimum(start, limit - 1), np.where(is_before, walk.cursor, limit), choices > 0
