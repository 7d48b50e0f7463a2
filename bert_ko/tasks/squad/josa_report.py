"""What stripping josa does to a set of answers: the scores without and with, ending by ending."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bert_ko.display import shown, shown_list
from bert_ko.progress import format_table
from bert_ko.tasks.squad.changes import (
    Change,
    count_effects,
    find_changes,
    format_two_scores,
    score_values,
)
from bert_ko.tasks.squad.examples import NO_ANSWER, Dataset, Span
from bert_ko.tasks.squad.scores import Scores

if TYPE_CHECKING:
    from bert_ko.tasks.squad.josa import Stripped  # which imports MeCab

_BRACKET_CONTENT = re.compile(r"([(（\[〈《「『【])[^)）\]〉》」』】]+")
_MAX_ENDINGS = 25  # rows of the table on screen


class Stripper(Protocol):
    """The interface of josa.JosaStripper."""

    def analyze(self, context: str, /) -> Any:
        """Prepares a context, once for all its answers."""

    def strip(self, analysis: Any, span: Span, /) -> Stripped:
        """Shortens an answer in the context."""


class EndingCount(NamedTuple):
    """How often an ending was cut off, and what came of it."""

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
    ambiguous: ids of answers of a file that stand at several places, none of which was given; the
        first one was taken.
    """

    without: Scores
    stripped: Scores
    changes: list[Change]
    shortened: Mapping[str, Stripped]
    not_found: Sequence[str] = ()
    ambiguous: Sequence[str] = ()

    def endings(self) -> list[EndingCount]:
        """Returns the endings, the most frequent first; what brackets hold is left out."""
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
        """Returns the report as values for JSON, without the answers themselves."""
        return {
            "without": score_values(self.without),
            "with": score_values(self.stripped),
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
        """Returns the report as tables for people."""
        effects = count_effects(self.changes)
        lines = [
            format_two_scores(self.without, self.stripped, ("not stripped", "stripped")),
            "",
            f"answers shortened: {len(self.changes):,} ({effects['better']:,} better, "
            f"{effects['worse']:,} worse, {effects['same']:,} without effect)",
        ]
        for ids, said in (
            (self.not_found, "not in their context, left as they are"),
            (self.ambiguous, "at several places and without answer_start, the first taken"),
        ):
            if ids:
                lines.append(f"{said}: {len(ids):,} ({shown_list(ids)})")
        if self.changes:
            lines += ["", _format_endings(self.endings())]
        return "\n".join(lines)


def strip_answers(
    dataset: Dataset, spans: Mapping[str, Span], stripper: Stripper
) -> dict[str, Stripped]:
    """Strips answers in their contexts.

    Args:
        dataset: The questions and contexts.
        spans: Question id to answer.
        stripper: Cuts the endings.

    Returns:
        Question id to what is left of the answer, of those that became shorter.
    """
    analyze = lru_cache(maxsize=1)(stripper.analyze)  # once for all questions on a context
    shortened = {}
    for paragraph, question in dataset.questions():
        span = spans.get(question.qas_id, NO_ANSWER)
        if not span.text.strip():
            continue
        stripped = stripper.strip(analyze(paragraph.context), span)
        if stripped.span != span:
            shortened[question.qas_id] = stripped
    return shortened


def make_josa_report(
    golds: Mapping[str, Sequence[str]],
    predictions: Mapping[str, str],
    scores: Scores,
    shortened: Mapping[str, Stripped],
) -> JosaReport:
    """Scores the answers that stripping changed, and compares.

    Args:
        golds: Question id to accepted answers.
        predictions: Question id to answer, before stripping.
        scores: Of these.
        shortened: As `strip_answers` returns it.
    """
    texts = {qas_id: stripped.span.text for qas_id, stripped in shortened.items()}
    after = scores.after(golds, texts)
    changes = find_changes(golds, predictions, {**predictions, **texts}, scores, after)
    return JosaReport(scores, after, changes, shortened)


def _ending(removed: str) -> str:
    """What an answer shares with others: no content of brackets, no punctuation around."""
    removed = _BRACKET_CONTENT.sub(r"\1…", removed)
    return removed.strip(" .,!?") or removed or "(at the front)"


def _format_endings(endings: Sequence[EndingCount]) -> str:
    rows: list[list[object]] = [[shown(row.ending), *row[1:]] for row in endings[:_MAX_ENDINGS]]
    if rest := endings[_MAX_ENDINGS:]:
        sums = [sum(numbers) for numbers in zip(*(row[2:] for row in rest), strict=True)]
        rows.append([f"({len(rest):,} others)", "", *sums])
    return format_table(rows, ["ending", "rule", "answers", "better", "worse"])
