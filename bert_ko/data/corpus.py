"""Corpus files to chunks of bytes, cut between documents.

One process reads and cuts; workers decode, split and tokenize. A chunk depends on the files and
the chunk size alone, so that any number of workers sees the same chunks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bert_ko import files
from bert_ko.compression import COMPRESSIONS
from bert_ko.data.forms import SUFFIXES
from bert_ko.data.parts import Part, Reading, look, read_parts
from bert_ko.flags import flag
from bert_ko.text_lines import EncodingFlags

InputFormat = Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"]
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class CorpusFlags(EncodingFlags):
    """Flags of every command that reads a corpus."""

    input_file: tuple[str, ...] = flag(
        help="Corpus: files, globs, folders or remote paths (gs://, s3://), separated by commas; "
        "plain or .gz, .bz2, .xz, .zst. Text has one sentence per line and a blank line "
        "between documents."
    )
    input_format: InputFormat = flag(
        "auto",
        help="Format of the files; auto goes by the extension, and by the first lines: text may be "
        "JSON, a record a line or a list of records, or have the <doc> tags of WikiExtractor. In a "
        "folder, auto reads the files whose extension it knows, or that have none.",
    )
    text_field: tuple[str, ...] = flag(
        (),
        help="Field of JSON or column of CSV/TSV/Parquet that holds the text; several are "
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

    @property
    def reading(self) -> Reading:
        """How files are read."""
        return Reading(self.input_format, self.input_encoding, self.text_fields)


class Chunk(NamedTuple):
    """Work for one task: parts of about CHUNK_BYTES together, numbered in reading order."""

    number: int
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes of text."""
        return sum(len(part.data) for part in self.parts)


def find_files(config: CorpusFlags) -> list[str]:
    """The corpus files in order; the local ones are looked at before any is read.

    Raises:
        FileNotFoundError: a pattern that matches nothing.
        ValueError: a file that is no corpus.
    """
    suffixes = None if config.input_format != "auto" else (*SUFFIXES, "")
    paths = files.expand_inputs(config.input_file, suffixes)
    for path in paths:
        if not files.is_remote(path) and os.path.isfile(path):  # a pipe is read only once
            look(path, config.reading)
    return paths


def read_chunks(
    paths: Sequence[str], config: CorpusFlags, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Chunk]:
    """Reads the files of find_files once, in order; each chunk has at least one part.

    Args:
        paths: the files.
        config: their format.
        chunk_bytes: size of a chunk; larger where a document is, smaller at the end.

    Raises:
        ValueError: see `read_parts`.
    """
    parts: list[Part] = []
    size = number = 0
    for path in paths:
        for part in read_parts(path, config.reading, chunk_bytes):
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
    compressed = (*COMPRESSIONS, ".parquet")
    return sum(files.size(path) * (4 if path.endswith(compressed) else 1) for path in paths)
