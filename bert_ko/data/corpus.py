"""Corpus files to chunks of bytes, cut between documents.

One process reads and cuts; workers decode, split and tokenize. Where there are too many of them for
one process, they read for themselves: see plans.py. A chunk depends on the files and the chunk size
alone, so that any number of workers sees the same chunks.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from bert_ko import files
from bert_ko.compression import COMPRESSIONS
from bert_ko.data.forms import SUFFIXES
from bert_ko.data.parts import Part, Reading, look, read_parts
from bert_ko.flags import flag
from bert_ko.text_lines import EncodingFlags

InputFormat = Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"]
CHUNK_BYTES = 1 << 20
_MAX_CHUNK_BYTES = 16 * CHUNK_BYTES
_MAX_BATCHES = 8192


@dataclass(frozen=True)
class CorpusFlags(EncodingFlags):
    """Flags of every command that reads a corpus."""

    group = "Corpus"

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


class Source(Protocol):
    """Where text comes from: a part that is read already, or is yet to be read."""

    @property
    def size(self) -> int:
        """Bytes of text."""
        ...

    def load(self) -> Iterator[Part]:
        """Yields its parts."""
        ...


class Chunk(NamedTuple):
    """Work for one task: sources of about CHUNK_BYTES together, numbered in reading order."""

    number: int
    sources: tuple[Source, ...]

    @property
    def size(self) -> int:
        """Bytes of text."""
        return sum(source.size for source in self.sources)

    def parts(self) -> Iterator[Part]:
        """Yields the parts in order."""
        for source in self.sources:
            yield from source.load()


class ChunkBatch(NamedTuple):
    """Consecutive chunks whose documents are written to one file."""

    number: int
    chunks: tuple[Chunk, ...]

    @property
    def size(self) -> int:
        """Bytes of text."""
        return sum(chunk.size for chunk in self.chunks)


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
    parts = (part for path in paths for part in read_parts(path, config.reading, chunk_bytes))
    return pack(parts, chunk_bytes)


def pack(sources: Iterable[Source], chunk_bytes: int) -> Iterator[Chunk]:
    """Yields chunks of consecutive sources, at least one in each; see `read_chunks`."""
    held: list[Source] = []
    size = number = 0
    for source in sources:
        if held and size + source.size > chunk_bytes:
            yield Chunk(number, tuple(held))
            held, size, number = [], 0, number + 1
        held.append(source)
        size += source.size
    if held:
        yield Chunk(number, tuple(held))


def batches(chunks: Iterable[Chunk], size: int) -> Iterator[ChunkBatch]:
    """Yields batches of `size` chunks, the last of fewer."""
    upcoming = iter(chunks)
    for number in itertools.count():
        held = tuple(itertools.islice(upcoming, size))
        if not held:
            return
        yield ChunkBatch(number, held)


def choose_chunk_bytes(text_bytes: int) -> int:
    """Small, so that all workers end together; larger for a very large corpus."""
    return min(_MAX_CHUNK_BYTES, max(CHUNK_BYTES, text_bytes // _MAX_BATCHES))


def choose_batch_size(text_bytes: int) -> int:
    """Chunks of a batch: one, but of a very large corpus so many that there are few batches.

    Each bucket reads from the file of every batch.
    """
    return max(1, -(-text_bytes // (_MAX_BATCHES * _MAX_CHUNK_BYTES)))


def estimated_sizes(paths: Sequence[str]) -> list[int]:
    """Bytes of text in each file; a compressed one is counted four times."""
    compressed = (*COMPRESSIONS, ".parquet")
    sizes = files.sizes(paths)
    return [
        4 * size if path.endswith(compressed) else size
        for path, size in zip(paths, sizes, strict=True)
    ]
