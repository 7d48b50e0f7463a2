"""When to strip: always, never, or where it helps a reader that answers in pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from bert_ko.tasks.squad.examples import Dataset, Span
from bert_ko.tasks.squad.features import Features, gold_spans
from bert_ko.tasks.squad.josa import Analysis, JosaStripper, Stripped
from bert_ko.tasks.squad.josa_report import strip_answers
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

    def strip(self, analysis: Analysis, span: Span) -> Stripped:
        """Strips the answer, if the list has its ending."""
        stripped = self._stripper.strip(analysis, span)
        return stripped if ending_key(stripped) in self.endings else Stripped(span, "", "")


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
    spans, golds = gold_spans(dataset, features), dataset.golds()
    gains: Counter[str] = Counter()
    for qas_id, stripped in strip_answers(dataset, spans, stripper).items():
        before = score_answer(spans[qas_id].text, golds[qas_id]).exact_match
        after = score_answer(stripped.span.text, golds[qas_id]).exact_match
        gains[ending_key(stripped)] += after - before
    return sorted(key for key, gain in gains.items() if gain >= _MIN_GAIN)
