"""Questions and contexts to windows of pieces, with targets projected from character offsets.

A context is tokenized once, whole, and its questions share it. Everything is kept in flat arrays; a
batch is gathered at the length that it needs.

Legend: W windows, B batch, L max_seq_length, Q questions, C contexts, P pieces of all questions or
contexts.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.tasks.squad.examples import Dataset, Gold, Span
from bert_ko.tokenization.tokenizer import Tokenizer

Ints = npt.NDArray[np.int32]
_FORMAT = 2


@dataclass(frozen=True)
class WindowConfig:
    """How contexts are cut."""

    max_seq_length: int = 384  # pieces of a window, with the question and three special tokens
    doc_stride: int = 128  # pieces between the beginnings of two windows
    max_query_length: int = 64  # pieces of a question; the rest is cut off

    def __post_init__(self) -> None:
        """Raises: ValueError: windows that cannot hold a context, by the flag's name."""
        if self.max_seq_length < self.max_query_length + 4:
            raise ValueError(
                f"--max_seq_length={self.max_seq_length} leaves no room for a context beside a "
                f"question of --max_query_length={self.max_query_length} and 3 special tokens."
            )


@dataclass(frozen=True)
class Features:
    """Windows over contexts, all int32."""

    question_offsets: Ints  # [Q + 1], where each question's pieces begin in question_ids
    question_ids: Ints  # [P], cut to max_query_length
    question_contexts: Ints  # [Q], the context of each question
    context_offsets: Ints  # [C + 1], where each context's pieces begin in the next three
    context_ids: Ints  # [P]
    context_starts: Ints  # [P], first character of each piece in its context
    context_ends: Ints  # [P], the character after its last
    answer_first: Ints  # [Q], first piece of the first gold answer in its context; -1 for none
    answer_last: Ints  # [Q], its last piece
    window_questions: Ints  # [W], ascending
    window_first: Ints  # [W], first piece of the context
    window_counts: Ints  # [W], pieces of the context

    @property
    def lengths(self) -> Ints:
        """int32 [W], pieces of each window with the question and special tokens."""
        return self.first_context_position + self.window_counts + 1

    @property
    def first_context_position(self) -> Ints:
        """int32 [W], where the context begins in each window: behind [CLS] question [SEP]."""
        return np.diff(self.question_offsets)[self.window_questions] + 2

    def targets(self, windows: Ints) -> tuple[Ints, Ints]:
        """First and last position of the gold answer, int32 [B], in windows, int32 [B].

        Both are 0, [CLS], if the answer is not wholly inside.

        Source: convert_examples_to_features of google-research/bert.
        """
        questions = self.window_questions[windows]
        first, last = self.answer_first[questions], self.answer_last[questions]
        begin = self.window_first[windows]
        is_inside = (first >= begin) & (last < begin + self.window_counts[windows]) & (first >= 0)
        shift = self.first_context_position[windows] - begin
        return np.where(is_inside, first + shift, 0), np.where(is_inside, last + shift, 0)

    def select(self, is_chosen: npt.NDArray[np.bool_]) -> Features:
        """The same contexts and questions, with the chosen windows alone, bool [W]."""
        names = ("window_questions", "window_first", "window_counts")
        return replace(self, **{name: getattr(self, name)[is_chosen] for name in names})

    def spans(self, contexts: Ints | int, first: Ints | int, last: Ints | int) -> tuple[Ints, Ints]:
        """First character, and the one after the last, of the pieces from first to last.

        Args:
            contexts: int32, of any shape; so are the others.
            first: piece in the context.
            last: piece in the context.
        """
        offset = self.context_offsets[contexts]
        return self.context_starts[offset + first], self.context_ends[offset + last]

    def gather(
        self, windows: Ints, length: int, special_ids: tuple[int, int, int]
    ) -> dict[str, Ints]:
        """The features of windows.

        Args:
            windows: their numbers, int32 [B].
            length: pieces, at least as many as the longest of them has.
            special_ids: of [PAD], [CLS] and [SEP].

        Returns:
            input_ids, input_mask and segment_ids, int32 [B, length]; start_positions and
            end_positions, int32 [B], see ``targets``.
        """
        pad, cls, sep = special_ids
        column = np.arange(length, dtype=np.int32)[None]
        begin = self.first_context_position[windows][:, None]
        end = begin + self.window_counts[windows][:, None]
        questions = self.window_questions[windows]
        from_question = self.question_offsets[questions][:, None] + column - 1
        first = self.context_offsets[self.question_contexts[questions]] + self.window_first[windows]
        from_context = first[:, None] + column - begin
        is_context = (column >= begin) & (column < end)
        ids = np.where(column < begin - 1, _take(self.question_ids, from_question), pad)
        ids = np.where(is_context, _take(self.context_ids, from_context), ids)
        ids = np.where((column == begin - 1) | (column == end), sep, ids)
        ids[:, 0] = cls
        mask = column <= end
        starts, ends = self.targets(windows)
        return {
            "input_ids": ids.astype(np.int32),
            "input_mask": mask.astype(np.int32),
            "segment_ids": ((column >= begin) & mask).astype(np.int32),
            "start_positions": starts,
            "end_positions": ends,
        }


def _take(ids: Ints, places: Ints) -> Ints:
    """The ids there; anything for a place that is outside."""
    return ids.take(places, mode="clip") if len(ids) else np.zeros_like(places)


