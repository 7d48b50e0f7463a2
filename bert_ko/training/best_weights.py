"""The weights of the best evaluation, which a run keeps beside its checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable

from bert_ko.modeling.heads import Metrics
from bert_ko.modeling.parameters import Specs
from bert_ko.training.backend import TrainProgram
from bert_ko.training.checkpoints import (
    STATE_NAME,
    Checkpoint,
    damaged,
    last_checkpoint,
    require_state,
    save_checkpoint,
)
from bert_ko.training.runs import Run, check_parameters


def best_keeper(
    run: Run, metric: str, program: TrainProgram, specs: Specs
) -> Callable[[int, Metrics, int], None]:
    """A function of step, metrics and trained positions that saves the weights if they are best.

    Raises:
        ValueError: those that the run has kept so far are damaged.
    """
    found = last_checkpoint(run.folder, "best")
    best = None
    if found is not None:
        check_parameters(found, specs)
        require_state(found.path, found.state, ("metrics",))
        if metric not in found.state["metrics"]:
            place = os.path.join(found.path, STATE_NAME)
            raise damaged(found.path, f"{place}: {metric} is missing in metrics.")
        best = found.state["metrics"][metric]

    def keep(step: int, metrics: Metrics, positions: int) -> None:
        nonlocal best
        if best is not None and metrics[metric] <= best:
            return
        best = metrics[metric]
        state = {**run.state, "step": step, "metrics": metrics, "trained_positions": positions}
        checkpoint = Checkpoint(program.parameters(), {}, state)
        save_checkpoint(run.folder, step, checkpoint, run.model_config, keep=1, kind="best")

    return keep
