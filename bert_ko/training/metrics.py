"""What a run writes about itself: metrics.jsonl, which services that show runs are told of."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import Any

from bert_ko import files
from bert_ko.training.tracking.tracker import Tracker

METRICS_NAME = "metrics.jsonl"


class MetricsSink(ExitStack):
    """Where records go, as a context manager; here nowhere, since another host writes them."""

    def write(self, record: dict[str, Any]) -> None:
        """Takes numbers by name; "step" is updates done."""


class MetricsWriter(MetricsSink):
    """Appends records to metrics.jsonl; use as a context manager.

    A record is in the file before ``write`` returns, so that a kill loses none.
    """

    def __init__(self, folder: str, first_step: int, tracker: Tracker):
        """Opens it.

        Args:
            folder: of the run.
            first_step: later records, which a killed run wrote after its last checkpoint, are
                removed; the tracker is told to forget them.
            tracker: is told of each record.
        """
        super().__init__()
        path = os.path.join(folder, METRICS_NAME)
        # A line cut off by a kill goes too.
        kept = [record for record in read_metrics(path) if record["step"] <= first_step]
        files.write_atomic(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = self.enter_context(open(path, "a", encoding="utf-8"))  # noqa: SIM115 - closed
        self._tracker = tracker
        tracker.begin(first_step)

    def write(self, record: dict[str, Any]) -> None:
        """Writes numbers by name; "step" is updates done."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self._tracker.write(record)


def read_metrics(path: str) -> list[dict[str, Any]]:
    """The records of metrics.jsonl; none if there is no file.

    Raises:
        ValueError: a line is no record; the last one may be cut off by a kill.
    """
    records: list[dict[str, Any]] = []
    if not os.path.exists(path):
        return records
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and type(record.get("step")) is int:
            records.append(record)
        elif line is not lines[-1]:
            raise ValueError(f"{path}:{number}: no record of metrics; delete that line.")
    return records
