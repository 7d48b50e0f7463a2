"""What is wrong with predicted entities: each one that is not found, and each one too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from bert_ko.tasks.ner.bio import Entity

ErrorKind = Literal["type", "boundary", "both", "missed", "spurious"]

ERROR_KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)


class Error(NamedTuple):
    """A gold and a predicted entity that lie on the same text but differ, or one without other.

    kind: type: the place is right; boundary: the type is right; both are wrong; missed: nothing was
        predicted; spurious: there is no gold.
    gold: None for a spurious one.
    predicted: None for a missed one.
    """

    kind: ErrorKind
    gold: Entity | None
    predicted: Entity | None

    @property
    def type(self) -> str:
        """The type that it counts for: that of the gold, if there is one."""
        entity = self.gold or self.predicted
        assert entity
        return entity.type


def find_errors(golds: Sequence[Entity], predicted: Sequence[Entity]) -> list[Error]:
    """Compares the entities of a sentence.

    Args:
        golds: without overlaps.
        predicted: without overlaps.

    Returns:
        Errors in the order of the text. Every entity that is not right on both sides has its place
        in one of them. Where one lies on several, its own type is paired with it, else the longest
        overlap, else the first; the others are missed or spurious.
    """
    right = set(golds) & set(predicted)
    golds_left = [entity for entity in golds if entity not in right]
    predicted_left = [entity for entity in predicted if entity not in right]
    pairs = [(gold, found) for gold in golds_left for found in predicted_left]
    errors: list[Error] = []
    for gold, found in sorted(filter(_overlap, pairs), key=_closeness):
        if gold in golds_left and found in predicted_left:
            golds_left.remove(gold)
            predicted_left.remove(found)
            errors.append(Error(_kind(gold, found), gold, found))
    errors += [Error("missed", gold, None) for gold in golds_left]
    errors += [Error("spurious", None, found) for found in predicted_left]
    return sorted(errors, key=_start)


def _overlap(pair: tuple[Entity, Entity]) -> int:
    gold, found = pair
    return max(0, min(gold.end, found.end) - max(gold.start, found.start))


def _closeness(pair: tuple[Entity, Entity]) -> tuple[bool, int, int, int]:
    gold, found = pair
    return (gold.type != found.type, -_overlap(pair), gold.start, found.start)


def _kind(gold: Entity, found: Entity) -> ErrorKind:
    if gold[1:] == found[1:]:
        return "type"
    return "boundary" if gold.type == found.type else "both"


def _start(error: Error) -> tuple[int, int]:
    starts = [entity.start for entity in (error.gold, error.predicted) if entity]
    return min(starts), max(starts)
