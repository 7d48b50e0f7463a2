"""Masks of dropout, under the backend of KERAS_BACKEND."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bert_ko.modeling.dropout import Dropout, child_seed, drop, random_words, step_seed
from bert_ko.modeling.ops import ops

Array = npt.NDArray[Any]

# Importing Keras and its backend takes seconds.
pytestmark = pytest.mark.slow


def numpy_of(x: Any) -> Array:
    return np.array(ops.convert_to_numpy(x))


def words(seed: int, step: int, use: int, shape: tuple[int, ...]) -> Array:
    """Of a use in the first part of a step."""
    dropout = Dropout(child_seed(step_seed(seed, step), 0), uses=use)
    (found,) = dropout.seeds(0.1, shape)
    return numpy_of(random_words(found, shape)).astype(np.int64)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_drop_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    shape = (1 << 14, 64)
    (seed,) = Dropout(step_seed(7, 0)).seeds(rate, shape)
    y = numpy_of(drop(ops.ones(shape), seed, rate))
    # The share of a binomial distribution has the deviation sqrt(rate (1 - rate) / n). The mean is
    # the kept share over 1 - rate.
    bound = 5 * math.sqrt(rate * (1 - rate) / y.size)
    assert abs(float((y == 0).mean()) - rate) < bound
    assert abs(float(y.mean(dtype=np.float64)) - 1) < bound / (1 - rate)
    kept = y[y != 0]
    np.testing.assert_allclose(kept, 1 / (1 - rate), rtol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 1 - 1e-12])
def test_drop_at_a_rate_near_the_ends_stays_finite(rate: float) -> None:
    seed = np.array([1, 2, 3], np.uint32)
    y = numpy_of(drop(ops.ones((64, 64)), seed, rate))
    assert np.isfinite(y).all() and y.mean() == (1 if rate == 0 else 0)


def test_drop_without_a_seed_is_the_identity() -> None:
    x = np.ones((2, 3), np.float32)
    assert drop(x, None, 0.5) is x
    assert Dropout().seeds(0.5, (2, 3)) == () == Dropout(step_seed(1, 2)).seeds(0.0, (2, 3))


def test_random_words_are_uniform_in_every_bit() -> None:
    found = words(3, 5, 0, (1000, 64))
    n = found.size
    bits = (found[..., None] >> np.arange(32)) & 1
    assert (np.abs(bits.mean((0, 1)) - 0.5) < 5 * 0.5 / math.sqrt(n)).all()
    counts = np.bincount(found.ravel() >> 24, minlength=256)
    # Chi-squared of 255 degrees of freedom has the mean 255 and the deviation 22.6.
    assert abs(((counts - n / 256) ** 2 / (n / 256)).sum() - 255) < 5 * 22.6


@pytest.mark.parametrize("lag", [1, 2, 64, 128, 4096])
def test_masks_of_neighbours_are_independent(lag: int) -> None:
    dropped = words(3, 5, 0, (1 << 18,)) < 0.1 * 2**32
    both = (dropped[lag:] & dropped[:-lag]).mean()
    # Two independent of share 0.1 meet at 0.01.
    assert abs(both - 0.01) < 5 * math.sqrt(0.01 * 0.99 / (dropped.size - lag))


def test_masks_of_uses_steps_and_seeds_are_independent() -> None:
    shape = (1 << 16,)
    masks = [
        words(seed, step, use, shape) < 0.1 * 2**32
        for seed in (0, 1, 2**63) for step in (0, 1, 10**6) for use in (0, 1, 2)
    ]  # fmt: skip
    for i, first in enumerate(masks):
        for second in masks[:i]:
            # 351 pairs; independent ones exceed 6 deviations once in a million times.
            both = (first & second).mean()
            assert abs(both - 0.01) < 6 * math.sqrt(0.01 * 0.99 / first.size)


def test_random_words_count_on_over_the_axes_and_past_the_end() -> None:
    seed = np.array([11, 12, 2**32 - 4], np.uint32)
    flat = numpy_of(random_words(seed, (24,)))
    for shape in ((4, 6), (2, 3, 4), (1, 24, 1)):
        assert (numpy_of(random_words(seed, shape)).ravel() == flat).all()
    begun_later = np.array([11, 12, 2], np.uint32)
    assert (numpy_of(random_words(begun_later, (18,))) == flat[6:]).all()
    assert len(set(flat.tolist())) == 24


def test_shares_have_the_masks_of_the_whole() -> None:
    seed, shape = step_seed(1, 2), (6, 5)
    whole = Dropout(seed)
    (first,), (second,) = whole.seeds(0.1, shape), whole.seeds(0.1, shape)
    before = Dropout(seed)
    shares = before.shares(3)
    for wanted in (first, second):
        found = [random_words(s.seeds(0.1, (2, 5))[0], (2, 5)) for s in shares]
        assert (np.concatenate([numpy_of(x) for x in found]) == numpy_of(
            random_words(wanted, shape))).all()  # fmt: skip
    before.go_on_after(shares[-1])
    assert (numpy_of(before.seeds(0.1, shape)[0]) == numpy_of(whole.seeds(0.1, shape)[0])).all()


def test_shares_of_shares_are_in_order() -> None:
    (wanted,) = Dropout(step_seed(1, 2)).seeds(0.1, (4, 3))
    found = [
        numpy_of(random_words(half.seeds(0.1, (1, 3))[0], (1, 3)))
        for share in (0, 1)
        for half in Dropout(step_seed(1, 2), share).shares(2)
    ]
    assert (np.concatenate(found) == numpy_of(random_words(wanted, (4, 3)))).all()


def test_step_seed_takes_any_seed() -> None:
    found = {tuple(step_seed(seed, step)) for seed in (-1, 0, 1, 2**40) for step in (0, 1, 10**9)}
    assert len(found) == 12
