"""Batches of examples, and lengths with the least padding, against all choices."""

import dataclasses
import itertools
import json
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.batches import (
    BatchPlan,
    ExampleBatches,
    batch_lengths,
    choose_lengths,
    epoch_batches,
    gather_batch,
    lengths_worth_compiling,
    predictions,
    sorted_batches,
    steps_per_epoch,
)
from bert_ko.tasks.sentences import PIECE_COLUMNS, Ints, Sentences

PLAN = BatchPlan(batch_size=4, special_ids=(0, 2, 3), lengths=(64, 96), seed=7)


@pytest.fixture
def examples() -> Sentences:
    """Of 3 to 96 pieces, which are numbered from 10 on."""
    lengths = [70, 9, 96, 64, 65, 3, 30, 12, 88, 41, 20, 77, 5, 64, 33, 91, 50, 8, 66, 27, 95]
    offsets = np.cumsum([0, *lengths])
    columns: dict[str, Ints] = {name: np.zeros(offsets[-1], np.int32) for name in PIECE_COLUMNS}
    columns["input_ids"] = np.arange(10, 10 + offsets[-1], dtype=np.int32)
    return Sentences(offsets, **columns)


@pytest.mark.parametrize("lengths", [(64, 96), (96,)])
def test_epoch_batches_have_every_example_once(
    examples: Sentences, lengths: tuple[int, ...]
) -> None:
    plan = BatchPlan(4, (0, 2, 3), lengths, 7)
    total = len(examples)
    for epoch in range(2):
        batches = epoch_batches(examples.lengths, plan, epoch)
        assert sorted(np.concatenate(batches).tolist()) == list(range(total))
        assert len(batches) == steps_per_epoch(total, 4)
        assert sorted(map(len, batches))[1:] == [4] * (len(batches) - 1)


def test_epoch_batches_differ_between_epochs_and_seeds(examples: Sentences) -> None:
    first = np.concatenate(epoch_batches(examples.lengths, PLAN, 0)).tolist()
    assert first == np.concatenate(epoch_batches(examples.lengths, PLAN, 0)).tolist()
    assert first != np.concatenate(epoch_batches(examples.lengths, PLAN, 1)).tolist()
    other = BatchPlan(4, (0, 2, 3), (64, 96), 8)
    assert first != np.concatenate(epoch_batches(examples.lengths, other, 0)).tolist()


def test_length_is_the_first_that_holds_the_example() -> None:
    assert [PLAN.length(n) for n in (1, 64, 65, 96)] == [64, 64, 96, 96]


def test_sorted_batches_begin_with_the_longest(examples: Sentences) -> None:
    lengths = [examples.lengths[b].max() for b in sorted_batches(examples.lengths, 4)]
    assert lengths == sorted(lengths, reverse=True)


def test_gather_batch_short_one_is_filled_with_weight_0(examples: Sentences) -> None:
    batch = gather_batch(examples, PLAN, np.array([2, 0], np.int32))
    assert batch["example_weights"].tolist() == [1, 1, 0, 0]
    assert batch["input_ids"].shape == (4, 96)
    assert (batch["input_ids"][2] == batch["input_ids"][0]).all()


def test_gather_batch_of_few_is_not_filled_up_to_many(examples: Sentences) -> None:
    plan = dataclasses.replace(PLAN, lone_size=2)
    for rows, size in (([2], 2), ([2, 0], 2), ([2, 0, 1], 4)):
        batch = gather_batch(examples, plan, np.array(rows, np.int32))
        assert len(batch["input_ids"]) == size
        assert batch["example_weights"].sum() == len(rows)


def test_example_batches_go_on_at_any_position(examples: Sentences) -> None:
    whole = list(itertools.islice(ExampleBatches(examples, PLAN, str).batches(), 25))
    assert whole[0].epoch == 0 and whole[-1].epoch >= 1
    for at in range(0, 24, 5):
        position = json.loads(json.dumps(whole[at].position))
        source = ExampleBatches(examples, PLAN, str, position)
        rest = itertools.islice(source.batches(), 24 - at)
        for batch, expected in zip(rest, whole[at + 1 :], strict=True):
            assert batch.rows.tolist() == expected.rows.tolist()
            assert batch.position == expected.position and batch.epoch == expected.epoch
            arrays = expected.features
            assert all(np.array_equal(batch.features[k], arrays[k]) for k in arrays)


def test_example_batches_place_names_the_first_examples(examples: Sentences) -> None:
    source = ExampleBatches(examples, PLAN, lambda rows: f"the examples {rows.tolist()}")
    batch = next(source.batches())
    first = batch.rows[:3].tolist()
    assert source.place(batch) == f"Its batch of 4 begins with the examples {first}"


def test_predictions_are_those_of_every_example_without_filling(examples: Sentences) -> None:
    shapes = []

    def predict(batch: dict[str, Any]) -> dict[str, Any]:
        assert set(batch) == {"input_ids", "input_mask", "segment_ids"}
        shapes.append(batch["input_ids"].shape)
        return {"first": batch["input_ids"][:, 0]}

    found = {}
    for rows, outputs in predictions(examples, predict, PLAN):
        found.update(zip(rows.tolist(), outputs["first"].tolist(), strict=True))
    expected = 10 + examples.sentence_offsets[:-1]
    assert [found[i] for i in range(len(examples))] == expected.tolist()
    assert shapes == [(4, 96)] * 2 + [(4, 64)] * 4


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
