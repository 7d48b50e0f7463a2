"""What tests of commands share: numpy in the place of TensorFlow and JAX, a command that is run in
this process or in one of its own, and what it leaves in its folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import os
import signal
import sys
import threading
import time
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest

from bert_ko.flags import run_command
from bert_ko.modeling.heads import (
    CLASS_BIAS,
    OUTPUT_BIAS,
    RELATIONSHIP_BIAS,
    SPAN_BIAS,
    TAG_BIAS,
    ClassHead,
    HostBatch,
    PretrainingHead,
    ScoreHead,
    SpanHead,
    TagHead,
)
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.checkpoints import list_checkpoints
from bert_ko.training.metrics import read_metrics
from bert_ko.training.runs import LOG_NAME
from tests.fork_server import ForkedProcess, start_forked

REPOSITORY = Path(__file__).parents[1]
TIMES = ("tokens_per_second", "seconds")
_SECONDS = 600  # that a process may take, on a busy machine

# A model of numpy


class FakeBackend:
    """What load_backend returns; its models learn every row that they see at once.

    Attributes:
        num_devices: to be set.
        is_good: (updates, seed) to whether what was learnt is said; else the first answer is.
        known: head and pieces of a row to what was learnt of it.
        compute: (outputs, arrays, batch) to what is predicted, in the place of what was learnt.
        configs: what each load_backend asked for.
        programs: all that were placed.
        shapes: of the batches that were predicted.
    """

    name, description, precision, is_cpu = "tensorflow", "1 x numpy", "float32", True
    fused_attention, peak_flops = False, None
    remembered: ClassVar[dict[Any, Any]] = {}  # by all backends of this process

    def peak_memory(self) -> int | None:
        return None

    def __init__(self) -> None:
        self.num_devices = 1
        self.is_good: Callable[[int, int], bool] = lambda steps, seed: True
        self.known = ChainMap[Any, Any]({}, self.remembered)
        self.compute: Callable[[Any, Arrays, HostBatch], HostBatch] | None = None
        self.configs: list[Any] = []
        self.programs: list[FakeProgram] = []
        self.shapes: list[tuple[int, ...]] = []

    @property
    def num_local_devices(self) -> int:
        return self.num_devices

    def load(self, config: Any, hosts: Any = None) -> FakeBackend:
        self.configs.append(config)
        return self

    def remember(self) -> None:
        """Lets later backends know what this one has learnt."""
        self.remembered.update(self.known.maps[0])

    def train_program(
        self, config: Any, head: Any, optimizer: Any, arrays: Arrays, seed: int
    ) -> FakeProgram:
        self.programs.append(FakeProgram(self, head, optimizer, arrays, seed))
        return self.programs[-1]

    def predictor(self, config: Any, arrays: Arrays, outputs: Any, seed: int = 0) -> Any:
        return lambda batch: self._predict(outputs, arrays, batch, seed)

    def _predict(self, outputs: Any, arrays: Arrays, batch: HostBatch, seed: int) -> HostBatch:
        self.shapes.append(batch["input_ids"].shape)
        if self.compute is not None:
            return self.compute(outputs, arrays, batch)
        assert batch.keys() == {"input_ids", "input_mask", "segment_ids"}
        head = outputs.__self__
        is_good = self.is_good(int(arrays[_counter(head)][0]), seed)
        known = [self.known.get((head, key)) if is_good else None for key in row_keys(batch)]
        return _answers(head, batch, known)


class FakeProgram:
    """Moves every weight a little with each batch; the bias of the head counts the updates.

    Attributes:
        given: weights of each start.
        seeds: of each start.
        batches: that were trained on, [B, ...].
        restored: names of the slots of each restore.
    """

    def __init__(
        self, backend: FakeBackend, head: Any, optimizer: Any, arrays: Arrays, seed: int
    ) -> None:
        self.backend, self.head, self.optimizer = backend, head, optimizer
        self.given: list[Arrays] = []
        self.seeds: list[int] = []
        self.batches: list[HostBatch] = []
        self.restored: list[set[str]] = []
        self.restart(arrays, seed)

    def restart(self, arrays: Arrays, seed: int) -> None:
        self.given.append(dict(arrays))
        self.seeds.append(seed)
        self.arrays = _copied(arrays)

    def train_step(self, step: int, batch: HostBatch, scalars: Any, hyper: Any) -> Any:
        assert self.optimizer is not None
        rows = {name: value.reshape(-1, *value.shape[2:]) for name, value in batch.items()}
        assert scalars == self.head.denominators(rows)
        self.batches.append(rows)
        sums = self.eval_step(rows, scalars)
        rows = unpack(rows)
        for key, target in zip(row_keys(rows), _targets(self.head, rows), strict=True):
            self.backend.known[self.head, key] = target
        ids = rows["input_ids"].sum(axis=1) * rows.get("example_weights", 1)
        change = np.float32(ids.sum() % 1000 * (self.seeds[-1] + 1)) * hyper["learning_rate"]
        for name, array in self.arrays.items():
            array += 1 if name == _counter(self.head) else change
        return lambda: {**sums, "objective": 2.0, "gradient_norm": 1.0}

    def eval_step(self, batch: HostBatch, scalars: Any) -> dict[str, float]:
        if isinstance(self.head, PretrainingHead):
            return _pretraining_sums(self.arrays, batch)
        count = float(batch["example_weights"].sum())
        sums: dict[str, float] = {}
        for loss, right, weight in (
            ("span_loss", "span_correct", "span_weight"), ("tag_loss", "tags_right", "tag_weight"),
            ("loss_sum", "num_right", "loss_weight"), ("loss_sum", "num_right", "num_examples"),
        ):  # fmt: skip
            sums |= {loss: 2 * count, right: count / 2, weight: count}
        return sums

    def predictor(self, outputs: Any) -> Any:
        def predict(batch: HostBatch) -> Any:
            return self.backend.predictor(None, self.arrays, outputs, self.seeds[-1])(batch)

        return predict

    def parameters(self) -> Arrays:
        return _copied(self.arrays)

    def slots(self) -> Arrays:
        arrays = self.parameters()
        slots = self.optimizer.slots
        return {f"{name}/{slot}": array for name, array in arrays.items() for slot in slots}

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        self.arrays = _copied(parameters)
        self.restored.append(set(slots))


def _copied(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}


def unpack(batch: HostBatch) -> HostBatch:
    """A row for each sequence of packed rows; else the same."""
    if "sequence_ids" not in batch:
        return batch
    lengths = batch["sequence_lengths"]
    rows, slots = np.nonzero(lengths)
    column = np.arange(batch["input_ids"].shape[1])
    is_piece = column < lengths[rows, slots][:, None]
    places = np.where(is_piece, batch["first_positions"][rows, slots][:, None] + column, 0)
    of_pieces = ("input_ids", "input_mask", "segment_ids", "tag_ids")
    return {
        name: np.where(is_piece, value[rows[:, None], places], 0)
        if name in of_pieces
        else value[rows, slots]
        for name, value in batch.items()
        if name in of_pieces or value.shape == lengths.shape
    }


def row_keys(batch: HostBatch) -> list[bytes]:
    """The pieces of each row without padding."""
    lengths = batch["input_mask"].sum(axis=1)
    return [ids[:n].tobytes() for ids, n in zip(batch["input_ids"], lengths, strict=True)]


def _counter(head: Any) -> str:
    if isinstance(head, PretrainingHead):
        return RELATIONSHIP_BIAS
    if isinstance(head, SpanHead):
        return SPAN_BIAS
    return TAG_BIAS if isinstance(head, TagHead) else CLASS_BIAS


def _targets(head: Any, rows: HostBatch) -> list[Any]:
    if isinstance(head, PretrainingHead):
        return [None] * len(rows["input_ids"])
    if isinstance(head, SpanHead):
        return list(zip(rows["start_positions"], rows["end_positions"], strict=True))
    return list(rows["tag_ids"] if isinstance(head, TagHead) else rows["targets"])


def _pretraining_sums(arrays: Arrays, batch: HostBatch) -> dict[str, float]:
    losses = batch["masked_lm_ids"] / 1500 + float(arrays[OUTPUT_BIAS][0])
    weights = {n: batch[f"{n}_weights"].astype(float) for n in ("masked_lm", "next_sentence")}
    return {
        "masked_lm_loss": float((losses * weights["masked_lm"]).sum()),
        "next_sentence_loss": float(weights["next_sentence"].sum() / 2),
        **{f"{name}_correct": float(weight.sum() / 2) for name, weight in weights.items()},
        **{f"{name}_weight": float(weight.sum()) for name, weight in weights.items()},
    }


def _answers(head: Any, batch: HostBatch, known: list[Any]) -> HostBatch:
    """What a head says of rows, where None is known nothing."""
    size, length = batch["input_ids"].shape
    if isinstance(head, SpanHead):
        logits = np.zeros((2, size, length), np.float32)
        for row, right in enumerate(known):
            first = int(batch["segment_ids"][row].argmax())
            for end, place in enumerate(right or (first, first)):
                logits[end, row, place] = 9 + row / 100
        return {"start_logits": logits[0], "end_logits": logits[1]}
    if isinstance(head, TagHead):
        # Padding is said to be an entity, and must not be listened to.
        tag_ids = np.full((size, length - 2), 1, np.int32)
        for row, tags in enumerate(known):
            count = int(batch["input_mask"][row].sum()) - 2
            tag_ids[row, :count] = 0 if tags is None else tags[1 : count + 1]
        return {"tag_ids": tag_ids, "probabilities": np.full(tag_ids.shape, 0.75, np.float32)}
    assert isinstance(head, ClassHead)
    found = np.array([0 if target is None else target for target in known], np.float32)
    if isinstance(head, ScoreHead):
        return {"scores": found}
    chosen = np.eye(head.num_labels, dtype=np.float32)[found.astype(int)]
    return {"probabilities": 0.7 * chosen + np.float32(0.3 / head.num_labels)}


def install_backend(patch: pytest.MonkeyPatch, *modules: str) -> FakeBackend:
    """Puts numpy in the place of TensorFlow and JAX in the training session, and in modules."""
    backend = FakeBackend()
    patch.setattr(os, "fsync", lambda descriptor: None)
    for module in ("bert_ko.training.session", *modules):
        patch.setattr(f"{module}.load_backend", backend.load)
    return backend


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """Numpy in the place of TensorFlow and JAX."""
    return install_backend(monkeypatch)


# A command


class Ended(NamedTuple):
    """How a command has ended, and what it has printed."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """Of a command that was refused."""
        assert self.status == 1, self
        (line,) = [line for line in self.err.splitlines() if ": error: " in line]
        return line.partition(": error: ")[2]

    @property
    def warnings(self) -> list[str]:
        lines = [line.partition(": warning: ") for line in self.err.splitlines()]
        return [message for _, separator, message in lines if separator]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of JSON that standard output has, and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclasses.dataclass(frozen=True)
class Command:
    """A command with flags as keywords: True and False for --x and --nox, None for no such flag, a
    tuple for a list; from_ is --from.

    Attributes:
        name: "run_squad".
        flags: of every call.
    """

    name: str
    flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def having(self, **flags: Any) -> Command:
        """The same with more flags."""
        return Command(self.name, {**self.flags, **flags})

    def arguments(self, **flags: Any) -> list[str]:
        found = []
        for name, value in {**self.flags, **flags}.items():
            name = name.removesuffix("_")
            if isinstance(value, bool):
                found.append(f"--{'' if value else 'no'}{name}")
            elif value is not None:
                text = ",".join(map(str, value)) if isinstance(value, tuple | list) else value
                found.append(f"--{name}={text}")
        return found

    def __call__(self, *arguments: str, stdin: Any = "", **flags: Any) -> Ended:
        """Runs it in this process.

        Args:
            arguments: more of the command line, as it is typed.
            stdin: what is typed to it, text or bytes.
            flags: see above.
        """
        module = importlib.import_module(f"bert_ko.{self.name}")
        config = getattr(module, f"{self.name.title().replace('_', '')}Config")
        argv = [*self.arguments(**flags), *arguments]
        data = stdin.encode() if isinstance(stdin, str) else stdin
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
            with _captured() as (out, err):
                try:
                    status = run_command(config, module.run, argv)
                except SystemExit as stop:
                    status = int(str(stop.code))
        return Ended(status, out.getvalue(), err.getvalue())

    def succeed(self, *arguments: str, stdin: Any = "", **flags: Any) -> Ended:
        """The same of one that must not fail."""
        ended = self(*arguments, stdin=stdin, **flags)
        assert ended.status == 0, ended.err
        return ended

    def start(
        self, *, backend: str = "tensorflow", stdin: str = os.devnull, **flags: Any
    ) -> ForkedProcess:
        """Begins it in a process of its own; what it prints is appended to OUTPUT_DIR.log.

        Args:
            backend: tensorflow or jax; JAX must do without TensorFlow.
            stdin: a file.
            flags: see above.
        """
        environment = {
            **os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1",
        }  # fmt: skip
        program = [str(REPOSITORY / "bin" / self.name)]
        if backend == "jax":
            program = ["-c", _JAX_ALONE.format(name=self.name)]
        with open(log_of(flags["output_dir"]), "a") as log, open(stdin) as source:
            return start_forked([*program, *self.arguments(**flags)], source, log, environment)

    def finish(self, **flags: Any) -> str:
        """Runs it to the end in a process of its own; returns all that runs into the folder have
        printed.
        """
        process = self.start(**flags)
        status = process.wait(_SECONDS)
        printed = log_of(flags["output_dir"]).read_text(encoding="utf-8")
        assert status == 0, printed
        return printed


_JAX_ALONE = """
import sys
from bert_ko.{name} import main
status = main()
assert not {{"tensorflow", "torch"}} & set(sys.modules)
sys.exit(status)
"""


@contextlib.contextmanager
def _captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def log_of(output_dir: Any) -> Path:
    """What the processes of a run have printed."""
    return Path(f"{output_dir}.log")


def stop_when(
    process: ForkedProcess, is_reached: Callable[[], bool], number: signal.Signals
) -> int:
    """Sends a signal to a process that has come so far; returns its exit status."""
    deadline = time.monotonic() + _SECONDS
    while not is_reached():
        assert process.poll() is None, "the run has ended before"
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.0005)
    process.send_signal(number)
    return process.wait(_SECONDS)


# What a run leaves in its folder


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def results(folder: Path) -> dict[str, float]:
    """What stands in eval_results.txt."""
    lines = (folder / "eval_results.txt").read_text().splitlines()
    return {name: float(value) for name, value in (line.split(" = ") for line in lines)}


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run without what the clock decides."""
    return [
        {name: value for name, value in record.items() if name not in TIMES}
        for record in read_metrics(str(folder / "metrics.jsonl"))
    ]


