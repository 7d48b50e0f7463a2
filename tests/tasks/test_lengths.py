"""Lengths with the least padding, against all choices."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.lengths import choose_lengths


def padded(examples: list[int], lengths: tuple[int, ...]) -> int:
    return sum(min(length for length in lengths if length >= example) for example in examples)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=25), st.integers(1, 4))
def test_choose_lengths_is_as_good_as_the_best_of_all_choices(
    examples: list[int], count: int
) -> None:
    tops = sorted({min(-(-example // 8) * 8, 60) for example in examples})
    choices = [
        (*chosen, tops[-1])
        for size in range(min(count, len(tops)))
        for chosen in combinations(tops[:-1], size)
    ]
    found = choose_lengths(np.array(examples, np.int32), 60, count, 8)
    assert len(found) <= count and list(found) == sorted(set(found))
    assert padded(examples, found) == min(padded(examples, choice) for choice in choices)


@pytest.mark.parametrize(("examples", "lengths"), [([], (384,)), ([384], (384,)), ([1], (16,))])
def test_choose_lengths_of_few_examples(examples: list[int], lengths: tuple[int, ...]) -> None:
    assert choose_lengths(np.array(examples, np.int32), 384) == lengths
