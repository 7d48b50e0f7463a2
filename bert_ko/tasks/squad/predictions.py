"""Logits of windows to answers: slices of the original context, byte for byte.

Legend: W windows, L max_seq_length, K n_best_size, A possible answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.tasks.squad.examples import NO_ANSWER, Dataset, Span
from bert_ko.tasks.squad.features import Features, Ints, max_context

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PredictionConfig:
    """How answers are chosen."""

    n_best_size: int = 20  # answers that are kept for a question
    max_answer_length: int = 30  # pieces of an answer at most
    version_2_with_negative: bool = False  # some questions have no answer
    # No answer, if its score is better than the best answer's by more than this.
    null_score_diff_threshold: float = 0.0


class Candidate(NamedTuple):
    """A possible answer: context[start:end]; "" says that there is none."""

    text: str
    start: int
    end: int
    score: float
    probability: float
    start_logit: float
    end_logit: float

    @property
    def span(self) -> Span:
        """Its place alone."""
        return Span(*self[:3]) if self.text else NO_ANSWER


class Prediction(NamedTuple):
    """The answers of a question."""

    qas_id: str
    candidates: list[Candidate]  # the best first; at least one
    null_odds: float  # score of no answer less that of the best answer; 0 in version 1

    def best(self, config: PredictionConfig) -> Candidate:
        """The answer; empty if no answer is more likely, in version 2."""
        if config.version_2_with_negative and self.null_odds > config.null_score_diff_threshold:
            return next((c for c in self.candidates if not c.text), _EMPTY)
        return next((c for c in self.candidates if c.text), self.candidates[0])


_EMPTY = Candidate("", 0, 0, 0.0, 0.0, 0.0, 0.0)


def predict(
    dataset: Dataset,
    features: Features,
    start_logits: Floats,
    end_logits: Floats,
    config: PredictionConfig,
) -> Iterator[Prediction]:
    """Chooses answers over all windows of each question.

    Args:
        dataset: what the features were built from.
        features: windows.
        start_logits: float32 [W, L].
        end_logits: float32 [W, L].
        config: how answers are chosen.

    Source: write_predictions of google-research/bert. Differs: answers are slices of the context by
        character offsets; texts that differ in their place alone count once, as there.
    """
    window, start, end, score = _pairs(features, start_logits, end_logits, config)
    questions = features.window_questions[window]
    contexts = features.question_contexts[questions]
    shift = features.window_first[window] - features.first_context_position[window]
    first, behind = features.spans(contexts, shift + start, shift + end)
    logits = start_logits[window, start], end_logits[window, end]
    numbers = np.arange(len(features.question_contexts) + 1)
    bounds = np.searchsorted(questions, numbers)
    window_bounds = np.searchsorted(features.window_questions, numbers)
    null = start_logits[:, 0] + end_logits[:, 0]
    for number, (paragraph, question) in enumerate(dataset.questions()):
        null_score = float(null[window_bounds[number] : window_bounds[number + 1]].min())
        # Candidates are made only until there are enough, which are few of all.
        found = (
            Candidate(
                paragraph.context[first[i] : behind[i]], int(first[i]), int(behind[i]),
                float(score[i]), 0.0, float(logits[0][i]), float(logits[1][i]),
            )
            for i in range(bounds[number], bounds[number + 1])
        )  # fmt: skip
        yield _prediction(question.qas_id, found, null_score, config)


def _pairs(
    features: Features, start_logits: Floats, end_logits: Floats, config: PredictionConfig
) -> tuple[Ints, Ints, Ints, Floats]:
    """The best pairs of each window by question, the best first.

    Returns:
        Window, first and last position there, int32 [A], and score, float32 [A].
    """
    begin = features.first_context_position[:, None]
    column = np.arange(start_logits.shape[1])[None]
    is_context = (column >= begin) & (column < begin + features.window_counts[:, None])
    is_start = is_context.copy()
    is_start[is_context] = max_context(features)
    k = config.n_best_size
    starts, start_scores = _best(np.where(is_start, start_logits, -np.inf), k)
    ends, end_scores = _best(np.where(is_context, end_logits, -np.inf), k)
    score = start_scores[:, :, None] + end_scores[:, None, :]
    size = ends[:, None, :] - starts[:, :, None] + 1
    score = np.where((size >= 1) & (size <= config.max_answer_length), score, -np.inf)
    window, i, j = np.nonzero(np.isfinite(score))
    flat = score[window, i, j]
    order = np.lexsort((-flat, features.window_questions[window]))
    window, i, j = window[order], i[order], j[order]
    return (
        window.astype(np.int32),
        starts[window, i].astype(np.int32),
        ends[window, j].astype(np.int32),
        flat[order].astype(np.float32),
    )


def _best(values: Floats, k: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Columns and values of the k largest of each row, the largest first, ties from the left."""
    columns = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return columns, np.take_along_axis(values, columns, axis=1)


def _prediction(
    qas_id: str, found: Iterable[Candidate], null_score: float, config: PredictionConfig
) -> Prediction:
    distinct: dict[str, Candidate] = {}
    for candidate in found:
        distinct.setdefault(candidate.text, candidate)
        if len(distinct) == config.n_best_size:
            break
    best = list(distinct.values())
    null_odds = 0.0
    if config.version_2_with_negative:
        null_odds = null_score - best[0].score if best else math.inf
        best.append(_EMPTY._replace(score=null_score))
        best.sort(key=lambda candidate: -candidate.score)
    best = best or [_EMPTY]
    weights = [math.exp(candidate.score - best[0].score) for candidate in best]
    total = sum(weights)
    ranked = [
        candidate._replace(probability=weight / total)
        for candidate, weight in zip(best, weights, strict=True)
    ]
    return Prediction(qas_id, ranked, null_odds)
