"""What a service has of a run, remembered beside the run, so that it gets nothing twice.

tracking/mlflow.json  {"runs": {PLACE: {"key": ..., "run_id": ..., "steps": {"train": 120}}}}
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from typing import Any

from filelock import FileLock

from bert_ko.json_files import read_json, write_json
from bert_ko.training.tracking.tracker import Record

STATE_FOLDER = "tracking"
_PATIENCE = 60.0  # seconds that the reporter of a killed command may need to notice it


class Sent:
    """The run's name at a service, and the last step that the service has of each prefix."""

    def __init__(self, folder: str, service: str, place: str):
        """Reads the file, and keeps other processes from it as long as this one lives.

        Args:
            folder: of the run.
            service: "mlflow".
            place: where the service keeps its runs, without secrets; another place has the run
                anew, from its beginning.

        Raises:
            ValueError: the file is damaged.
            Timeout: another process reports this run.
        """
        os.makedirs(os.path.join(folder, STATE_FOLDER), exist_ok=True)
        self.path = os.path.join(folder, STATE_FOLDER, f"{service}.json")
        self._lock = FileLock(f"{self.path}.lock", timeout=_PATIENCE)
        self._lock.acquire()
        self._runs: dict[str, Any] = (read_json(self.path) or {}).get("runs", {})
        self._known = self._runs.setdefault(place, {})
        self.steps: dict[str, int] = self._known.setdefault("steps", {})

    @property
    def key(self) -> str:
        """A name of our own, by which a run is found whose creation was not answered."""
        if "key" not in self._known:
            self._known["key"] = uuid.uuid4().hex
            self.save()
        return str(self._known["key"])

    @property
    def run_id(self) -> str | None:
        """The service's name of the run; None if it has none."""
        found = self._known.get("run_id")
        return None if found is None else str(found)

    @run_id.setter
    def run_id(self, value: str) -> None:
        self._known["run_id"] = value
        self.save()

    def is_new(self, record: Record) -> bool:
        """Whether the service has not got it."""
        return record.step > self.steps.get(record.prefix, -1)

    def note(self, records: Iterable[Record]) -> None:
        """Remembers that the service has them."""
        for record in records:
            self.steps[record.prefix] = max(record.step, self.steps.get(record.prefix, -1))
        self.save()

    def save(self) -> None:
        """Writes the file, atomically."""
        write_json(self.path, {"runs": self._runs})

    def close(self) -> None:
        """Lets other processes have it."""
        self._lock.release()
