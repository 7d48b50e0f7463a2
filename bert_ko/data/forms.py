"""The form of a corpus file, as its first bytes show it, and where each form may be cut."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bert_ko import content
from bert_ko.compression import COMPRESSIONS
from bert_ko.csv_rows import last_row_end

# By extension; "" and others are text.
SUFFIXES = {
    ".txt": "text", ".text": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
}  # fmt: skip
# Lines of JSON that are looked at.
_MOST_LINES = 100
_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")
_DOC_TAG = re.compile(r"\s*<doc( [^>\n]*)?>")
_JSON_BEGINS = re.compile(r'(\[\s*)?\{\s*("[^"\n]*"\s*:|\})')
_LIST_BEGINS = re.compile(r"\s*\[")
_BETWEEN_VALUES = re.compile(r"[\s,\ufeff]*")
_BARE_VALUE = re.compile(r"[\w.+-]+(?=[\s,\]])")
_decoder = json.JSONDecoder()


class Form(NamedTuple):
    """How a file is read.

    Attributes:
        name: text; doc, text between the tags of WikiExtractor; jsonl, a record a line; json, a
            list of records or records over several lines; csv; tsv; parquet.
        encoding: of the bytes.
        header: bytes of UTF-8 before the records: the first line of a table, with its end, unless
            it is longer than what is known; the bracket that opens a list.
    """

    name: str
    encoding: str
    header: bytes = b""


def see_form(path: str, head: bytes, chosen: str, encoding: str | None) -> Form:
    """Tells the form of a file.

    Args:
        path: its extension counts for what the beginning does not show.
        head: its beginning, decompressed.
        chosen: --input_format; "auto" goes by the extension and the beginning.
        encoding: --input_encoding.

    Raises:
        ValueError: the file is no text, in an unknown encoding, or in another form than it should
            be.
    """
    name = _named_form(path) if chosen == "auto" else chosen
    kind = content.describe(head)
    if name == "parquet" and kind != content.PARQUET:
        found = kind or ("text" if head else "empty")
        raise ValueError(f"{path}: {found}, not a Parquet file.")
    if name == "parquet" or (chosen == "auto" and kind == content.PARQUET):
        return Form("parquet", "")
    found = content.text_encoding(head, path, encoding)
    text = head.decode(found, "ignore")
    if name in ("csv", "tsv"):
        return Form(name, found, _first_line(text).encode())
    mark, text = text[: text.startswith("\ufeff")], text.removeprefix("\ufeff")
    if name == "jsonl":
        _refuse_other_lines(path, text)
    if name == "jsonl" or chosen == "auto":
        name = _json_form(text, len(head) < content.HEAD_SIZE) or name
    if name == "text" and chosen == "auto" and _DOC_TAG.match(text):
        name = "doc"
    begins = _LIST_BEGINS.match(text) if name == "json" else None
    return Form(name, found, f"{mark}{begins[0]}".encode() if begins else b"")


def _named_form(path: str) -> str:
    stem, extension = os.path.splitext(path)
    extension = os.path.splitext(stem)[1] if extension in COMPRESSIONS else extension
    return SUFFIXES.get(extension.lower(), "text")


def _first_line(text: str) -> str:
    """Returns the first line with its end; nothing if the end is not there."""
    match = re.match(r"[^\r\n]*(\r\n|\r(?=[^\n])|\n)", text)
    return match[0] if match else ""


def _json_form(text: str, is_all: bool) -> str | None:
    """Returns "jsonl" or "json" if a text consists of JSON objects, or lists them."""
    text = text.lstrip()
    if not _JSON_BEGINS.match(text):
        return None
    lines = _lines(text) if is_all else _lines(text)[:-1]
    if text[0] == "{" and 2 * sum(map(_is_object, lines)) >= len(lines):
        return "jsonl"
    # A first record that is longer than what is known can't be parsed yet.
    return "json" if not is_all or _value_end(text, text.index("{")) is not None else None


def _lines(text: str) -> list[str]:
    return [line for line in re.split("[\r\n]+", text) if line.strip()][:_MOST_LINES]


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _may_be_object(line: str) -> bool:
    return line.lstrip().startswith("{")


def _refuse_other_lines(path: str, text: str) -> None:
    """Refuses JSON in which no line begins as an object does."""
    lines = _lines(text)
    if lines and not _JSON_BEGINS.match(text.lstrip()) and not any(map(_may_be_object, lines)):
        raise ValueError(
            f"{path}: neither JSON objects, one a line, nor a list of them; it begins with "
            f"{lines[0].strip()[:20]!r}."
        )


# Where a form may be cut: each function returns the end of the last whole document in the data, 0
# if there is none. `is_all` says that a longer wait is of no use.

Cut = Callable[[bytes, bool], int]


def _cut_text(data: bytes, is_all: bool) -> int:
    """The end of the last line where a document is too long."""
    cut = data.rfind(b"\n\n") + 2
    if cut > 1:
        return cut
    for match in _BLANK_LINE.finditer(data):
        cut = match.end()
    return cut if cut > 1 else data.rfind(b"\n") + 1 or _last_character_start(data)


def _cut_docs(data: bytes, is_all: bool) -> int:
    end = data.rfind(b"</doc>")
    if end >= 0 and b"\n" not in data[end:]:
        end = data.rfind(b"</doc>", 0, end)
    if end >= 0:
        return data.find(b"\n", end) + 1
    return _cut_lines(data, is_all) if is_all else 0


def _cut_lines(data: bytes, is_all: bool) -> int:
    return data.rfind(b"\n") + 1


def _cut_values(data: bytes, is_all: bool) -> int:
    text = data.decode("utf-8", "surrogateescape")
    end = max((end for _, end in values(text)), default=0)
    return len(text[:end].encode("utf-8", "surrogateescape"))


def values(text: str) -> Iterator[tuple[int, int]]:
    """Yields the start and the end of each whole value of JSON, up to what is none."""
    end = 0
    while start := _BETWEEN_VALUES.match(text, end):
        found = _value_end(text, start.end())
        if found is None:
            return
        yield start.end(), (end := found)


def _value_end(text: str, start: int) -> int | None:
    if text[start : start + 1] not in ("{", "[", '"'):  # the end of a number may be cut off
        match = _BARE_VALUE.match(text, start)
        return match.end() if match else None
    try:
        return _decoder.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


CUTS: dict[str, Cut] = {
    "text": _cut_text, "doc": _cut_docs, "jsonl": _cut_lines, "json": _cut_values,
    "csv": last_row_end, "tsv": _cut_lines,
}  # fmt: skip


def _last_character_start(data: bytes) -> int:
    """Start of the last UTF-8 character, so that none is cut."""
    for cut in range(len(data) - 1, len(data) - 5, -1):
        if cut <= 0 or data[cut] & 0xC0 != 0x80:
            return max(cut, 0)
    return len(data)  # not UTF-8
