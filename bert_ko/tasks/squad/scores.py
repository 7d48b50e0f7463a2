"""The official KorQuAD 1.0 score: exact match and F1 over characters."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_QUOTES_AND_BRACKETS = "'\"《》<>〈〉()‘’"
_TO_SPACE = str.maketrans(dict.fromkeys(_QUOTES_AND_BRACKETS, " "))
_TO_NOTHING = str.maketrans("", "", string.punctuation)


class AnswerScore(NamedTuple):
    """Of one answer; a greater one is better (exact_match decides first)."""

    exact_match: bool  # whether the answer is a gold answer after normalisation
    f1: float  # of 1


NO_SCORE = AnswerScore(False, 0.0)


@dataclass(frozen=True)
class Scores:
    """Of a file of predictions.

    exact_match, f1: means over all questions, in percent; 0 if there is no question.
    total: the number of questions.
    missing: ids of the questions without a prediction, which score 0.
    extra: the number of predictions for ids that no question has; they change nothing.
    by_question: id to score, in the order of the questions.
    """

    exact_match: float
    f1: float
    total: int
    missing: list[str]
    extra: int
    by_question: dict[str, AnswerScore]

    def values(self) -> dict[str, float]:
        """exact_match and f1, in percent."""
        return {"exact_match": self.exact_match, "f1": self.f1}

    def after(self, golds: Mapping[str, Sequence[str]], changed: Mapping[str, str]) -> Scores:
        """The scores after some answers have changed; the others are not scored again.

        Args:
            golds: question id to accepted answers.
            changed: question id to new answer, of questions that had one.
        """
        by_question = self.by_question | {
            qas_id: score_answer(answer, golds[qas_id])
            for qas_id, answer in changed.items()
            if qas_id in golds
        }
        return _mean(by_question, self.missing, self.extra)


def normalize_answer(text: str) -> str:
    """What the score compares: no quotes, case, punctuation or doubled spaces.

    Quotes and brackets become spaces, other ASCII punctuation vanishes without one. Unicode's own
    punctuation and forms (NFD) stay as they are, and so do josa.

    Source: the behaviour of KorQuAD 1.0's official evaluation.
    """
    # In this order: punctuation around a final sigma decides how it is lower-cased.
    text = text.translate(_TO_SPACE).lower().translate(_TO_NOTHING)
    return " ".join(text.split())


def score_answer(prediction: str, golds: Sequence[str]) -> AnswerScore:
    """The best exact match and the best F1 over the golds, each by itself.

    Args:
        prediction: the answer; "" says that there is none.
        golds: all accepted answers; none if the question can't be answered.

    Source: SQuAD 2.0's evaluation for questions without golds, which KorQuAD 1.0 does not have:
        silence scores 1 and 1, any other answer 0 and 0.
    """
    answer = normalize_answer(prediction)
    if not golds:
        return AnswerScore(not answer, float(not answer))
    accepted = [normalize_answer(gold) for gold in golds]
    return AnswerScore(answer in accepted, max(_character_f1(answer, gold) for gold in accepted))


def score_predictions(golds: Mapping[str, Sequence[str]], predictions: Mapping[str, str]) -> Scores:
    """Scores the answers to all questions.

    Args:
        golds: question id to accepted answers; none if the question can't be answered.
        predictions: question id to answer.
    """
    by_question = {
        qas_id: score_answer(predictions[qas_id], accepted) if qas_id in predictions else NO_SCORE
        for qas_id, accepted in golds.items()
    }
    missing = [qas_id for qas_id in golds if qas_id not in predictions]
    return _mean(by_question, missing, sum(qas_id not in golds for qas_id in predictions))


def mean_scores(scores: Sequence[AnswerScore]) -> dict[str, float]:
    """Means of exact_match and f1, in percent; 0 if there is no score."""
    count = max(len(scores), 1)
    return {
        "exact_match": 100.0 * sum(score.exact_match for score in scores) / count,
        "f1": 100.0 * sum(score.f1 for score in scores) / count,
    }


def _mean(by_question: dict[str, AnswerScore], missing: list[str], extra: int) -> Scores:
    means = mean_scores(list(by_question.values()))
    return Scores(
        **means, total=len(by_question), missing=missing, extra=extra, by_question=by_question
    )


def _character_f1(prediction: str, gold: str) -> float:
    """F1 of the characters that the two have in common, in any order; 0 if both are empty."""
    prediction, gold = prediction.replace(" ", ""), gold.replace(" ", "")
    common = sum(min(prediction.count(char), gold.count(char)) for char in set(gold))
    if not common:
        return 0.0
    precision, recall = common / len(prediction), common / len(gold)
    return 2 * precision * recall / (precision + recall)