def checkpoints(folder: Path, kind: Any = "checkpoint") -> list[str]:
    return [os.path.basename(path) for path in list_checkpoints(str(folder), kind)]


def last(folder: Path) -> Path:
    """The last checkpoint."""
    return folder / checkpoints(folder)[-1]


def weights(folder: Path) -> bytes:
    """Of the last checkpoint."""
    return (last(folder) / "model.safetensors").read_bytes()


def written(folder: Path) -> list[str]:
    """What is in the folder, without the log, and what is only kept to be quick the next time."""
    return sorted(name for name in os.listdir(folder) if not _is_left_out(name))


def _is_left_out(name: str) -> bool:
    return name.startswith("features-") or name == LOG_NAME  # which has times


def contents(folder: Path, without: Iterable[str] = ()) -> dict[str, bytes]:
    """All files but ``features-``, the log and the pages for people, which say how long it took."""
    found = (path for path in folder.rglob("*") if path.is_file())
    paths = [p for p in found if p.suffix != ".html" and not _is_left_out(p.name)]
    read = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    return {name: content for name, content in read.items() if name not in without}


# A webhook

SECRET = "T0Secret/B0Secret/x0Secret"


class Webhook(ThreadingHTTPServer):
    """Keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[bytes] = []  # the last stays
        self.silence = 0.0  # seconds before an answer
        self.is_closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/{SECRET}"

    @property
    def texts(self) -> list[str]:
        return [json.loads(body)["text"] for *_, body in self.received]

    def handle_error(self, *args: Any) -> None:
        pass  # a client that has gone


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.command, self.path, dict(self.headers), body))
        self.server.is_closing.wait(self.server.silence)
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else (answers or [status(200)])[0]
        if answer == DRIP:
            while not self.server.is_closing.wait(0.02):
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.server.received.append((self.command, self.path, dict(self.headers), b""))
        self.wfile.write(status(200))

    def log_message(self, *args: Any) -> None:
        pass


DRIP = b"drip"


def status(code: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {code} Reason", "Content-Length: 0", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextlib.contextmanager
def serving() -> Iterator[Webhook]:
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.is_closing.set()
            server.shutdown()
            thread.join()
