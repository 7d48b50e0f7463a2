"""What a task adds to the training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bert_ko.training.backend import HostBatch, HostScalars

Metrics = dict[str, float]


class Objective(NamedTuple):
    """What a task adds to the loop.

    Attributes:
        denominators: of a batch [B, ...], the scalars that its loss is divided by.
        metrics: sums over batches to means by name, "loss" among them.
        headline: metrics for the progress line: (name, label).
    """

    denominators: Callable[[HostBatch], HostScalars]
    metrics: Callable[[dict[str, float]], Metrics]
    headline: tuple[tuple[str, str], ...]
