"""Pairs cut to a length, as Google's loop cuts them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tokenization.truncation import truncated_lengths

COUNTS = st.integers(0, 60)


def one_by_one(first: int, second: int, limit: int) -> tuple[int, int]:
    while first + second > limit:
        first, second = (first - 1, second) if first > second else (first, second - 1)
    return first, second


@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=9), COUNTS)
def test_truncated_lengths_equal_one_by_one(pairs: list[tuple[int, int]], limit: int) -> None:
    expected = [one_by_one(a, b, limit) for a, b in pairs]
    assert [truncated_lengths(a, b, limit) for a, b in pairs] == expected
    first, second = np.array(pairs).T
    found = np.stack(truncated_lengths(first, second, limit), axis=-1)
    assert [tuple(pair) for pair in found.tolist()] == expected
