"""Curves for TensorBoard, in OUTPUT_DIR/tensorboard; its package only shows them."""

from __future__ import annotations

import importlib.util
import os
import shlex
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO

import numpy as np

from bert_ko.data.tfrecord import masked_checksum
from bert_ko.training.tracking.tracker import Record, Status, TrackedRun, Tracker

EVENTS_FOLDER = "tensorboard"
_NO_SCALAR = ("step", "epoch")


class TensorBoard(Tracker):
    """Writes the lines of metrics.jsonl as events while training runs.

    They are on the disk before ``write`` returns, so that a kill loses none.
    """

    def __init__(self, output_dir: str):
        """Args: output_dir: of the command; the runs of several seeds are below it."""
        self._output_dir = output_dir
        self._folder = ""
        self._events: BinaryIO | None = None
        self._is_written = False
        self._files = ExitStack()

    def start(self, run: TrackedRun, lines: Sequence[Mapping[str, Any]] = ()) -> None:
        """See Tracker."""
        self._files.close()
        self._folder = run.folder

    def begin(self, first_step: int) -> None:
        """Opens a file that makes TensorBoard forget what others have after first_step."""
        folder = os.path.join(self._folder, EVENTS_FOLDER)
        os.makedirs(folder, exist_ok=True)
        # TensorBoard reads the files in this order; the process tells runs of one second apart.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._events = self._files.enter_context(open(os.path.join(folder, name), "ab"))  # noqa: SIM115
        self._is_written = True
        self._add_event(0, b"\x1a", b"brain.Event:2")
        self._add_event(first_step + 1, b"\x3a", b"\x08\x01")  # SessionLog, status START

    def write(self, line: Mapping[str, Any]) -> None:
        """The names are those of metrics.jsonl after the prefix: train/loss, eval/eval_loss."""
        prefix = Record.from_line(line).prefix
        with np.errstate(over="ignore"):  # infinity is a point, too
            scalars = [
                _field(b"\x0a", f"{prefix}/{name}".encode()) + b"\x15" + np.float32(value).tobytes()
                for name, value in line.items()
                if name not in _NO_SCALAR
            ]
        summary = b"".join(_field(b"\x0a", scalar) for scalar in scalars)
        self._add_event(line["step"], b"\x2a", summary)

    def close(self, status: Status, deadline: float) -> list[str]:
        """Says how to see what was written."""
        self._files.close()
        if not self._is_written:
            return []
        command = f"curves: tensorboard --logdir={shlex.quote(self._output_dir)}"
        is_there = importlib.util.find_spec("tensorboard") is not None
        return [command if is_there else f"{command} (needs pip install 'bert_ko[tensorboard]')"]

    def _add_event(self, step: int, tag: bytes, content: bytes) -> None:
        """Appends a tensorflow.Event as a TFRecord.

        Source: event.proto and summary.proto of TensorFlow. Differs: written here, as the package
            tensorboardX imports torch, and loses what waits in its queue when the run is killed.
        """
        assert self._events is not None
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
