"""Packing: first-fit as its definition says, and values where their sequence lies."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko.data.packing import PackedRows, RowLimits, first_fit


@pytest.mark.parametrize(
    ("sizes", "limits", "masked", "rows"),
    [
        ([3, 4, 2, 1], RowLimits(5, 9), None, [0, 1, 0, 1]),
        ([3, 1, 2, 1, 1], RowLimits(5, 9), None, [0, 0, 1, 0, 1]),
        ([1, 1, 1], RowLimits(5, 2), None, [0, 0, 1]),
        ([2, 2, 2], RowLimits(6, 9, 3), [2, 2, 1], [0, 1, 0]),
        ([5, 5], RowLimits(5, 1), None, [0, 1]),
        ([], RowLimits(5, 1), None, []),
    ],
)
def test_first_fit_worked_example_gives_first_row_with_room(
    sizes: list[int], limits: RowLimits, masked: list[int] | None, rows: list[int]
) -> None:
    found = first_fit(sizes, limits, masked)
    assert found.tolist() == rows
    assert found.dtype == np.int32


def by_definition(sizes: Sequence[int], limits: RowLimits, masked: Sequence[int]) -> list[int]:
    """Looks through all rows for each sequence."""
    left: list[list[int]] = []
    rows = []
    for needs in zip(sizes, [1] * len(sizes), masked, strict=True):
        fits = [all(a >= b for a, b in zip(row, needs, strict=True)) for row in left]
        row = fits.index(True) if True in fits else len(left)
        if row == len(left):
            left.append(list(limits))
        left[row] = [a - b for a, b in zip(left[row], needs, strict=True)]
        rows.append(row)
    return rows


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_first_fit_random_sequences_is_first_fit_by_definition(data: st.DataObject) -> None:
    limits = RowLimits(*(data.draw(st.integers(1, top)) for top in (12, 4, 5)))
    sequence = st.tuples(st.integers(1, limits.pieces), st.integers(0, limits.masked))
    sequences = data.draw(st.lists(sequence, max_size=40))
    sizes, masked = [size for size, _ in sequences], [count for _, count in sequences]
    rows = first_fit(sizes, limits, masked).tolist()
    assert rows == by_definition(sizes, limits, masked)
    assert first_fit(sizes, limits).tolist() == by_definition(sizes, limits, [0] * len(sizes))


def test_packed_rows_worked_example_places_pieces_and_sequences() -> None:
    packed = PackedRows(
        np.array([1, 0, 1], np.int32), np.array([2, 3, 1]), 3, RowLimits(pieces=4, sequences=2)
    )
    assert packed.pieces(np.array([11, 12, 21, 22, 23, 31])).tolist() == [
        [21, 22, 23, 0],
        [11, 12, 31, 0],
        [0, 0, 0, 0],
    ]
    assert packed.sequences(np.array([1, 2, 3])).tolist() == [[2, 0], [1, 3], [0, 0]]
    features = packed.features()
    assert {name: values.dtype for name, values in features.items()} == dict.fromkeys(
        features, np.int32
    )
    assert {name: values.tolist() for name, values in features.items()} == {
        "input_mask": [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]],
        "sequence_ids": [[1, 1, 1, 0], [1, 1, 2, 0], [0, 0, 0, 0]],
        "position_ids": [[0, 1, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
        "first_positions": [[0, 0], [0, 2], [0, 0]],
        "sequence_lengths": [[3, 0], [2, 1], [0, 0]],
    }


def test_packed_rows_keep_trailing_axes_and_dtype() -> None:
    packed = PackedRows(np.array([0, 0]), np.array([1, 1]), 1, RowLimits(2, 3))
    found = packed.sequences(np.array([[1.5, 2], [3, 4]], np.float32))
    assert found.dtype == np.float32
    assert found.tolist() == [[[1.5, 2], [3, 4], [0, 0]]]
