"""What stands before the application: it sees whole bodies only, and none that is too large."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bert_ko.serving.errors import Refusal, problem
from bert_ko.serving.limits import Limits

_DRAINED = 32 << 20  # bytes of a body that are read to no purpose: else its sender sees no answer
_CLOSE = {"Connection": "close"}


class _Gone(Exception):
    """The client has closed the connection."""


class Guard:
    """Reads the body of each request within its limits, then lets the application answer.

    The application's ``receive`` has the whole body in one message.
    """

    def __init__(self, app: ASGIApp, limits: Limits, hosts: Collection[str] | None):
        """Joins the parts.

        Args:
            app: answers.
            limits: of size and time.
            hosts: names of this server; None for any. A page elsewhere, whose name was changed to
                mean this machine, must not read what a server on the loopback address says.
        """
        self._app, self._limits, self._hosts = app, limits, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        try:
            self._check_host(Headers(scope=scope).get("host", ""))
            body = await self._read(Headers(scope=scope), receive)
        except Refusal as error:
            await problem(error.status, error.message, error.headers)(scope, receive, send)
            return
        except _Gone:
            return
        is_read = False

        async def replay() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    def _check_host(self, host: str) -> None:
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if self._hosts is not None and host and name.lower() not in self._hosts:
            names = ", ".join(sorted(self._hosts))
            message = f"this server is {names}, not {name!r}; --host lets others reach it."
            raise Refusal(421, message, _CLOSE)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        limit, announced = self._limits.body_bytes, int(headers.get("content-length", 0))
        refusal = Refusal(413, f"a body may have {limit:,} bytes at most.", _CLOSE)
        waits = headers.get("expect", "").lower() == "100-continue"
        if announced > _DRAINED or (waits and announced > limit):
            raise refusal
        body, size = bytearray(), 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    part = message.get("body", b"")
                    size += len(part)
                    if size > _DRAINED:
                        raise refusal
                    if size <= limit:
                        body += part
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            seconds = self._limits.body_seconds
            said = f"the body did not come within {seconds:g} seconds."
            raise Refusal(408, said, _CLOSE) from None
        if size > limit:
            raise refusal
        return bytes(body)
