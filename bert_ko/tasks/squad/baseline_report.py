"""Two sets of predictions side by side: the scores, and the questions that changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bert_ko.display import shown
from bert_ko.progress import format_table
from bert_ko.tasks.squad.changes import Change, find_changes, format_two_scores, score_values
from bert_ko.tasks.squad.scores import Scores, score_predictions

_METRICS = ("exact_match", "f1")
_MAX_CHANGES = 20  # rows of the table on screen


@dataclass(frozen=True)
class BaselineReport:
    """The scores of a baseline and of other predictions, and each answer that differs."""

    baseline: Scores
    scores: Scores
    changes: list[Change]

    def questions(self) -> dict[str, dict[str, int]]:
        """Returns the number of questions won and lost against the baseline, by metric."""
        counts = {metric: {"won": 0, "lost": 0} for metric in _METRICS}
        for change in self.changes:
            for metric in _METRICS:
                before = getattr(change.score_before, metric)
                after = getattr(change.score_after, metric)
                counts[metric]["won"] += after > before
                counts[metric]["lost"] += after < before
        return counts

    def summary(self) -> dict[str, Any]:
        """Returns the report as values for JSON, without the answers themselves."""
        before, after = score_values(self.baseline), score_values(self.scores)
        return {
            **before,
            "total": self.baseline.total,
            "missing": self.baseline.missing,
            "extra": self.baseline.extra,
            "difference": {metric: after[metric] - before[metric] for metric in _METRICS},
            "questions": self.questions(),
            "different_answers": len(self.changes),
        }

    def records(self) -> Iterator[dict[str, Any]]:
        """Yields a record for each answer that differs, for a file of JSON lines."""
        return (change.record() for change in self.changes)

    def format(self) -> str:
        """Returns the report as tables for people, the first of the changed questions among it."""
        counts = [[metric, *count.values()] for metric, count in self.questions().items()]
        scored = [change for change in self.changes if change.effect != "same"]
        lines = [
            format_two_scores(self.baseline, self.scores, ("baseline", "predictions")),
            "",
            format_table(counts, ["questions", "won", "lost"]),
            "",
            f"answers that differ: {len(self.changes):,}, {len(scored):,} of them in their score",
        ]
        if self.baseline.missing:
            lines.append(f"questions that the baseline lacks: {len(self.baseline.missing):,}")
        if scored:
            lines += ["", _format_changes(scored)]
        return "\n".join(lines)


def make_baseline_report(
    golds: Mapping[str, Sequence[str]],
    baseline: Mapping[str, str],
    predictions: Mapping[str, str],
    scores: Scores,
) -> BaselineReport:
    """Scores a baseline and compares question by question.

    Args:
        golds: Question id to accepted answers.
        baseline: Question id to answer.
        predictions: The same of the side that is compared with it.
        scores: Of `predictions`.
    """
    before = score_predictions(golds, baseline)
    changes = find_changes(golds, baseline, predictions, before, scores)
    return BaselineReport(before, scores, changes)


def _format_changes(changes: Sequence[Change]) -> str:
    # Those that change the exact match first; the sort keeps the order of the questions.
    ordered = sorted(changes, key=lambda change: _exact_match_gain(change) == 0)
    rows = [
        [
            shown(change.qas_id),
            shown(" | ".join(change.golds)),
            shown(change.before),
            shown(change.after),
            f"{_exact_match_gain(change):+d}" if _exact_match_gain(change) else "",
            f"{change.score_after.f1 - change.score_before.f1:+.2f}",
        ]
        for change in ordered[:_MAX_CHANGES]
    ]
    table = format_table(rows, ["id", "gold", "baseline", "predictions", "exact_match", "f1"])
    rest = len(ordered) - _MAX_CHANGES
    return f"{table}\n... and {rest:,} more: --output_file has them all" if rest > 0 else table


def _exact_match_gain(change: Change) -> int:
    return change.score_after.exact_match - change.score_before.exact_match
