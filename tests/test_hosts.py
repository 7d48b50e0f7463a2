"""Training on several hosts, which are processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bert_ko.training.checkpoints import load_checkpoint
from bert_ko.training.hosts import free_port
from tests.fakes import COMPILE_ONCE, REPOSITORY, Command, checkpoints, last, metrics, written
from tests.small_data import Trainable

PROCESS = str(Path(__file__).with_name("host_process.py"))
ENDED = "has ended without a word; run the same command again"
EXACT = 20  # updates whose losses are compared
# Device counts of a host among two, and of one alone; TensorFlow's strategy knows one CPU a host.
DEVICES = {"jax": (2, 4), "tensorflow": (1, 1)}


class Group:
    """The processes of a run, in the order of the hosts; each prints into a file of its own."""

    def __init__(self, processes: list[subprocess.Popen[str]], logs: list[Path]):
        self.processes, self.logs = processes, logs

    def wait(self, seconds: float = 600) -> list[int]:
        deadline = time.monotonic() + seconds
        return [p.wait(max(0.1, deadline - time.monotonic())) for p in self.processes]

    def kill(self, index: int, number: signal.Signals, folder: Path, step: int) -> list[int]:
        """Sends a signal to a host when so many updates are done; returns how all have ended."""
        deadline = time.monotonic() + 600
        while not (folder / "metrics.jsonl").exists() or len(metrics(folder)) < step:
            assert all(p.poll() is None for p in self.processes), self.printed()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.01)
        self.processes[index].send_signal(number)
        return self.wait(60)

    def printed(self) -> list[str]:
        return [log.read_text(encoding="utf-8") for log in self.logs]

    def errors(self) -> list[list[str]]:
        """Lines of errors of each host."""
        return [[x for x in text.splitlines() if ": error: " in x] for text in self.printed()]


@contextmanager
def started(backend: str, devices: int, *hosts: list[list[str]], log: Path) -> Iterator[Group]:
    """Begins a process for each list of command lines."""
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1", **COMPILE_ONCE,
        "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2",
    }  # fmt: skip
    processes, logs = [], []
    for index, lines in enumerate(hosts):
        logs.append(log.with_name(f"{log.name}.{index}.log"))
        with logs[-1].open("w") as out:
            process = subprocess.Popen(
                [sys.executable, PROCESS, str(devices), json.dumps(lines)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, text=True, env=environment,
                cwd=REPOSITORY,
            )  # fmt: skip
            processes.append(process)
    try:
        yield Group(processes, logs)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def line(command: Command, folder: Path, **flags: Any) -> list[str]:
    return [command.name, *command.arguments(output_dir=folder, **flags)]


def on_two_hosts(command: Command, folder: Path, backend: str, name: str, **flags: Any) -> Any:
    """Begins a command as two processes."""
    devices = DEVICES[backend][0]
    address = f"127.0.0.1:{free_port()}"
    hosts = [
        [
            line(
                command, folder, coordinator_address=address, num_processes=2, process_id=index,
                num_devices=devices, **flags,
            )
        ]
        for index in range(2)
    ]  # fmt: skip
    return started(backend, devices, *hosts, log=folder.with_name(name))


def losses(folder: Path) -> list[float]:
    """By update."""
    found = {record["step"]: record["loss"] for record in metrics(folder) if "loss" in record}
    assert list(found) == list(range(1, len(found) + 1))
    return list(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_two_hosts_train_as_one_and_end_together(
    backend: str, pretraining: Trainable, squad: Trainable, tmp_path: Path
) -> None:
    common = {"precision": "float32", "learning_rate": 1e-3, "save_checkpoints_steps": 3}
    reader = squad.command.having(
        **squad.train, **squad.more_training, **common, length_buckets=False
    )
    watched = reader.having(**squad.watch)
    model = pretraining.command.having(
        **pretraining.train, **pretraining.more_training, **common,
        gradient_accumulation_steps=2,
    )  # fmt: skip
    two = tmp_path / "two"
    if backend == "jax":
        with on_two_hosts(model, two, backend, "stopped") as group:
            assert group.kill(1, signal.SIGTERM, two, EXACT) == [143, 143], group.printed()
            assert "stopped at step" in group.printed()[0]
    with on_two_hosts(model, two, backend, "killed") as group:
        victim = 1 if backend == "jax" else 0
        ended = group.kill(victim, signal.SIGKILL, two, 2 * EXACT)
        assert ended[victim] == -signal.SIGKILL and ended[1 - victim] == 1, group.printed()
        (found,) = group.errors()[1 - victim]
        assert found.endswith(ENDED), found

    # On one host: the same, the rest of what was killed, and the beginning of a reader.
    few, many = DEVICES[backend]
    counts = sorted({1, many})
    lines = [line(model, tmp_path / f"one-{n}", num_devices=n) for n in counts]
    lines += [line(reader, tmp_path / f"reader-{n}", num_devices=n) for n in counts]
    lines.append(line(model, two, num_devices=many))
    lines.append(line(watched, tmp_path / "reader", num_devices=many, max_hours=1e-4))
    with started(backend, many, lines, log=tmp_path / "alone") as group:
        assert group.wait() == [0], group.printed()
    with on_two_hosts(watched, tmp_path / "reader", backend, "reader-two", **squad.ask) as group:
        assert group.wait() == [0, 0], group.printed()
        first, other = group.printed()
    assert "all 48 steps are done" in first and f"{2 * few} x" in first
    assert not [x for x in other.splitlines() if "Gloo" not in x and "connected to" not in x]

    for n in counts:
        for name, whole in ((f"one-{n}", two), (f"reader-{n}", tmp_path / "reader")):
            wanted = losses(tmp_path / name)
            found_losses = losses(whole)
            assert len(found_losses) == len(wanted) and wanted[0] - wanted[-1] > 0.1
            assert found_losses[:EXACT] == pytest.approx(wanted[:EXACT], abs=1e-5)
            assert found_losses == pytest.approx(wanted, abs=1e-3)
            states = [load_checkpoint(str(last(x))).state for x in (whole, tmp_path / name)]
            for key in ("step", "position", "trained_positions"):
                assert states[0][key] == states[1][key]
    assert checkpoints(two) == checkpoints(tmp_path / "one-1")
    assert "predictions.json" in written(tmp_path / "reader")
