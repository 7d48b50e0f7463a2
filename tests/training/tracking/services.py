"""What tests of services share: servers that are real, dead or slow, and a run that is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bert_ko.training.tracking import opening
from tests.fakes import REPOSITORY, Command, read_json

HELD_COMMAND = Path(__file__).with_name("held_command.py")
_SECONDS = 120  # that anything may take, on a busy machine


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Accepts and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def forwarding(port: int, to: int) -> Iterator[None]:
    """Connects a port, on which nobody listened, to another."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", to)) as target:
                back = threading.Thread(target=_copy, args=[target, self.request])
                back.start()
                _copy(self.request, target)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(1 << 16):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[int]:
    """MLflow's own, with its SQLite store; yields the port."""
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}",
        f"--backend-store-uri=sqlite:///{folder}/server.db", "--workers=1",
        f"--artifacts-destination={folder}/artifacts",
    ]  # fmt: skip
    environment = {
        **os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }  # fmt: skip
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True
        )
    try:
        wait_until(lambda: answers(port), process)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[Any] | None = None) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert process is None or process.poll() is None, "it has ended before"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sent_steps(folder: Path, service: str) -> dict[str, int]:
    """By prefix, the last step that the service has of a run."""
    path = folder / "tracking" / f"{service}.json"
    runs = read_json(path)["runs"] if path.exists() else {}
    return next((run["steps"] for run in runs.values()), {})


def start(
    command: Command, environment: Mapping[str, str], held_at: int = -1, **flags: Any
) -> subprocess.Popen[str]:
    """In a process of its own, which stands still at an update; it prints to OUTPUT_DIR.log."""
    program = [sys.executable, str(HELD_COMMAND), str(held_at), command.name]
    with open(f"{flags['output_dir']}.log", "a") as log:
        return subprocess.Popen(
            [*program, *command.arguments(**flags)],
            stdout=log, stderr=log, text=True, cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        )  # fmt: skip


def kill_when_sent(
    process: subprocess.Popen[str], folder: Path, service: str, steps: Mapping[str, int]
) -> None:
    """Kills a run whose service has these last steps, later ones than its last checkpoint."""
    wait_until(lambda: sent_steps(folder, service) == steps, process)
    saved = [int(path.name[-8:]) for path in folder.glob("checkpoint-*")]
    assert 0 < max(saved) < min(steps.values())
    process.kill()
    process.wait()
    assert not (folder / "eval_results.txt").exists()


def finish(process: subprocess.Popen[str], folder: Path) -> str:
    """Returns what runs into the folder have printed."""
    status = process.wait(_SECONDS)
    printed = Path(f"{folder}.log").read_text(encoding="utf-8")
    assert status == 0, printed
    return printed


def shorten_patience(patch: Any, seconds: float = 2.0) -> None:
    """Of the session with its services."""
    patch.setattr(opening, "_PATIENCE", seconds)
