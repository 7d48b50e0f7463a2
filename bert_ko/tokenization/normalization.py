"""Cleaning and Unicode normalisation, with offsets back into the original string.

Three rules exist. ``MECAB`` turns white space of every kind into a blank, removes control and
format characters and lone surrogates, and composes (NFC). ``GOOGLE`` is what Google's
BasicTokenizer does to characters, but composes Hangul jamo. ``TRANSFORMERS`` is what its
BertTokenizer does to them, so that published vocabularies meet the text they were made for.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

# Format characters (category Cf) up to Unicode 16; a test compares them with unicodedata.
_FORMAT = (
    "\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
_SURROGATE = "\ud800-\udfff"
_PRIVATE = "\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"
_SPACE_SEPARATOR = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"  # category Zs without the blank
_LINE_SEPARATOR = "\u2028\u2029"
# Letters by category that are drawn as nothing: blanks in Korean web text.
_HANGUL_FILLER = "\u3164\uffa0"
_PRINTABLE_CHANGED = ("\u3164", "\uffa0", "\ufffd")
_CONTROL_SPACE = "\t\n\x0b\x0c\r\x1c-\x1f\x85"
_CONTROL = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"

# Starters that may change with the character before them: they, or the first character of their
# decomposition, compose with it or are reordered. The test derives them from unicodedata.
_COMPOSING_STARTERS = frozenset(map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)))).union(
    "\u09be\u09d7\u0b3e\u0b56\u0b57\u0bbe\u0bd7\u0cc2\u0cd5\u0cd6\u0d3e\u0d57\u0dcf\u0ddf\u0f73"
    "\u0f75\u0f81\u102e\u1b35\U00011127\U0001133e\U00011357\U000113b8\U000113bb\U000113c2"
    "\U000113c5\U000113c7\U000113c8\U000113c9\U000114b0\U000114ba\U000114bd\U000115af\U00011930"
    "\U0001611e\U0001611f\U00016120\U00016121\U00016122\U00016123\U00016124\U00016125\U00016126"
    "\U00016127\U00016128\U00016129\U00016d67\U00016d68"
)
_JAMO_RUN = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]{2,}")


@dataclass(frozen=True)
class CharacterRule:
    """Which characters are removed, which become a blank, and what is composed."""

    name: str  # in tokenizer_config.json
    removed: re.Pattern[str]
    blank: re.Pattern[str]  # all but the blank itself
    changed: re.Pattern[str]  # both, to see quickly that a text needs nothing
    composes: Literal["all", "jamo", "nothing"]  # NFC; in runs of conjoining jamo; never
    removes_marks: bool = False

    def compose(self, text: str) -> str:
        """Returns the text in composed form, without offsets."""
        if self.composes == "all":
            return unicodedata.normalize("NFC", text)
        if self.composes == "nothing":
            return text
        return _JAMO_RUN.sub(lambda run: unicodedata.normalize("NFC", run[0]), text)

    def clean(self, text: str) -> str:
        """Returns the normalised text alone; equals ``normalize(text, rule).text``."""
        if self.changed.search(text):
            text = self.blank.sub(" ", self.removed.sub("", text))
        return self.compose(text)

    def clean_lines(self, text: str) -> list[str]:
        r"""Splits a text at ``\n`` alone, and cleans and strips the lines."""
        # All that is removed or blanked is unprintable to Python, save these; isprintable is five
        # times faster than the pattern.
        has_printable = any(char in text for char in _PRINTABLE_CHANGED) or (
            self.removes_marks and self.changed.search(text) is not None
        )
        is_composed = self.compose(text) == text
        is_clean = is_composed and not has_printable
        return [
            (line if is_clean and line.isprintable() else self.clean(line)).strip(" ")
            for line in text.split("\n")
        ]


def _rule(
    name: str, removed: str, blank: str, composes: Literal["all", "jamo", "nothing"]
) -> CharacterRule:
    return CharacterRule(
        name,
        re.compile(f"[{removed}]+"),
        re.compile(f"[{blank}]"),
        re.compile(f"[{removed}{blank}]"),
        composes,
    )


MECAB = _rule(
    "nfc",
    removed=_CONTROL + _FORMAT + _SURROGATE + "\ufffd",
    blank=_CONTROL_SPACE + _SPACE_SEPARATOR + _LINE_SEPARATOR + _HANGUL_FILLER,
    composes="all",
)
GOOGLE = _rule(
    "google",
    removed=_CONTROL + "\x0b\x0c\x1c-\x1f\x85" + _FORMAT + _SURROGATE + "\ufffd",
    blank="\t\n\r" + _SPACE_SEPARATOR + _LINE_SEPARATOR,
    composes="jamo",
)
TRANSFORMERS = _rule(
    "transformers",
    removed=_CONTROL + "\x0b\x0c\x1c-\x1f\x85" + _FORMAT + _SURROGATE + _PRIVATE + "\ufffd",
    blank="\t\n\r" + _SPACE_SEPARATOR + _LINE_SEPARATOR,
    composes="nothing",
)
RULES = {rule.name: rule for rule in (MECAB, GOOGLE, TRANSFORMERS)}


@functools.cache
def without_marks(rule: CharacterRule) -> CharacterRule:
    """The rule that also removes characters that are marks alone (category Mn)."""
    characters = map(chr, range(0x300, sys.maxunicode + 1))
    marks = "".join([char for char in characters if unicodedata.category(char) == "Mn"])
    removed, changed = (
        re.compile(f"{pattern.pattern.rstrip('+')[:-1]}{marks}]{'+' * (pattern is rule.removed)}")
        for pattern in (rule.removed, rule.changed)
    )
    return replace(rule, removed=removed, changed=changed, removes_marks=True)


@dataclass(frozen=True)
class NormalizedText:
    """A normalised text, and the span of each of its characters in the original."""

    text: str
    starts: list[int] | None = None  # None if nothing moved
    ends: list[int] | None = None  # exclusive

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Maps a non-empty span of the normalised text to the original, in characters.

        A cluster that composes to several characters cannot be split: it belongs whole to the span
        that holds its first character.
        """
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def normalize(text: str, rule: CharacterRule) -> NormalizedText:
    """Normalises any text, lone surrogates and NUL included, and keeps the original offsets."""
    if not rule.changed.search(text) and rule.compose(text) == text:
        return NormalizedText(text)
    kept = [i for i, char in enumerate(text) if not rule.removed.match(char)]
    cleaned = rule.blank.sub(" ", "".join([text[i] for i in kept]))
    return _join(_composed(cleaned, kept, rule))


