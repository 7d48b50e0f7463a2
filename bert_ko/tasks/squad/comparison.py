"""Two sets of answers to the same questions: the scores of both, and each answer that changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bert_ko.display import shown, shown_list
from bert_ko.progress import format_table
from bert_ko.tasks.squad.scores import AnswerScore, Scores, score_predictions

if TYPE_CHECKING:
    from bert_ko.tasks.squad.josa_rules import Stripped  # which imports MeCab

Effect = Literal["better", "worse", "same"]
EFFECTS: tuple[Effect, ...] = ("better", "worse", "same")
_METRICS = ("exact_match", "f1")
_BRACKET_CONTENT = re.compile(r"([(（\[〈《「『【])[^)）\]〉》」』】]+")
_MAX_ENDINGS, _MAX_CHANGES = 25, 20  # rows of the tables on screen


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
        """By exact match; by F1 if that stays."""
        if self.score_before == self.score_after:
            return "same"
        return "better" if self.score_after > self.score_before else "worse"

    def record(self) -> dict[str, Any]:
        """The values for a line of JSON; F1 of 1."""
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
    """The questions whose answers differ, in their order; all arguments are by question id."""
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
    """The number of changes with each effect."""
    counts = Counter(change.effect for change in changes)
    return {effect: counts[effect] for effect in EFFECTS}


def _format_scores(before: Scores, after: Scores, headers: tuple[str, str]) -> str:
    """A table of both scores and their difference, in percent."""
    rows = [
        (name, value, other, f"{other - value:+.2f}")
        for (name, value), other in zip(
            before.values().items(), after.values().values(), strict=True
        )
    ]
    return format_table(rows, ["", *headers, "difference"])


# Answers without and with stripping


class EndingCount(NamedTuple):
    """How often an ending was cut off, and with what effect."""

    ending: str
    rule: str
    answers: int
    better: int
    worse: int


@dataclass(frozen=True)
class JosaReport:
    """The scores without and with stripping, and each answer that it changed.

    without: of the answers as they were.
    stripped: of the answers after stripping.
    changes: answers that became shorter, of questions with golds.
    shortened: question id to what is left of an answer and what was cut off.
    not_found: ids of answers of a file that are not in their context; they stay as they were.
    ambiguous: ids of answers of a file that are found at several places, none of which was given;
        the first one is used.
    """

    without: Scores
    stripped: Scores
    changes: list[Change]
    shortened: Mapping[str, Stripped]
    not_found: Sequence[str] = ()
    ambiguous: Sequence[str] = ()

    def endings(self) -> list[EndingCount]:
        """The endings, the most frequent first; what brackets hold is left out."""
        groups: dict[tuple[str, str], list[Change]] = {}
        for change in self.changes:
            stripped = self.shortened[change.qas_id]
            groups.setdefault((_ending(stripped.removed), stripped.rule), []).append(change)
        counts = []
        for (ending, rule), changes in groups.items():
            effects = count_effects(changes)
            row = EndingCount(ending, rule, len(changes), effects["better"], effects["worse"])
            counts.append(row)
        return sorted(counts, key=lambda row: (-row.answers, row.ending, row.rule))

    def summary(self) -> dict[str, Any]:
        """The report as values for JSON, without the answers themselves."""
        return {
            "without": self.without.values(),
            "with": self.stripped.values(),
            "changed": {"total": len(self.changes), **count_effects(self.changes)},
            "endings": [row._asdict() for row in self.endings()],
            "not_found": self.not_found,
            "ambiguous": self.ambiguous,
        }

    def records(self) -> Iterator[dict[str, Any]]:
        """Yields a record for each changed answer, for a file of JSON lines."""
        for change in self.changes:
            stripped = self.shortened[change.qas_id]
            yield {**change.record(), "removed": stripped.removed, "rule": stripped.rule}

    def format(self) -> str:
        """The report as tables."""
        effects = count_effects(self.changes)
        lines = [
            _format_scores(self.without, self.stripped, ("not stripped", "stripped")),
            "",
            f"answers shortened: {len(self.changes):,} ({effects['better']:,} better, "
            f"{effects['worse']:,} worse, {effects['same']:,} without effect)",
        ]
        for ids, said in (
            (self.not_found, "not in their context, left as they are"),
            (self.ambiguous, "at several places and without answer_start, the first one used"),
        ):
            if ids:
                lines.append(f"{said}: {len(ids):,} ({shown_list(ids)})")
        if self.changes:
            lines += ["", self._format_endings()]
        return "\n".join(lines)

    def _format_endings(self) -> str:
        endings = self.endings()
        rows: list[list[object]] = [[shown(row.ending), *row[1:]] for row in endings[:_MAX_ENDINGS]]
        if rest := endings[_MAX_ENDINGS:]:
            sums = [sum(numbers) for numbers in zip(*(row[2:] for row in rest), strict=True)]
            rows.append([f"({len(rest):,} others)", "", *sums])
        return format_table(rows, ["ending", "rule", "answers", "better", "worse"])


def _ending(removed: str) -> str:
    """What an answer shares with others: no content of brackets, no punctuation around."""
    removed = _BRACKET_CONTENT.sub(r"\1…", removed)
    return removed.strip(" .,!?") or removed or "(at the front)"


def make_josa_report(
    golds: Mapping[str, Sequence[str]],
    predictions: Mapping[str, str],
    scores: Scores,
    shortened: Mapping[str, Stripped],
) -> JosaReport:
    """Scores the answers that stripping changed, and compares.

    Args:
        golds: question id to accepted answers.
        predictions: question id to answer, before stripping.
        scores: of these.
        shortened: see ``strip_answers``.
    """
    texts = {qas_id: stripped.span.text for qas_id, stripped in shortened.items()}
    after = scores.after(golds, texts)
    changes = find_changes(golds, predictions, {**predictions, **texts}, scores, after)
    return JosaReport(scores, after, changes, shortened)


# Answers of a baseline and others


@dataclass(frozen=True)
class BaselineReport:
    """The scores of a baseline and of other predictions, and each answer that differs."""

    baseline: Scores
    scores: Scores
    changes: list[Change]

    def questions(self) -> dict[str, dict[str, int]]:
        """The number of questions won and lost against the baseline, by metric."""
        counts = {metric: {"won": 0, "lost": 0} for metric in _METRICS}
        for change in self.changes:
            for metric, before, after in zip(
                _METRICS, change.score_before, change.score_after, strict=True
            ):
                counts[metric]["won"] += after > before
                counts[metric]["lost"] += after < before
        return counts

    def summary(self) -> dict[str, Any]:
        """The report as values for JSON, without the answers themselves."""
        before, after = self.baseline.values(), self.scores.values()
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
        """The report as tables, with the first of the questions whose score changed."""
        counts = [[metric, *count.values()] for metric, count in self.questions().items()]
        scored = [change for change in self.changes if change.effect != "same"]
        lines = [
            _format_scores(self.baseline, self.scores, ("baseline", "predictions")),
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


def _format_changes(changes: Sequence[Change]) -> str:
    rows = []
    for change in changes:
        gain = change.score_after.exact_match - change.score_before.exact_match
        texts = change.qas_id, " | ".join(change.golds), change.before, change.after
        f1 = f"{change.score_after.f1 - change.score_before.f1:+.2f}"
        rows.append([*map(shown, texts), f"{gain:+d}" if gain else "", f1])
    # Those that change the exact match first; the sort keeps the order of the questions.
    rows.sort(key=lambda row: not row[-2])
    header = ["id", "gold", "baseline", "predictions", "exact_match", "f1"]
    table = format_table(rows[:_MAX_CHANGES], header)
    rest = len(rows) - _MAX_CHANGES
    return f"{table}\n... and {rest:,} more: --output_file has them all" if rest > 0 else table


def make_baseline_report(
    golds: Mapping[str, Sequence[str]],
    baseline: Mapping[str, str],
    predictions: Mapping[str, str],
    scores: Scores,
) -> BaselineReport:
    """Scores a baseline and compares question by question.

    Args:
        golds: question id to accepted answers.
        baseline: question id to answer.
        predictions: the same of what is compared with it.
        scores: of the predictions.
    """
    before = score_predictions(golds, baseline)
    return BaselineReport(
        before, scores, find_changes(golds, baseline, predictions, before, scores)
    )
