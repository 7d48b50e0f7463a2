"""What --dry_run says of a training: steps, sizes, and memory and time by a few updates."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from bert_ko.modeling.heads import Head
from bert_ko.outlook import Outlook, format_about, peak_memory
from bert_ko.progress import format_bytes
from bert_ko.training.backend import Backend, TrainProgram
from bert_ko.training.loop import Batch, train_on
from bert_ko.training.optimization import OptimizerConfig
from bert_ko.training.settings import TrainFlags

_MOST_UPDATES = 40  # of those of a new length, the first one is compiled
_ENOUGH = 5  # updates that were timed
_MOST_SECONDS = 120.0
_BYTES = 4  # of a parameter, and of each slot


class Measured(NamedTuple):
    """Updates that were done to know how long they take."""

    seconds: float  # of one
    num_updates: int


def measure_updates(
    program: TrainProgram,
    head: Head,
    optimizer: OptimizerConfig,
    parts: int,
    batches: Iterator[Batch],
    step: int,
) -> Measured | None:
    """Does a few updates, and times those whose shape was compiled before; None without any."""
    start, shapes, times = time.perf_counter(), set[Any](), list[float]()
    for batch in itertools.islice(batches, _MOST_UPDATES):
        before = time.perf_counter()
        train_on(program, head, optimizer, parts, batch, step)()
        now = time.perf_counter()
        shape = tuple(sorted((name, value.shape) for name, value in batch.features.items()))
        if shape in shapes:
            times.append(now - before)
        shapes.add(shape)
        if len(times) == _ENOUGH or now - start > _MOST_SECONDS:
            break
    return Measured(sum(times) / len(times), len(times)) if times else None


def training_rows(
    config: TrainFlags, num_parameters: int, steps: tuple[int, int], per_epoch: int
) -> Outlook:
    """Says the steps of a run and the size of its checkpoints.

    Args:
        config: flags.
        num_parameters: of the model.
        steps: that are done, and in all.
        per_epoch: steps of a pass over the data; 0 if it doesn't decide how long to train.
    """
    done, total = steps
    passes = f", {per_epoch:,} a pass over the data" if per_epoch else ""
    begun = f"; {done:,} of them are done" if done else ""
    seeds = f", for each of {len(config.seeds)} seeds" if len(config.seeds) > 1 else ""
    size = 3 * _BYTES * num_parameters  # weights and two slots
    made = -(-total // config.save_checkpoints_steps)
    kept = min(made, config.keep_checkpoint_max or made)
    return [
        ("steps", f"{total:,} of {config.train_batch_size:,} examples{passes}{seeds}{begun}"),
        ("checkpoints", f"{format_bytes(size)} each, {kept:,} kept: {format_bytes(size * kept)}"),
    ]


def measured_rows(measured: Measured | None, backend: Backend, num_updates: int) -> Outlook:
    """Says memory and time, of updates that are still to be done, over all seeds."""
    rows = []
    on_device, of_process = backend.peak_memory(), peak_memory()
    if on_device is not None:
        rows.append(("memory", f"{format_bytes(on_device)} of a device at its peak"))
    elif of_process is not None:
        rows.append(("memory", f"{format_bytes(of_process)} of this process at its peak"))
    if measured is None:
        return [*rows, ("time", "not measured: no two batches had one length")]
    about = f"{measured.num_updates} updates of {measured.seconds:.3g} s here, without evaluations"
    return [*rows, ("time", f"{format_about(measured.seconds * num_updates)} ({about})")]