def _join(parts: Iterable[tuple[str, int, int]]) -> NormalizedText:
    """Joins strings that stand for spans of the original; the first character takes the span."""
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for text, start, end in parts:
        characters.append(text)
        starts += [start, *[end] * len(text)][: len(text)]
        ends += [end] * len(text)
    return NormalizedText("".join(characters), starts, ends)


def _composed(cleaned: str, kept: list[int], rule: CharacterRule) -> Iterator[tuple[str, int, int]]:
    for start, end in _clusters(cleaned):
        composed = rule.compose(cleaned[start:end])
        if composed != cleaned[start:end]:
            yield composed, kept[start], kept[end - 1] + 1
        else:
            yield from [(cleaned[i], kept[i], kept[i] + 1) for i in range(start, end)]


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Spans that compose independently: a starter and what may combine with it.

    A blank is alone: it composes with nothing, and the marks after it belong to the next word.
    """
    start = 0
    for i in range(1, len(text)):
        char = text[i]
        is_starter = not unicodedata.combining(char) and char not in _COMPOSING_STARTERS
        if is_starter or text[i - 1] == " ":
            yield start, i
            start = i
    if text:
        yield start, len(text)


def lower_keeping_length(text: str) -> str:
    """Lower-cases without changing the number of characters, so that offsets hold."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join([low if len(low := char.lower()) == 1 else char for char in text])


def strip_accents(source: NormalizedText) -> NormalizedText:
    """Lower-cases and removes accents as Google's uncased models expect.

    Differs: Hangul syllables stay composed; Google's NFD shatters them into jamo.
    """
    if source.text.isascii():
        return NormalizedText(source.text.lower(), source.starts, source.ends)
    lowered = lower_keeping_length(source.text)
    return _join((_without_accents(c), *source.span(i, i + 1)) for i, c in enumerate(lowered))


def _without_accents(char: str) -> str:
    if char < "\u0080" or "\uac00" <= char <= "\ud7a3":
        return char
    decomposed = unicodedata.normalize("NFD", char)
    # The one letter that lower-casing would lengthen is still a capital here: U+0130.
    return "".join([c for c in decomposed if unicodedata.category(c) != "Mn"]).lower()


def fold_word(word: str, strips_accents: bool, lowers: bool) -> str:
    """Changes a word as transformers' BertNormalizer does.

    Args:
        word: without white space.
        strips_accents: decompose (NFD, Hangul syllables too) and remove marks.
        lowers: lower-case each character on its own.

    >>> fold_word("\u0130É각", True, True)
    'ie\u1100\u1161\u11a8'
    """
    if strips_accents and not word.isascii():
        decomposed = unicodedata.normalize("NFD", word)
        word = "".join([char for char in decomposed if unicodedata.category(char) != "Mn"])
    # Python's one rule about the characters around is the sigma at the end of a word.
    return word.replace("Σ", "σ").lower() if lowers else word
