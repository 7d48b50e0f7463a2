"""Two sets of answers to the same questions: which answers changed, for the better or the worse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bert_ko.progress import format_table
from bert_ko.tasks.squad.scores import AnswerScore, Scores

Effect = Literal["better", "worse", "same"]
EFFECTS: tuple[Effect, ...] = ("better", "worse", "same")


@dataclass(frozen=True)
class Change:
    """An answer before and after; None if there is none."""

    qas_id: str
    before: str | None
    after: str | None
    golds: tuple[str, ...]
    score_before: AnswerScore
    score_after: AnswerScore

    @property
    def effect(self) -> Effect:
        """By exact match; by F1 where that stays."""
        if self.score_before == self.score_after:
            return "same"
        return "better" if self.score_after > self.score_before else "worse"

    def record(self) -> dict[str, Any]:
        """Returns the values for a line of JSON; F1 of 1."""
        return {
            "id": self.qas_id,
            "before": self.before,
            "after": self.after,
            "golds": list(self.golds),
            "effect": self.effect,
            "scores": {
                "before": self.score_before._asdict(),
                "after": self.score_after._asdict(),
            },
        }


def find_changes(
    golds: Mapping[str, Sequence[str]],
    before: Mapping[str, str],
    after: Mapping[str, str],
    scores_before: Scores,
    scores_after: Scores,
) -> list[Change]:
    """Returns the questions whose answers differ, in the order of the questions.

    Args:
        golds: Question id to accepted answers.
        before: Question id to answer.
        after: The same of the other side.
        scores_before: Of `before` against `golds`.
        scores_after: Of `after` against `golds`.
    """
    return [
        Change(
            qas_id,
            before.get(qas_id),
            after.get(qas_id),
            tuple(accepted),
            scores_before.by_question[qas_id],
            scores_after.by_question[qas_id],
        )
        for qas_id, accepted in golds.items()
        if before.get(qas_id) != after.get(qas_id)
    ]


def count_effects(changes: Iterable[Change]) -> dict[Effect, int]:
    """Returns the number of changes for each effect."""
    counts = Counter(change.effect for change in changes)
    return {effect: counts[effect] for effect in EFFECTS}


def score_values(scores: Scores) -> dict[str, float]:
    """Returns exact_match and f1 in percent."""
    return {"exact_match": scores.exact_match, "f1": scores.f1}


def format_two_scores(before: Scores, after: Scores, headers: tuple[str, str]) -> str:
    """Returns a table of both scores and their difference, in percent."""
    rows: list[list[object]] = []
    for name, value in score_values(before).items():
        other = score_values(after)[name]
        rows.append([name, value, other, f"{other - value:+.2f}"])
    return format_table(rows, ["", *headers, "difference"])