def build_features(dataset: Dataset, tokenizer: Tokenizer, config: WindowConfig) -> Features:
    """Tokenizes contexts, each as a whole, and questions, and cuts them into windows."""
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
    answers = [
        project(question.answers[0], starts[number], ends[number])
        if question.answers and not question.is_impossible
        else None
        for number, question in questions
    ]
    question_contexts = np.array([number for number, _ in questions], np.int32)
    context_lengths = np.array([len(context) for context in contexts], np.int32)
    query_lengths = np.array(list(map(len, queries)), np.int32)
    return Features(
        _offsets(queries),
        _flat(queries),
        question_contexts,
        _offsets([context.ids for context in contexts]),
        _flat([context.ids for context in contexts]),
        _flat(starts),
        _flat(ends),
        np.array([answer[0] if answer else -1 for answer in answers], np.int32),
        np.array([answer[1] if answer else -1 for answer in answers], np.int32),
        *_windows(context_lengths[question_contexts], query_lengths, config),
    )


def project(answer: Gold, starts: Ints, ends: Ints) -> tuple[int, int] | None:
    """The pieces that a gold answer touches.

    Args:
        answer: with its place in the context.
        starts: int32 [P], first character of each piece.
        ends: int32 [P], the character after its last.

    Returns:
        The first and the last piece; None for an answer without a place or without pieces.
    """
    if answer.start is None or answer.end is None:
        return None
    first = int(np.searchsorted(ends, answer.start, side="right"))
    last = int(np.searchsorted(starts, answer.end, side="left")) - 1
    return (first, last) if first <= last else None


def gold_spans(dataset: Dataset, features: Features) -> dict[str, Span]:
    """The first gold answers in whole pieces, by question id: what a perfect reader answers.

    Answers without a place in the context or without pieces are left out.
    """
    numbers = np.flatnonzero(features.answer_first >= 0)
    starts, ends = features.spans(
        features.question_contexts[numbers],
        features.answer_first[numbers],
        features.answer_last[numbers],
    )
    questions, spans = list(dataset.questions()), {}
    for number, start, end in zip(numbers, starts.tolist(), ends.tolist(), strict=True):
        paragraph, question = questions[number]
        spans[question.qas_id] = Span(paragraph.context[start:end], start, end)
    return spans


def _windows(contexts: Ints, queries: Ints, config: WindowConfig) -> tuple[Ints, Ints, Ints]:
    """Question, first piece and pieces of each window.

    Args:
        contexts: int32 [Q], pieces of each question's context.
        queries: int32 [Q], pieces of each question.
        config: how contexts are cut.
    """
    room = config.max_seq_length - 3 - queries
    step = np.minimum(config.doc_stride, room)
    # A window more for each step until one reaches the end.
    counts = 1 + np.maximum(0, -(-(contexts - room) // step))
    question = np.repeat(np.arange(len(queries), dtype=np.int32), counts)
    first = ranks(counts) * step[question]
    length = np.minimum(room[question], contexts[question] - first)
    return question, first.astype(np.int32), length.astype(np.int32)


def ranks(counts: Ints) -> npt.NDArray[np.int64]:
    """0, 1, 2 … of each group: [2, 3] gives [0, 1, 0, 1, 2]."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _offsets(parts: Sequence[Sequence[int]]) -> Ints:
    return np.cumsum([0, *map(len, parts)]).astype(np.int32)


def _flat(parts: Sequence[Sequence[int] | Ints]) -> Ints:
    return np.concatenate([np.asarray(part, np.int32) for part in parts] or [np.empty(0, np.int32)])


def max_context(features: Features) -> npt.NDArray[np.bool_]:
    """Which pieces of which window have the most context around them there.

    Returns:
        bool, the pieces of all windows one after another; each piece of a context is true in one
        window of each question.

    Source: _check_is_max_context of google-research/bert: the smaller of the pieces before and
        after, and a hundredth of the window's length.
    """
    counts = features.window_counts
    window = np.repeat(np.arange(len(counts)), counts)
    place = ranks(counts)
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
    dataset: Dataset, tokenizer: Tokenizer, config: WindowConfig, folder: str | None
) -> Features:
    """The features of a dataset, from a cache in the folder, if any, unless something changed.

    What was read from the file counts, not its name or form, and the tokenizer's fingerprint.
    """
    if folder is None:
        return build_features(dataset, tokenizer, config)
    digest = hashlib.sha256()
    for paragraph in dataset.paragraphs:  # a piped file can't be read again
        asked = [
            (
                question.question,
                question.is_impossible,
                [(a.start, a.end) for a in question.answers],
            )
            for question in paragraph.questions
        ]
        text = f"{len(paragraph.context)} {paragraph.context} {asked}"
        digest.update(text.encode("utf-8", "surrogatepass"))
    key = {"format": _FORMAT, "tokenizer": tokenizer.fingerprint, **asdict(config)}
    digest.update(json.dumps(key, sort_keys=True).encode())
    cache = os.path.join(folder, f"features-{digest.hexdigest()[:16]}.npz")
    try:
        with np.load(cache, allow_pickle=False) as arrays:
            return Features(**{field.name: arrays[field.name] for field in fields(Features)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # there is none yet, or it is damaged
    found = build_features(dataset, tokenizer, config)
    with files.atomic_writer(cache) as stream:
        np.savez(stream, **vars(found))
    return found
