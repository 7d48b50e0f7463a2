"""Questions and contexts to windows of pieces, with targets projected from character offsets.

A context is tokenized once, whole, and its questions share it. Everything is kept in flat arrays; a
batch is gathered at the length that it needs.

Legend: W windows, L max_seq_length, Q questions, C contexts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.tasks.squad.examples import Dataset, Gold, Span
from bert_ko.tokenization.tokenizer import Tokenizer

Ints = npt.NDArray[np.int32]
_FORMAT = 1


@dataclass(frozen=True)
class WindowConfig:
    """How contexts are cut.

    Attributes:
        max_seq_length: pieces of a window, with the question and three special tokens.
        doc_stride: pieces between the beginnings of two windows.
        max_query_length: pieces of a question; the rest is cut off.
    """

    max_seq_length: int = 384
    doc_stride: int = 128
    max_query_length: int = 64

    def __post_init__(self) -> None:
        """Raises: ValueError: windows that cannot hold a context, by the flag's name."""
        if self.max_seq_length < self.max_query_length + 4:
            raise ValueError(
                f"--max_seq_length={self.max_seq_length} leaves no room for a context beside a "
                f"question of --max_query_length={self.max_query_length} and 3 special tokens."
            )


@dataclass(frozen=True)
class Features:
    """Windows over contexts.

    Attributes:
        question_offsets: [Q + 1], where each question's pieces begin in question_ids.
        question_ids: pieces of the questions, cut to max_query_length.
        question_contexts: [Q], the context of each question.
        context_offsets: [C + 1], where each context's pieces begin in the next three.
        context_ids: pieces of the contexts.
        context_starts: first character of each piece in its context.
        context_ends: the character after its last.
        answer_first: [Q], first piece of the first gold answer in its context; -1 for none.
        answer_last: [Q], its last piece.
        window_questions: [W], ascending.
        window_first: [W], first piece of the context.
        window_counts: [W], pieces of the context.
    """

    question_offsets: Ints
    question_ids: Ints
    question_contexts: Ints
    context_offsets: Ints
    context_ids: Ints
    context_starts: Ints
    context_ends: Ints
    answer_first: Ints
    answer_last: Ints
    window_questions: Ints
    window_first: Ints
    window_counts: Ints

    @property
    def lengths(self) -> Ints:
        """[W], pieces of each window with the question and special tokens."""
        return (self._query_lengths() + self.window_counts + 3).astype(np.int32)

    @property
    def first_context_position(self) -> Ints:
        """[W], where the context begins in each window: behind [CLS] question [SEP]."""
        return (self._query_lengths() + 2).astype(np.int32)

    def _query_lengths(self) -> Ints:
        return np.asarray(np.diff(self.question_offsets)[self.window_questions], np.int32)

    def targets(self, windows: Ints) -> tuple[Ints, Ints]:
        """Positions of the gold answer in windows; 0, [CLS], where it is not wholly inside.

        Source: convert_examples_to_features of google-research/bert.
        """
        questions = self.window_questions[windows]
        first, last = self.answer_first[questions], self.answer_last[questions]
        begin = self.window_first[windows]
        is_inside = (first >= begin) & (last < begin + self.window_counts[windows]) & (first >= 0)
        shift = self.first_context_position[windows] - begin
        start = np.where(is_inside, first + shift, 0)
        end = np.where(is_inside, last + shift, 0)
        return start.astype(np.int32), end.astype(np.int32)

    def select(self, is_chosen: npt.NDArray[np.bool_]) -> Features:
        """The same contexts and questions, with the windows alone that are chosen, bool [W]."""
        return replace(
            self,
            window_questions=self.window_questions[is_chosen],
            window_first=self.window_first[is_chosen],
            window_counts=self.window_counts[is_chosen],
        )

    def gather(
        self, windows: Ints, length: int, special_ids: tuple[int, int, int]
    ) -> dict[str, Ints]:
        """The features of windows.

        Args:
            windows: their numbers, [B].
            length: pieces, at least as many as the longest of them has.
            special_ids: of [PAD], [CLS] and [SEP].

        Returns:
            input_ids, input_mask and segment_ids, int32 [B, length]; start_positions and
            end_positions, int32 [B], see ``targets``.
        """
        pad, cls, sep = special_ids
        column = np.arange(length, dtype=np.int32)[None]
        query = self.first_context_position[windows][:, None] - 2
        counts = self.window_counts[windows][:, None]
        total = query + counts + 3
        questions = self.window_questions[windows]
        contexts = self.question_contexts[questions]
        from_question = self.question_offsets[questions][:, None] + column - 1
        first = self.context_offsets[contexts] + self.window_first[windows]
        from_context = first[:, None] + column - query - 2
        is_question = (column >= 1) & (column <= query)
        is_context = (column >= query + 2) & (column < total - 1)
        ids = np.where(
            is_question,
            _take(self.question_ids, from_question),
            _take(self.context_ids, from_context),
        )
        ids = np.where(is_question | is_context, ids, pad)
        ids = np.where((column == query + 1) | (column == total - 1), sep, ids)
        ids[:, 0] = cls
        mask = column < total
        start, end = self.targets(windows)
        return {
            "input_ids": ids.astype(np.int32),
            "input_mask": mask.astype(np.int32),
            "segment_ids": ((column >= query + 2) & mask).astype(np.int32),
            "start_positions": start,
            "end_positions": end,
        }


