"""Logits of windows to answers: slices of the original context, byte for byte.

Legend: W windows, L max_seq_length, K n_best_size.
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
    """How answers are chosen.

    Attributes:
        n_best_size: answers that are kept for a question.
        max_answer_length: pieces of an answer at most.
        version_2_with_negative: there are questions without an answer.
        null_score_diff_threshold: no answer, where its score is better than the best answer's by
            more than this.
    """

    n_best_size: int = 20
    max_answer_length: int = 30
    version_2_with_negative: bool = False
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
    """The answers of a question, the best first.

    Attributes:
        qas_id: the question.
        candidates: at least one.
        null_odds: score of no answer less that of the best answer; 0 in version 1.
    """

    qas_id: str
    candidates: list[Candidate]
    null_odds: float

    def best(self, config: PredictionConfig) -> Candidate:
        """The answer; empty where no answer is more likely, in version 2."""
        if config.version_2_with_negative and self.null_odds > config.null_score_diff_threshold:
            return next((c for c in self.candidates if not c.text), _EMPTY)
        return next((c for c in self.candidates if c.text), self.candidates[0])


_EMPTY = Candidate("", 0, 0, 0.0, 0.0, 0.0, 0.0)


class _Pairs(NamedTuple):
    """Possible answers, by question, the best first."""

    window: Ints
    start: Ints  # positions in the window
    end: Ints
    score: Floats


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
    pairs = _pairs(features, start_logits, end_logits, config)
    questions = features.window_questions[pairs.window]
    bounds = np.searchsorted(questions, np.arange(len(features.question_contexts) + 1))
    null = start_logits[:, 0] + end_logits[:, 0]
    window_bounds = np.searchsorted(
        features.window_questions, np.arange(len(features.question_contexts) + 1)
    )
    for number, (paragraph, question) in enumerate(dataset.questions()):
        null_score = float(null[window_bounds[number] : window_bounds[number + 1]].min())
        # As many as are wanted are made, which are few of all.
        found = (
            _candidate(features, paragraph.context, pairs, i, start_logits, end_logits)
            for i in range(bounds[number], bounds[number + 1])
        )
        yield _prediction(question.qas_id, found, null_score, config)


def _pairs(
    features: Features, start_logits: Floats, end_logits: Floats, config: PredictionConfig
) -> _Pairs:
    """The best pairs of each window."""
    windows, length = start_logits.shape
    begin = features.first_context_position[:, None]
    column = np.arange(length)[None]
    is_context = (column >= begin) & (column < begin + features.window_counts[:, None])
    is_start = is_context.copy()
    is_start[is_context] = max_context(features)
    k = min(config.n_best_size, length)
    starts = _best(np.where(is_start, start_logits, -np.inf), k)
    ends = _best(np.where(is_context, end_logits, -np.inf), k)
    row = np.arange(windows)[:, None]
    start_scores = np.where(is_start[row, starts], start_logits[row, starts], -np.inf)
    end_scores = np.where(is_context[row, ends], end_logits[row, ends], -np.inf)
    score = start_scores[:, :, None] + end_scores[:, None, :]
    size = ends[:, None, :] - starts[:, :, None] + 1
    score = np.where((size >= 1) & (size <= config.max_answer_length), score, -np.inf)
    window, i, j = np.nonzero(np.isfinite(score))
    flat = score[window, i, j]
    order = np.lexsort((-flat, features.window_questions[window]))
    window, i, j = window[order], i[order], j[order]
    return _Pairs(
        window.astype(np.int32),
        starts[window, i].astype(np.int32),
        ends[window, j].astype(np.int32),
        flat[order].astype(np.float32),
    )


def _best(values: Floats, k: int) -> npt.NDArray[np.int64]:
    """Columns of the k largest of each row, the largest first; among equals the leftmost."""
    return np.argsort(-values, axis=1, kind="stable")[:, :k]


def _candidate(
    features: Features,
    text: str,
    pairs: _Pairs,
    i: int,
    start_logits: Floats,
    end_logits: Floats,
) -> Candidate:
    window = pairs.window[i]
    context = features.question_contexts[features.window_questions[window]]
    shift = (
        features.context_offsets[context]
        + features.window_first[window]
        - features.first_context_position[window]
    )
    start = int(features.context_starts[shift + pairs.start[i]])
    end = int(features.context_ends[shift + pairs.end[i]])
    return Candidate(
        text[start:end],
        start,
        end,
        float(pairs.score[i]),
        0.0,
        float(start_logits[window, pairs.start[i]]),
        float(end_logits[window, pairs.end[i]]),
    )


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
    largest = best[0].score
    weights = [math.exp(candidate.score - largest) for candidate in best]
    total = sum(weights)
    ranked = [
        candidate._replace(probability=weight / total)
        for candidate, weight in zip(best, weights, strict=True)
    ]
    return Prediction(qas_id, ranked, null_odds)
