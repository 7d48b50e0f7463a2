"""Corpus files to parts: bytes of whole documents, in UTF-8, numbered by line."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from bert_ko import content, files
from bert_ko.compression import COMPRESSIONS
from bert_ko.csv_rows import count_line_ends
from bert_ko.data.forms import CUTS, Cut, Form, see_form
from bert_ko.data.parquet import read_parquet
from bert_ko.text_lines import as_utf8, with_head, with_line_feeds

_MAX_RECORD_BYTES = 32 << 20
_MAX_HEADER_BYTES = 1 << 20
_MAX_COLUMNS = 50  # in a message
# A file with more damaged lines is in another encoding, or no text.
_MAX_DAMAGED_SHARE = 0.01


class Reading(NamedTuple):
    """How files are read: --input_format, --input_encoding, --text_field."""

    format: str
    encoding: str | None
    fields: tuple[str, ...]


class Part(NamedTuple):
    """Whole documents of one file."""

    path: str
    format: str  # see forms.Form
    first_line: int  # or row
    columns: tuple[str, ...]  # of a table
    data: bytes

    @property
    def size(self) -> int:
        """Bytes of text."""
        return len(self.data)

    def load(self) -> Iterator[Part]:
        """Yields itself; see corpus.Source."""
        yield self


def look(path: str, reading: Reading) -> Form:
    """Returns the form that the beginning of a file shows.

    Raises:
        ValueError: it is none that can be read; see `forms.see_form`.
    """
    with files.open_binary(path) as stream:
        head = stream.read(content.HEAD_SIZE)
    return see_form(path, head, reading.format, reading.encoding)


def read_parts(path: str, reading: Reading, chunk_bytes: int) -> Iterator[Part]:
    """Yields the parts of a file; together they are all of it, but for a table's header.

    Args:
        path: local or remote, compressed or not; a pipe too.
        reading: how.
        chunk_bytes: size of a part; larger where a document is.

    Raises:
        ValueError: the file is damaged, in another form or another encoding, a table without the
            named column, or a record is too long.
    """
    with files.open_binary(path) as opened:
        head, stream = with_head(opened)
        form = see_form(path, head, reading.format, reading.encoding)
        if form.name != "parquet":
            yield from _text_parts(path, reading, chunk_bytes, form, stream)
            return
    if path.endswith(COMPRESSIONS):
        raise ValueError(f"{path}: a compressed Parquet file; decompress it.")
    with files.open_stored(path) as stored:
        rows = read_parquet(path, stored, reading.fields)
        line = 1
        for data in _joined(rows, chunk_bytes):
            yield Part(path, "jsonl", line, (), data)
            line += data.count(b"\n")


def _joined(lines: Iterable[bytes], chunk_bytes: int) -> Iterator[bytes]:
    held, size = [], 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= chunk_bytes:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _text_parts(
    path: str, reading: Reading, chunk_bytes: int, form: Form, stream: BinaryIO
) -> Iterator[Part]:
    if form.encoding != "utf-8":
        stream = as_utf8(stream, form.encoding, ends_lines=False, close=False)
    header = stream.read(len(form.header))
    columns: tuple[str, ...] = ()
    if form.name in ("csv", "tsv"):
        header = header or stream.readline(_MAX_HEADER_BYTES)
        columns = _columns(header, form.name, path, reading.fields)
    blocks: Iterator[bytes] = iter(functools.partial(stream.read, chunk_bytes), b"")
    if form.name != "csv":  # where a carriage return may be a character of a cell
        blocks = with_line_feeds(blocks)
    count = count_line_ends if form.name == "csv" else _count_line_feeds
    damage = _Damage(path, form.encoding)
    line = 1 + count(header)
    try:
        for data in _read_blocks(blocks, CUTS[form.name], chunk_bytes):
            num_lines = count(data)
            damage.add(data, line, num_lines)
            yield Part(path, form.name, line, columns, data)
            line += num_lines
    except _RecordTooLongError:
        size = f"{_MAX_RECORD_BYTES >> 20} MiB"
        raise ValueError(
            f"{path}:{line}: no record ends within {size}; the file is damaged, or is one record, "
            "or needs another --input_format."
        ) from None
    damage.check()


class _RecordTooLongError(Exception):
    """A record has more than _MAX_RECORD_BYTES."""


def _read_blocks(blocks: Iterable[bytes], find_cut: Cut, chunk_bytes: int) -> Iterator[bytes]:
    rest: list[bytes] = []
    held, wanted = 0, chunk_bytes
    for block in blocks:
        rest.append(block)
        held += len(block)
        if held < wanted:
            continue
        data = b"".join(rest)
        is_long = held >= _MAX_RECORD_BYTES
        cut = find_cut(data, is_long)
        if cut:
            yield data[:cut]
        elif is_long:
            raise _RecordTooLongError
        # Without a place to cut twice as much is read, so that a huge record takes linear time.
        wanted = chunk_bytes if cut else min(2 * held, _MAX_RECORD_BYTES)
        rest, held = [data[cut:]], len(data) - cut
    if held:
        yield b"".join(rest)


class _Damage:
    """Counts the lines of a file that can't be decoded."""

    def __init__(self, path: str, encoding: str) -> None:
        self._path, self._encoding = path, encoding
        self._num_lines = self._num_damaged = self._first = 0
        self._example = b""

    def add(self, data: bytes, first_line: int, num_lines: int) -> None:
        """Counts those of a part."""
        self._num_lines = first_line + num_lines - data.endswith((b"\n", b"\r"))
        try:
            data.decode()
        except UnicodeDecodeError:
            lines = enumerate(re.split(rb"\r\n?|\n", data), first_line)
            damaged = [(number, line) for number, line in lines if not content.is_utf8(line)]
            if not self._num_damaged:
                self._first, self._example = damaged[0]
            self._num_damaged += len(damaged)

    def check(self) -> None:
        """Raises: ValueError: there are too many, after the whole file was read."""
        if self._num_damaged < 2 or self._num_damaged <= _MAX_DAMAGED_SHARE * self._num_lines:
            return  # a broken line among good ones
        advice = f"; {content.advice(self._example)}" if self._encoding == "utf-8" else ""
        raise ValueError(
            f"{self._path}: {self._num_damaged:,} of {self._num_lines:,} lines are not "
            f"{self._encoding.upper()} text, the first is line {self._first:,}{advice}."
        )


def _count_line_feeds(data: bytes) -> int:
    return data.count(b"\n")


def _columns(header: bytes, kind: str, path: str, fields: tuple[str, ...]) -> tuple[str, ...]:
    text = header.decode("utf-8-sig", "replace").rstrip("\r\n")
    columns = tuple(text.split("\t") if kind == "tsv" else next(csv.reader([text]), ()))
    for name in fields:
        if name not in columns:
            names = ", ".join(columns[:_MAX_COLUMNS])
            advice = f"--text_field must name one of: {names}."
            if kind == "csv" and "\t" in names:
                advice = f"there are tabs in {names!r}: --input_format=tsv?"
            raise ValueError(f"{path}:1: no column {name!r}; {advice}")
    return columns
