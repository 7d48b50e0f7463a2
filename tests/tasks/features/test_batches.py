"""Sentences to padded batches."""

import numpy as np
import pytest

from bert_ko.tasks.batches import sorted_batches
from bert_ko.tasks.features.batches import Plan, gather_batch, make_plan
from bert_ko.tasks.sentences import NOWHERE, PIECE_COLUMNS, Ints, Sentences

SPECIAL = (0, 2, 3)


def sentences(*lengths: int) -> Sentences:
    """Pieces are numbered from 10 on; the first and the last one of a sentence are special."""
    offsets = np.cumsum([0, *lengths])
    columns: dict[str, Ints] = {name: np.zeros(offsets[-1], np.int32) for name in PIECE_COLUMNS}
    columns["input_ids"] = np.arange(10, 10 + offsets[-1], dtype=np.int32)
    columns["segment_ids"] = columns["input_ids"] % 2
    columns["eojeol_ids"][offsets[:-1]] = columns["eojeol_ids"][offsets[1:] - 1] = NOWHERE
    return Sentences(offsets, **columns)


def test_gather_batch_is_padded_and_filled_up() -> None:
    batch = gather_batch(
        sentences(2, 4, 3), np.array([2, 0], np.int32), Plan(3, (3, 6)), SPECIAL, True
    )
    assert {name: array.tolist() for name, array in batch.items()} == {
        "input_ids": [[16, 17, 18], [10, 11, 0], [16, 17, 18]],
        "input_mask": [[1, 1, 1], [1, 1, 0], [1, 1, 1]],
        "segment_ids": [[0, 1, 0], [0, 1, 0], [0, 1, 0]],
        "piece_weights": [[0, 1, 0], [0, 0, 0], [0, 1, 0]],  # a sentence without text has none
    }
    assert [str(array.dtype) for array in batch.values()] == ["int32"] * 3 + ["float32"]
    long = gather_batch(sentences(4, 6), np.array([1, 0], np.int32), Plan(2, (3, 8)), SPECIAL, True)
    assert long["input_ids"].shape == (2, 8)
    assert long["piece_weights"].tolist() == [[0, *[0.25] * 4, 0, 0, 0], [0, 0.5, 0.5, *[0] * 5]]
    assert "piece_weights" not in gather_batch(
        sentences(2), np.array([0], np.int32), Plan(1, (3,)), SPECIAL, False
    )


def test_sorted_batches_have_every_sentence_once() -> None:
    batches = list(sorted_batches(sentences(2, 9, 2, 5, 9).lengths, 2))
    assert [batch.tolist() for batch in batches] == [[1, 4], [3, 0], [2]]


@pytest.mark.parametrize(
    ("lengths", "worth", "devices", "expected"),
    [
        ([3] * 40, 0, 1, Plan(32, (8, 128))),
        ([3] * 5, 0, 1, Plan(5, (8, 128))),
        ([3] * 5, 0, 4, Plan(8, (8, 128))),
        ([128], 0, 1, Plan(1, (128,))),
        ([3] * 50 + [60] * 50, 0, 1, Plan(32, (8, 64, 128))),
        ([3] * 50 + [60] * 50, 50 * 56 - 1, 1, Plan(32, (8, 64, 128))),
        ([3] * 50 + [60] * 50, 50 * 56, 1, Plan(32, (64, 128))),
        (list(range(2, 129)), 0, 1, Plan(32, (16, 24, 32, 40, 48, 56, 72, 80, 88, 104, 112, 128))),
    ],
)
def test_make_plan_has_a_length_where_it_is_worth_compiling(
    lengths: list[int], worth: int, devices: int, expected: Plan
) -> None:
    plan = make_plan(sentences(*lengths), 32, 128, worth, devices)
    if len(expected.lengths) < 12:
        assert plan == expected
    else:
        assert len(plan.lengths) == 12 and plan.lengths[-1] == 128
    assert plan.length(max(lengths)) >= max(lengths)
