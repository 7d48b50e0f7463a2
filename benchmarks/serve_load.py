#!/usr/bin/env python3
"""A served reader under load: requests a second, latency, errors and memory.

Clients ask real questions, each on a connection that it keeps, one question after the other. With
--hostile, others send what no server should be sent at the same time, and must be told so.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from common import ROOT, machine

from bert_ko.serving.limits import Limits
from bert_ko.tasks.squad.question_files import read_dataset

_QUIET = 120  # seconds until a server must have compiled


class Server(NamedTuple):
    """A process, and where it is asked."""

    process: subprocess.Popen[str]
    port: int
    path: str

    def memory(self, name: str) -> float:
        """MB: VmRSS now, VmHWM at most."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1e3

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)


@contextlib.contextmanager
def served(model: str, flags: list[str]) -> Iterator[Server]:
    """Serves a reader; it must end by itself when it is told to."""
    name = Path(model).resolve().name
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "bin" / "serve"), "--port=0", *flags, model],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            sys.exit(f"{model} is not served.")
        server = Server(process, int(line.rpartition(":")[2]), f"/models/{name}/answer")
        _wait(server)
        yield server
        process.send_signal(signal.SIGTERM)
        print(f"ended with status {process.wait(60)}")
    finally:
        process.kill()
        process.wait()


def _wait(server: Server) -> None:
    deadline = time.monotonic() + _QUIET
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), contextlib.closing(server.connect()) as connection:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.2)
    sys.exit("the server does not get ready.")


def read_bodies(path: str) -> list[bytes]:
    """A request for each question of a KorQuAD file that the server takes."""
    found = [
        {"context": paragraph.context, "questions": [question.question]}
        for paragraph in read_dataset(path).paragraphs
        for question in paragraph.questions
        if len(paragraph.context) + len(question.question) <= Limits.characters
    ]
    return [json.dumps(body).encode() for body in found]


class Client(threading.Thread):
    """Asks until it is time to stop.

    Attributes:
        seconds: that each request took.
        answers: status, or the name of an error, to how often.
    """

    def __init__(self, server: Server, bodies: list[bytes], seed: int, until: float):
        super().__init__()
        self.seconds: list[float] = []
        self.answers: collections.Counter[str] = collections.Counter()
        self._server, self._bodies, self._until = server, bodies, until
        self._random = random.Random(seed)

    def run(self) -> None:
        """Asks."""
        connection = self._server.connect()
        headers = {"Content-Type": "application/json"}
        while time.monotonic() < self._until:
            body = self._random.choice(self._bodies)
            start = time.perf_counter()
            try:
                connection.request("POST", self._server.path, body, headers)
                response = connection.getresponse()
                response.read()
                self.answers[str(response.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1
                connection.close()
            self.seconds.append(time.perf_counter() - start)
        connection.close()


class Hostile(threading.Thread):
    """Sends what no server should be sent, until it is time to stop.

    Attributes:
        answers: what was sent, and the status, to how often.
    """

    def __init__(self, server: Server, seed: int, until: float):
        super().__init__()
        self.answers: collections.Counter[tuple[str, str]] = collections.Counter()
        self._server, self._until, self._random = server, until, random.Random(seed)

    def run(self) -> None:
        """Sends."""
        attacks: list[Callable[[], str]] = [
            self.bad_json, self.ten_megabytes, self.nul, self.nested, self.slow_head, self.garbage,
        ]  # fmt: skip
        while time.monotonic() < self._until:
            attack = self._random.choice(attacks)
            try:
                self.answers[attack.__name__, attack()] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[attack.__name__, type(error).__name__] += 1

    def _post(self, body: bytes) -> str:
        with contextlib.closing(self._server.connect()) as connection:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", self._server.path, body, headers)
            return str(connection.getresponse().status)

    def bad_json(self) -> str:
        """Half of a body."""
        return self._post(b'{"context": "')

    def ten_megabytes(self) -> str:
        """A body that is too large."""
        return self._post(b'"' + b"x" * 10_000_000 + b'"')

    def nul(self) -> str:
        """A text that is none."""
        return self._post(b'{"context": "\\u0000", "questions": ["\\ud800"]}')

    def nested(self) -> str:
        """Lists in lists."""
        return self._post(b"[" * 100_000)

    def slow_head(self) -> str:
        """A client that stops in the middle of its first line."""
        return self._raw(b"POST /mod")

    def garbage(self) -> str:
        """No HTTP at all."""
        return self._raw(self._random.randbytes(10_000) + b"\r\n\r\n")

    def _raw(self, data: bytes) -> str:
        with socket.create_connection(("127.0.0.1", self._server.port), timeout=60) as client:
            client.sendall(data)
            return client.recv(1000).decode("latin-1").partition(" ")[2][:3]


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all does not exceed, in milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))]


def load(server: Server, bodies: list[bytes], arguments: argparse.Namespace) -> None:
    """Lets clients ask, and prints what came of it."""
    until = time.monotonic() + arguments.seconds
    clients = [Client(server, bodies, seed, until) for seed in range(arguments.clients)]
    hostile = [Hostile(server, seed, until) for seed in range(arguments.hostile)]
    before, start = server.memory("VmRSS"), time.perf_counter()
    for thread in (*clients, *hostile):
        thread.start()
    for client in clients:
        client.join()
    elapsed = time.perf_counter() - start
    for thread in hostile:
        thread.join()
    seconds = [second for client in clients for second in client.seconds]
    answers = sum((client.answers for client in clients), collections.Counter[str]())
    print(f"{arguments.clients} clients, {elapsed:.0f} s: {dict(answers)}")
    print(
        f"{len(seconds) / elapsed:.1f} requests/s; p50 {percentile(seconds, 0.5):.0f} ms, "
        f"p95 {percentile(seconds, 0.95):.0f} ms, mean {1000 * statistics.mean(seconds):.0f} ms, "
        f"longest {1000 * max(seconds):.0f} ms"
    )
    after, peak = server.memory("VmRSS"), server.memory("VmHWM")
    print(f"memory: {before:.0f} MB before, {after:.0f} MB after, {peak:.0f} MB at most")
    told = sum((one.answers for one in hostile), collections.Counter[tuple[str, str]]())
    for (attack, status), count in sorted(told.items()):
        print(f"hostile, {attack}: {status} {count:,} times")


def main() -> None:
    """Serves a model, and prints figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(ROOT / "build" / "quickstart" / "reader"))
    parser.add_argument("--questions", default=str(ROOT / "samples" / "korquad.json"))
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--hostile", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    arguments, flags = parser.parse_known_args()  # the others are those of bin/serve
    print(f"{machine()}\n{arguments.model}, {' '.join(flags) or 'all flags at defaults'}")
    bodies = read_bodies(arguments.questions)
    with served(arguments.model, flags) as server:
        load(server, bodies, arguments)


if __name__ == "__main__":
    main()
