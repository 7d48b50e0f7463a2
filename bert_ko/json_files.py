"""JSON files: those that commands write, and the user's, with errors that name the place."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, TypeVar

from bert_ko import files
from bert_ko.compression import COMPRESSIONS
from bert_ko.display import shown, shown_list
from bert_ko.text_lines import decode

T = TypeVar("T")

_PART = 16 << 20  # bytes that are read at once
_BLANKS = b" \t\r\n\0"
# A packed file that expands to more bytes than this, and to this many times its size, is a bomb;
# JSON of real data shrinks to a twentieth.
_SMALL = 256 << 20
_MAX_RATIO = 200

_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
}


def read_json(
    path: str,
    limit: int = 64 << 20,
    advice: str = " Delete the file, or write to another folder.",
) -> dict[str, Any] | None:
    """Reads a JSON object that a program wrote; returns None if the file is missing.

    Args:
        path: See `files.read_limited`.
        limit: The most bytes that it may have.
        advice: What to do if it is damaged, for the end of the message.

    Raises:
        ValueError: The file is not a JSON object.
    """
    try:
        content = files.read_limited(path, limit)
    except FileNotFoundError:
        return None
    try:
        return expect(parse_json(content, path, encoding="utf-8"), dict, f"{path}: the whole")
    except ValueError as error:
        raise ValueError(f"{error}{advice}") from None


def write_json(path: str, value: Mapping[str, Any]) -> None:
    """Writes a JSON object, atomically."""
    files.write_atomic(path, format_json(value, indent=2) + "\n")


def format_json(value: Any, indent: int | None = None) -> str:
    """Returns JSON with Hangul as it is; lone surrogates, which no file can hold, are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text.encode("utf-8", "backslashreplace").decode()


def load_json(
    path: str,
    pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    *,
    encoding: str | None = None,
    allows_lines: bool = False,
) -> Any:
    """Reads any JSON value, local or remote, compressed or not.

    Args:
        path: See `files.open_binary`; a pipe only if it is open already, as `<(...)` is.
        pairs_hook: Makes the value of each object from its keys and values; None makes a dict.
        encoding: None recognises UTF-8, UTF-16 and UTF-32.
        allows_lines: JSON lines give a list of their values.

    Raises:
        ValueError: The file is not JSON; the message has the line.
    """
    return parse_json(_read(path), path, pairs_hook, encoding=encoding, allows_lines=allows_lines)


def _read(path: str) -> bytearray:
    """Reads a whole file of data, unless it is a bomb that would fill the memory."""
    files.refuse_no_file(path, or_open_pipe=True)
    is_packed = not files.is_remote(path) and os.path.splitext(path)[1] in COMPRESSIONS
    most = max(_SMALL, _MAX_RATIO * files.size(path)) if is_packed else math.inf
    data = bytearray()
    try:
        with files.open_binary(path) as stream:
            while part := stream.read(_PART):
                if not data and len(part) == _PART and not part.strip(_BLANKS):
                    raise ValueError(f"{path} begins with {_PART >> 20} MB of blanks; no JSON.")
                data += part
                if len(data) > most:
                    raise ValueError(
                        f"{path} has {files.size(path):,} bytes but expands to more than "
                        f"{most:,}: it is no JSON of use."
                    )
    except MemoryError:
        del data
        raise ValueError(f"{path} is too large for the memory of this machine.") from None
    return data


def parse_json(
    data: bytes | bytearray,
    path: str,
    pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    *,
    encoding: str | None = None,
    allows_lines: bool = False,
) -> Any:
    """Returns the JSON value that the bytes of a file hold; see `load_json`."""
    try:
        text = decode(data, path, encoding)
    except MemoryError:
        raise ValueError(f"{path} is too large for the memory of this machine.") from None
    try:
        return json.loads(text, object_pairs_hook=pairs_hook)
    except json.JSONDecodeError as error:
        if allows_lines and error.msg == "Extra data":
            lines = _parse_lines(text, path, pairs_hook)
            if lines:
                return lines
        if not text.strip():
            raise ValueError(f"{path} is empty; expected JSON.") from None
        what = f"{error.msg} (column {error.colno})"
        if not text[: error.pos].strip():
            line, _, _ = text[error.pos : error.pos + 100].partition("\n")
            what = f"it begins with {shown(line.strip())}"
        raise ValueError(f"{path}:{error.lineno}: not JSON: {what}.") from None
    except RecursionError:
        raise ValueError(f"{path}: not a usable file: its JSON is nested too deeply.") from None
    except MemoryError:
        raise ValueError(f"{path} is too large for the memory of this machine.") from None
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError(f"{path}: not JSON to use: {error}.") from None


def _parse_lines(
    text: str, path: str, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None
) -> list[Any]:
    """Returns the values of JSON lines, none if the first line is no whole value."""
    values: list[Any] = []
    for number, line in enumerate(re.split("\r\n?|\n", text), start=1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line, object_pairs_hook=pairs_hook))
        except (ValueError, RecursionError) as error:
            if not values:
                break
            what = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise ValueError(f"{path}:{number}: not JSON: {what}.") from None
    return values


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


def names(value: Mapping[str, Any]) -> str:
    """Returns the names of an object's first members, on one line."""
    return shown_list(list(value), limit=8, width=28) or "nothing"


def member(value: dict[str, Any], key: str, kind: type[T], place: str, note: str = "") -> T:
    """Returns a member of an object; arguments as for `expect`.

    Raises:
        ValueError: It is missing or has another type.
    """
    if key not in value:
        raise ValueError(f"{place}.{key} is missing{note}; found: {names(value)}.")
    return expect(value[key], kind, f"{place}.{key}", note)
