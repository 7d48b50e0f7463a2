"""Texts about services without their secrets."""

from __future__ import annotations

import os
import re

_SECRET_NAMES = re.compile("KEY|TOKEN|PASSWORD|SECRET|CREDENTIAL", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/@\s]+@")
_QUERY = re.compile(r"(?<=[?&])([^=&#\s]+)=[^&#\s]+")
_SHORTEST = 4  # characters; a shorter value stands in other words, too
_MAX_TEXT = 200  # characters


def redacted(text: str) -> str:
    """Without users and passwords of URLs, and values of secret environment variables."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _SECRET_NAMES.search(name):
            text = text.replace(value, f"[{name}]")
    return _QUERY.sub(r"\1=…", _USER.sub("…@", text))


def describe(error: BaseException) -> str:
    """What went wrong, in a line: the first cause tells more than what libraries make of it."""
    seen = {id(error)}
    cause: BaseException | None = error
    while cause is not None:
        seen.add(id(cause))
        error, cause = cause, cause.__cause__ or cause.__context__
        if id(cause) in seen:
            break
    name = type(error).__name__
    text = redacted(" ".join(str(error).split()))
    if len(text) > _MAX_TEXT:
        text = text[: _MAX_TEXT - 1] + "…"
    return f"{name}: {text}" if text and text != name else name
