"""uvicorn's HTTP, and what it lacks: clients that are too slow or too many are sent away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import signal
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from bert_ko.serving.limits import Limits

_HEADER_BYTES = 16 << 10
_KEEP_ALIVE = 5  # seconds that a connection may be idle between two requests


def make_server(
    app: Any, limits: Limits, num_models: int, has_failed: Callable[[], bool]
) -> Server:
    """A server of an application, to be run on a bound socket.

    Args:
        app: answers.
        limits: of all requests.
        num_models: that are asked.
        has_failed: whether it must end.
    """

    class Protocol(LimitedProtocol):
        pass

    Protocol.limits, Protocol.max_connections = limits, limits.connections(num_models)
    longest = limits.body_seconds + limits.seconds + limits.send_seconds
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="error",  # not a line for each client that is no HTTP
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(longest),
        h11_max_incomplete_event_size=_HEADER_BYTES,
    )
    return Server(config, has_failed)


class LimitedProtocol(H11Protocol):
    """A connection that must send its heads, and take its answers, in time."""

    limits: Limits
    max_connections: int

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Greets a client, or sends it away."""
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        # What is not taken at once is waited for: also the rest of the last answer.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > self.max_connections:
            self._refuse(503, "too many connections; ask again later.", "Retry-After: 1\r\n")
        else:
            self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Takes what a client sends."""
        if not self._is_asked:
            self._expect_head()
        super().data_received(data)
        if self._is_asked:
            self._expect_no_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets a client."""
        for timer in (self._head_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Waits for a client that doesn't take its answer, but not for ever."""
        super().pause_writing()
        seconds = self.limits.send_seconds
        self._send_timer = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken its answer."""
        assert self._send_timer is not None
        self._send_timer.cancel()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP."""
        self._refuse(400, "this is no HTTP request, or its head is too long.")

    @property
    def _is_asked(self) -> bool:
        """Whether a request is being read or answered, its head having been read."""
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self) -> None:
        if self._head_timer is None:
            seconds = self.limits.header_seconds
            self._head_timer = self.loop.call_later(seconds, self._refuse_slow)

    def _expect_no_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_slow(self) -> None:
        seconds = self.limits.header_seconds
        self._refuse(408, f"the head of the request did not come within {seconds:g} seconds.")

    def _refuse(self, status: int, message: str, more: str = "") -> None:
        """Says why, and closes the connection; no answer has begun when that is called for."""
        self._expect_no_head()
        body = json.dumps({"error": message}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"{more}Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class Server(uvicorn.Server):
    """Ends at the first Ctrl-C or SIGTERM, with an answer to whoever has asked."""

    def __init__(self, config: uvicorn.Config, has_failed: Callable[[], bool]):
        super().__init__(config)
        self._has_failed = has_failed

    async def on_tick(self, counter: int) -> bool:
        """Whether it is to end."""
        return await super().on_tick(counter) or self._has_failed()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals while it runs; uvicorn would raise them again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
