"""A service whose reporter, a process of its own, is told of the runs; see ``reporter``."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bert_ko.messages import warn
from bert_ko.training.tracking.tracker import Record, Status, TrackedRun, Tracker

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[3])
from bert_ko.training.tracking.reporter import main
main(*sys.argv[1:3])
"""
_ENDING = 1.0  # seconds after its last answer
_ADVICE = (
    "The run itself is not affected. What is missing is sent when it can be, or when the same "
    "command is run again."
)


class Remote(Tracker):
    """Hands everything to a thread, which hands it to the reporter."""

    def __init__(self, name: str, output_dir: str):
        """Args: name: of the service. output_dir: of the command."""
        self._name, self._output_dir = name, output_dir
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[str] | None = None
        self._run: TrackedRun | None = None
        self._threads: list[threading.Thread] = []
        self._last: dict[str, Any] | None = None  # answer
        self._is_warned = False

    def start(self, run: TrackedRun, lines: Sequence[Mapping[str, Any]] = ()) -> None:
        """See Tracker."""
        if self._process is None:
            self._launch()
        self._run = run
        records = [Record.from_line(line) for line in lines]
        self._queue.put({"start": run._asdict(), "records": records})

    def write(self, line: Mapping[str, Any]) -> None:
        """See Tracker."""
        self._tell(record=Record.from_line(line))

    def add_files(self, paths: Sequence[str]) -> None:
        """See Tracker."""
        self._tell(files=[os.path.abspath(path) for path in paths])

    def finish(self, scores: Mapping[str, float], step: int) -> None:
        """See Tracker."""
        self._tell(scores=dict(scores), step=step)

    def _tell(self, **news: Any) -> None:
        assert self._run is not None
        self._queue.put({"folder": self._run.folder, **news})

    def close(self, status: Status, deadline: float) -> list[str]:
        """Ends the reporter, at the deadline whatever it does."""
        if self._process is None:
            return []
        self._queue.put({"close": status})
        try:
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            if self._last is None:
                self._warn("it did not answer in time")
        finally:
            self._end()
        if self._last is None:
            return []
        lines = [f"curves: {line}" for line in self._last["shows"]]
        if left := self._last["left"]:
            advice = "run the same command again to send them"
            lines.append(f"{self._name}: {left:,} items not sent; {advice}")
        return lines

    def _launch(self) -> None:
        """Starts the reporter, and the threads that write to it and read from it."""
        path = json.dumps([os.path.abspath(entry) for entry in sys.path])
        arguments = [self._name, os.path.abspath(self._output_dir), path]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # packages chatter, maybe of secrets
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is ours
            )
        except OSError as error:
            self._warn(f"no process could be started: {error.strerror}")
            return
        for function in (self._write_messages, self._read_answers):
            self._threads.append(threading.Thread(target=function, daemon=True))
            self._threads[-1].start()

    def _write_messages(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # the reporter has ended, which is told
            while message := self._queue.get():
                self._process.stdin.write(json.dumps(message, default=_plain) + "\n")
                self._process.stdin.flush()
                if "close" in message:
                    return

    def _read_answers(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if "problem" in answer:
                self._warn(answer["problem"])
            elif "notice" in answer:
                self._warn(answer["notice"], advice=".")
            else:
                self._last = answer
                return
        self._warn("its process ended")

    def _warn(self, problem: str, advice: str = f". {_ADVICE}") -> None:
        """Once; the problems that follow are mostly the same."""
        if not self._is_warned:
            self._is_warned = True
            warn(f"--report_to={self._name}: {problem}{advice}")

    def _end(self) -> None:
        """Ends what is left of the reporter, and what it has started."""
        assert self._process is not None
        if self._last is not None:  # it is ending
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDING)
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


def _plain(value: Any) -> Any:
    """Numpy's numbers as Python's."""
    return value.item() if hasattr(value, "item") else str(value)
