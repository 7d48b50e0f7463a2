import itertools
import json

import numpy as np
import pytest

from bert_ko.tasks.squad.batches import (
    BatchPlan,
    WindowBatches,
    epoch_batches,
    gather_batch,
    sorted_batches,
    steps_per_epoch,
)
from bert_ko.tasks.squad.features import Features

PLAN = BatchPlan(batch_size=4, special_ids=(0, 2, 3), lengths=(64, 96), seed=7)


@pytest.mark.parametrize("lengths", [(64, 96), (96,)])
def test_epoch_batches_have_every_window_once(
    squad_features: Features, lengths: tuple[int, ...]
) -> None:
    plan = BatchPlan(4, (0, 2, 3), lengths, 7)
    total = len(squad_features.window_questions)
    for epoch in range(2):
        batches = epoch_batches(squad_features, plan, epoch)
        assert sorted(np.concatenate(batches).tolist()) == list(range(total))
        assert len(batches) == steps_per_epoch(total, 4)
        assert sorted(map(len, batches))[1:] == [4] * (len(batches) - 1)


def test_epoch_batches_differ_between_epochs_and_seeds(squad_features: Features) -> None:
    first = np.concatenate(epoch_batches(squad_features, PLAN, 0)).tolist()
    assert first == np.concatenate(epoch_batches(squad_features, PLAN, 0)).tolist()
    assert first != np.concatenate(epoch_batches(squad_features, PLAN, 1)).tolist()
    other = BatchPlan(4, (0, 2, 3), (64, 96), 8)
    assert first != np.concatenate(epoch_batches(squad_features, other, 0)).tolist()


def test_length_is_the_first_that_holds_the_window() -> None:
    assert [PLAN.length(n) for n in (1, 64, 65, 96)] == [64, 64, 96, 96]


def test_sorted_batches_begin_with_the_longest(squad_features: Features) -> None:
    lengths = [squad_features.window_lengths[b].max() for b in sorted_batches(squad_features, PLAN)]
    assert lengths == sorted(lengths, reverse=True)


def test_gather_batch_short_one_is_filled_with_weight_0(squad_features: Features) -> None:
    batch = gather_batch(squad_features, PLAN, np.array([2, 0], np.int32))
    assert batch["example_weights"].tolist() == [1, 1, 0, 0]
    assert batch["input_ids"].shape == (4, 96)
    assert (batch["input_ids"][2] == batch["input_ids"][0]).all()


def test_window_batches_go_on_at_any_position(squad_features: Features) -> None:
    ids = ["q1", "q2", "q3", "q4", "q5"]
    whole = list(itertools.islice(WindowBatches(squad_features, PLAN, ids).batches(), 25))
    assert whole[0].epoch == 0 and whole[-1].epoch >= 1
    for at in range(0, 24, 5):
        position = json.loads(json.dumps(whole[at].position))
        source = WindowBatches(squad_features, PLAN, ids, position)
        rest = itertools.islice(source.batches(), 24 - at)
        for batch, expected in zip(rest, whole[at + 1 :], strict=True):
            assert batch.windows.tolist() == expected.windows.tolist()
            assert batch.position == expected.position and batch.epoch == expected.epoch
            arrays = expected.features
            assert all(np.array_equal(batch.features[k], arrays[k]) for k in arrays)


def test_window_batches_place_names_questions(squad_features: Features) -> None:
    source = WindowBatches(squad_features, PLAN, ["q1", "q2", "q3", "q4", "q5"])
    batch = next(source.batches())
    first = squad_features.window_questions[batch.windows[0]]
    assert f"begins with the questions q{first + 1}" in source.place(batch)
