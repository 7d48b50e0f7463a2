"""Tasks over worker processes, with a bounded number in flight.

Workers end with their parent, even if it is killed, so that no later run of the command meets them.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1
_state: Any = None  # of this worker


def num_processors() -> int:
    """Returns the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Pool(Protocol):
    """Runs tasks on workers, of which each holds its own state."""

    def run(
        self, function: Callable[[Any, Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """Runs `function(state, task)` for every task.

        Args:
            function: Picklable, as are tasks and results. It may be run twice for a task, even at
                the same time.
            tasks: Read as workers become free, a bounded number ahead of them.

        Yields:
            Results in the order in which they are done.

        Raises:
            ChildProcessError: A worker died; results so far stay.
            Exception: The first one that a task raised.
        """
        ...


def results_of(
    submit: Callable[[Task], Future[Result]], tasks: Iterator[Task], limit: int
) -> Iterator[Result]:
    """Yields results in the order in which they are done, with at most `limit` tasks submitted."""
    pending: set[Future[Result]] = set()
    while True:
        pending.update(map(submit, itertools.islice(tasks, limit - len(pending))))
        if not pending:
            return
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


class WorkerPool:
    """Worker processes that each hold their own state; a single worker is this process.

    Leaving it as a context manager ends the workers.
    """

    def __init__(self, make_state: Callable[[], Any], num_workers: int):
        """Args: make_state: called once in each worker, picklable; num_workers: at least 1."""
        assert num_workers >= 1
        self._make_state, self._num_workers = make_state, num_workers
        self._executor: ProcessPoolExecutor | None = None
        self._own_state: Any = None

    def __enter__(self) -> WorkerPool:
        if self._num_workers > 1:
            self._others = set(multiprocessing.active_children())
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(
                self._num_workers, context, _start_worker, (self._make_state, os.getpid())
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._executor is None:
            return
        if kind is not None and not issubclass(kind, Exception):
            # After Ctrl-C no task is worth waiting for: what it writes appears as a whole.
            for process in set(multiprocessing.active_children()) - self._others:
                process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def run(
        self, function: Callable[[Any, Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """See Pool; each function runs once."""
        if self._executor is None:
            for task in tasks:
                if self._own_state is None:
                    self._own_state = self._make_state()
                yield function(self._own_state, task)
            return
        executor = self._executor

        def submit(task: Task) -> Future[Result]:
            with _blocked_interrupts():  # for a worker that is started now
                return executor.submit(_work, function, task)

        try:
            yield from results_of(submit, iter(tasks), 2 * self._num_workers)
        except BrokenProcessPool:
            raise ChildProcessError(
                "a worker process died (killed, or out of memory). What is complete was kept: run "
                "the same command again, with a smaller --num_workers if memory was short."
            ) from None


@contextlib.contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Holds Ctrl-C back, for a new process for ever: the parent handles it for all."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(make_state: Callable[[], Any], parent: int) -> None:
    global _state
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
    else:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    _state = make_state()


def _end_with_parent() -> None:
    process = multiprocessing.parent_process()
    assert process is not None
    process.join()
    os._exit(1)


def _work(function: Callable[[Any, Task], Result], task: Task) -> Result:
    return function(_state, task)
