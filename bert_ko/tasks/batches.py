"""Examples to batches of about equal length, shuffled by seed, resumable at any batch.

Legend: N examples, B batch, L length of the batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bert_ko.data.position import require_counts
from bert_ko.data.share import WHOLE, Share
from bert_ko.modeling.heads import HostBatch
from bert_ko.modeling.heads.words import LAYERS, WORD_IDS
from bert_ko.progress import Progress

Ints = npt.NDArray[np.int32]
INPUTS = ("input_ids", "input_mask", "segment_ids")
OF_WORDS = (WORD_IDS, "characters", LAYERS)  # inputs of a model of words alone
_COUNT = 8  # each further length is compiled once
_MULTIPLE = 16
_FEATURE_COUNT, _FEATURE_MULTIPLE = 12, 8  # of lengths that are compiled only where that pays
_STEP = 64  # between the lengths of batches whose examples are not yet known


class Examples(Protocol):
    """What a task trains on and predicts for: rows of pieces."""

    @property
    def lengths(self) -> Ints:
        """int32 [N], pieces of each example with its special tokens."""

    def gather(self, rows: Ints, length: int, special_ids: tuple[int, int, int]) -> HostBatch:
        """The arrays of examples.

        Args:
            rows: their numbers, [B].
            length: L, at least the pieces of the longest of them.
            special_ids: of [PAD], [CLS] and [SEP].

        Returns:
            input_ids, input_mask, segment_ids int32 [B, L], and what the loss compares with: of
            pieces tag_ids [B, L], all else of examples, [B, ...].
        """


@dataclass(frozen=True)
class BatchPlan:
    """How examples are put into batches.

    Attributes:
        batch_size: B.
        special_ids: of [PAD], [CLS] and [SEP].
        lengths: ascending; a batch is padded to the first of them that holds its longest example.
        seed: of the order.
        lone_size: rows of a batch that has no more examples than that, a multiple of the devices;
            0 fills every batch up to batch_size.
    """

    batch_size: int
    special_ids: tuple[int, int, int]
    lengths: tuple[int, ...]
    seed: int = 0
    lone_size: int = 0

    def size(self, count: int) -> int:
        """B of a batch of so many examples."""
        return rows_of_batch(count, self.batch_size, self.lone_size)

    def length(self, longest: int) -> int:
        """L of a batch whose longest example has this many pieces."""
        return next(length for length in self.lengths if length >= longest)


def rows_of_batch(count: int, batch_size: int, lone_size: int) -> int:
    """Rows, with those that fill it up, of a batch of count examples; see ``BatchPlan``.

    There are two sizes, as each is compiled once.

    >>> rows_of_batch(1, 8, 1), rows_of_batch(2, 8, 1), rows_of_batch(1, 8, 0)
    (1, 8, 8)
    """
    return lone_size if count <= lone_size else batch_size


def epoch_batches(lengths: Ints, plan: BatchPlan, epoch: int) -> list[Ints]:
    """The examples of each batch of an epoch (from 0), every example once.

    The examples of a bucket are shuffled and cut into batches; the rest moves on to the next
    longer bucket, and the batches are shuffled. One may be short.

    Args:
        lengths: pieces of all examples, int32 [N].
        plan: how batches are made.
        epoch: from 0.
    """
    rng = np.random.default_rng([plan.seed, epoch])
    order = rng.permutation(len(lengths)).astype(np.int32)
    buckets = np.searchsorted(plan.lengths, lengths[order])
    batches: list[Ints] = []
    left = order[:0]
    for bucket in np.unique(buckets):
        rows = np.concatenate([left, order[buckets == bucket]])
        whole = len(rows) - len(rows) % plan.batch_size
        batches += _cut(rows[:whole], plan.batch_size)
        left = rows[whole:]
    if len(left):
        batches.append(left)
    return [batches[i] for i in rng.permutation(len(batches))]


def sorted_batches(lengths: Ints, batch_size: int) -> list[Ints]:
    """Every example once for prediction, the longest first; lengths are int32 [N]."""
    return _cut(np.argsort(-lengths, kind="stable").astype(np.int32), batch_size)


def _cut(rows: Ints, size: int) -> list[Ints]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Batches of an epoch; buckets do not change it."""
    return -(-num_examples // batch_size)


def gather_batch(
    examples: Examples, plan: BatchPlan, rows: Ints, share: Share = WHOLE
) -> HostBatch:
    """The arrays of a batch.

    Args:
        examples: all of them.
        plan: how batches are made.
        rows: of the batch; fewer than its size are filled up with the first, of weight 0.
        share: the rows to gather of it.

    Returns:
        What ``examples`` gather, and example_weights, float32 [B].
    """
    size = plan.size(len(rows))
    missing = size - len(rows)
    weights = np.ones(size, np.float32)
    if missing:
        weights[len(rows) :] = 0
        rows = np.concatenate([rows, np.repeat(rows[:1], missing)])
    length = plan.length(int(examples.lengths[rows].max()))
    if share.count > 1:
        own = share.rows(size)
        rows, weights = rows[own], weights[own]
    return {**examples.gather(rows, length, plan.special_ids), "example_weights": weights}


def predictions(
    examples: Examples,
    predict: Callable[[HostBatch], HostBatch],
    plan: BatchPlan,
    label: str | None = None,
    noun: str = "examples",
    inputs: Sequence[str] = INPUTS,
    wanted: Ints | None = None,
) -> Iterator[tuple[Ints, HostBatch]]:
    """What a model predicts for examples, batch by batch.

    Args:
        examples: all of them.
        predict: the inputs to arrays [B, ...].
        plan: how batches are made.
        label: of a progress line; None shows none.
        noun: what the examples are called there.
        inputs: which of the gathered arrays the model takes.
        wanted: numbers of the examples; None for all.

    Yields:
        Numbers of examples, and their rows of the arrays.
    """
    wanted = np.arange(len(examples.lengths), dtype=np.int32) if wanted is None else wanted
    total = len(wanted)
    line = Progress(label, total, noun, compiles=True) if label is not None else None
    with line or contextlib.nullcontext() as progress:
        for rows in sorted_batches(examples.lengths[wanted], plan.batch_size):
            rows = wanted[rows]
            batch = gather_batch(examples, plan, rows)
            own = [name for name in (*inputs, *OF_WORDS) if name in batch]
            found = predict({name: batch[name] for name in own})
            yield rows, {name: values[: len(rows)] for name, values in found.items()}
            if progress is not None:
                progress.update(len(rows))


class ExampleBatch(NamedTuple):
    """A batch to train on."""

    features: HostBatch  # see ``gather_batch``
    position: dict[str, Any]  # of the next batch, as values for JSON
    epoch: int  # from 0
    rows: Ints  # its examples, without those that fill it up


class ExampleBatches:
    """Batches for training, epoch after epoch."""

    def __init__(
        self,
        examples: Examples,
        plan: BatchPlan,
        describe: Callable[[Ints], str],
        position: dict[str, Any] | None = None,
        share: Share = WHOLE,
    ):
        """Begins at a batch.

        Args:
            examples: all of them.
            plan: how batches are made.
            describe: names examples by their numbers: "the questions a, b, c".
            position: of the first batch, from the batch before it; None for the start.
            share: the rows of each batch that are gathered.
        """
        self._examples, self._plan, self._describe = examples, plan, describe
        self._share = share
        self._begin = (0, 0)
        if position is not None:
            require_counts(position, ("epoch", "batch"))
            self._begin = (position["epoch"], position["batch"])

    def batches(self) -> Iterator[ExampleBatch]:
        """Batches without end."""
        epoch, first = self._begin
        while True:
            batches = epoch_batches(self._examples.lengths, self._plan, epoch)
            for number in range(first, len(batches)):
                is_last = number + 1 == len(batches)
                after = {"epoch": epoch + is_last, "batch": 0 if is_last else number + 1}
                arrays = self._gather(batches[number])
                yield ExampleBatch(arrays, after, epoch, batches[number])
            epoch, first = epoch + 1, 0

    def _gather(self, batch: Ints) -> HostBatch:
        return gather_batch(self._examples, self._plan, batch, self._share)

    def place(self, batch: ExampleBatch) -> str:
        """Names the first examples of a batch, for a message."""
        first = self._describe(batch.rows[:3])
        return f"Its batch of {len(batch.rows)} begins with {first}"


def choose_lengths(
    lengths: Ints, max_length: int, count: int = _COUNT, multiple: int = _MULTIPLE
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
    max_seq_length: int, length_buckets: bool, lengths: Ints | None
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
    lengths: Ints, max_seq_length: int, pieces_per_compilation: float
) -> tuple[int, ...]:
    """The lengths that save more padding than it costs to compile them.

    Args:
        lengths: pieces of a sample of the examples, int32 [N].
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
