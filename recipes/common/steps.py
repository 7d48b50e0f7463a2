"""Steps of a recipe: commands in an order, each with a log, that go on after a kill."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from bert_ko.files import write_atomic
from bert_ko.json_files import read_json

_POLL_SECONDS = 0.1
_SAVE_SECONDS = 5.0  # between two records of the time used
_GRACE_SECONDS = 30.0  # after SIGTERM, to save a checkpoint
_LOG_LINES = 15  # of a step that failed
_PARENT_DIED = 1  # PR_SET_PDEATHSIG of prctl


@dataclass(frozen=True)
class Step:
    """A command that can be run again: it resumes, or finds that it is done.

    Attributes:
        name: of the step, and of its log.
        command: its command line, made when it starts, from what earlier steps have measured.
        after: names of the steps that must be done before.
        lane: a lane runs at most so many of its steps at once, in their order.
        is_nice: it gives way to others on a busy processor.
    """

    name: str
    command: Callable[[], Sequence[str]]
    after: tuple[str, ...] = ()
    lane: str = "main"
    is_nice: bool = False


class State:
    """What is known of earlier runs, in state.json of the output folder."""

    def __init__(self, folder: Path):
        """Reads it; a folder without one begins.

        Raises:
            ValueError: it is damaged.
        """
        self.path = folder / "state.json"
        values = read_json(str(self.path)) or {}
        self.config: Any = values.get("config")
        self.used: float = values.get("used_seconds", 0.0)  # over all runs
        self.done: dict[str, float] = values.get("done", {})  # step to its seconds
        self.planned: dict[str, Any] = values.get("planned", {})  # what was decided on the way
        self.seconds: dict[str, float] = values.get("seconds", {})  # of each step, over all runs

    def save(self) -> None:
        """Writes it."""
        values = {
            "config": self.config,
            "used_seconds": round(self.used, 1),
            "done": self.done,
            "planned": self.planned,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }
        write_atomic(str(self.path), json.dumps(values, indent=1, ensure_ascii=False) + "\n")


@dataclass
class _Running:
    step: Step
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)


class Stopped(Exception):
    """A signal came; all commands have ended."""


class Runner:
    """Runs steps, several at once where lanes allow, until all are done or the time is over."""

    def __init__(
        self,
        folder: Path,
        state: State,
        lanes: Mapping[str, int],
        environment: Mapping[str, str],
        seconds: float | None,
    ):
        """Prepares to run.

        Args:
            folder: of the output; logs go to logs/ in it.
            state: of earlier runs.
            lanes: how many steps of a lane run at once; 1 if not named.
            environment: for all commands, beside that of this process.
            seconds: for everything, over all runs; None for no limit.
        """
        self._folder, self._state, self._lanes = folder, state, lanes
        self._environment, self._limit = environment, seconds
        given = (f"{name}={shlex.quote(value)}" for name, value in environment.items())
        self._assignments = " ".join(given)
        self._running: list[_Running] = []
        self.failed: list[str] = []
        self._signal = 0
        self._clock = self._saved = time.monotonic()
        (folder / "logs").mkdir(parents=True, exist_ok=True)

    def run(self, steps: Sequence[Step]) -> bool:
        """Runs what is not done yet.

        Returns:
            Whether all steps are done. A step that fails holds up only those that need it.

        Raises:
            Stopped: SIGTERM or Ctrl-C came.
        """
        self._say(f"environment of all commands:\n    {self._assignments}")
        with self._signals():
            try:
                while not self._signal and not self._is_late():
                    self._start(steps)
                    if not self._running:
                        break
                    time.sleep(_POLL_SECONDS)
                    self._count()
                    self._collect()
                if self._is_late():
                    self._say(f"the time is over; stopping {len(self._running)} steps")
            finally:
                self._stop()
                self._count()
                self._state.save()
        if self._signal:
            raise Stopped
        return all(step.name in self._state.done for step in steps)

    def _count(self) -> None:
        now = time.monotonic()
        self._state.used += now - self._clock
        for one in self._running:
            seconds = self._state.seconds
            seconds[one.step.name] = seconds.get(one.step.name, 0.0) + now - self._clock
        self._clock = now
        if now - self._saved >= _SAVE_SECONDS:
            self._state.save()
            self._saved = now

    def _is_late(self) -> bool:
        return self._limit is not None and self._state.used >= self._limit

    def _start(self, steps: Sequence[Step]) -> None:
        done = self._state.done
        active = {one.step.name for one in self._running}
        full = dict(self._lanes)
        for one in self._running:
            full[one.step.lane] = full.get(one.step.lane, 1) - 1
        for step in steps:
            if step.name in done or step.name in active or step.name in self.failed:
                continue
            if full.get(step.lane, 1) < 1 or any(name not in done for name in step.after):
                continue
            try:
                self._running.append(self._begin(step))
            except ValueError as error:  # what earlier steps have left does not do
                self.failed.append(step.name)
                self._say(f"{step.name}: {error}")
                continue
            full[step.lane] = full.get(step.lane, 1) - 1

    def _begin(self, step: Step) -> _Running:
        command = step.command()
        line, log = shlex.join(command), self._log(step)
        self._say(f"{step.name}: begins (log: {log})\n    {line}")
        with log.open("ab") as stream:
            stream.write(f"$ {self._assignments} {line}\n".encode())
            stream.flush()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
                # Ctrl-C reaches this process alone, which then stops the command.
                process_group=0,
                preexec_fn=_prepare_nice if step.is_nice else _prepare,
            )
        return _Running(step, process)

    def _log(self, step: Step) -> Path:
        return self._folder / "logs" / f"{step.name}.log"

    def _collect(self) -> None:
        for one in list(self._running):
            status = one.process.poll()
            if status is None:
                continue
            self._running.remove(one)
            seconds = time.monotonic() - one.started
            if status == 0:
                self._state.done[one.step.name] = round(seconds, 1)
                self._state.save()
                self._say(f"{one.step.name}: done in {_clock_time(seconds)}")
                continue
            self.failed.append(one.step.name)
            log = self._log(one.step)
            lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            end = "\n".join(f"    {text[:300]}" for text in lines)
            self._say(f"{one.step.name}: failed with status {status}; the end of {log}:\n{end}")

    def _stop(self) -> None:
        """Asks what runs to save and end."""
        for one in self._running:
            one.process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for one in self._running:
            try:
                one.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
        for one in self._running:
            if one.process.returncode == 0:  # it was done just now
                self._state.done[one.step.name] = round(time.monotonic() - one.started, 1)
        self._running.clear()

    def _say(self, text: str) -> None:
        used = _clock_time(self._state.used)
        left = (
            "" if self._limit is None else f", {_clock_time(self._limit - self._state.used)} left"
        )
        print(f"[{used}{left}] {text}", flush=True)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(number: int, frame: FrameType | None) -> None:
            self._signal = number

        before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _prepare() -> None:
    """In the new process: it is asked to save and end when this one dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGTERM)


def _prepare_nice() -> None:
    os.nice(10)
    _prepare()


def _clock_time(seconds: float) -> str:
    """Minutes and seconds.

    >>> _clock_time(83.4)
    '1:23'
    """
    whole = max(0, int(seconds))
    return f"{whole // 60}:{whole % 60:02}"
