"""What stripping josa does to a set of answers: the scores without and with, ending by ending."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from bert_ko.display import shown, shown_list
from bert_ko.progress import format_table
from bert_ko.tasks.squad.changes import (
    Change,
    count_effects,
    find_changes,
    format_two_scores,
    score_values,
)
from bert_ko.tasks.squad.examples import Dataset, locate
from bert_ko.tasks.squad.scores import Scores, score_predictions

_BRACKET_CONTENT = re.compile(r"([(（\[〈《「『【])[^)）\]〉》」』】]+")
_MAX_ENDINGS = 25  # rows of the table on screen


class Span(Protocol):
    """What is left of an answer; the interface of josa.Stripped."""

    @property
    def start(self) -> int:
        """The first character in the context."""

    @property
    def end(self) -> int:
        """The character behind the last one."""

    @property
    def removed(self) -> str:
        """What was cut off; "" for nothing."""

    @property
    def rule(self) -> str:
        """Why it was cut off, in one word."""


class Stripper(Protocol):
    """The interface of josa.JosaStripper."""

    def analyze(self, context: str, /) -> Any:
        """Prepares a context, once for all its answers."""

    def strip(self, analysis: Any, start: int, end: int, /) -> Span:
        """Shortens the answer at [start, end) of the context."""


class Removal(NamedTuple):
    """What was cut off an answer, and by which rule."""

    removed: str
    rule: str


@dataclass(frozen=True)
class StrippedAnswers:
    """Answers after stripping.

    texts: question id to answer, those too that stay as they were.
    removals: question id to what was cut off, of those that changed.
    not_found: ids of answers that are not in their context; they stay as they were.
    ambiguous: ids of answers that stand at several places, none of which was given; the first one
        was taken.
    spans: question id to characters of the answer in its context, of those that were found.
    """

    texts: dict[str, str]
    removals: dict[str, Removal]
    not_found: list[str]
    ambiguous: list[str]
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)


class EndingCount(NamedTuple):
    """How often an ending was cut off, and what came of it."""

    ending: str
    rule: str
    answers: int
    better: int
    worse: int


@dataclass(frozen=True)
class JosaReport:
    """The scores without and with stripping, and each answer that it changed."""

    without: Scores
    stripped: Scores
    changes: list[Change]
    answers: StrippedAnswers

    def endings(self) -> list[EndingCount]:
        """Returns the endings, the most frequent first; what brackets hold is left out."""
        groups: dict[tuple[str, str], list[Change]] = {}
        for change in self.changes:
            removal = self.answers.removals[change.qas_id]
            groups.setdefault((_ending(removal), removal.rule), []).append(change)
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
            "not_found": self.answers.not_found,
            "ambiguous": self.answers.ambiguous,
        }

    def records(self) -> Iterator[dict[str, Any]]:
        """Yields a record for each changed answer, for a file of JSON lines."""
        for change in self.changes:
            yield {**change.record(), **self.answers.removals[change.qas_id]._asdict()}

    def format(self) -> str:
        """Returns the report as tables for people."""
        effects = count_effects(self.changes)
        lines = [
            format_two_scores(self.without, self.stripped, ("not stripped", "stripped")),
            "",
            f"answers shortened: {len(self.changes):,} ({effects['better']:,} better, "
            f"{effects['worse']:,} worse, {effects['same']:,} without effect)",
        ]
        if not_found := self.answers.not_found:
            lines.append(
                f"not in their context, left as they are: {len(not_found):,} "
                f"({shown_list(not_found)})"
            )
        if ambiguous := self.answers.ambiguous:
            lines.append(
                f"at several places and without answer_start, the first taken: {len(ambiguous):,} "
                f"({shown_list(ambiguous)})"
            )
        if self.changes:
            lines += ["", _format_endings(self.endings())]
        return "\n".join(lines)


def strip_answers(
    dataset: Dataset,
    predictions: Mapping[str, str],
    starts: Mapping[str, int],
    stripper: Stripper,
) -> StrippedAnswers:
    """Strips the answers to all questions of a dataset in their contexts.

    Args:
        dataset: The questions and contexts.
        predictions: Question id to answer, a part of the context.
        starts: Question id to the answer's first character in the context, where it is known; an
            answer that is not exactly there is looked for near it.
        stripper: Cuts the endings.
    """
    texts = dict(predictions)
    removals: dict[str, Removal] = {}
    not_found, ambiguous, spans = [], [], {}
    for paragraph in dataset.paragraphs:
        analysis: Any = None
        for qas_id in (question.qas_id for question in paragraph.questions):
            text = predictions.get(qas_id, "")
            if not text.strip():
                continue
            place = locate(paragraph.context, text, starts.get(qas_id, 0))
            if place is None or place.start is None:
                not_found.append(qas_id)
                continue
            if qas_id not in starts and _occurs_again(paragraph.context, place.text, place.start):
                ambiguous.append(qas_id)
            if analysis is None:
                analysis = stripper.analyze(paragraph.context)
            end = place.start + len(place.text)
            span = stripper.strip(analysis, place.start, end)
            spans[qas_id] = (span.start, span.end)
            if (span.start, span.end) != (place.start, end):
                texts[qas_id] = paragraph.context[span.start : span.end]
                removals[qas_id] = Removal(span.removed, span.rule)
    return StrippedAnswers(texts, removals, not_found, ambiguous, spans)


def make_josa_report(
    golds: Mapping[str, Sequence[str]], predictions: Mapping[str, str], answers: StrippedAnswers
) -> JosaReport:
    """Scores the answers before and after stripping.

    Args:
        golds: Question id to accepted answers.
        predictions: Question id to answer, before.
        answers: The same answers after, as `strip_answers` returns them.
    """
    without = score_predictions(golds, predictions)
    stripped = score_predictions(golds, answers.texts)
    changes = find_changes(golds, predictions, answers.texts, without, stripped)
    return JosaReport(without, stripped, changes, answers)


def _occurs_again(context: str, text: str, start: int) -> bool:
    return context.find(text, start + 1) >= 0


def _ending(removal: Removal) -> str:
    """What an answer shares with others: no content of brackets, no punctuation around."""
    removed = _BRACKET_CONTENT.sub(r"\1…", removal.removed)
    return removed.strip(" .,!?") or removed or "(at the front)"


def _format_endings(endings: Sequence[EndingCount]) -> str:
    rows: list[list[object]] = [[shown(row.ending), *row[1:]] for row in endings[:_MAX_ENDINGS]]
    if rest := endings[_MAX_ENDINGS:]:
        sums = [sum(numbers) for numbers in zip(*(row[2:] for row in rest), strict=True)]
        rows.append([f"({len(rest):,} others)", "", *sums])
    return format_table(rows, ["ending", "rule", "answers", "better", "worse"])
