"""Bodies before the application sees them."""

import asyncio
import json
from typing import Any

import pytest

from bert_ko.serving import guard
from bert_ko.serving.guard import Guard
from bert_ko.serving.limits import Limits

GONE: dict[str, Any] = {"type": "http.disconnect"}


def part(data: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def guarded(
    messages: list[dict[str, Any]], hosts: set[str] | None = None, **headers: str
) -> tuple[list[Any], list[Any]]:
    """What the application receives, and what the client is sent."""
    received, sent, left = list[Any](), list[Any](), list(messages)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        received.extend([await receive(), await receive()])

    async def receive() -> Any:
        if not left:
            await asyncio.sleep(60)
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    names = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": names}
    limits = Limits(body_bytes=4, body_seconds=0.01)
    asyncio.run(Guard(app, limits, hosts)(scope, receive, send))
    return received, sent


def refused(sent: list[Any]) -> tuple[int, str]:
    start, body = sent
    assert (b"connection", b"close") in start["headers"]
    return start["status"], json.loads(body["body"])["error"]


def test_guard_parts_are_one_body() -> None:
    received, sent = guarded([part(b"ab"), part(b"", True), part(b"cd", False), GONE])
    assert received == [part(b"abcd", False), GONE] and sent == []


def test_guard_client_that_goes_is_not_answered() -> None:
    assert guarded([part(b"ab"), GONE]) == ([], [])


@pytest.mark.parametrize(
    ("messages", "headers"),
    [
        ([part(b"abc"), part(b"de", False)], {}),
        ([part(b"x" * 6)] * 3, {}),  # of a body that does not end
        ([], {"content_length": "11"}),
        ([], {"content_length": "5", "expect": "100-Continue"}),
    ],
)
def test_guard_large_body_is_413_with_little_of_it_read(
    messages: list[dict[str, Any]], headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_DRAINED", 10)
    received, sent = guarded(messages, **headers)
    assert received == []
    assert refused(sent) == (413, "a body may have 4 bytes at most.")


def test_guard_body_that_stops_is_408() -> None:
    received, sent = guarded([part(b"ab")])
    assert received == []
    assert refused(sent) == (408, "the body did not come within 0.01 seconds.")


@pytest.mark.parametrize(
    ("host", "is_known"),
    [("a:80", True), ("A", True), ("[::1]", True), ("[::1]:80", True), ("b", False), ("", True)],
)
def test_guard_host_is_one_of_its_names(host: str, is_known: bool) -> None:
    received, sent = guarded([part(b"", False), GONE], {"a", "[::1]"}, host=host)
    assert bool(received) is is_known
    if not is_known:
        message = "this server is [::1], a, not 'b'; --host lets others reach it."
        assert refused(sent) == (421, message)
