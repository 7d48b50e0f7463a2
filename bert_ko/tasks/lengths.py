"""To which lengths the examples of a task are padded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

COUNT = 8  # each further length is compiled once
MULTIPLE = 16
_FEATURE_COUNT, _FEATURE_MULTIPLE = 12, 8  # of lengths that are compiled only where that pays
_STEP = 64  # between the lengths of batches whose examples are not yet known


def choose_lengths(
    lengths: npt.NDArray[np.int32], max_length: int, count: int = COUNT, multiple: int = MULTIPLE
) -> tuple[int, ...]:
    """The lengths with the least padding, if each example is padded to the next of them.

    Args:
        lengths: pieces of each example, int32 [N], none above max_length.
        max_length: of the model's input.
        count: of lengths at most.
        multiple: all lengths but max_length are multiples of it.

    Returns:
        Ascending; max_length alone if there are no examples.

    >>> choose_lengths(np.array([3, 3, 3, 20, 21, 64], np.int32), 64, count=2, multiple=8)
    (24, 64)
    """
    tops = np.minimum(-(-lengths // multiple) * multiple, max_length)
    values, counts = np.unique(tops, return_counts=True)
    if not len(values):
        return (max_length,)
    up_to = np.concatenate([[0], np.cumsum(counts)])
    # padded[j]: the least pieces for the examples of values up to j, which is the last length; each
    # round allows one length more.
    padded = up_to[1:] * values
    ends = np.zeros((1, len(values)), np.int64)
    for _ in range(min(count, len(values)) - 1):
        # [i, j]: examples up to value i as before, those above it, up to j, padded to j.
        total = padded[:, None] + (up_to[None, 1:] - up_to[1:, None]) * values[None]
        total[np.tril_indices(len(values), -1)] = np.iinfo(np.int64).max
        ends = np.concatenate([ends, total.argmin(axis=0)[None]])
        padded = total.min(axis=0)
    chosen, last = [], len(values) - 1
    for previous in reversed(ends):
        chosen.append(int(values[last]))
        last = int(previous[last])
    return tuple(sorted(set(chosen)))


def batch_lengths(
    max_seq_length: int, length_buckets: bool, lengths: npt.NDArray[np.int32] | None
) -> tuple[int, ...]:
    """The lengths to which examples are padded.

    Args:
        max_seq_length: of the longest example.
        length_buckets: whether there may be several.
        lengths: pieces of all examples, int32 [N]; None where they are not yet known.
    """
    if not length_buckets:
        return (max_seq_length,)
    if lengths is None:
        return (*range(_STEP, max_seq_length, _STEP), max_seq_length)
    return choose_lengths(lengths, max_seq_length)


def lengths_worth_compiling(
    lengths: npt.NDArray[np.int32], max_seq_length: int, pieces_per_compilation: float
) -> tuple[int, ...]:
    """The lengths that save more padding than it costs to compile them.

    Args:
        lengths: pieces of some of the examples, [N], which stand for all of them.
        max_seq_length: of the longest of all.
        pieces_per_compilation: padding that one more compiled length must save.
    """
    found: tuple[int, ...] = ()
    padded = np.inf
    for count in range(1, _FEATURE_COUNT + 1):
        chosen = choose_lengths(lengths, max_seq_length, count, _FEATURE_MULTIPLE)
        pieces = np.take(chosen, np.searchsorted(chosen, lengths)).sum()
        if padded - pieces <= pieces_per_compilation:
            break
        found, padded = chosen, pieces
    return tuple(sorted({*found, max_seq_length}))
