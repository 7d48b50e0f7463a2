"""Servers in a thread of this process, with numpy's models, and clients that behave or don't."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.responses import HTMLResponse

import bert_ko
from bert_ko.serving.app import make_app
from bert_ko.serving.limits import Limits
from bert_ko.serving.protocol import Server, make_server
from bert_ko.serving.served import open_served
from bert_ko.serving.server import bind, running
from bert_ko.serving.worker import Worker
from tests.fakes import FakeBackend, install_backend
from tests.saved_models import predict, save

MODELS = {
    "독해": "reader", "topics": "classifier", "scores": "regression", "entities": "crf",
    "model": "pretraining",
}  # fmt: skip
SECONDS = 600  # until a test gives up, on a busy machine


class Reply(NamedTuple):
    """What a server has answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Of a request that was refused."""
        assert self.headers["content-type"] == "application/json"
        assert self.json.keys() == {"error"}
        said: str = self.json["error"]
        return said


class Scripted:
    """An application whose page at /scripted runs the script that its address has after #."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/scripted":
            await self.app(scope, receive, send)
            return
        (home,) = (one for one in self.app._app.routes if one.path == "/")
        page = (await home.endpoint()).body.decode()
        page = page.replace("Content-Security-Policy", "x").replace(
            "</body>", "<script>eval(decodeURIComponent(location.hash.slice(1)))</script></body>"
        )
        await HTMLResponse(page)(scope, receive, send)


@dataclass
class Running:
    """A server, and the gate that its models compute behind; it is open at first."""

    server: Server
    port: int
    gate: threading.Event
    entered: threading.Semaphore  # released by each batch that comes to the gate
    workers: dict[str, Worker]
    api: dict[str, Any] = field(default_factory=dict)  # the same models from ``bert_ko.load``

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        if body is not None and not isinstance(body, bytes) and not hasattr(body, "__next__"):
            body = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        return self.ask("POST", path, body, **headers)

    def connect(self, buffer: int | None = None) -> socket.socket:
        """A connection, with little room for what it does not read at once."""
        client = socket.socket()
        client.settimeout(SECONDS)
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.connect(("127.0.0.1", self.port))
        return client

    def in_background(self, *calls: Callable[[], Reply]) -> list[Future]:
        return [Future(call) for call in calls]

    @property
    def num_connections(self) -> int:
        return len(self.server.server_state.connections)


class Future:
    """A request in a thread of its own."""

    def __init__(self, call: Callable[[], Reply]) -> None:
        self._found: list[Reply] = []
        self._thread = threading.Thread(target=lambda: self._found.append(call()), daemon=True)
        self._thread.start()

    @property
    def reply(self) -> Reply:
        self._thread.join(SECONDS)
        (found,) = self._found
        return found


def wait_until(is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            found += part
    return found


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model of each kind: its name to its folder."""
    root: Path = tmp_path_factory.mktemp("serving")
    return {
        name: save(root / name, model, **({"max_query_length": 16} if model == "reader" else {}))
        for name, model in MODELS.items()
    }


@contextlib.contextmanager
def serving(
    folders: dict[str, str],
    limits: Limits | None = None,
    compute: Callable[..., Any] = predict,
    **settings: Any,
) -> Iterator[Running]:
    """Serves models until the block ends."""
    limits = limits or Limits()
    gate, entered = threading.Event(), threading.Semaphore(0)
    gate.set()

    def compute_behind_gate(*arguments: Any) -> Any:
        entered.release()
        assert gate.wait(SECONDS)
        return compute(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        backend: FakeBackend = install_backend(patch, "bert_ko.tasks.loading")
        backend.compute = compute
        api = {name: bert_ko.load(path) for name, path in folders.items()}
        backend = install_backend(patch, "bert_ko.tasks.loading")
        backend.compute = compute_behind_gate
        batches = {"batch_size": limits.batch_size}
        served = {name: open_served(name, path, batches) for name, path in folders.items()}
    workers = {name: Worker(one, limits) for name, one in served.items()}
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    app = make_app(workers, limits, {"127.0.0.1", "localhost"})
    server = make_server(Scripted(app), limits, len(workers), lambda: False)
    found = Running(server, port, gate, entered, workers, api)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        with running(workers.values()):
            wait_until(lambda: server.started)
            if settings.get("ready", True):
                wait_until(lambda: all(one.is_ready or one.error for one in workers.values()))
                while entered.acquire(blocking=False):  # what was compiled
                    pass
            yield found
            gate.set()
            server.should_exit = True
            thread.join()
    finally:
        gate.set()
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def running_server(folders: dict[str, str]) -> Iterator[Running]:
    """All models; a request may have a thousand characters."""
    with serving(folders, Limits(characters=1000)) as found:
        yield found
