"""How long each phase trains, and how many updates it makes."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recipes.common.config import Phase, Recipe

# A phase whose steps are counted in advance aims at this share of its time: the end of its schedule
# must not be cut off.
_AIM = 0.95
# Of a phase whose time decides when it ends.
_NO_END = 10_000_000


class PhasePlan(NamedTuple):
    """Decided when a phase begins, and kept from then on."""

    seconds: float  # of training at most, compilation included
    num_train_steps: int


def phase_seconds(recipe: Recipe, index: int, used: float) -> float:
    """The time of a phase.

    Args:
        recipe: with a limit of its time, phases share what fine-tuning and their own overhead leave
            of it, in proportion to their minutes.
        index: of the phase.
        used: seconds of the recipe so far.

    Raises:
        ValueError: no time is left for it.
    """
    phases = recipe.phases[index:]
    if recipe.minutes is None:
        return phases[0].minutes * 60
    reserved = recipe.fine_tuning_minutes + recipe.overhead_minutes * len(phases)
    left = (recipe.minutes - reserved) * 60 - used
    seconds = left * phases[0].minutes / sum(phase.minutes for phase in phases)
    if seconds < 1:
        raise ValueError(
            f"no time is left for phase {phases[0].name}: {used:.0f} of {recipe.minutes * 60:.0f} "
            f"seconds are used, and {reserved * 60:.0f} reserved; give more --minutes."
        )
    return seconds


def updates_per_second(records: Sequence[Mapping[str, Any]]) -> float | None:
    """The median speed between two lines of metrics.jsonl; None if there are not two.

    The median counts neither compilation nor the writing of checkpoints.
    """
    lines = [record for record in records if "seconds" in record]
    speeds = [
        (after["step"] - before["step"]) / (after["seconds"] - before["seconds"])
        for before, after in itertools.pairwise(lines)
        if after["seconds"] > before["seconds"]
    ]
    return statistics.median(speeds) if speeds else None


def compile_seconds(records: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of a run before its first update was done, about."""
    lines = [record for record in records if "seconds" in record]
    speed = updates_per_second(records)
    if not lines or speed is None:
        return 0.0
    return max(0.0, float(lines[0]["seconds"]) - float(lines[0]["step"]) / speed)


def plan_phase(
    recipe: Recipe, index: int, used: float, before: Sequence[Mapping[str, Any]]
) -> PhasePlan:
    """Plans a phase when it begins.

    Args:
        recipe: the configuration.
        index: of the phase.
        used: seconds of the recipe so far.
        before: metrics.jsonl of the phase before.

    Raises:
        ValueError: no time is left, or the speed is not known.
    """
    phase, seconds = recipe.phases[index], phase_seconds(recipe, index, used)
    if phase.learning_rate_schedule == "constant":
        return PhasePlan(seconds, _NO_END)
    speed = updates_per_second(before)
    if speed is None:
        raise ValueError(
            f"the phase before {phase.name} has too few updates to know its speed; give it more "
            "time."
        )
    earlier = recipe.phases[index - 1]
    speed *= phase.relative_speed * _pieces(earlier) / _pieces(phase)
    training = max(seconds * _AIM - compile_seconds(before), 0.25 * seconds)
    return PhasePlan(seconds, max(phase.num_warmup_steps + 1, round(speed * training)))


def _pieces(phase: Phase) -> int:
    return phase.train_batch_size * phase.max_seq_length
