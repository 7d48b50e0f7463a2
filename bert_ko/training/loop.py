"""The training loop: batches in, checkpoints and metrics out, and how it ends."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from bert_ko.data.prefetch import Prefetcher
from bert_ko.messages import say
from bert_ko.modeling.flops import update_flops
from bert_ko.modeling.heads import Head, HostBatch, Metrics
from bert_ko.notification import at_step
from bert_ko.progress import Progress, format_rate
from bert_ko.training.backend import TrainProgram
from bert_ko.training.checkpoints import Checkpoint, list_checkpoints, save_checkpoint
from bert_ko.training.hosts import ALONE, Hosts
from bert_ko.training.metrics import MetricsSink, MetricsWriter
from bert_ko.training.optimization import OptimizerConfig, hyperparameters
from bert_ko.training.positions import longest_sequence
from bert_ko.training.runs import Run
from bert_ko.training.settings import TrainFlags
from bert_ko.training.tracking.tracker import Tracker


class Batch(Protocol):
    """What a step trains on; see data.reader.RecordBatch."""

    @property
    def features(self) -> HostBatch:
        """Arrays [B, ...], input_mask among them."""

    @property
    def position(self) -> dict[str, Any]:
        """In the data, of the next batch, as JSON values."""

    @property
    def epoch(self) -> int:
        """From 0."""


BatchType = TypeVar("BatchType", bound=Batch)


class BatchSource(Protocol[BatchType]):
    """Where batches come from, beginning at the position it was made for."""

    def batches(self) -> Iterator[BatchType]:
        """Batches without end."""

    def place(self, batch: BatchType) -> str:
        """Names the batch, for a message."""


# Computes metrics on held-out data after a number of updates.
Evaluate = Callable[[int], Metrics]


@dataclass
class Progression:
    """How far a run has come, apart from its variables."""

    step: int = 0  # updates done
    position: dict[str, Any] | None = None  # in the data, of the next batch; None at the beginning
    seconds: float = 0.0  # of training so far
    sums: dict[str, float] = field(default_factory=dict)  # since the last line of metrics.jsonl
    steps_in_sums: int = 0
    trained_positions: int = 0  # that a sequence has reached, over all phases


class _Pending(NamedTuple, Generic[BatchType]):
    step: int
    batch: BatchType
    result: Callable[[], dict[str, float]]


class TrainingLoop(Generic[BatchType]):
    """Runs a program over batches."""

    def __init__(
        self,
        program: TrainProgram,
        head: Head,
        optimizer: OptimizerConfig,
        run: Run,
        config: TrainFlags,
        evaluate: Evaluate,
        computed_with: str = "",
        peak_flops: float | None = None,
        tracker: Tracker | None = None,
        hosts: Hosts = ALONE,
    ):
        """Prepares a loop.

        Args:
            program: variables.
            head: of the task.
            optimizer: num_train_steps is the number of updates in all.
            run: whose checkpoints and metrics are written.
            config: how it saves, logs and ends.
            evaluate: called every config.eval_every_steps, and at the end if the best is kept.
            computed_with: the devices and their precision, for the checkpoints.
            peak_flops: operations a second of the devices, for model FLOPs utilisation.
            tracker: is told of the lines of metrics.jsonl.
            hosts: that train together; the first of them evaluates and writes.
        """
        self._program, self._head, self._optimizer = program, head, optimizer
        self._run, self._config, self._evaluate = run, config, evaluate
        self._num_steps, self._peak_flops = optimizer.num_train_steps, peak_flops
        self._tracker, self._hosts = tracker or Tracker(), hosts
        self._state = {**run.state, "computed_with": computed_with}
        self._pending: list[_Pending[BatchType]] = []
        self._stop_signal, self._is_late = 0, False

    def run(self, source: BatchSource[BatchType], progression: Progression) -> Progression:
        """Trains until the steps or the hours are done.

        Args:
            source: of batches; begins at the position of the progression.
            progression: where to begin.

        Returns:
            Where it ended, which the folder has a checkpoint of.

        Raises:
            ValueError: the loss is not finite, or a shard is damaged.
            SystemExit: after SIGTERM or Ctrl-C, with 128 + the signal and a note of the step; a
                checkpoint was written.
        """
        self._progression, self._source = progression, source
        self._saved_step = self._first_step = progression.step
        self._clock = time.perf_counter()
        if self._is_done():
            return self._end()
        with (
            self._signals(),
            self._open_metrics() as self._writer,
            Prefetcher(source.batches()) as batches,
            Progress(
                "training", self._num_steps, "steps", initial=progression.step, compiles=True
            ) as self._progress,
        ):
            self._clock = time.perf_counter()
            self._restart_rate()
            for batch in batches:
                self._train_on(batch)
                if self._is_done():
                    break
                if self._step() % self._config.save_checkpoints_steps == 0:
                    self._save()
            self._save()
        return self._end()

    def _open_metrics(self) -> MetricsSink:
        if not self._hosts.is_first:
            return MetricsSink()
        return MetricsWriter(self._run.folder, self._progression.step, self._tracker)

    def _is_done(self) -> bool:
        if self._step() >= self._num_steps:
            return True
        self._is_late = self._are_hours_over()
        if self._hosts.count > 1:
            self._let_first_decide()
        return bool(self._stop_signal) or self._is_late

    def _are_hours_over(self) -> bool:
        hours = self._config.max_hours
        return hours is not None and self._seconds() >= hours * 3600

    def _let_first_decide(self) -> None:
        """All stop after the same step, whichever host got a signal."""
        hosts = self._hosts
        if self._stop_signal:
            hosts.ask_to_stop(self._stop_signal)
        own = [self._stop_signal or hosts.asked_to_stop, self._is_late]
        self._stop_signal, self._is_late = hosts.decide(own)

    def _end(self) -> Progression:
        """Says why training ended; after a signal the command ends too."""
        step = self._progression.step
        if self._stop_signal:
            say(f"stopped at step {step:,}; run the same command to resume")
            stop = SystemExit(128 + self._stop_signal)
            stop.add_note(at_step(step, self._num_steps))
            raise stop
        if step >= self._num_steps:
            say(f"all {step:,} steps are done")
        else:
            say(f"--max_hours reached at step {step:,}; raise it to resume")
        return self._progression

    def _step(self) -> int:
        """Updates begun."""
        return self._progression.step + len(self._pending)

    def _seconds(self) -> float:
        return self._progression.seconds + time.perf_counter() - self._clock

    def _train_on(self, batch: BatchType) -> None:
        step, config = self._step(), self._config
        parts = config.gradient_accumulation_steps
        result = train_on(self._program, self._head, self._optimizer, parts, batch, step)
        self._pending.append(_Pending(step, batch, result))
        done = step + 1
        if done % config.log_every_steps == 0 or done == self._num_steps:
            self._settle()
            self._record()
        elif step == self._first_step:
            self._settle(is_rated=False)
        elif len(self._pending) >= config.iterations_per_loop:
            self._settle()
        is_last = config.keeps_best and done == self._num_steps
        interval = config.eval_every_steps
        if interval and (done % interval == 0 or is_last):
            self._write_evaluation()

    def _settle(self, *, is_rated: bool = True) -> None:
        """Waits for the steps that are under way, and checks their losses.

        Args:
            is_rated: count their time in the rate; that of compilation is not counted.
        """
        for step, batch, result in self._pending:
            values = result()
            objective, norm = values["objective"], values["gradient_norm"]
            if not (math.isfinite(objective) and math.isfinite(norm)):
                raise ValueError(
                    f"step {step + 1:,}: the loss is {objective} and the norm of the gradients "
                    f"{norm}. {self._where(batch)}"
                )
            progression = self._progression
            for name, value in values.items():
                progression.sums[name] = progression.sums.get(name, 0.0) + value
            progression.steps_in_sums += 1
            progression.step, progression.position = step + 1, batch.position
            if progression.trained_positions < batch.features["input_mask"].shape[1]:
                reached = longest_sequence(batch.features)
                progression.trained_positions = max(progression.trained_positions, reached)
            self._last_batch = batch
            # Those of the other hosts are as many but for chance.
            own_tokens, hosts = np.count_nonzero(batch.features["input_mask"]), self._hosts.count
            self._record_tokens += int(own_tokens) * hosts
            if self._peak_flops is not None:
                flops = update_flops(self._run.model_config, batch.features)
                self._record_flops += (flops or 0.0) * hosts
        steps = len(self._pending)
        self._pending.clear()
        if not is_rated:
            self._restart_rate()
        if steps:
            self._progress.update(steps, self._note())

    def _note(self) -> str:
        metrics = self._head.metrics(self._progression.sums)
        parts = [f"{label} {metrics[name]:.4g}" for name, label in self._head.headline]
        if self._record_tokens:
            parts.append(f"{format_rate(self._per_second(self._record_tokens))} tokens/s")
        if self._record_flops:
            parts.append(f"MFU {self._utilisation():.0%}")
        return ", ".join(parts)

    def _per_second(self, count: float) -> float:
        seconds = time.perf_counter() - self._record_clock
        return count / seconds if seconds > 0 else 0.0

    def _utilisation(self) -> float:
        """Model FLOPs utilisation, a share of the devices' peak."""
        assert self._peak_flops is not None
        return self._per_second(self._record_flops) / self._peak_flops

    def _record(self) -> None:
        """A line of metrics.jsonl: means since the line before."""
        progression = self._progression
        sums, count = progression.sums, progression.steps_in_sums
        step = progression.step
        record = {
            "step": step,
            **self._head.metrics(sums),
            "gradient_norm": sums["gradient_norm"] / count,
            "learning_rate": float(hyperparameters(self._optimizer, step - 1)["learning_rate"]),
            "tokens_per_second": round(self._per_second(self._record_tokens), 1),
            "seconds": round(self._seconds(), 3),
            "epoch": self._last_batch.epoch,
        }
        if self._record_flops:
            record["model_flops_utilisation"] = round(self._utilisation(), 4)
        self._writer.write(record)
        progression.sums, progression.steps_in_sums = {}, 0
        self._restart_rate()

    def _restart_rate(self) -> None:
        self._record_clock = time.perf_counter()
        self._record_tokens, self._record_flops = 0, 0.0

    def _agree(self) -> None:
        """Settles, and learns from the other hosts what their rows have reached."""
        self._settle()
        if self._hosts.count > 1:
            reached = self._hosts.gather(self._progression.trained_positions)
            self._progression.trained_positions = max(reached)

    def _write_evaluation(self) -> None:
        self._agree()
        if not self._hosts.is_first:
            return
        step = self._progression.step
        metrics = {f"eval_{name}": value for name, value in self._evaluate(step).items()}
        self._writer.write({"step": step, **metrics})
        self._restart_rate()

    def _save(self) -> None:
        self._settle()
        progression = self._progression
        if progression.step == self._saved_step:
            return
        self._agree()
        now = time.perf_counter()
        progression.seconds += now - self._clock
        self._clock = now
        state = {**self._state, **vars(progression)}
        checkpoint = Checkpoint(self._program.parameters(), self._program.slots(), state)
        # The loss of a step says nothing about the weights that result from it.
        for name, array in checkpoint.parameters.items():
            if not np.isfinite(array).all():
                raise ValueError(
                    f"step {progression.step:,}: {name} is not finite after it. "
                    f"{self._where(self._last_batch)}"
                )
        run, keep = self._run, self._config.keep_checkpoint_max
        if self._hosts.is_first:
            save_checkpoint(run.folder, progression.step, checkpoint, run.model_config, keep)
        self._saved_step = progression.step
        self._restart_rate()

    def _where(self, batch: BatchType) -> str:
        """The batch that made numbers infinite, and what to do."""
        checkpoints = list_checkpoints(self._run.folder)
        kept = f"{checkpoints[-1]} is kept" if checkpoints else "there is no checkpoint before"
        return (
            f"{self._source.place(batch)}. Nothing of this step was saved; {kept}. Lower "
            f"--learning_rate, lengthen {self._config.warmup_flag}, or use --precision=float32."
        )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and the first Ctrl-C stop the run after the current step."""

        def stop(number: int, frame: FrameType | None) -> None:
            self._stop_signal = number
            signal.signal(number, before[number])  # a second one acts at once

        numbers = (signal.SIGTERM, signal.SIGINT)
        before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
        try:
            for number in numbers:
                signal.signal(number, stop)
        except ValueError:  # not in the main thread, which then handles signals itself
            yield
            return
        try:
            yield
        finally:
            for number in numbers:
                signal.signal(number, before[number])


def train_on(
    program: TrainProgram,
    head: Head,
    optimizer: OptimizerConfig,
    parts: int,
    batch: Batch,
    step: int,
) -> Callable[[], dict[str, float]]:
    """Begins an update on a batch, in parts; see TrainProgram.train_step."""
    features = {
        name: value.reshape(parts, -1, *value.shape[1:]) for name, value in batch.features.items()
    }
    denominators = head.denominators(batch.features)
    return program.train_step(step, features, denominators, hyperparameters(optimizer, step))


def evaluate(
    program: TrainProgram, head: Head, batches: Iterator[Batch], max_steps: int
) -> Metrics:
    """Means of a head's loss and metrics over at most max_steps batches, without dropout."""
    sums: dict[str, float] = {}
    with Prefetcher(batches) as ahead:
        for count, batch in enumerate(ahead):
            if count == max_steps:
                break
            # Divided by 1, losses are sums.
            scalars = {name: np.float32(1) for name in head.denominators(batch.features)}
            for name, value in program.eval_step(batch.features, scalars).items():
                sums[name] = sums.get(name, 0.0) + value
    return head.metrics(sums)
