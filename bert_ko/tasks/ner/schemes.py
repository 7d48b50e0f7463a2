"""Spellings of tags: which scheme a whole file's tags follow, and the same entities in BIO.

A tag is O, a mark and a type (B-PS, B_PS), a type and a mark (PS-B, PS_B), or a type alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

from bert_ko.display import shown_list
from bert_ko.tasks.ner.bio import OUTSIDE

# By the marks that occur in each; the first that has all marks of a file is the file's.
_MARKS = {
    "BIO": frozenset("BI"),
    "IOE": frozenset("IE"),
    "BIOES": frozenset("BIES"),
    "BILOU": frozenset("BILU"),
    "BMES": frozenset("BMES"),
    "BMEW": frozenset("BMEW"),
}
_SINGLE, _INSIDE, _LAST = frozenset("SUW"), frozenset("IM"), frozenset("EL")
_MARK = "[BIESLUMW]"
# Not O, nor a type with a second tag after it, as in B-PS/B-LC.
_KIND = rf"(?P<kind>(?!O$|O[-_]{_MARK}$|\S*[/&+:*]{_MARK}[-_])\w[\w.:&/+*·-]*?)"
_MARK_FIRST = re.compile(rf"(?P<mark>{_MARK})[-_]{_KIND}")
_MARK_LAST = re.compile(rf"{_KIND}[-_](?P<mark>{_MARK})")
_BARE = re.compile(r"(?P<kind>[^\W\d_]\w+)")

Style = Literal["mark first", "mark last", "bare"]


class Tag(NamedTuple):
    """A tag that was understood: its mark, "" for O and for a bare type, and its type."""

    mark: str
    kind: str


class Spelling(NamedTuple):
    """How a file spells its tags.

    Attributes:
        scheme: "BIO", "IOE", "BIOES", "BILOU", "BMES", "BMEW" or "bare types".
        tags: what each of them says.
    """

    scheme: str
    tags: Mapping[str, Tag]


def is_tag(text: str) -> bool:
    """Returns whether this is O, or has a mark; a bare type may be any word."""
    return text == OUTSIDE or any(form.fullmatch(text) for form in (_MARK_FIRST, _MARK_LAST))


def find_spelling(path: str, lines: Mapping[str, int], outside: frozenset[str]) -> Spelling:
    """Finds how a file spells its tags.

    Args:
        path: the file, for messages.
        lines: each tag that occurs, with the number of its first line.
        outside: the tags that mean no entity.

    Raises:
        ValueError: a tag is none, or two schemes are mixed; the message names the lines.
    """
    tags = {tag: Tag("", "") for tag in lines if tag in outside}
    others = [tag for tag in lines if tag not in outside]
    if not others:
        return Spelling("BIO", tags)
    styles = {tag: _styles(tag) for tag in others}
    for tag in others:
        if not styles[tag]:
            raise ValueError(
                f"{path}:{lines[tag]}: the tag {tag!r} fits no scheme; expected O, B-TYPE and "
                "I-TYPE (also with E and S, or L and U), TYPE-B and TYPE-I, or TYPE alone."
            )
    fitting = [one for one in _STYLES if all(one in styles[tag] for tag in others)]
    if not fitting:
        raise _mixed(path, lines, *_apart(others, lambda a, b: styles[a] & styles[b]))
    # B-S and I-S are marks of one type S, not S at the end of two types.
    style = min(fitting, key=lambda one: len({_split(tag, one).kind for tag in others}))
    if style == "bare":
        _check_bare_types(path, lines, others, has_outside=bool(tags))
    tags.update((tag, _split(tag, style)) for tag in others)
    scheme = "bare types" if style == "bare" else _scheme(path, lines, tags)
    return Spelling(scheme, tags)


def to_bio(tags: Sequence[Tag]) -> tuple[tuple[str, ...], list[int]]:
    """Converts the tags of a sentence; an inside mark that continues no entity begins one.

    Returns:
        The tags in BIO, and the places of inside or last marks that continued no entity.
    """
    found, odd = list[str](), list[int]()
    is_open, last = False, ""  # the entity that the unit before belongs to
    for index, (mark, kind) in enumerate(tags):
        continues = is_open and kind == last and (not mark or mark in _INSIDE or mark in _LAST)
        if not kind:
            found.append(OUTSIDE)
        else:
            found.append(f"I-{kind}" if continues else f"B-{kind}")
            if not continues and (mark in _INSIDE or mark in _LAST):
                odd.append(index)
        is_open, last = bool(kind) and mark not in _SINGLE and mark not in _LAST, kind
    return tuple(found), odd


def is_iob1(sentences: Iterable[Sequence[Tag]]) -> bool:
    """Returns whether B marks only what follows an entity of the same type, and some I begins one.

    Source: CoNLL-2003's shared task. A file of BIO has a B elsewhere.
    """
    has_start = False
    for tags in sentences:
        for before, tag in pairwise([Tag("", ""), *tags]):
            if tag.mark == "B" and tag.kind != before.kind:
                return False
            has_start = has_start or (tag.mark == "I" and tag.kind != before.kind)
    return has_start


def _split(tag: str, style: Style) -> Tag:
    match = _STYLES[style].fullmatch(tag)
    assert match is not None
    return Tag(match.groupdict().get("mark", ""), match["kind"])


def _styles(tag: str) -> set[Style]:
    found = {style for style, form in _STYLES.items() if form.fullmatch(tag)}
    return found - {"bare"} or found  # B_PS is never a type


def _scheme(path: str, lines: Mapping[str, int], tags: Mapping[str, Tag]) -> str:
    firsts: dict[str, str] = {}  # by mark, its first tag
    for tag, (mark, _) in tags.items():
        if mark:
            firsts.setdefault(mark, tag)
    for name, marks in _MARKS.items():
        if marks.issuperset(firsts):
            return name
    together = _MARKS.values()
    pair = _apart(firsts, lambda a, b: any({a, b} <= marks for marks in together))
    raise _mixed(path, lines, *(firsts[mark] for mark in pair))


def _check_bare_types(
    path: str, lines: Mapping[str, int], types: Sequence[str], has_outside: bool
) -> None:
    """Refuses parts of speech, and marks that nothing separates from their types."""
    if not has_outside:
        raise ValueError(
            f"{path}:{lines[types[0]]}: in the whole file no tag is O, and none has a mark such as "
            f"B-; found {shown_list(types)}. The last column must have the tags of entities."
        )
    for tag in types:
        if tag[0] == "B" and (other := f"I{tag[1:]}") in lines:
            raise ValueError(
                f"{path}:{lines[other]}: the tags {tag!r} and {other!r} need a hyphen after the "
                f"mark: B-{tag[1:]}, I-{tag[1:]}."
            )


def _apart(items: Iterable[str], fit: Callable[[str, str], object]) -> tuple[str, str]:
    """Returns the first two that don't fit together, which must exist."""
    return next((a, b) for a, b in combinations(items, 2) if not fit(a, b))


def _mixed(path: str, lines: Mapping[str, int], first: str, second: str) -> ValueError:
    return ValueError(
        f"{path}: the tags {first!r} (line {lines[first]}) and {second!r} (line "
        f"{lines[second]}) are of two schemes; use one in the whole file."
    )


_STYLES: dict[Style, re.Pattern[str]] = {
    "mark first": _MARK_FIRST,
    "mark last": _MARK_LAST,
    "bare": _BARE,
}