def _take(ids: Ints, places: Ints) -> Ints:
    """The ids there; anything for a place that is outside."""
    return ids.take(places, mode="clip") if len(ids) else np.zeros_like(places)


def build_features(dataset: Dataset, tokenizer: Tokenizer, config: WindowConfig) -> Features:
    """Tokenizes a dataset and cuts it into windows.

    Args:
        dataset: paragraphs and questions.
        tokenizer: the whole context is given to it at once, questions one by one.
        config: how contexts are cut.
    """
    contexts = [tokenizer.encode(paragraph.context) for paragraph in dataset.paragraphs]
    questions = [
        (number, question)
        for number, paragraph in enumerate(dataset.paragraphs)
        for question in paragraph.questions
    ]
    queries = [
        tokenizer.encode(question.question).ids[: config.max_query_length]
        for _, question in questions
    ]
    starts = [np.array(context.starts, np.int32) for context in contexts]
    ends = [np.array(context.ends, np.int32) for context in contexts]
    spans = [
        project(question.answers[0], starts[number], ends[number])
        if question.answers and not question.is_impossible
        else None
        for number, question in questions
    ]
    question_contexts = np.array([number for number, _ in questions], np.int32)
    context_lengths = np.array([len(context) for context in contexts], np.int32)
    windows = _windows(
        context_lengths[question_contexts], np.array(list(map(len, queries)), np.int32), config
    )
    return Features(
        question_offsets=_offsets(queries),
        question_ids=_flat(queries),
        question_contexts=question_contexts,
        context_offsets=_offsets([context.ids for context in contexts]),
        context_ids=_flat([context.ids for context in contexts]),
        context_starts=_flat(starts),
        context_ends=_flat(ends),
        answer_first=np.array([span[0] if span else -1 for span in spans], np.int32),
        answer_last=np.array([span[1] if span else -1 for span in spans], np.int32),
        window_questions=windows[0],
        window_first=windows[1],
        window_counts=windows[2],
    )


def project(answer: Gold, starts: Ints, ends: Ints) -> tuple[int, int] | None:
    """The pieces that a gold answer touches.

    Args:
        answer: with its place in the context.
        starts: first character of each piece.
        ends: the character after its last.

    Returns:
        The first and the last piece; None for an answer without a place or without pieces.
    """
    if answer.start is None or answer.end is None:
        return None
    first = int(np.searchsorted(ends, answer.start, side="right"))
    last = int(np.searchsorted(starts, answer.end, side="left")) - 1
    return (first, last) if first <= last else None


