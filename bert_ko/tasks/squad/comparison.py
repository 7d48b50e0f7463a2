"""Two sets of answers to the same questions: the scores of both, and each answer that changed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from bert_ko.display import shown, shown_list
from bert_ko.progress import format_table
from bert_ko.tasks.squad.scores import AnswerScore, Scores

if TYPE_CHECKING:
    from bert_ko.tasks.squad.josa_rules import Stripped  # which imports MeCab

Effect = Literal["better", "worse", "same"]
EFFECTS: tuple[Effect, ...] = ("better", "worse", "same")
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


@dataclass(frozen=True)
class Comparison:
    """Two sets of answers to the same questions."""

    before: Scores
    after: Scores

    @cached_property
    def changes(self) -> list[Change]:
        """The questions whose answers differ, in their order."""
        before, after = self.before, self.after
        return [
            Change(
                qas_id,
                before.answers.get(qas_id),
                after.answers.get(qas_id),
                tuple(accepted),
                before.by_question[qas_id],
                after.by_question[qas_id],
            )
            for qas_id, accepted in before.golds.items()
            if before.answers.get(qas_id) != after.answers.get(qas_id)
        ]

    @property
    def effects(self) -> dict[Effect, int]:
        """The number of changes with each effect."""
        counts = Counter(change.effect for change in self.changes)
        return {effect: counts[effect] for effect in EFFECTS}

    def records(self) -> Iterator[dict[str, Any]]:
        """Yields a record for each answer that differs, for a file of JSON lines."""
        return (change.record() for change in self.changes)

    def _format_scores(self, *headers: str) -> str:
        """A table of both scores and their difference, in percent."""
        rows = [
            (name, value, self.after.means[name], f"{self.after.means[name] - value:+.2f}")
            for name, value in self.before.means.items()
        ]
        return format_table(rows, ["", *headers, "difference"])


class EndingCount(NamedTuple):
    """How often an ending was cut off, and with what effect."""

    ending: str
    rule: str
    answers: int
    better: int
    worse: int


@dataclass(frozen=True)
class JosaReport(Comparison):
    """Answers without and with stripping."""

    shortened: Mapping[str, Stripped]  # question id to what is left of an answer
    not_found: Sequence[str] = ()  # ids of answers that are not in their context; they stay
    ambiguous: Sequence[str] = ()  # of those found at several places; the first one is used

    @classmethod
    def of(cls, scores: Scores, shortened: Mapping[str, Stripped], **ids: Sequence[str]) -> Self:
        """Scores the answers that stripping changed; see ``strip_answers``."""
        texts = {qas_id: stripped.span.text for qas_id, stripped in shortened.items()}
        return cls(scores, scores.after(texts), shortened, **ids)

    def endings(self) -> list[EndingCount]:
        """The endings, the most frequent first; what brackets hold is left out."""
        groups = defaultdict[tuple[str, str], list[Effect]](list)
        for change in self.changes:
            stripped = self.shortened[change.qas_id]
            groups[_ending(stripped.removed), stripped.rule].append(change.effect)
        counts = [
            EndingCount(*key, len(effects), effects.count("better"), effects.count("worse"))
            for key, effects in groups.items()
        ]
        return sorted(counts, key=lambda row: (-row.answers, row.ending, row.rule))

    def summary(self) -> dict[str, Any]:
        """The report as values for JSON, without the answers themselves."""
        return {
            "without": self.before.means,
            "with": self.after.means,
            "changed": {"total": len(self.changes), **self.effects},
            "endings": [row._asdict() for row in self.endings()],
            "not_found": self.not_found,
            "ambiguous": self.ambiguous,
        }

    def records(self) -> Iterator[dict[str, Any]]:
        """The same with what was cut off, and why."""
        for change in self.changes:
            stripped = self.shortened[change.qas_id]
            yield {**change.record(), "removed": stripped.removed, "rule": stripped.rule}

    def format(self) -> str:
        """The report as tables."""
        effects = self.effects
        lines = [
            self._format_scores("not stripped", "stripped"),
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


@dataclass(frozen=True)
class BaselineReport(Comparison):
    """Answers of a baseline and other predictions."""

    def questions(self) -> dict[str, dict[str, int]]:
        """The number of questions won and lost against the baseline, by metric."""
        pairs = [(change.score_before, change.score_after) for change in self.changes]
        return {
            metric: {
                "won": sum(after[i] > before[i] for before, after in pairs),
                "lost": sum(after[i] < before[i] for before, after in pairs),
            }
            for i, metric in enumerate(AnswerScore._fields)
        }

    def summary(self) -> dict[str, Any]:
        """The report as values for JSON, without the answers themselves."""
        before, after = self.before, self.after
        return {
            **before.means,
            "total": before.total,
            "missing": before.missing,
            "extra": before.extra,
            "difference": {name: after.means[name] - value for name, value in before.means.items()},
            "questions": self.questions(),
            "different_answers": len(self.changes),
        }

    def format(self) -> str:
        """The report as tables, with the first of the questions whose score changed."""
        counts = [[metric, *count.values()] for metric, count in self.questions().items()]
        scored = [change for change in self.changes if change.effect != "same"]
        lines = [
            self._format_scores("baseline", "predictions"),
            "",
            format_table(counts, ["questions", "won", "lost"]),
            "",
            f"answers that differ: {len(self.changes):,}, {len(scored):,} of them in their score",
        ]
        if missing := self.before.missing:
            lines.append(f"questions that the baseline lacks: {len(missing):,}")
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
