"""What a session says of its evaluations, and at its end."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence

from bert_ko import files
from bert_ko.closing import close, format_scores
from bert_ko.messages import hint, say
from bert_ko.modeling.heads import Metrics
from bert_ko.page_flags import REPORT_NAME
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.settings import TrainFlags
from bert_ko.training.task import Task

_FEW = 8  # lines of metrics.jsonl, of which nothing can be said


class Evaluations:
    """The evaluations of a run, those before it was resumed too: which was the best."""

    def __init__(self, folder: str, task: Task, step: int):
        """Step is that of the checkpoint, which the run goes on from."""
        self._metric, self._sign = task.main_metric, 1 if task.larger_is_better else -1
        self._names, self._path = task.main_scores, os.path.join(folder, METRICS_NAME)
        key = f"eval_{self._metric}"
        records = read_metrics(self._path) if os.path.exists(self._path) else []
        self._values: dict[int, float] = {
            record["step"]: record[key]
            for record in records
            if key in record and record["step"] <= step
        }

    def add(self, step: int, metrics: Metrics) -> None:
        """Says the scores of a step, and whether they are the best so far."""
        value = metrics[self._metric]
        is_best = all(self._sign * value > self._sign * other for other in self._values.values())
        self._values[step] = value
        mark = "  (the best so far)" if is_best else ""
        shown = format_scores(chosen_scores(self._names, metrics))
        say(f"evaluation at step {step:,}: {shown}{mark}")

    def name_best(self, is_kept: bool) -> None:
        """Says which evaluation was the best; see also ``hint_of_loss``."""
        if len(self._values) < 2:
            return
        step = max(self._values, key=lambda step: (self._sign * self._values[step], -step))
        kept = "; its weights are kept, and used" if is_kept else ""
        say(f"best evaluation: step {step:,}, {self._metric} {self._values[step]:.2f}{kept}")

    def hint_of_loss(self) -> None:
        """Says that the loss has not fallen from the first quarter of the run to the last."""
        losses = [record["loss"] for record in read_metrics(self._path) if "loss" in record]
        if loss_never_fell(losses):
            hint(
                "the loss never fell: try another --learning_rate (ten times as much, or a tenth), "
                "more steps, or --init_checkpoint with a pre-trained model; or look at the data."
            )


def loss_never_fell(losses: Sequence[float]) -> bool:
    """Whether losses are no lower at their end than at their beginning."""
    quarter = len(losses) // 4
    if len(losses) < _FEW:
        return False
    return statistics.mean(losses[-quarter:]) >= statistics.mean(losses[:quarter])


def chosen_scores(names: Sequence[str], values: Mapping[str, float]) -> dict[str, float]:
    """The main scores, of those that there are; those of several seeds are their means."""
    found = {name: values.get(name, values.get(f"{name}_mean")) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def close_session(
    config: TrainFlags, task: Task, step: int, values: Mapping[str, float], has_page: bool
) -> None:
    """Says what a session has done, and what can be done with it.

    Args:
        config: flags.
        task: that was trained or asked.
        step: updates that the weights have seen.
        values: all scores.
        has_page: whether report.html was written.
    """
    close(
        f"trained {step:,} steps" if config.do_train else f"asked the weights of step {step:,}",
        [files.join(config.output_dir, "")],
        chosen_scores(task.main_scores, values),
        files.join(config.output_dir, REPORT_NAME) if has_page else None,
        task.next_command(),
    )
