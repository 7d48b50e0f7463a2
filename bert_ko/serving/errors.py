"""Every refusal is one JSON object with one sentence: {"error": "…"}."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

_SHOWN = 400  # characters of a message


class Refusal(Exception):
    """A request that gets no answer, and why."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response that says why there is no answer."""
    return JSONResponse({"error": shorten(message)}, status, headers)


def shorten(message: str) -> str:
    """A message that repeats no more of a request than is needed to understand it."""
    return message if len(message) <= _SHOWN else message[: _SHOWN - 1] + "…"
