"""When to strip: always, never, or where it helps a reader that answers in pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.features import Features
from bert_ko.tasks.squad.josa import Analysis, JosaStripper, Stripped
from bert_ko.tasks.squad.scores import score_answer

StripJosa = Literal["auto", "always", "never"]
# An ending must help so many answers more than it hurts: one may be chance.
_MIN_GAIN = 2


class HelpfulStripper:
    """Strips the endings of a list alone; the interface of JosaStripper."""

    def __init__(self, stripper: JosaStripper, endings: Iterable[str]):
        """Args: stripper; endings: as ``ending_key`` names them."""
        self._stripper = stripper
        self.endings = frozenset(endings)

    def analyze(self, context: str) -> Analysis:
        """See JosaStripper."""
        return self._stripper.analyze(context)

    def strip(self, analysis: Analysis, start: int, end: int) -> Stripped:
        """Strips the answer, if the list has its ending."""
        stripped = self._stripper.strip(analysis, start, end)
        if ending_key(stripped) in self.endings:
            return stripped
        return Stripped(start, end, "", "")


def ending_key(stripped: Stripped) -> str:
    """The rule and the letters that were cut off; of a bracket the rule alone."""
    if stripped.rule == "bracket":
        return stripped.rule
    return f"{stripped.rule} {''.join(c for c in stripped.removed if c.isalnum())}"


def learn_endings(dataset: Dataset, features: Features, stripper: JosaStripper) -> list[str]:
    """The endings that are worth stripping, from the gold answers of a training file.

    Each gold answer is taken as a reader at its best would give it, in whole pieces, and stripped.

    Args:
        dataset: with gold answers.
        features: of the same dataset; they know the pieces of the answers.
        stripper: cuts the endings.
    """
    gains: Counter[str] = Counter()
    number = 0
    for context, paragraph in enumerate(dataset.paragraphs):
        analysis = stripper.analyze(paragraph.context) if paragraph.questions else None
        for question in paragraph.questions:
            first, last = features.answer_first[number], features.answer_last[number]
            number += 1
            if first < 0 or analysis is None:
                continue
            offset = features.context_offsets[context]
            start = int(features.context_starts[offset + first])
            end = int(features.context_ends[offset + last])
            stripped = stripper.strip(analysis, start, end)
            if (stripped.start, stripped.end) == (start, end):
                continue
            golds = [answer.text for answer in question.answers]
            before = score_answer(paragraph.context[start:end], golds).exact_match
            after = score_answer(
                paragraph.context[stripped.start : stripped.end], golds
            ).exact_match
            gains[ending_key(stripped)] += after - before
    return sorted(key for key, gain in gains.items() if gain >= _MIN_GAIN)
