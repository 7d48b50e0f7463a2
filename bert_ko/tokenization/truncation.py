"""How many pieces of each text of a pair are kept."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Count = TypeVar("Count", int, npt.NDArray[np.int64])


def truncated_lengths(first: Count, second: Count, limit: int) -> tuple[Count, Count]:
    """Takes pieces off the longer text one by one, off the second if both are equally long.

    Args:
        first: pieces of the first text, or int64 [n] of n first texts.
        second: of the second.
        limit: pieces of both together at most.

    >>> truncated_lengths(9, 3, 8), truncated_lengths(9, 9, 7), truncated_lengths(2, 3, 8)
    ((5, 3), (4, 3), (2, 3))

    Source: _truncate_seq_pair of google-research/bert, in closed form.
    """
    if isinstance(first, int):
        second = min(second, max(limit // 2, limit - first))
        return min(first, limit - second), second
    second = np.minimum(second, np.maximum(limit // 2, limit - first))
    return np.minimum(first, limit - second), second
