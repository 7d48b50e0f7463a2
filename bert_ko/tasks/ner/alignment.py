"""Tags of units to tags of pieces, and back, by characters alone.

A unit is a character or a word, see ``examples.Sentence``; a piece stands for some characters of
the text. Where a piece covers several units, or parts of them, it has one tag all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bert_ko.tasks.ner.bio import OUTSIDE, repair_bio
from bert_ko.tasks.ner.examples import Sentence

Ints = npt.NDArray[np.int32]


def piece_tags(sentence: Sentence, starts: Ints, ends: Ints) -> tuple[str, ...]:
    """The tag of each piece: that of its first unit.

    A piece between units, or of no character (SentencePiece has such), belongs to an entity that
    goes on behind it, and is O else.

    Args:
        sentence: with tags.
        starts: first character of each piece, ascending, [P].
        ends: the character after its last, [P].

    Returns:
        Well-formed: every entity begins with B, and once.
    """
    found: list[str | None] = []
    tagged = -1  # the last unit that gave a piece its tag
    for first, last in _ranges(sentence, starts, ends):
        if first >= last:
            found.append(None)
            continue
        tag = sentence.tags[first]
        found.append(_inside(tag) if first == tagged else tag)
        tagged = first
    return repair_bio(_filled(found))[0]


def unit_tags(sentence: Sentence, starts: Ints, ends: Ints, tags: Sequence[str]) -> tuple[str, ...]:
    """The tag of each unit, from the tags of pieces.

    A unit has the tag of the first piece that covers some of it; a unit without pieces (a blank,
    what normalisation removes) belongs to an entity that goes on behind it.

    Args:
        sentence: with units.
        starts: first character of each piece, ascending, [P].
        ends: the character after its last, [P].
        tags: of the pieces, [P].

    Returns:
        Well-formed: every entity begins with B.
    """
    found: list[str | None] = [None] * len(sentence.starts)
    for (first, last), tag in zip(_ranges(sentence, starts, ends), tags, strict=True):
        for unit in range(first, last):
            if found[unit] is None:
                found[unit] = tag if unit == first else _inside(tag)
    return repair_bio(_filled(found))[0]


def _ranges(sentence: Sentence, starts: Ints, ends: Ints) -> list[tuple[int, int]]:
    """The first unit that each piece covers, and the one behind the last."""
    first = np.searchsorted(sentence.ends, starts, side="right").tolist()
    last = np.searchsorted(sentence.starts, ends, side="left").tolist()
    return list(zip(first, last, strict=True))


def _inside(tag: str) -> str:
    return tag if tag == OUTSIDE else f"I-{tag[2:]}"


def _filled(tags: Sequence[str | None]) -> list[str]:
    """A gap goes on with the entity before it, if what is behind it does; else it is O."""
    behind, rest = OUTSIDE, list[str]()  # the next tag that there is, from every place on
    for tag in reversed(tags):
        behind = behind if tag is None else tag
        rest.append(behind)
    filled: list[str] = []
    for tag, behind in zip(tags, reversed(rest), strict=True):
        if tag is None:
            before = filled[-1] if filled else OUTSIDE
            tag = behind if behind == _inside(before) else OUTSIDE
        filled.append(tag)
    return filled
