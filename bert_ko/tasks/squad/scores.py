"""The official KorQuAD 1.0 score: exact match and F1 over characters."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
    """The scores of answers; all by question id."""

    golds: Mapping[str, Sequence[str]]  # accepted answers
    answers: Mapping[str, str]
    by_question: dict[str, AnswerScore]  # in the order of the golds

    @cached_property
    def means(self) -> dict[str, float]:
        """exact_match and f1 over all questions, in percent; see ``mean_scores``."""
        return mean_scores(list(self.by_question.values()))

    @property
    def total(self) -> int:
        """The number of questions."""
        return len(self.golds)

    @property
    def missing(self) -> list[str]:
        """Ids of the questions without an answer, which score 0."""
        return [qas_id for qas_id in self.golds if qas_id not in self.answers]

    @property
    def extra(self) -> int:
        """The number of answers with an id that no question has; they change nothing."""
        return sum(qas_id not in self.golds for qas_id in self.answers)

    @property
    def other_form(self) -> list[str]:
        """Ids of the questions whose answer is no exact match for its Unicode form alone."""
        return [
            qas_id
            for qas_id, score in self.by_question.items()
            if not score.exact_match
            and _compose(self.answers.get(qas_id, "")) in map(_compose, self.golds[qas_id])
        ]

    def after(self, changed: Mapping[str, str]) -> Scores:
        """The scores with some answers replaced; the others are not scored again."""
        scores = {
            qas_id: score_answer(answer, self.golds[qas_id])
            for qas_id, answer in changed.items()
            if qas_id in self.golds
        }
        return Scores(self.golds, {**self.answers, **changed}, self.by_question | scores)


def normalize_answer(text: str) -> str:
    """What the score compares: no quotes, case, punctuation or doubled spaces.

    Quotes and brackets become spaces, other ASCII punctuation vanishes without one. Unicode's own
    punctuation and forms (NFD) stay as they are, and so do josa.

    Source: the behaviour of KorQuAD 1.0's official evaluation.
    """
    # In this order: punctuation around a final sigma decides how it is lower-cased.
    text = text.translate(_TO_SPACE).lower().translate(_TO_NOTHING)
    return " ".join(text.split())


def _compose(text: str) -> str:
    return unicodedata.normalize("NFC", normalize_answer(text))


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


def score_predictions(golds: Mapping[str, Sequence[str]], answers: Mapping[str, str]) -> Scores:
    """Scores answers by question id; golds are the accepted ones, see ``score_answer``."""
    by_question = {
        qas_id: score_answer(answers[qas_id], accepted) if qas_id in answers else NO_SCORE
        for qas_id, accepted in golds.items()
    }
    return Scores(golds, answers, by_question)


def mean_scores(scores: Sequence[AnswerScore]) -> dict[str, float]:
    """Means of exact_match and f1, in percent; 0 if there is no score."""
    count = max(len(scores), 1)
    return {
        "exact_match": 100.0 * sum(score.exact_match for score in scores) / count,
        "f1": 100.0 * sum(score.f1 for score in scores) / count,
    }


def _character_f1(prediction: str, gold: str) -> float:
    """F1 of the characters that the two have in common, in any order; 0 if both are empty."""
    prediction, gold = prediction.replace(" ", ""), gold.replace(" ", "")
    common = sum(min(prediction.count(char), gold.count(char)) for char in set(gold))
    if not common:
        return 0.0
    precision, recall = common / len(prediction), common / len(gold)
    return 2 * precision * recall / (precision + recall)
