"""What the session and the loop know of the services that show runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

SERVICES = ("tensorboard", "mlflow", "wandb")

Status = Literal["FINISHED", "FAILED", "KILLED"]
Prefix = Literal["train", "eval"]

_EVALUATED = "eval_"  # begins the names of evaluations in metrics.jsonl


class Record(NamedTuple):
    """A line of metrics.jsonl."""

    step: int  # updates done
    prefix: Prefix
    values: dict[str, Any]  # by name, without the prefix and the step

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Record:
        """What stands on a line; evaluations have names of their own."""
        values = {name: value for name, value in line.items() if name != "step"}
        is_evaluated = any(name.startswith(_EVALUATED) for name in values)
        if is_evaluated:
            values = {name.removeprefix(_EVALUATED): value for name, value in values.items()}
        return cls(line["step"], "eval" if is_evaluated else "train", values)


class TrackedRun(NamedTuple):
    """A run as services show it."""

    folder: str  # of the run, an absolute path; it names the run
    name: str
    parameters: dict[str, Any]  # flags, none of them secret, and the model's configuration
    parent: str | None = None  # the folder of the run that holds those of several seeds
    is_parent: bool = False


class Tracker:
    """Is told of a session's runs, one after the other; this one ignores what it is told.

    No call fails, waits for a network or takes long; ``close`` may wait until its deadline.
    """

    def start(self, run: TrackedRun, lines: Sequence[Mapping[str, Any]] = ()) -> None:
        """A run begins, is resumed, or is spoken of again; the calls that follow are about it.

        Args:
            run: with the parent told of before.
            lines: what metrics.jsonl has of it already.
        """

    def begin(self, first_step: int) -> None:
        """Training begins: what was told of later steps is computed again."""

    def write(self, line: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl."""

    def add_files(self, paths: Sequence[str]) -> None:
        """Files of the run that are to be kept with it."""

    def finish(self, scores: Mapping[str, float], step: int) -> None:
        """The run has ended well.

        Args:
            scores: of its evaluation; empty if none was asked for.
            step: updates that the evaluated weights have seen.
        """

    def close(self, status: Status, deadline: float) -> list[str]:
        """Ends the runs that have not ended, and waits until all is told.

        Args:
            status: of those runs.
            deadline: by time.monotonic(); what has not been told then is left.

        Returns:
            Lines that say how to see the curves, and what was left.
        """
        return []


class Trackers(Tracker):
    """Tells several."""

    def __init__(self, trackers: Sequence[Tracker] = ()):
        """In the order of their lines."""
        self._trackers = trackers

    def start(self, run: TrackedRun, lines: Sequence[Mapping[str, Any]] = ()) -> None:
        """See Tracker."""
        for tracker in self._trackers:
            tracker.start(run, lines)

    def begin(self, first_step: int) -> None:
        """See Tracker."""
        for tracker in self._trackers:
            tracker.begin(first_step)

    def write(self, line: Mapping[str, Any]) -> None:
        """See Tracker."""
        for tracker in self._trackers:
            tracker.write(line)

    def add_files(self, paths: Sequence[str]) -> None:
        """See Tracker."""
        for tracker in self._trackers:
            tracker.add_files(paths)

    def finish(self, scores: Mapping[str, float], step: int) -> None:
        """See Tracker."""
        for tracker in self._trackers:
            tracker.finish(scores, step)

    def close(self, status: Status, deadline: float) -> list[str]:
        """See Tracker."""
        return [line for one in self._trackers for line in one.close(status, deadline)]