def gold_spans(dataset: Dataset, features: Features) -> dict[str, Span]:
    """The first gold answers in whole pieces, by question id: what a reader at its best answers.

    Args:
        dataset: with gold answers; those without a place or without pieces are left out.
        features: of the same.
    """
    spans = {}
    for number, (paragraph, question) in enumerate(dataset.questions()):
        if features.answer_first[number] < 0:
            continue
        offset = features.context_offsets[features.question_contexts[number]]
        start = int(features.context_starts[offset + features.answer_first[number]])
        end = int(features.context_ends[offset + features.answer_last[number]])
        spans[question.qas_id] = Span(paragraph.context[start:end], start, end)
    return spans


def _windows(contexts: Ints, queries: Ints, config: WindowConfig) -> tuple[Ints, Ints, Ints]:
    """Question, first piece and pieces of each window.

    Args:
        contexts: [Q], pieces of each question's context.
        queries: [Q], pieces of each question.
        config: how contexts are cut.
    """
    room = config.max_seq_length - 3 - queries
    step = np.minimum(config.doc_stride, room)
    # A window more for each step until one reaches the end.
    counts = 1 + np.maximum(0, -(-(contexts - room) // step))
    question = np.repeat(np.arange(len(queries), dtype=np.int32), counts)
    rank = np.arange(len(question)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = rank * step[question]
    length = np.minimum(room[question], contexts[question] - first)
    return question, first.astype(np.int32), length.astype(np.int32)


def _offsets(parts: Sequence[Sequence[int]]) -> Ints:
    return np.cumsum([0, *map(len, parts)]).astype(np.int32)


def _flat(parts: Sequence[Any]) -> Ints:
    return np.concatenate([np.asarray(part, np.int32) for part in parts] or [np.empty(0, np.int32)])


def max_context(features: Features) -> npt.NDArray[np.bool_]:
    """Which pieces of which window are seen there with the most context around them.

    Returns:
        bool, the pieces of all windows one after another; each piece of a context is true in one
        window of each question.

    Source: _check_is_max_context of google-research/bert: the smaller of the pieces before and
        after, and a hundredth of the window's length.
    """
    counts = features.window_counts
    window = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(window)) - np.repeat(np.cumsum(counts) - counts, counts)
    around = np.minimum(place, counts[window] - place - 1) + 0.01 * counts[window]
    piece = features.window_first[window] + place
    question = features.window_questions[window]
    # The best first; among equals the earlier window.
    order = np.lexsort((window, -around, piece, question))
    is_first = np.ones(len(order), np.bool_)
    same_question = np.diff(question[order]) == 0
    is_first[1:] = ~(same_question & (np.diff(piece[order]) == 0))
    found = np.zeros(len(order), np.bool_)
    found[order[is_first]] = True
    return found


def cached_features(
    dataset_path: str,
    dataset: Dataset,
    tokenizer: Tokenizer,
    config: WindowConfig,
    folder: str,
) -> Features:
    """The features, from a file in the folder when nothing has changed since it was written.

    Args:
        dataset_path: file of the dataset; its content counts, not its name.
        dataset: read from it.
        tokenizer: its fingerprint counts.
        config: how contexts are cut.
        folder: of the cache.
    """
    with files.open_binary(dataset_path) as stream:
        digest = hashlib.sha256(stream.read())
    key = {"format": _FORMAT, "tokenizer": tokenizer.fingerprint, **asdict(config)}
    digest.update(json.dumps(key, sort_keys=True).encode())
    path = os.path.join(folder, f"features-{digest.hexdigest()[:16]}.npz")
    found = _load(path)
    if found is None:
        found = build_features(dataset, tokenizer, config)
        arrays: dict[str, Any] = {f.name: getattr(found, f.name) for f in fields(found)}
        with files.atomic_writer(path) as stream:
            np.savez(stream, **arrays)
    return found


def _load(path: str) -> Features | None:
    if not os.path.isfile(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Features(**{field.name: arrays[field.name] for field in fields(Features)})
    except (OSError, ValueError, KeyError, EOFError):
        return None  # a damaged cache is made again
