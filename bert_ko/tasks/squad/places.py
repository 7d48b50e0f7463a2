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
    position: Callable[[str, int], int]  # the character of a context that an offset names

    def at(self, context: str, offset: int) -> int:
        """The same for any offset; a negative one names nothing."""
        return offset if offset < 0 else self.position(context, offset)


def _counting(count: Callable[[str], int]) -> Callable[[str, int], int]:
    """Args: count: how many of a unit a text has; never fewer than its beginning has."""

    def position(context: str, offset: int) -> int:
        ends = range(len(context) + 1)
        return bisect_right(ends, offset, key=lambda end: count(context[:end])) - 1

    return position


def _of_common_form(context: str, offset: int) -> int:
    source = common_form(context)
    return source.span(offset, offset + 1)[0] if offset < len(source.text) else len(context)


CHARACTERS = Unit("characters", lambda context, offset: offset)
UNITS = (
    CHARACTERS,
    Unit(
        "composed characters (NFC)",
        _counting(lambda text: len(unicodedata.normalize("NFC", text))),
    ),
    Unit(
        "decomposed characters (NFD)",
        _counting(lambda text: len(unicodedata.normalize("NFD", text))),
    ),
    Unit(
        "UTF-16 units",
        _counting(lambda text: len(text.encode("utf-16-le", "surrogatepass")) // 2),
    ),
    Unit("UTF-8 bytes", _counting(lambda text: len(text.encode("utf-8", "surrogatepass")))),
    Unit("CP949 bytes", _counting(lambda text: len(text.encode("cp949", "replace")))),
    Unit("characters from 1", lambda context, offset: offset - 1),
    Unit("characters with CR LF as one", _counting(lambda text: len(text.replace("\r\n", "\n")))),
    Unit(
        "characters with each line end as CR LF",
        _counting(lambda text: len(text) + text.count("\n")),
    ),
    Unit("visible characters and single blanks", _of_common_form),
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
        misplaced: the others, at least one.
    """
    sample = [*in_place[:_SAMPLE], *misplaced[:_SAMPLE]]

    def places(unit: Unit, answer: Offset) -> bool:
        near = unit.at(answer.context, answer.start)
        found = find_answer(answer.context, answer.text, near)
        return found is not None and found.start == near

    counts = [sum(places(unit, answer) for answer in sample) for unit in UNITS]
    most = max(counts)
    is_clear = 2 * most > len(sample) and most - counts[0] >= _MIN_GAIN
    return UNITS[counts.index(most)] if is_clear else CHARACTERS


def find_answer(context: str, text: str, near: int) -> Span | None:
    """Finds an answer near a character: as it is, or else in another form.

    Returns:
        None if it is not in the context. The text of the span is that of the context.
    """
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
