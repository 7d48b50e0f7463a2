"""Positions in data that were stored to resume from, and are read back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class PositionError(ValueError):
    """A stored position is none."""


def require_counts(
    position: dict[str, Any], names: Iterable[str], others: Iterable[str] = ()
) -> None:
    """Compares the names of a stored position.

    Args:
        position: as it was read.
        names: of integers of at least 0.
        others: of the rest.

    Raises:
        PositionError: one is missing, is none of these, or has another value.
    """
    differing = sorted(position.keys() ^ {*names, *others})
    if differing:
        change = "is unknown" if differing[0] in position else "is missing"
        raise PositionError(f"{differing[0]!r} {change}")
    for name in names:
        if not is_count(position[name]):
            raise PositionError(f"{name} must be an integer of at least 0, got {position[name]!r}")


def is_count(value: object) -> bool:
    """Whether a value is an integer of at least 0."""
    return type(value) is int and 0 <= value < 1 << 62
