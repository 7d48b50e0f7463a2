"""What a run writes about itself: metrics.jsonl and TensorBoard events."""

from __future__ import annotations

import json
import os
from types import TracebackType
from typing import Any

from tensorboardX import SummaryWriter

from bert_ko import files

METRICS_NAME = "metrics.jsonl"
EVENTS_FOLDER = "tensorboard"
_NO_SCALAR = ("step", "epoch")


class MetricsWriter:
    """Appends records to metrics.jsonl and TensorBoard; use as a context manager."""

    def __init__(self, folder: str, first_step: int):
        """Opens both.

        Args:
            folder: of the run.
            first_step: records of later steps, which a killed run wrote after its last checkpoint,
                are taken out.
        """
        self._path = os.path.join(folder, METRICS_NAME)
        _cut(self._path, first_step)
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
        self._events = SummaryWriter(
            os.path.join(folder, EVENTS_FOLDER), purge_step=first_step + 1 if first_step else None
        )

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._events.close()

    def write(self, record: dict[str, Any], prefix: str) -> None:
        """Writes a record.

        Args:
            record: numbers; "step" is updates done.
            prefix: of the names in TensorBoard, "train" or "eval".
        """
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        for name, value in record.items():
            if name not in _NO_SCALAR:
                self._events.add_scalar(f"{prefix}/{name}", value, record["step"])
        self._events.flush()


def _cut(path: str, last_step: int) -> None:
    """Keeps the records up to a step; a line cut off by a kill goes too."""
    kept = []
    for record in read_metrics(path):
        if record["step"] <= last_step:
            kept.append(json.dumps(record) + "\n")
    files.write_atomic(path, "".join(kept))


def read_metrics(path: str) -> list[dict[str, Any]]:
    """The records of metrics.jsonl; none where there is no file."""
    records: list[dict[str, Any]] = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                try:
                    records.append(json.loads(line))
                except ValueError:
                    break
    return records
