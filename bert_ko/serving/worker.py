"""A model's own thread: requests that arrive while it computes are its next batch."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from concurrent.futures import Future
from typing import Any, NamedTuple

from bert_ko.messages import program_name
from bert_ko.serving.bodies import Request
from bert_ko.serving.limits import Limits
from bert_ko.serving.served import Served
from bert_ko.streams import print_error

_POLL = 0.1  # seconds after which an idle thread looks whether it is to end


class Overloaded(Exception):
    """As many requests wait as may."""


class Failed(Exception):
    """A request that the model could not compute, for no fault of the request's that is known."""


class Job(NamedTuple):
    """A request that waits."""

    request: Request
    characters: int
    answer: Future[Any]


class Worker:
    """Computes the requests of one model; only its thread uses the model."""

    def __init__(self, served: Served[Any, Any], limits: Limits):
        self.served = served
        self.is_ready = False
        self.error: Exception | None = None  # that ended it before it was ready
        self._limits = limits
        self._jobs: queue.Queue[Job] = queue.Queue(limits.waiting)
        self._next: Job | None = None  # left over from the last batch, for which it was too large
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run, name=served.name)

    @property
    def waiting(self) -> int:
        """Requests that are not yet computed."""
        return self._jobs.qsize()

    def start(self) -> None:
        """Compiles the model, then takes requests."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after what it computes now; requests that wait are cancelled."""
        self._stops.set()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, request: Request) -> Future[Any]:
        """Lets a request wait for its turn; one that is cancelled until then is not computed.

        Returns:
            Its answer; a ValueError if the request is to blame, Failed if it is not.

        Raises:
            Overloaded: too many wait.
        """
        job = Job(request, sum(map(len, request.pieces())), Future())
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Overloaded from None
        return job.answer

    def _run(self) -> None:
        start = time.monotonic()
        try:
            for batch in self.served.warm_up(self._limits.batch_size):
                if self._stops.is_set():
                    return
                self.served.compute(batch)
        except Exception as error:
            self.error = error
            return
        self.is_ready = True
        seconds = time.monotonic() - start
        print_error(f"{program_name()}: {self.served.name} is ready, compiled in {seconds:.1f} s")
        while not self._stops.is_set():
            batch = self._gather()
            if batch:
                self._compute(batch)
        for job in self._take_all():
            job.answer.cancel()

    def _gather(self) -> list[Job]:
        """The next batch: what waits, and what comes in the next milliseconds, up to its limits.

        A request that is larger than they are is a batch by itself.
        """
        first = self._next or self._take(_POLL)
        self._next = None
        if first is None:
            return []
        batch, texts, characters = [first], first.request.num_texts, first.characters
        deadline = time.monotonic() + self._limits.batch_wait
        while texts < self._limits.batch_size:
            job = self._take(deadline - time.monotonic())
            if job is None:
                break
            texts += job.request.num_texts
            characters += job.characters
            if texts > self._limits.batch_size or characters > self._limits.characters:
                self._next = job
                break
            batch.append(job)
        return batch

    def _take(self, seconds: float) -> Job | None:
        try:
            return self._jobs.get(timeout=max(seconds, 0))
        except queue.Empty:
            return None

    def _take_all(self) -> list[Job]:
        found = [self._next] if self._next is not None else []
        while (job := self._take(0)) is not None:
            found.append(job)
        return found

    def _compute(self, batch: list[Job]) -> None:
        """Answers those of a batch that somebody still waits for."""
        wanted = [job for job in batch if job.answer.set_running_or_notify_cancel()]
        if not wanted:
            return
        try:
            answers = self.served.compute([job.request for job in wanted])
        except Exception:
            answers = [self._alone(job) for job in wanted]
        for job, answer in zip(wanted, answers, strict=True):
            if isinstance(answer, Exception):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)

    def _alone(self, job: Job) -> Any:
        """The answer to a request of a batch that failed: the fault of one is not that of all."""
        try:
            (answer,) = self.served.compute([job.request])
        except Exception as error:
            print_error(f"{program_name()}: {self.served.name}: {traceback.format_exc()}")
            return Failed(type(error).__name__)
        return answer
