"""Training on several hosts, which are processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bert_ko.training.hosts import free_port
from tests.fakes import _COMPILE_LESS, REPOSITORY, Command, metrics
from tests.small_data import Trainable

PROCESS = str(Path(__file__).with_name("host_process.py"))


class Group:
    """The processes of a run; each prints into a file of its own."""

    def __init__(self, processes: list[subprocess.Popen[str]], logs: list[Path]):
        self.processes, self.logs = processes, logs

    def wait(self, seconds: float = 300) -> list[int]:
        deadline = time.monotonic() + seconds
        return [p.wait(max(0.1, deadline - time.monotonic())) for p in self.processes]

    def printed(self, index: int) -> str:
        return self.logs[index].read_text(encoding="utf-8")


@contextmanager
def started(
    command: Command, folder: Path, backend: str, hosts: int, devices: int, **flags: Any
) -> Iterator[Group]:
    """Begins a command on some hosts with some devices each."""
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1", **_COMPILE_LESS,
        "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2",
    }  # fmt: skip
    port, processes, logs = free_port(), [], []
    for index in range(hosts):
        own = {"output_dir": folder, **flags}
        if hosts > 1:
            own |= {
                "coordinator_address": f"127.0.0.1:{port}", "num_processes": hosts,
                "process_id": index,
            }  # fmt: skip
        logs.append(folder.with_name(f"{folder.name}.{index}.log"))
        with logs[-1].open("a") as log:
            line = [sys.executable, PROCESS, str(devices), command.name]
            processes.append(
                subprocess.Popen(
                    [*line, *command.arguments(**own)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    text=True,
                    env=environment,
                    cwd=REPOSITORY,
                )
            )
    try:
        yield Group(processes, logs)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run(*arguments: Any, **flags: Any) -> Group:
    with started(*arguments, **flags) as group:
        assert group.wait() == [0] * len(group.processes), [
            group.printed(index) for index in range(len(group.logs))
        ]
    return group


@pytest.mark.slow
def test_tf_two_hosts_train_as_one(pretraining: Trainable, tmp_path: Path) -> None:
    command, flags = pretraining.command, {"num_train_steps": 20, "precision": "float32"}
    two = run(command, tmp_path / "two", "tensorflow", 2, 1, **pretraining.train, **flags)
    run(command, tmp_path / "one", "tensorflow", 1, 1, **pretraining.train, **flags)
    print(two.printed(0), two.printed(1))
    losses = [[r["loss"] for r in metrics(tmp_path / name)] for name in ("two", "one")]
    print(losses)
    assert len(losses[0]) == 20
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
