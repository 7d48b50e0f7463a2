"""Packing: several sequences share a row, so that little of a batch is padding.

Legend: n sequences, R rows, L max_seq_length, S most sequences of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]
Ints = npt.NDArray[Any]
_CLOSED = -1


class RowLimits(NamedTuple):
    """What a row holds at most."""

    pieces: int  # L
    sequences: int  # S
    masked: int = 0  # P, masked pieces; 0 where none are counted


def first_fit(
    sizes: Sequence[int], limits: RowLimits, masked: Sequence[int] | None = None
) -> npt.NDArray[np.int32]:
    """Gives each sequence, in the order given, to the first row that still holds it.

    Args:
        sizes: pieces of each sequence, from 1 to L.
        limits: of a row.
        masked: masked pieces of each sequence, from 0 to P.

    Returns:
        The row of each sequence, from 0 in the order in which rows are begun: int32 [n].

    >>> first_fit([3, 4, 2, 1], RowLimits(pieces=5, sequences=2)).tolist()
    [0, 1, 0, 1]
    """
    masked = [0] * len(sizes) if masked is None else masked
    assert len(masked) == len(sizes)
    smallest, fewest = min(sizes, default=1), min(masked, default=0)
    assert smallest > 0 and max(sizes, default=0) <= limits.pieces
    assert fewest >= 0 and max(masked, default=0) <= limits.masked
    # Heaps of the n rows that may be needed: leaf i of ``leaves + i`` is what row i has left, a
    # node above it the most that a row below it has.
    leaves = 1 << max(0, len(sizes) - 1).bit_length()
    pieces_left, masked_left = [limits.pieces] * (2 * leaves), [limits.masked] * (2 * leaves)
    sequences_left = [limits.sequences] * leaves
    rows = []
    for size, count in zip(sizes, masked, strict=True):
        leaf = _first_leaf(pieces_left, masked_left, size, count)
        row = leaf - leaves
        rows.append(row)
        sequences_left[row] -= 1
        pieces, targets = pieces_left[leaf] - size, masked_left[leaf] - count
        if not sequences_left[row] or pieces < smallest or targets < fewest:
            pieces = targets = _CLOSED  # nothing fits: no search comes here again
        _lower(pieces_left, leaf, pieces)
        if count or targets == _CLOSED:
            _lower(masked_left, leaf, targets)
    return np.array(rows, np.int32)


def _first_leaf(pieces_left: list[int], masked_left: list[int], size: int, count: int) -> int:
    """The first leaf with room for both; there are as many rows as sequences, so one has."""
    leaves = len(pieces_left) // 2
    node = 1
    while True:
        if pieces_left[node] >= size and masked_left[node] >= count:
            if node >= leaves:
                return node
            node *= 2
        else:  # go on with what is to the right
            while node & 1:
                node >>= 1
            node += 1


def _lower(left: list[int], node: int, value: int) -> None:
    """Lowers what a leaf has left, and the nodes above it."""
    left[node] = value
    while node > 1:
        other = left[node ^ 1]
        node >>= 1
        if other > value:
            value = other
        if left[node] == value:
            break
        left[node] = value


class PackedRows:
    """Where n sequences lie in R rows; puts values of pieces and sequences there.

    A row has its sequences in the order given, without gaps; padding follows.
    """

    def __init__(self, rows: Ints, sizes: Ints, num_rows: int, limits: RowLimits):
        """Places sequences.

        Args:
            rows: of each sequence, as of ``first_fit``: int [n].
            sizes: pieces of each sequence: int [n].
            num_rows: R; rows without a sequence are padding.
            limits: of a row.
        """
        self._shape, self._slots_shape = (num_rows, limits.pieces), (num_rows, limits.sequences)
        self._sizes = sizes = np.asarray(sizes, np.int64)
        self._order = order = np.argsort(rows, kind="stable")
        row = np.asarray(rows, np.int64)[order]
        counts = np.bincount(row, minlength=num_rows)
        first = np.repeat(np.cumsum(counts) - counts, counts)  # of the row, for each sequence
        before = np.cumsum(sizes[order]) - sizes[order]
        self._slot, self._start = np.empty_like(row), np.empty_like(row)
        self._slot[order] = np.arange(len(row)) - first
        self._start[order] = before - before[first]
        self._row = np.asarray(rows, np.int64)
        ends = np.cumsum(sizes)
        self._position = np.arange(int(sizes.sum())) - np.repeat(ends - sizes, sizes)
        begin = self._row * limits.pieces + self._start
        self._place = np.repeat(begin, sizes) + self._position  # in the flat rows

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each sequence begins in its row, int64 [n]."""
        return self._start

    def pieces(self, values: Ints) -> npt.NDArray[Any]:
        """Values [total pieces], sequence after sequence, to rows [R, L]; 0 at padding."""
        packed = np.zeros(self._shape, values.dtype)
        packed.ravel()[self._place] = values
        return packed

    def sequences(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values [n, ...] to rows [R, S, ...]; 0 in unused slots."""
        packed = np.zeros((*self._slots_shape, *values.shape[1:]), values.dtype)
        packed[self._row, self._slot] = values
        return packed

    def features(self) -> Arrays:
        """What says where a row's sequences are, int32.

        Returns:
            input_mask [R, L]: 1 at pieces.
            sequence_ids [R, L]: number of the piece's sequence in its row, from 1; 0 at padding.
            position_ids [R, L]: from 0 in each sequence.
            first_positions [R, S]: where each sequence begins; 0 in unused slots.
            sequence_lengths [R, S]: pieces of each sequence; 0 in unused slots.
        """
        number = np.repeat(self._slot + 1, self._sizes).astype(np.int32)
        return {
            "input_mask": self.pieces(np.ones(len(number), np.int32)),
            "sequence_ids": self.pieces(number),
            "position_ids": self.pieces(self._position.astype(np.int32)),
            "first_positions": self.sequences(self._start.astype(np.int32)),
            "sequence_lengths": self.sequences(self._sizes.astype(np.int32)),
        }
