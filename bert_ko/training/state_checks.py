"""What the values of a checkpoint's state may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from bert_ko.modeling.config import shown


def check_state(state: Mapping[str, Any], place: str) -> None:
    """Compares the values of a state with what they may be.

    Args:
        state: of a checkpoint; only its step is always there.
        place: the file's name.

    Raises:
        ValueError: the first value that is something else, by its name.
    """
    if "step" not in state:
        raise ValueError(f"{place}: step is missing.")
    for name, (is_right, wanted) in _VALUES.items():
        if name in state and not is_right(state[name]):
            raise ValueError(f"{place}: {name} must be {wanted}, got {shown(state[name])}.")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _is_seconds(value: object) -> bool:
    return _is_number(value) and value >= 0  # type: ignore[operator]


def _is_text_or_null(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_object_or_null(value: object) -> bool:
    return value is None or isinstance(value, dict)


def _are_numbers(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


_VALUES: dict[str, tuple[Callable[[object], bool], str]] = {
    "step": (_is_count, "a number of updates"),
    "identity": (_is_object_or_null, "an object or null"),
    "trained_with": (_is_object, "an object"),
    "tokenizer_fingerprint": (_is_text_or_null, "a string or null"),
    "position": (_is_object_or_null, "an object or null"),
    "seconds": (_is_seconds, "a number of at least 0"),
    "sums": (_are_numbers, "an object of numbers"),
    "steps_in_sums": (_is_count, "a number of updates"),
    "computed_with": (_is_text_or_null, "a string"),
    "trained_positions": (_is_count, "a number of positions"),
    "metrics": (_are_numbers, "an object of numbers"),
}
