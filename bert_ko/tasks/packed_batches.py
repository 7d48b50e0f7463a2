"""Batches whose rows hold several examples, in place of padding; see modeling/packing.py.

Legend: n examples of a batch, B rows, L max_seq_length, S most examples of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bert_ko.data.packing import PackedRows, RowLimits, first_fit
from bert_ko.data.share import WHOLE, Share
from bert_ko.modeling.heads import HostBatch
from bert_ko.tasks.batches import (
    INPUTS,
    BatchPlan,
    ExampleBatches,
    Examples,
    Ints,
    epoch_batches,
)

# What examples gather for every piece; the rest is of examples.
_OF_PIECES = (*INPUTS, "tag_ids")
_SHAPES = 8  # numbers of rows that are compiled, at most


class PackedBatches(ExampleBatches):
    """The batches of ``ExampleBatches``, each packed into as few rows as first-fit needs."""

    def __init__(
        self,
        examples: Examples,
        plan: BatchPlan,
        describe: Callable[[Ints], str],
        position: dict[str, Any] | None = None,
        share: Share = WHOLE,
    ):
        """Packs the first epoch for the most examples of a row, which no later row exceeds.

        Args:
            examples: all of them.
            plan: how batches are made, with one length.
            describe: see ``ExampleBatches``.
            position: see ``ExampleBatches``.
            share: see ``ExampleBatches``; its pieces divide batch_size.
        """
        super().__init__(examples, plan, describe, position, share)
        (length,) = plan.lengths
        sizes = examples.lengths
        batches = epoch_batches(sizes, plan, epoch=0)
        alone = RowLimits(length, plan.batch_size)
        rows = [first_fit(sizes[batch].tolist(), alone) for batch in batches]
        most = max((int(np.bincount(row).max()) for row in rows), default=1)
        self._limits = RowLimits(length, most)
        self._unit = share.pieces * -(-plan.batch_size // (_SHAPES * share.pieces))
        self.padding = 1 - int(sizes.sum()) / (length * sum(map(self._num_rows, rows)) or 1)

    def _num_rows(self, rows: Ints) -> int:
        """As many as are needed, rounded up so that few numbers of them are compiled."""
        needed = int(rows.max()) + 1
        return min(-(-needed // self._unit) * self._unit, self._plan.batch_size)

    def _gather(self, batch: Ints) -> HostBatch:
        """What ``gather_batch`` has, with rows of S examples; see modeling/packing.py."""
        sizes = self._examples.lengths[batch]
        found = self._examples.gather(batch, int(sizes.max()), self._plan.special_ids)
        is_piece = found["input_mask"] == 1
        rows = first_fit(sizes.tolist(), self._limits)
        packed = PackedRows(rows, sizes, self._num_rows(rows), self._limits)
        found["example_weights"] = np.ones(len(batch), np.float32)
        whole = {
            **{
                name: packed.pieces(values[is_piece])
                if name in _OF_PIECES
                else packed.sequences(values)
                for name, values in found.items()
            },
            **packed.features(),
        }
        return self._share.of(whole)
