"""A command on several hosts, which are processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bert_ko.training.hosts import free_port
from tests.fakes import REPOSITORY, Command, metrics
from tests.fork_server import ForkedProcess, start_forked

PROCESS = str(Path(__file__).with_name("host_process.py"))
# Device counts of a host among two, and of one alone; TensorFlow's strategy knows one CPU a host.
# With numpy hosts learn apart, which is enough to see how they begin, stop and write.
DEVICES = {"jax": (2, 4), "tensorflow": (1, 1), "numpy": (1, 1)}


class Group:
    """The processes of a run, in the order of the hosts; each prints into a file of its own."""

    def __init__(self, processes: list[ForkedProcess], logs: list[Path]):
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
        **os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    processes, logs = [], []
    for index, lines in enumerate(hosts):
        logs.append(log.with_name(f"{log.name}.{index}.log"))
        arguments = [PROCESS, str(devices), json.dumps(lines)]
        with logs[-1].open("w") as out, open(os.devnull) as nothing:
            processes.append(start_forked(arguments, nothing, out, environment))
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
