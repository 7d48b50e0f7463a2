"""A window in packed rows: what its instances have, nothing else, and limits that seldom bind."""

import numpy as np
import pytest

from bert_ko.data.packed_window import PackedWindow, Sequences, row_limits, without_padding
from bert_ko.data.packing import RowLimits


def instances() -> dict[str, np.ndarray]:
    """Three, of 3, 2 and 1 pieces; the first and the last have masked ones."""
    return {
        "input_ids": np.array([[11, 12, 13, 0], [21, 22, 0, 0], [31, 0, 0, 0]], np.int32),
        "input_mask": np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], np.int32),
        "segment_ids": np.array([[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], np.int32),
        "masked_lm_positions": np.array([[1, 2], [0, 0], [0, 0]], np.int32),
        "masked_lm_ids": np.array([[7, 8], [0, 0], [9, 0]], np.int32),
        "masked_lm_weights": np.array([[1, 1], [0, 0], [0.5, 0]], np.float32),
        "next_sentence_labels": np.array([[1], [0], [1]], np.int32),
        "next_sentence_weights": np.array([0, 1, 1], np.float32),
    }


def test_packed_window_worked_example_places_all_features() -> None:
    window = PackedWindow([without_padding(instances())], RowLimits(4, 2, 3))
    assert len(window) == 2
    assert window.order.tolist() == [0, 2, 1]
    features, here = window.take(0, 2), window.places(0, 2)
    assert window.order[here].tolist() == [0, 2, 1]
    assert {name: values.tolist() for name, values in features.items()} == {
        "input_ids": [[11, 12, 13, 31], [21, 22, 0, 0]],
        "input_mask": [[1, 1, 1, 1], [1, 1, 0, 0]],
        "segment_ids": [[0, 1, 1, 0], [0, 1, 0, 0]],
        "sequence_ids": [[1, 1, 1, 2], [1, 1, 0, 0]],
        "position_ids": [[0, 1, 2, 0], [0, 1, 0, 0]],
        "first_positions": [[0, 3], [0, 0]],
        "sequence_lengths": [[3, 1], [2, 0]],
        "masked_lm_positions": [[1, 2, 3], [0, 0, 0]],
        "masked_lm_ids": [[7, 8, 9], [0, 0, 0]],
        "masked_lm_weights": [[1, 1, 0.5], [0, 0, 0]],
        "next_sentence_labels": [[1, 1], [0, 0]],
        "next_sentence_weights": [[0, 1], [1, 0]],
    }
    floats = {"masked_lm_weights", "next_sentence_weights"}
    assert {name: values.dtype for name, values in features.items()} == {
        name: np.float32 if name in floats else np.int32 for name in features
    }
    one, here = window.take(1, 2), window.places(1, 2)
    assert window.order[here].tolist() == [1]
    for name, values in one.items():
        assert values.tolist() == features[name][1:].tolist(), name


def test_packed_window_parts_follow_one_another() -> None:
    parts = [without_padding(instances()) for _ in range(3)]
    window = PackedWindow(parts, RowLimits(4, 9, 9))
    assert window.order.tolist() == [0, 2, 1, 4, 3, 5, 6, 8, 7]
    assert window.take(1, 2)["input_ids"].tolist() == [[21, 22, 21, 22]]


def test_packed_window_describes_the_rows() -> None:
    window = PackedWindow([without_padding(instances())], RowLimits(4, 2, 3))
    assert window.describe() == (
        "packed: 1.50 sequences in a row of 4 pieces, 25.0% padding instead of 50.0% (the first 3 "
        "sequences)"
    )


@pytest.mark.parametrize(
    ("length", "prob", "masked_at_least", "limits"),
    [
        (512, 0.15, 1, RowLimits(512, 64, 77)),
        (128, 0.15, 20, RowLimits(128, 16, 20)),
        (128, 0.15, 50, RowLimits(128, 16, 50)),
        (32, 0.15, 1, RowLimits(32, 8, 5)),
    ],
)
def test_row_limits_worked_examples(
    length: int, prob: float, masked_at_least: int, limits: RowLimits
) -> None:
    assert row_limits(length, prob, masked_at_least) == limits


@pytest.mark.parametrize("length", [32, 128, 512])
def test_row_limits_hardly_ever_end_a_row(length: int) -> None:
    # Lengths as of documents and of lines; each sequence masks its share, rounded.
    rng = np.random.default_rng(1)
    lengths = np.where(rng.random(4000) < 0.5, length, length // 4)
    sizes = rng.integers(5, lengths + 1)

    def rows(limits: RowLimits) -> int:
        masked = np.maximum(1, np.rint(0.15 * sizes)).astype(np.int64)
        flat = {name: np.zeros(sizes.sum(), np.int32) for name in ("input_ids", "segment_ids")}
        for name in ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights"):
            flat[name] = np.zeros(masked.sum(), np.int32)
        for name in ("next_sentence_labels", "next_sentence_weights"):
            flat[name] = np.zeros(len(sizes), np.int32)
        return len(PackedWindow([Sequences(sizes, masked, flat)], limits))

    assert rows(row_limits(length, 0.15)) <= 1.01 * rows(RowLimits(length, length, length))
