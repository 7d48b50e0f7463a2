import itertools
import json
from typing import Any

import numpy as np
import pytest

from bert_ko.tasks.batches import (
    BatchPlan,
    ExampleBatches,
    epoch_batches,
    gather_batch,
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
