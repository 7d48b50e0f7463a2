"""A connection between two hosts: messages, each a line of JSON that nothing ever executes."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

from bert_ko.training.hosts import HostError

MAX_LINE = 1 << 24  # bytes
# TCP's own probes: a machine that has vanished is noticed after 10 + 4 * 5 seconds.
_PROBES = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}


class Peer:
    """A connection, whose messages a thread reads."""

    def __init__(self, connection: socket.socket, receive: Callable[[Peer, Any], None]):
        """Args: connection. receive: called with each message, and with None when it has ended."""
        self.connection, self.name, self.index = connection, "", -1
        self.values: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.has_left, self.is_closed = False, threading.Event()
        self._receive, self._lock = receive, threading.Lock()
        _keep_alive(connection)

    def listen(self) -> None:
        """Begins to read."""
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, **message: Any) -> None:
        """Raises: HostError: the connection has ended."""
        try:
            with self._lock:
                self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise HostError(f"{self.name} can't be reached: {error.strerror}") from None

    def close(self) -> None:
        """Ends the connection."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError), self.connection.makefile("rb") as stream:
            while line := stream.readline(MAX_LINE):
                self._receive(self, json.loads(line))
        self.is_closed.set()
        self._receive(self, None)


def read_line(connection: socket.socket) -> Any:
    """A message, read byte by byte, as what follows belongs to another reader."""
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < MAX_LINE:
            byte = connection.recv(1)
            if not byte:
                return None
            line += byte
        return json.loads(line)
    except (OSError, ValueError):
        return None


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):  # Linux has them all
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
