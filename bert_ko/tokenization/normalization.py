"""Cleaning and Unicode normalisation, with offsets back into the original string.

Two rules exist. ``MECAB`` turns white space of every kind into a blank, removes control and format
characters and lone surrogates, and composes (NFC). ``GOOGLE`` is what Google's BasicTokenizer
does to characters, so that published vocabularies meet the text they were made for; it composes
nothing but Hangul jamo.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

# Format characters (category Cf) up to Unicode 16; a test compares them with unicodedata.
_FORMAT = (
    "\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
_SURROGATE = "\ud800-\udfff"
_SPACE_SEPARATOR = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"  # category Zs without the blank
_LINE_SEPARATOR = "\u2028\u2029"
# Letters by category that are drawn as nothing: blanks in Korean web text.
_HANGUL_FILLER = "\u3164\uffa0"
_PRINTABLE_CHANGED = ("\u3164", "\uffa0", "\ufffd")
_CONTROL_SPACE = "\t\n\x0b\x0c\r\x1c-\x1f\x85"
_CONTROL = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"

# Starters that may change with the character before them: they, or the first character of their
# decomposition, compose with it or are reordered. The test derives them from unicodedata.
_COMPOSING_STARTERS = frozenset(
    map(
        chr,
        (
            *range(0x1161, 0x1176),
            *range(0x11A8, 0x11C3),
            *(0x09BE, 0x09D7, 0x0B3E, 0x0B56, 0x0B57, 0x0BBE, 0x0BD7, 0x0CC2, 0x0CD5, 0x0CD6),
            *(0x0D3E, 0x0D57, 0x0DCF, 0x0DDF, 0x102E, 0x1B35, 0x1133E, 0x11357, 0x114B0, 0x114BA),
            *(0x114BD, 0x115AF, 0x11930, 0x113B8, 0x113BB, 0x113C2, 0x113C5, 0x113C7, 0x113C8),
            *(0x113C9, 0x16121, 0x16122, 0x16123, 0x16124, 0x16125, 0x16126, 0x16127, 0x16128),
            *(0x1611E, 0x1611F, 0x16120, 0x16129, 0x16D67, 0x16D68),
            *(0x11127, 0x0F73, 0x0F75, 0x0F81),
        ),
    )
)
_JAMO_RUN = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]{2,}")


@dataclass(frozen=True)
class CharacterRule:
    """Which characters are removed, which become a blank, and what is composed.

    Attributes:
        name: the name written into tokenizer_config.json.
        removed: pattern of the characters that are removed.
        blank: pattern of the characters other than the blank that become one.
        changed: pattern of both, to see quickly that a text needs nothing.
        composes_all: NFC when true, else only runs of conjoining jamo.
    """

    name: str
    removed: re.Pattern[str]
    blank: re.Pattern[str]
    changed: re.Pattern[str]
    composes_all: bool

    def compose(self, text: str) -> str:
        """Returns the text in composed form, without offsets."""
        if self.composes_all:
            if unicodedata.is_normalized("NFC", text):
                return text
            return unicodedata.normalize("NFC", text)
        return _JAMO_RUN.sub(lambda run: unicodedata.normalize("NFC", run[0]), text)

    def clean(self, text: str) -> str:
        """Returns the normalised text alone; equals ``normalize(text, rule).text``."""
        if self.changed.search(text):
            text = self.blank.sub(" ", self.removed.sub("", text))
        return self.compose(text)

    def clean_lines(self, text: str) -> list[str]:
        r"""Cleans many lines at once and splits them at ``\n`` alone.

        Args:
            text: lines joined by ``\n``.

        Returns:
            One cleaned string a line, no white space at its ends.
        """
        # All that is removed or blanked is unprintable to Python, save these; isprintable is five
        # times faster than the pattern.
        has_printable = any(char in text for char in _PRINTABLE_CHANGED)
        is_composed = self.compose(text) == text
        return [
            (
                line
                if line.isprintable() and is_composed and not has_printable
                else self.clean(line)
            ).strip(" ")
            for line in text.split("\n")
        ]


def _rule(name: str, removed: str, blank: str, composes_all: bool) -> CharacterRule:
    return CharacterRule(
        name,
        re.compile(f"[{removed}]+"),
        re.compile(f"[{blank}]"),
        re.compile(f"[{removed}{blank}]"),
        composes_all,
    )


MECAB = _rule(
    "nfc",
    removed=_CONTROL + _FORMAT + _SURROGATE + "\ufffd",
    blank=_CONTROL_SPACE + _SPACE_SEPARATOR + _LINE_SEPARATOR + _HANGUL_FILLER,
    composes_all=True,
)
GOOGLE = _rule(
    "google",
    removed=_CONTROL + "\x0b\x0c\x1c-\x1f\x85" + _FORMAT + _SURROGATE + "\ufffd",
    blank="\t\n\r" + _SPACE_SEPARATOR + _LINE_SEPARATOR,
    composes_all=False,
)
RULES = {rule.name: rule for rule in (MECAB, GOOGLE)}


@dataclass(frozen=True)
class NormalizedText:
    """A normalised text and where each of its characters stands in the original.

    Attributes:
        text: the normalised text.
        starts: original start of each character, or None where nothing moved.
        ends: original end (exclusive) of each character, or None where nothing moved.
    """

    text: str
    starts: list[int] | None = None
    ends: list[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Maps a non-empty span of the normalised text to the original, in characters.

        A cluster that composes to several characters cannot be cut: it belongs whole to the span
        that holds its first character.
        """
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def normalize(text: str, rule: CharacterRule) -> NormalizedText:
    """Normalises a text and keeps, for every character, its place in the original.

    Args:
        text: any string, lone surrogates and NUL included.
        rule: MECAB or GOOGLE.

    Returns:
        The normalised text with offsets in characters of ``text``.
    """
    if not rule.changed.search(text) and rule.compose(text) == text:
        return NormalizedText(text)
    kept = [i for i, char in enumerate(text) if not rule.removed.match(char)]
    cleaned = rule.blank.sub(" ", "".join([text[i] for i in kept]))
    if rule.compose(cleaned) == cleaned:
        return NormalizedText(cleaned, kept, [i + 1 for i in kept])
    return _compose_clusters(cleaned, kept, rule)


def _compose_clusters(cleaned: str, kept: list[int], rule: CharacterRule) -> NormalizedText:
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _clusters(cleaned):
        cluster = cleaned[start:end]
        composed = rule.compose(cluster)
        if composed == cluster:
            starts += kept[start:end]
            ends += [i + 1 for i in kept[start:end]]
        else:
            original_end = kept[end - 1] + 1
            starts += [kept[start]] + [original_end] * (len(composed) - 1)
            ends += [original_end] * len(composed)
        characters.append(composed)
    return NormalizedText("".join(characters), starts, ends)


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Spans that compose independently: a starter and what may combine with it.

    A blank is alone: it composes with nothing, and the marks after it belong to the word there.
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
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for i, char in enumerate(lowered):
        start, end = source.span(i, i + 1)
        stripped = _without_accents(char)
        characters.append(stripped)
        starts += [start, *[end] * (len(stripped) - 1)][: len(stripped)]
        ends += [end] * len(stripped)
    return NormalizedText("".join(characters), starts, ends)


def _without_accents(char: str) -> str:
    if char < "\u0080" or "\uac00" <= char <= "\ud7a3":
        return char
    decomposed = unicodedata.normalize("NFD", char)
    # The one letter that lower-casing would lengthen is still a capital here: U+0130.
    return "".join([c for c in decomposed if unicodedata.category(c) != "Mn"]).lower()
