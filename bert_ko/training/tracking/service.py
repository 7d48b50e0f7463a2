"""A service that shows runs, and what of a run it has yet to get; in a process of their own."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bert_ko.training.tracking.tracker import Record, Status, TrackedRun

_BATCH = 50  # records that are sent together


class Service(ABC):
    """Calls may block, and raise whatever the service's package raises: then ``open`` is next."""

    name: str

    @abstractmethod
    def open(self, run: TrackedRun) -> Any:
        """Creates the run or finds it again, and returns it for the other calls."""

    @abstractmethod
    def log(self, run: Any, records: Sequence[Record]) -> None:
        """Sends records, those left out that the service has."""

    @abstractmethod
    def score(self, run: Any, scores: Mapping[str, float], step: int) -> None:
        """Sends the scores of the trained model."""

    @abstractmethod
    def upload(self, run: Any, path: str) -> None:
        """Sends a file, in the place of one of its name."""

    @abstractmethod
    def end(self, run: Any, status: Status) -> None:
        """Says that the run has ended, and how."""

    @abstractmethod
    def shows(self) -> list[str]:
        """Lines that say how to see the curves."""

    def abandon(self) -> None:
        """The command was killed: what was handed over is brought to safety, nothing more."""
        return

    def notice(self) -> str:
        """What was worked around, in a sentence; empty if nothing was."""
        return ""


@dataclass
class RunLog:
    """A run, and what the service has yet to get of it."""

    run: TrackedRun
    records: deque[Record] = field(default_factory=deque)
    files: list[str] = field(default_factory=list)
    scores: Mapping[str, float] | None = None
    step: int = 0
    status: Status | None = None
    is_ended: bool = False
    _is_opened: bool = False
    _handle: Any = None

    def end(self, status: Status) -> None:
        """Nothing more comes."""
        self.status, self.is_ended = status, True

    @property
    def is_sent(self) -> bool:
        """Whether the service has everything."""
        return self._is_opened and not (
            self.records or self.files or self.status or self.scores is not None
        )

    def send(self, service: Service) -> None:
        """Sends what is new, the records first."""
        try:
            self._send(service)
        except BaseException:
            self._handle = None  # the service is asked again what it has
            raise

    def _send(self, service: Service) -> None:
        if self._handle is None:
            self._handle = service.open(self.run)
            self._is_opened = True
        while self.records:
            batch = [self.records[i] for i in range(min(_BATCH, len(self.records)))]
            service.log(self._handle, batch)
            for _ in batch:
                self.records.popleft()
        if self.scores is not None:
            service.score(self._handle, self.scores, self.step)
            self.scores = None
        while self.files:
            if os.path.isfile(self.files[0]):  # else it was removed in the meantime
                service.upload(self._handle, self.files[0])
            self.files.pop(0)
        if self.status is not None:
            service.end(self._handle, self.status)
            self.status = None
