"""Stripping josa and endings from answers: all that the rules find, or those of a list alone."""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from bert_ko.tasks.squad.examples import NO_ANSWER, Dataset, Span
from bert_ko.tasks.squad.josa_rules import Analysis, Stripped, find_words, strip_tail
from bert_ko.tokenization import normalization
from bert_ko.tokenization.morphemes import MecabSegmenter, Morpheme


class JosaStripper:
    """Analyses contexts and strips answers.

    Attributes:
        endings: those that are stripped, as ``ending_key`` names them; None strips all.
    """

    endings: frozenset[str] | None = None

    def __init__(self, user_dictionaries: Sequence[str] = ()) -> None:
        """Args: user_dictionaries: paths of compiled MeCab dictionaries, those of the tokenizer."""
        self._segmenter = MecabSegmenter(user_dictionaries)

    def only(self, endings: Iterable[str]) -> JosaStripper:
        """The same stripper, for these endings alone."""
        stripper = copy.copy(self)
        stripper.endings = frozenset(endings)
        return stripper

    def analyze(self, context: str) -> Analysis:
        """Runs MeCab over a whole context."""
        source = normalization.normalize(context, normalization.RULES["nfc"])
        morphemes = [
            Morpheme(m.surface, *source.span(m.start, m.end), m.pos)
            for m in self._segmenter.analyze(source.text)
        ]
        return Analysis(context, morphemes, find_words(context))

    def strip(self, analysis: Analysis, span: Span) -> Stripped:
        """Cuts the tail of an answer; something is always left."""
        stripped = strip_tail(analysis, span)
        if self.endings is None or ending_key(stripped) in self.endings:
            return stripped
        return Stripped(span, "", "")


def ending_key(stripped: Stripped) -> str:
    """The rule and the letters that were cut off; of a bracket the rule alone."""
    if stripped.rule == "bracket":
        return stripped.rule
    removed = unicodedata.normalize("NFC", stripped.removed)
    return f"{stripped.rule} {''.join(c for c in removed if c.isalnum())}"


def strip_answers(
    dataset: Dataset, spans: Mapping[str, Span], stripper: JosaStripper
) -> dict[str, Stripped]:
    """Strips answers, by question id, in their contexts.

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
