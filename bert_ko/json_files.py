"""JSON files: those that commands write, and the user's, with errors that name the place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, TypeVar

from bert_ko import files

T = TypeVar("T")

_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
}


def read_json(path: str) -> dict[str, Any] | None:
    """Reads a JSON object; returns None if the file is missing.

    Raises:
        ValueError: The file is not a JSON object.
    """
    try:
        with files.open_binary(path) as stream:
            content = stream.read()
    except FileNotFoundError:
        return None
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: not a JSON object; delete it, or write to another folder.")
    return value


def write_json(path: str, value: Mapping[str, Any]) -> None:
    """Writes a JSON object, atomically."""
    files.write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def format_json(value: Any, indent: int | None = None) -> str:
    """Returns JSON with Hangul as it is; lone surrogates, which no file can hold, are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text.encode("utf-8", "backslashreplace").decode()


def load_json(path: str, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Reads any JSON value in UTF-8, UTF-16 or UTF-32, local or remote, compressed or not.

    Args:
        path: See `files.open_binary`.
        pairs_hook: Makes the value of each object from its keys and values; None makes a dict.

    Raises:
        ValueError: The file is not JSON; the message has the line.
    """
    with files.open_binary(path) as stream:
        data = stream.read()
    try:
        return json.loads(data, object_pairs_hook=pairs_hook)
    except json.JSONDecodeError as error:
        if not data.strip():
            raise ValueError(f"{path} is empty; expected JSON.") from None
        place = f"{path}:{error.lineno}"
        raise ValueError(f"{place}: not JSON: {error.msg} (column {error.colno}).") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: not {error.encoding.upper()} text (CP949? `iconv -f cp949 -t utf-8`)."
        ) from None
    except RecursionError:
        raise ValueError(f"{path}: not a usable file: its JSON is nested too deeply.") from None
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError(f"{path}: not JSON to use: {error}.") from None


def kind_of(value: object) -> str:
    """Returns what a JSON value is, in words: "a list", "null"."""
    return _KINDS[type(value)]


def expect(value: object, kind: type[T], place: str, note: str = "") -> T:
    """Returns a value of `load_json` if it has the type.

    Args:
        value: The value to check.
        kind: Exactly this type: true is not an integer.
        place: Where the value was found: "train.json: data[3].paragraphs[0]".
        note: More about the place, for the end of the message.

    Raises:
        ValueError: It has another type.
    """
    if type(value) is not kind:
        raise ValueError(f"{place} must be {_KINDS[kind]}, got {kind_of(value)}{note}.")
    return value


def member(value: dict[str, Any], key: str, kind: type[T], place: str, note: str = "") -> T:
    """Returns a member of an object; arguments as for `expect`.

    Raises:
        ValueError: It is missing or has another type.
    """
    if key not in value:
        found = ", ".join(list(value)[:8]) or "nothing"
        raise ValueError(f"{place}.{key} is missing{note}; found: {found}.")
    return expect(value[key], kind, f"{place}.{key}", note)
