#!/usr/bin/env python3
"""create_pretraining_data with more workers than this machine has: a simulation from one run.

One worker does the whole work, and how long each task took is written down. Given these times, the
same queue is played through for any number of workers: what one process alone does (start, reading,
the end), and what waits (a stage begins when the one before it has ended) is what limits the rate.
Memory bandwidth, shared caches and disks are not simulated; data_workers.py measures two workers.
"""

from __future__ import annotations

import argparse
import heapq
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from common import ROOT, VOCAB, machine, seconds_to_create, write_sample

from bert_ko import engines
from bert_ko.workers import WorkerPool

_START_PARENT = "import bert_ko.create_pretraining_data"
_START_WORKER = (
    "import bert_ko.data.pipeline; from bert_ko.tokenization.folder import load_tokenizer;"
    f"load_tokenizer({str(VOCAB)!r}).encode('가')"
)


class Stage(NamedTuple):
    """The tasks of a stage: seconds until each was there, and seconds of its work."""

    name: str
    feeding: list[float]
    working: list[float]


class _TimedPool(WorkerPool):
    """A pool of this process that writes down how long everything takes."""

    stages: list[Stage]

    def run(self, function: Callable[[Any, Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        stage = Stage(function.__name__.strip("_"), [], [])
        self.stages.append(stage)
        if self._own_state is None:
            self._own_state = self._make_state()
        upcoming = iter(tasks)
        while True:
            start = time.perf_counter()
            try:
                task = next(upcoming)
            except StopIteration:
                return
            read = time.perf_counter()
            result = function(self._own_state, task)
            stage.feeding.append(read - start)
            stage.working.append(time.perf_counter() - read)
            yield result


def measured_stages(path: Path, folder: Path) -> tuple[list[Stage], float]:
    """Runs the command with one worker; the stages, and the seconds that belong to none."""
    _TimedPool.stages = []
    setattr(engines, "WorkerPool", _TimedPool)  # noqa: B010 (the module does not export it)
    whole = seconds_to_create(path, folder, num_workers=1)
    tasks = sum(sum(stage.feeding) + sum(stage.working) for stage in _TimedPool.stages)
    return _TimedPool.stages, whole - tasks


def seconds_to_run(code: str) -> float:
    """A Python process from its start to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    return time.perf_counter() - start


def simulate(stages: list[Stage], workers: int, ready: float) -> float:
    """Seconds until the last stage ends; workers are ready after so many seconds."""
    free, now = [ready] * workers, 0.0
    for stage in stages:
        heapq.heapify(free)
        ends: list[float] = []  # of tasks under way
        for feeding, working in zip(stage.feeding, stage.working, strict=True):
            if len(ends) >= 2 * workers:  # as many are in flight at most
                now = max(now, heapq.heappop(ends))
            now += feeding
            end = max(now, heapq.heappop(free)) + working
            heapq.heappush(free, end)
            heapq.heappush(ends, end)
        now = max([now, *ends])
    return now


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--workers", default="1,2,4,8,16,32,64")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_sample(Path(folder, "sample.txt"), arguments.megabytes)
        size = path.stat().st_size / 1e6
        print(f"{machine()}; {size:.1f} MB, length 128, dupe_factor 1")
        start, ready = seconds_to_run(_START_PARENT), seconds_to_run(_START_WORKER)
        stages, rest = measured_stages(path, Path(folder, "one"))
        print(f"start {start:.2f} s, of a worker {ready:.2f} s, not in tasks {rest:.2f} s")
        for name, feeding, working in stages:
            print(
                f"{name}: {len(working)} tasks of {max(working):.2f} s at most, "
                f"together {sum(working):.1f} s; preparing them {sum(feeding):.2f} s"
            )
        alone = 0.0
        for workers in map(int, arguments.workers.split(",")):
            taken = start + rest + simulate(stages, workers, ready if workers > 1 else 0)
            alone = alone or taken
            print(
                f"{workers} workers: {taken:.1f} s, {size / taken:.1f} MB/s, {alone / taken:.2f} ×"
            )


if __name__ == "__main__":
    main()
