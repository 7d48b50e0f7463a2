"""Corpus files to chunks of bytes, cut between documents.

One process reads and cuts; workers decode, split and tokenize. A chunk depends on the files and
the chunk size alone, so that any number of workers sees the same chunks.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal, NamedTuple

from bert_ko import files
from bert_ko.compression import COMPRESSIONS
from bert_ko.flags import Flags, flag

InputFormat = Literal["auto", "text", "jsonl", "csv", "tsv"]
CHUNK_BYTES = 1 << 20
_SUFFIXES = {
    ".txt": "text", ".text": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".csv": "csv", ".tsv": "tsv",
}  # fmt: skip
_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")
# As in csv.reader: a quote opens a field only at its beginning; elsewhere it is a character.
_QUOTED_OR_LINE_END = re.compile(rb'(?:\A|(?<=[,\r\n]))"(?:[^"]++|"")*+(?:"|\Z)|(\n)')


@dataclass(frozen=True)
class CorpusFlags(Flags):
    """Flags of every command that reads a corpus."""

    input_file: tuple[str, ...] = flag(
        help="Corpus: files, globs, folders or remote paths (gs://, s3://), separated by commas; "
        "plain or .gz, .bz2, .xz, .zst. Text has one sentence per line and a blank line "
        "between documents."
    )
    input_format: InputFormat = flag(
        "auto",
        help="Format of the files; auto goes by the extension: .txt or none is text. In a folder, "
        "auto reads the files whose extension it knows, or that have none.",
    )
    text_field: tuple[str, ...] = flag(
        (),
        help="Field of JSON lines or column of CSV/TSV that holds the text; several are "
        "joined in this order. Each record is one document. Default: text.",
    )
    sentence_splitter: Literal["newline", "rule"] = flag(
        "newline",
        help="newline: a line is a sentence; rule: also split lines at Korean sentence ends.",
    )
    strict: bool = flag(
        False, help="Stop at invalid UTF-8 or a bad record instead of replacing and counting it."
    )

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The fields that hold the text."""
        return self.text_field or ("text",)


class Part(NamedTuple):
    """Whole documents of one file."""

    path: str
    format: str
    first_line: int
    columns: tuple[str, ...]
    data: bytes


class Chunk(NamedTuple):
    """Work for one task: parts of about CHUNK_BYTES together, numbered in reading order."""

    number: int
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes of text."""
        return sum(len(part.data) for part in self.parts)


def find_files(config: CorpusFlags) -> list[str]:
    """The corpus files in order.

    Raises:
        FileNotFoundError: a pattern that matches nothing.
    """
    suffixes = None if config.input_format != "auto" else (*_SUFFIXES, "")
    return files.expand_inputs(config.input_file, suffixes)


def read_chunks(
    paths: Sequence[str], config: CorpusFlags, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Chunk]:
    """Reads the files of find_files once, in order; each chunk has at least one part.

    Args:
        paths: the files.
        config: their format.
        chunk_bytes: size of a chunk; larger where a document is, smaller at the end.

    Raises:
        ValueError: a damaged file, or a CSV file without the named column.
    """
    parts: list[Part] = []
    size = number = 0
    for path in paths:
        for part in _read_parts(path, config, chunk_bytes):
            if parts and size + len(part.data) > chunk_bytes:
                yield Chunk(number, tuple(parts))
                parts, size, number = [], 0, number + 1
            parts.append(part)
            size += len(part.data)
    if parts:
        yield Chunk(number, tuple(parts))


def choose_chunk_bytes(text_bytes: int) -> int:
    """Small, so that all workers end together; larger for a very large corpus."""
    return min(16 * CHUNK_BYTES, max(CHUNK_BYTES, text_bytes // 8192))


def estimated_bytes(paths: Sequence[str]) -> int:
    """Bytes of text in the files; compressed ones are counted four times."""
    return sum(files.size(path) * (4 if path.endswith(COMPRESSIONS) else 1) for path in paths)


def _format_of(path: str, config: CorpusFlags) -> str:
    if config.input_format != "auto":
        return config.input_format
    stem, extension = os.path.splitext(path)
    extension = os.path.splitext(stem)[1] if extension in COMPRESSIONS else extension
    return _SUFFIXES.get(extension.lower(), "text")


def _read_parts(path: str, config: CorpusFlags, chunk_bytes: int) -> Iterator[Part]:
    kind = _format_of(path, config)
    with files.open_binary(path) as stream:
        line = 1
        columns: tuple[str, ...] = ()
        if kind in ("csv", "tsv"):
            columns = _columns(stream.readline(), kind, path, config)
            line += 1
        for data in _read_blocks(stream, _CUTS[kind], chunk_bytes):
            yield Part(path, kind, line, columns, data)
            line += data.count(b"\n")


def _read_blocks(
    stream: BinaryIO, find_cut: Callable[[bytes], int], chunk_bytes: int
) -> Iterator[bytes]:
    rest: list[bytes] = []
    held, wanted = 0, chunk_bytes
    while block := stream.read(chunk_bytes):
        rest.append(block)
        held += len(block)
        if held < wanted:
            continue
        data = b"".join(rest)
        cut = find_cut(data)
        if cut:
            yield data[:cut]
        # Without a place to cut twice as much is read, so that a huge record takes linear time.
        wanted = chunk_bytes if cut else 2 * held
        rest, held = [data[cut:]], len(data) - cut
    if held:
        yield b"".join(rest)


def _cut_text(data: bytes) -> int:
    """End of the last whole document; of the last line where a document is too long."""
    cut = data.rfind(b"\n\n") + 2
    if cut > 1:
        return cut
    for match in _BLANK_LINE.finditer(data):
        cut = match.end()
    return cut if cut > 1 else data.rfind(b"\n") + 1 or _last_character_start(data)


def _cut_lines(data: bytes) -> int:
    return data.rfind(b"\n") + 1


def _cut_csv(data: bytes) -> int:
    """End of the last record; a line break inside quotes ends none."""
    return max(0, max((match.end(1) for match in _QUOTED_OR_LINE_END.finditer(data)), default=0))


_CUTS: dict[str, Callable[[bytes], int]] = {
    "text": _cut_text, "jsonl": _cut_lines, "csv": _cut_csv, "tsv": _cut_lines,
}  # fmt: skip


def _last_character_start(data: bytes) -> int:
    """Start of the last UTF-8 character, so that none is cut."""
    for cut in range(len(data) - 1, len(data) - 5, -1):
        if cut <= 0 or data[cut] & 0xC0 != 0x80:
            return max(cut, 0)
    return len(data)  # not UTF-8


def _columns(header: bytes, kind: str, path: str, config: CorpusFlags) -> tuple[str, ...]:
    text = header.decode("utf-8-sig", "replace").rstrip("\r\n")
    columns = tuple(text.split("\t") if kind == "tsv" else next(csv.reader([text]), ()))
    for name in config.text_fields:
        if name not in columns:
            raise ValueError(
                f"{path}:1: no column {name!r}; "
                f"--text_field must name one of: {', '.join(columns)}."
            )
    return columns
