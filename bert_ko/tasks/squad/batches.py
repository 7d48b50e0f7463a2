"""Windows to batches of about equal length, shuffled by seed, resumable at any batch.

Legend: B batch, L length of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.tasks.squad.features import Features, Ints

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class BatchPlan:
    """How windows are put into batches.

    Attributes:
        batch_size: B.
        special_ids: of [PAD], [CLS] and [SEP].
        lengths: ascending; a batch is padded to the first of them that holds its longest window.
        seed: of the order.
    """

    batch_size: int
    special_ids: tuple[int, int, int]
    lengths: tuple[int, ...]
    seed: int = 0

    def length(self, longest: int) -> int:
        """L, of a batch with a window of so many pieces."""
        return next(length for length in self.lengths if length >= longest)


def epoch_batches(features: Features, plan: BatchPlan, epoch: int) -> list[Ints]:
    """The windows of each batch of an epoch, every window once.

    Windows of a bucket are shuffled and cut into batches; what is left over goes to the next longer
    bucket, and the batches are shuffled. The last may be short.
    """
    rng = np.random.default_rng([plan.seed, epoch])
    lengths = features.window_lengths
    order = rng.permutation(len(lengths)).astype(np.int32)
    buckets = np.searchsorted(plan.lengths, lengths[order])
    batches: list[Ints] = []
    left = order[:0]
    for bucket in np.unique(buckets):
        windows = np.concatenate([left, order[buckets == bucket]])
        whole = len(windows) - len(windows) % plan.batch_size
        batches += _cut(windows[:whole], plan.batch_size)
        left = windows[whole:]
    if len(left):
        batches.append(left)
    return [batches[i] for i in rng.permutation(len(batches))]


def sorted_batches(features: Features, plan: BatchPlan) -> list[Ints]:
    """Every window once for prediction, the longest first."""
    order = np.argsort(-features.window_lengths, kind="stable").astype(np.int32)
    return _cut(order, plan.batch_size)


def _cut(windows: Ints, size: int) -> list[Ints]:
    return [windows[start : start + size] for start in range(0, len(windows), size)]


def steps_per_epoch(num_windows: int, batch_size: int) -> int:
    """Batches of an epoch; buckets do not change it."""
    return -(-num_windows // batch_size)


def gather_batch(features: Features, plan: BatchPlan, windows: Ints) -> Arrays:
    """The arrays of a batch.

    Args:
        features: windows.
        plan: how batches are made.
        windows: their numbers; fewer than batch_size are filled up with the first, of weight 0.

    Returns:
        input_ids, input_mask, segment_ids int32 [B, L], start_positions, end_positions int32 [B]
        and example_weights float32 [B].
    """
    missing = plan.batch_size - len(windows)
    weights = np.ones(plan.batch_size, np.float32)
    if missing:
        weights[len(windows) :] = 0
        windows = np.concatenate([windows, np.repeat(windows[:1], missing)])
    length = plan.length(int(features.window_lengths[windows].max()))
    start, end = features.targets(windows)
    return {
        **features.gather(windows, length, plan.special_ids),
        "start_positions": start,
        "end_positions": end,
        "example_weights": weights,
    }


class WindowBatch(NamedTuple):
    """A batch to train on.

    Attributes:
        features: see ``gather_batch``.
        position: of the next batch, as values for JSON.
        epoch: of this one, from 0.
        windows: their numbers, without filling.
    """

    features: Arrays
    position: dict[str, Any]
    epoch: int
    windows: Ints


class WindowBatches:
    """Batches for training, epoch after epoch."""

    def __init__(
        self,
        features: Features,
        plan: BatchPlan,
        qas_ids: Sequence[str],
        position: dict[str, Any] | None = None,
    ):
        """Begins at a batch.

        Args:
            features: windows.
            plan: how batches are made.
            qas_ids: of the questions, for messages.
            position: of the batch to begin with, from the one before it; None for the first.
        """
        self._features, self._plan, self._qas_ids = features, plan, qas_ids
        self._begin = (position["epoch"], position["batch"]) if position else (0, 0)

    def batches(self) -> Iterator[WindowBatch]:
        """Batches without end."""
        epoch, first = self._begin
        while True:
            batches = epoch_batches(self._features, self._plan, epoch)
            for number in range(first, len(batches)):
                is_last = number + 1 == len(batches)
                after = {"epoch": epoch + is_last, "batch": 0 if is_last else number + 1}
                arrays = gather_batch(self._features, self._plan, batches[number])
                yield WindowBatch(arrays, after, epoch, batches[number])
            epoch, first = epoch + 1, 0

    def place(self, batch: WindowBatch) -> str:
        """Names the first questions of a batch, for a message."""
        questions = self._features.window_questions[batch.windows[:3]]
        names = ", ".join(self._qas_ids[question] for question in questions)
        return f"Its batch of {len(batch.windows)} windows begins with the questions {names}"
