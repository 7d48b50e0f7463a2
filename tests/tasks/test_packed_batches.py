"""Examples that share rows: every one once, as it is alone, in the order of unpacked batches."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bert_ko.data.share import Share
from bert_ko.tasks.batches import BatchPlan, ExampleBatch, ExampleBatches
from bert_ko.tasks.packed_batches import PackedBatches
from bert_ko.tasks.sentences import PIECE_COLUMNS, Ints, Sentences
from tests.fakes import unpack

PLAN = BatchPlan(batch_size=16, special_ids=(0, 2, 3), lengths=(32,), seed=7)
TOTAL = 70


class Labelled:
    """Examples of 3 to 32 pieces with labels of every kind."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        lengths = [32, 3, *rng.integers(3, 20, TOTAL - 2)]
        offsets = np.cumsum([0, *lengths])
        columns: dict[str, Ints] = {
            name: rng.integers(1, 1000, offsets[-1]).astype(np.int32) for name in PIECE_COLUMNS
        }
        self.sentences = Sentences(offsets, **columns)
        self.lengths = self.sentences.lengths

    def gather(self, rows: Any, length: int, special_ids: Any) -> dict[str, Any]:
        found = self.sentences.gather(rows, length, special_ids)
        return {
            **found,
            "tag_ids": found["input_ids"] * 2,
            "targets": rows,
            "label_weights": rows / np.float32(9),
            "topics": np.stack([rows, rows + 1], axis=1),
        }


EXAMPLES = Labelled()


def packed(num_parts: int = 1, **settings: Any) -> Iterator[ExampleBatch]:
    share = Share(parts=num_parts)
    return PackedBatches(EXAMPLES, PLAN, str, share=share, **settings).batches()


def take(batches: Iterator[Any], count: int) -> list[Any]:
    return list(itertools.islice(batches, count))


def test_packed_batches_hold_what_unpacked_ones_do_in_fewer_rows() -> None:
    unpacked = ExampleBatches(EXAMPLES, PLAN, str).batches()
    rows = []
    for batch, alone in zip(take(packed(), 12), take(unpacked, 12), strict=True):
        assert batch.rows.tolist() == alone.rows.tolist()
        assert (batch.position, batch.epoch) == (alone.position, alone.epoch)
        found, count = unpack(batch.features), len(batch.rows)
        order = np.argsort(found["targets"])  # the number of the example
        wanted = np.argsort(alone.features["targets"][:count])
        for name in found.keys() & alone.features.keys():
            assert found[name].dtype == alone.features[name].dtype, name
            np.testing.assert_array_equal(found[name][order], alone.features[name][:count][wanted])
        assert found.keys() >= {"tag_ids", "example_weights", "label_weights"}
        rows.append(len(batch.features["input_ids"]))
    assert max(rows) < 10 and sum(rows) / 12 < 7  # of 16 examples of 12 pieces


def test_packed_batches_features_of_examples_have_a_slot_each() -> None:
    (batch,) = take(packed(), 1)
    shape = batch.features["sequence_lengths"].shape
    assert batch.features["targets"].shape == shape == batch.features["example_weights"].shape
    assert batch.features["topics"].shape == (*shape, 2)
    assert batch.features["example_weights"].sum() == 16
    is_used = batch.features["sequence_lengths"] > 0
    np.testing.assert_array_equal(batch.features["example_weights"], is_used)


@pytest.mark.parametrize(("num_parts", "unit"), [(1, 2), (2, 2), (4, 4), (8, 8), (16, 16)])
def test_packed_batches_rows_are_a_multiple_of_parts_and_few_numbers(
    num_parts: int, unit: int
) -> None:
    shapes = {batch.features["input_ids"].shape for batch in take(packed(num_parts), 30)}
    assert all(rows % unit == 0 and rows <= 16 for rows, _ in shapes)
    assert {batch.features["targets"].shape[1] for batch in take(packed(num_parts), 30)} == {
        next(packed()).features["targets"].shape[1]
    }


def test_packed_batches_go_on_at_any_position() -> None:
    whole = take(packed(), 14)
    for at in (0, 4, 9):
        position = json.loads(json.dumps(whole[at].position))
        rest = take(packed(position=position), 13 - at)
        for batch, wanted in zip(rest, whole[at + 1 :], strict=True):
            assert batch.features.keys() == wanted.features.keys()
            for name, value in wanted.features.items():
                np.testing.assert_array_equal(batch.features[name], value)


def test_packed_batches_padding_is_what_the_first_epoch_has() -> None:
    source = PackedBatches(EXAMPLES, PLAN, str)
    batches = [b for b in take(source.batches(), 6) if b.epoch == 0]
    masks = np.concatenate([batch.features["input_mask"] for batch in batches])
    assert source.padding == pytest.approx(1 - masks.mean())
    assert masks.sum() == EXAMPLES.lengths.sum()


@pytest.mark.parametrize("kind", [ExampleBatches, PackedBatches])
def test_batches_of_shares_are_the_rows_of_the_whole(kind: Any) -> None:
    shares = [Share(index, 2, parts=2, devices=4) for index in range(2)]
    whole = kind(EXAMPLES, PLAN, str, share=Share(parts=2, devices=4)).batches()
    for share in shares:
        parts = kind(EXAMPLES, PLAN, str, share=share).batches()
        for batch, own in zip(take(whole, 12), take(parts, 12), strict=True):
            assert (own.position, own.rows.tolist()) == (batch.position, batch.rows.tolist())
            wanted = share.of(batch.features)
            assert all((own.features[name] == wanted[name]).all() for name in wanted)
        whole = kind(EXAMPLES, PLAN, str, share=Share(parts=2, devices=4)).batches()
