"""Lengths with the least padding, against all choices."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.lengths import batch_lengths, choose_lengths, lengths_worth_compiling


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


@pytest.mark.parametrize(
    ("longest", "lengths"),
    [
        (3, (3,)),
        (63, (63,)),
        (64, (64,)),
        (65, (64, 65)),
        (128, (64, 128)),
        (384, (64, 128, 192, 256, 320, 384)),
    ],
)
def test_batch_lengths_of_texts_that_are_not_known(longest: int, lengths: tuple[int, ...]) -> None:
    assert batch_lengths(longest, True, None) == lengths
    assert batch_lengths(longest, False, None) == (longest,)


def test_batch_lengths_of_known_texts_are_chosen_for_them() -> None:
    pieces = np.array([5, 5, 40, 90], np.int32)
    assert batch_lengths(100, True, pieces) == (16, 48, 96)
    assert batch_lengths(90, True, pieces) == (16, 48, 90)
    assert batch_lengths(100, False, pieces) == (100,)


@pytest.mark.parametrize(
    ("examples", "price", "lengths"),
    [
        ([3] * 40, 0, (8, 128)),
        ([128], 0, (128,)),
        ([3] * 50 + [60] * 50, 50 * 56 - 1, (8, 64, 128)),
        ([3] * 50 + [60] * 50, 50 * 56, (64, 128)),
    ],
)
def test_lengths_worth_compiling_save_more_than_their_price(
    examples: list[int], price: int, lengths: tuple[int, ...]
) -> None:
    assert lengths_worth_compiling(np.array(examples, np.int32), 128, price) == lengths


def test_lengths_worth_compiling_are_twelve_at_most() -> None:
    found = lengths_worth_compiling(np.arange(2, 129, dtype=np.int32), 128, 0)
    assert len(found) == 12 and found[-1] == 128
