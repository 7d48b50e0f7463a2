"""What a run writes about itself: metrics.jsonl and TensorBoard events."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from contextlib import ExitStack
from typing import Any

import numpy as np

from bert_ko import files
from bert_ko.data.tfrecord import masked_checksum

METRICS_NAME = "metrics.jsonl"
EVENTS_FOLDER = "tensorboard"
_NO_SCALAR = ("step", "epoch")


class MetricsWriter(ExitStack):
    """Appends records to metrics.jsonl and TensorBoard; use as a context manager.

    A record is in both files before ``write`` returns, so that a kill loses none.
    """

    def __init__(self, folder: str, first_step: int):
        """Opens both.

        Args:
            folder: of the run.
            first_step: later records, which a killed run wrote after its last checkpoint, are
                removed; TensorBoard is told to forget them.
        """
        super().__init__()
        path = os.path.join(folder, METRICS_NAME)
        # A line cut off by a kill goes too.
        kept = [record for record in read_metrics(path) if record["step"] <= first_step]
        files.write_atomic(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = self.enter_context(open(path, "a", encoding="utf-8"))  # noqa: SIM115 - closed
        events = os.path.join(folder, EVENTS_FOLDER)
        os.makedirs(events, exist_ok=True)
        # TensorBoard reads the files in this order; the process tells runs of one second apart.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._events = self.enter_context(open(os.path.join(events, name), "ab"))  # noqa: SIM115
        self._add_event(0, b"\x1a", b"brain.Event:2")
        self._add_event(first_step + 1, b"\x3a", b"\x08\x01")  # SessionLog, status START

    def write(self, record: dict[str, Any], prefix: str) -> None:
        """Writes numbers by name; "step" is updates done, and TensorBoard prepends the prefix."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        with np.errstate(over="ignore"):  # infinity is a point, too
            scalars = [
                _field(b"\x0a", f"{prefix}/{name}".encode()) + b"\x15" + np.float32(value).tobytes()
                for name, value in record.items()
                if name not in _NO_SCALAR
            ]
        summary = b"".join(_field(b"\x0a", scalar) for scalar in scalars)
        self._add_event(record["step"], b"\x2a", summary)

    def _add_event(self, step: int, tag: bytes, content: bytes) -> None:
        """Appends a tensorflow.Event as a TFRecord.

        Source: event.proto and summary.proto of TensorFlow. Differs: written here, as the package
            tensorboardX imports torch, and loses what waits in its queue when the run is killed.
        """
        event = b"\x09" + struct.pack("<d", time.time()) + b"\x10" + _varint(step)
        event += _field(tag, content)
        size = struct.pack("<Q", len(event))
        header = size + struct.pack("<I", masked_checksum(size))
        self._events.write(header + event + struct.pack("<I", masked_checksum(event)))
        self._events.flush()


def _field(tag: bytes, content: bytes) -> bytes:
    """A field of a protocol buffer whose content has a length."""
    return tag + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


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
