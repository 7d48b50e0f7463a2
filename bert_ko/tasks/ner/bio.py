"""BIO tags, and the entities that they mean.

A tag is "O", "B-TYPE" (an entity begins) or "I-TYPE" (it continues). A unit is what has a tag: a
character or a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"


class Entity(NamedTuple):
    """A named entity: its type, such as "PS", its first unit, and the one after its last."""

    type: str
    start: int
    end: int


def label_list(types: Iterable[str]) -> tuple[str, ...]:
    """Returns the tags of types: O, then both tags of each type, the types sorted.

    >>> label_list(["PS", "LC"])
    ('O', 'B-LC', 'I-LC', 'B-PS', 'I-PS')
    """
    return (OUTSIDE, *(f"{mark}-{kind}" for kind in sorted(set(types)) for mark in "BI"))


def repair_bio(tags: Sequence[str]) -> tuple[str, ...]:
    """Makes every entity begin with B, also those of IOB1, which begin with I.

    >>> repair_bio(["O", "I-PS", "I-PS", "I-LC"])
    ('O', 'B-PS', 'I-PS', 'B-LC')

    Returns:
        Tags with the same entities().
    """
    repaired: list[str] = []
    last = ""  # type of the entity that an I tag would continue
    for tag in tags:
        mark, _, kind = tag.partition("-")
        repaired.append(f"B-{kind}" if mark == "I" and kind != last else tag)
        last = kind
    return tuple(repaired)


def entities(tags: Sequence[str], strict: bool = False) -> list[Entity]:
    """Returns the entities of tags, in the order of the units.

    >>> entities(["B-PS", "I-PS", "I-LC", "O"])
    [Entity(type='PS', start=0, end=2), Entity(type='LC', start=2, end=3)]

    Args:
        tags: of the units of one sentence.
        strict: whether an I tag that continues no entity is ignored; otherwise it begins one.

    Source: get_entities of seqeval 1.2.2, which follows conlleval; strict, its mode="strict" with
        scheme=IOB2.
    """
    found: list[Entity] = []
    kind, start = "", 0  # of the open entity
    for i, tag in enumerate(tags):
        mark, _, new = tag.partition("-")
        if mark == "I" and new == kind:
            continue
        if kind:
            found.append(Entity(kind, start, i))
        kind, start = ("" if strict and mark == "I" else new), i
    if kind:
        found.append(Entity(kind, start, len(tags)))
    return found


def tagged_text(text: str, spans: Iterable[Entity]) -> str:
    """Returns a text with its entities, as KLUE writes it.

    >>> tagged_text("세종은 왕이다.", [Entity("PS", 0, 2)])
    '<세종:PS>은 왕이다.'

    Args:
        text: may contain "<", ":" and ">", which KLUE does not escape.
        spans: in characters, in any order, without overlaps.
    """
    parts: list[str] = []
    last = 0
    for kind, start, end in sorted(spans, key=lambda span: span.start):
        parts += [text[last:start], f"<{text[start:end]}:{kind}>"]
        last = end
    return "".join([*parts, text[last:]])
