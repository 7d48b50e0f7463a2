"""A window of instances in packed rows; only pieces are kept, no padding.

Legend: n sequences, B batch, L max_seq_length, P most masked pieces and S most sequences of a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.packing import PackedRows, RowLimits, first_fit

Arrays = dict[str, npt.NDArray[Any]]
Ints = npt.NDArray[np.int64]
_PIECES = ("input_ids", "segment_ids")
_MASKED = ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights")
_SEQUENCES = ("next_sentence_labels", "next_sentence_weights")
_MIN_SEQUENCES, _SHARE_OF_PIECES = 8, 8


def row_limits(max_seq_length: int, masked_lm_prob: float, masked_at_least: int = 1) -> RowLimits:
    """Limits of rows that hardly ever end for another reason than their length.

    A sequence masks its share, rounded, but at least one piece, so that a row of several has seldom
    more than the share of its length and half a piece for each. A sequence of fewer than 8 pieces
    is rare, and room for more costs next to nothing: one product at [CLS].

    Args:
        max_seq_length: L.
        masked_lm_prob: share of the pieces that are masked.
        masked_at_least: most masked pieces of a sequence, if they may be more than that share.
    """
    sequences = max(_MIN_SEQUENCES, max_seq_length // _SHARE_OF_PIECES)
    masked = math.ceil(masked_lm_prob * max_seq_length)
    return RowLimits(max_seq_length, sequences, max(masked, masked_at_least))


class Sequences(NamedTuple):
    """n sequences, one after another, without padding."""

    sizes: Ints  # [n], pieces of each
    masked: Ints  # [n], masked pieces of each
    features: Arrays  # [all pieces], [all masked pieces] or [n]

    def taken(self, order: Ints) -> Sequences:
        """The sequences in another order, int [n]."""
        by_piece, by_mask = _ranges(self.sizes, order), _ranges(self.masked, order)
        indexes = {
            **dict.fromkeys(_PIECES, by_piece),
            **dict.fromkeys(_MASKED, by_mask),
            **dict.fromkeys(_SEQUENCES, order),
        }
        features = {name: self.features[name][index] for name, index in indexes.items()}
        return Sequences(self.sizes[order], self.masked[order], features)


def without_padding(features: Arrays) -> Sequences:
    """Instances as they are decoded and masked, [n, ...]; their pieces come before padding."""
    is_piece = features["input_mask"] > 0
    is_masked = features["masked_lm_weights"] > 0
    flat = {name: features[name][is_piece] for name in _PIECES}
    flat |= {name: features[name][is_masked] for name in _MASKED}
    flat |= {name: features[name].reshape(-1) for name in _SEQUENCES}
    return Sequences(is_piece.sum(axis=1), is_masked.sum(axis=1), flat)


def _joined(parts: Sequence[Sequences]) -> Sequences:
    return Sequences(
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.masked for part in parts]),
        {
            name: np.concatenate([part.features[name] for part in parts])
            for name in parts[0].features
        },
    )


def _ranges(sizes: Ints, order: Ints) -> Ints:
    """Indexes of the items of ranges that follow one another, in another order.

    >>> _ranges(np.array([2, 1, 3]), np.array([2, 0, 1])).tolist()
    [3, 4, 5, 0, 1, 2]
    """
    counts = sizes[order]
    shift = _offsets(sizes)[order] - _offsets(counts)[:-1]
    return np.repeat(shift, counts) + np.arange(int(counts.sum()))


def _offsets(sizes: Ints) -> Ints:
    """Where ranges of these sizes begin, and where the last ends: int64 [n + 1]."""
    return np.concatenate([[0], np.cumsum(sizes)])


class PackedWindow:
    """The sequences of a window, given to rows by first-fit in the order of training.

    Attributes:
        order: numbers of the sequences, row after row: int64 [n].
    """

    def __init__(self, parts: Sequence[Sequences], limits: RowLimits):
        """Args: parts: of the window, at least one, in order; limits: of a row."""
        sequences = _joined(parts)
        rows = first_fit(sequences.sizes.tolist(), limits, sequences.masked.tolist())
        self._limits, self.order = limits, np.argsort(rows, kind="stable")
        self._rows, self._sequences = rows[self.order], sequences.taken(self.order)
        self._pieces = _offsets(self._sequences.sizes)
        self._masked = _offsets(self._sequences.masked)

    def __len__(self) -> int:
        """Rows."""
        return int(self._rows[-1]) + 1

    def describe(self) -> str:
        """How full the rows are."""
        pieces, count, length = int(self._pieces[-1]), len(self.order), self._limits.pieces
        packed, unpacked = (1 - pieces / (rows * length) for rows in (len(self), count))
        return (
            f"packed: {count / len(self):.2f} sequences in a row of {length:,} pieces, "
            f"{packed:.1%} padding instead of {unpacked:.1%} (the first {count:,} sequences)"
        )

    def places(self, start: int, stop: int) -> slice:
        """Which places of ``order`` are in the rows from ``start`` to before ``stop``."""
        return slice(*np.searchsorted(self._rows, [start, stop]).tolist())

    def take(self, start: int, stop: int) -> Arrays:
        """Some rows, R = stop - start.

        Args:
            start: the first row.
            stop: after the last.

        Returns:
            The features of unpacked instances, with masked pieces [R, P] and next sentences [R, S],
            and those of ``PackedRows.features``.
        """
        here = self.places(start, stop)
        first, last = here.start, here.stop
        pieces = slice(self._pieces[first], self._pieces[last])
        masked = slice(self._masked[first], self._masked[last])
        sizes, counts, flat = self._sequences
        row, limits = self._rows[here] - start, self._limits
        rows = PackedRows(row, sizes[here], stop - start, limits)
        targets = PackedRows(row, counts[here], stop - start, limits._replace(pieces=limits.masked))
        shift = np.repeat(rows.starts, counts[here]).astype(np.int32)
        positions = flat["masked_lm_positions"][masked] + shift
        return {
            **{name: rows.pieces(flat[name][pieces]) for name in _PIECES},
            **rows.features(),
            "masked_lm_positions": targets.pieces(positions),
            **{name: targets.pieces(flat[name][masked]) for name in _MASKED[1:]},
            **{name: rows.sequences(flat[name][here]) for name in _SEQUENCES},
        }
