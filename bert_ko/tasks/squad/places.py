"""Where a text stands in a context, if its offset or its form is not quite that of the context."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from bert_ko.tasks.squad.examples import Span
from bert_ko.tokenization.normalization import MECAB, NormalizedText, normalize

# Full-width ASCII and curly quotes, one for one.
_NARROW = str.maketrans(
    {0xFEE0 + code: code for code in range(0x21, 0x7F)}
    | dict(zip(map(ord, "‘’“”"), "''\"\"", strict=True))
)
_SAMPLE = 100  # answers in their place, and as many that are not, decide what offsets count
_MIN_GAIN = 2  # answers that another unit than characters must place more; one may be chance


class Unit(NamedTuple):
    """What an offset counts."""

    name: str
    count: Callable[[str], int]  # how many of them a text has; never fewer than its beginning

    def position(self, context: str, offset: int) -> int:
        """The character that an offset names."""
        if offset < 0 or self is CHARACTERS:
            return offset
        places = range(len(context) + 1)
        return bisect_right(places, offset, key=lambda end: self.count(context[:end])) - 1


CHARACTERS = Unit("characters", len)
UNITS = (
    CHARACTERS,
    Unit("composed characters (NFC)", lambda text: len(unicodedata.normalize("NFC", text))),
    Unit("decomposed characters (NFD)", lambda text: len(unicodedata.normalize("NFD", text))),
    Unit("UTF-16 units", lambda text: len(text.encode("utf-16-le", "surrogatepass")) // 2),
    Unit("UTF-8 bytes", lambda text: len(text.encode("utf-8", "surrogatepass"))),
    Unit("characters with CR LF as one", lambda text: len(text.replace("\r\n", "\n"))),
    Unit("characters with each line end as CR LF", lambda text: len(text.replace("\n", "\r\n"))),
)


class Offset(NamedTuple):
    """An answer, and the answer_start that its file gives."""

    context: str
    text: str
    start: int


def choose_unit(in_place: Sequence[Offset], misplaced: Sequence[Offset]) -> Unit:
    """What the offsets of a file count: that which places most of its answers.

    Args:
        in_place: answers that are where their offset says in characters.
        misplaced: the others.
    """
    if not misplaced:
        return CHARACTERS
    sample = [*in_place[:_SAMPLE], *misplaced[:_SAMPLE]]

    def placed(unit: Unit) -> int:
        return sum(
            found is not None and found.start == unit.position(context, start)
            for context, text, start in sample
            for found in [find_answer(context, text, start, unit)]
        )

    counts = [placed(unit) for unit in UNITS]
    most = max(counts)
    return UNITS[counts.index(most)] if most - counts[0] >= _MIN_GAIN else CHARACTERS


def find_answer(context: str, text: str, start: int, unit: Unit = CHARACTERS) -> Span | None:
    """Finds an answer near its answer_start: as it is, or else in another form.

    Returns:
        None if it is not in the context. The text of the span is that of the context.
    """
    near = unit.position(context, start)
    found = locate(context, text, near)
    if found is None or found.start != near:
        alike = locate_alike(context, text, near)
        if alike is not None and (found is None or alike.start == near):
            return alike
    return found


def locate(context: str, text: str, near: int) -> Span | None:
    """Finds a text in a context, with the blanks around it or without.

    Args:
        context: where to look.
        text: what to look for.
        near: a character offset, in the context or not; the nearest occurrence is found, the first
            one of two that are equally near.

    Returns:
        None if the text is blank or not in the context.
    """
    for candidate in (text, text.strip()):
        if not candidate.strip():
            return None
        before = context.rfind(candidate, 0, max(near, 0) + len(candidate))
        behind = context.find(candidate, max(near, 0))
        found = [start for start in (before, behind) if start >= 0]
        if found:
            start = min(found, key=lambda start: abs(start - near))
            return Span(candidate, start, start + len(candidate))
    return None


def locate_alike(context: str, text: str, near: int) -> Span | None:
    """The same for a text in another form; see ``common_form``."""
    spans = list(_alike(common_form(context), common_form(text).text.strip(" ")))
    if not spans:
        return None
    start, end = min(spans, key=lambda span: abs(span[0] - near))
    return Span(context[start:end], start, end)


def _alike(source: NormalizedText, text: str) -> Iterator[tuple[int, int]]:
    start = source.text.find(text) if text else -1
    while start >= 0:
        begin, end = source.span(start, start + len(text))
        if begin < end:  # not inside one character that composes to several
            yield begin, end
        start = source.text.find(text, start + 1)


@lru_cache(maxsize=16)
def common_form(text: str) -> NormalizedText:
    """The form in which texts are compared: composed, narrow, one blank for all white space.

    Characters that show nothing (zero-width ones, a BOM) are left out.
    """
    source = normalize(text, MECAB)
    narrow = source.text.translate(_NARROW)
    if "  " not in narrow:
        return NormalizedText(narrow, source.starts, source.ends)
    kept = [i for i, char in enumerate(narrow) if char != " " or narrow[i - 1 : i] != " "]
    spans = [source.span(i, i + 1) for i in kept]
    starts, ends = ([span[side] for span in spans] for side in (0, 1))
    return NormalizedText("".join(narrow[i] for i in kept), starts, ends)


def form_difference(text: str, other: str) -> str:
    """How two texts with the same common form differ, in words."""
    composed = [unicodedata.normalize("NFC", side) for side in (text, other)]
    if composed[0] == composed[1]:
        return "composed in another way (NFC against NFD)"
    return "with other white space, width, quotes or characters that show nothing"
