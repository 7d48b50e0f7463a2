"""Chunks of bytes to documents of sentences, and to arrays of pieces."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.corpus import Chunk, CorpusFlags, Part, text_fields
from bert_ko.data.sentences import split_sentences
from bert_ko.data.settings import PipelineFlags
from bert_ko.tokenization.encoder import ID_MASK, MORPHEME_START, LineEncoder
from bert_ko.tokenization.tokenizer import Tokenizer

# A longer line is cut into several sentences: no sequence could hold it.
MAX_LINE_CHARS = 20_000
_MAX_EXAMPLES = 5


class Notes:
    """Counts of what was met and dropped, with a few places of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, what: str, place: str | None = None, count: int = 1) -> None:
        """Counts an event; ``place`` is ``file:line``."""
        self.counts[what] += count
        places = self.examples.setdefault(what, [])
        if place is not None and len(places) < _MAX_EXAMPLES:
            places.append(place)


class EncodedDocuments(NamedTuple):
    """Documents of one chunk.

    Attributes:
        pieces: uint32 [n], ids with start bits.
        sentence_lengths: int32 [S], pieces of each sentence, none of them 0.
        document_lengths: int32 [D], sentences of each document, none of them 0.
        digests: uint8 [D, 16], hash of each document's text; zeros when none are dropped.
        notes: what was met on the way.
    """

    pieces: npt.NDArray[np.uint32]
    sentence_lengths: npt.NDArray[np.int32]
    document_lengths: npt.NDArray[np.int32]
    digests: npt.NDArray[np.uint8]
    notes: Notes


def read_documents(
    chunk: Chunk, config: CorpusFlags, tokenizer: Tokenizer, notes: Notes
) -> Iterator[list[str]]:
    """Documents of a chunk as lists of normalised, non-empty sentences.

    Args:
        chunk: bytes of whole documents.
        config: their form.
        tokenizer: its normalisation is applied.
        notes: receives what was dropped or replaced.

    Raises:
        ValueError: invalid UTF-8 or a bad record with ``strict``; a missing field.
    """
    for part in chunk.parts:
        text = _decode(part, config, notes)
        if part.format == "text":
            yield from _text_documents(text, config, tokenizer, notes)
        else:
            for record in _records(part, text, config, notes):
                yield from _one_document(record.split("\n"), config, tokenizer, notes)


def encode_documents(
    chunk: Chunk, config: PipelineFlags, tokenizer: Tokenizer, encoder: LineEncoder
) -> EncodedDocuments:
    """Reads and tokenizes a chunk."""
    notes = Notes()
    documents = list(read_documents(chunk, config, tokenizer, notes))
    sentences = [sentence for document in documents for sentence in document]
    encoded = encoder.encode(sentences)
    sizes = np.fromiter(map(len, documents), np.int32, len(documents))
    empty = encoded.lengths == 0
    notes.add("lines_without_text", count=int(empty.sum()))
    notes.add("sentences", count=int((~empty).sum()))
    notes.add("pieces", count=len(encoded.pieces))
    ids = encoded.pieces & np.uint32(ID_MASK)
    notes.add("unknown_pieces", count=int((ids == tokenizer.vocab.unk_id).sum()))
    notes.add("morphemes", count=int(np.count_nonzero(encoded.pieces & np.uint32(MORPHEME_START))))
    owner = np.repeat(np.arange(len(documents)), sizes)[~empty]
    lengths = np.bincount(owner, minlength=len(documents)).astype(np.int32)
    digest = _digest if config.drop_duplicate_documents else _no_digest
    digests = np.frombuffer(b"".join(map(digest, documents)), np.uint8).reshape(-1, 16)
    kept = lengths > 0
    notes.add("documents", count=int(kept.sum()))
    return EncodedDocuments(
        encoded.pieces, encoded.lengths[~empty], lengths[kept], digests[kept], notes
    )


def _no_digest(document: list[str]) -> bytes:
    return bytes(16)


def _digest(document: list[str]) -> bytes:
    return hashlib.blake2b("\n".join(document).encode(), digest_size=16).digest()


def _decode(part: Part, config: CorpusFlags, notes: Notes) -> str:
    try:
        return part.data.decode()
    except UnicodeDecodeError as error:
        if config.strict:
            line = part.first_line + part.data.count(b"\n", 0, error.start)
            raise ValueError(
                f"{part.path}:{line}: invalid UTF-8 ({error.reason}). Convert the file, for "
                "example with `iconv -f cp949 -t utf-8`, or leave --strict out to replace it."
            ) from None
    for number, line_bytes in enumerate(part.data.split(b"\n"), part.first_line):
        try:
            line_bytes.decode()
        except UnicodeDecodeError:
            notes.add("invalid_utf8_lines", f"{part.path}:{number}")
    return part.data.decode(errors="replace")


def _text_documents(
    text: str, config: CorpusFlags, tokenizer: Tokenizer, notes: Notes
) -> Iterator[list[str]]:
    lines = tokenizer.clean_lines(text)
    raw: list[str] | None = None
    document: list[str] = []
    for number, line in enumerate(lines):
        if line:
            document.append(line)
            continue
        raw = text.split("\n") if raw is None else raw
        if raw[number].strip():
            # A lone U+200D, say: nothing is left of it, but it is no blank line either.
            notes.add("lines_without_text")
        elif document:
            yield _sentences(document, config, notes)
            document = []
    if document:
        yield _sentences(document, config, notes)


def _one_document(
    lines: list[str], config: CorpusFlags, tokenizer: Tokenizer, notes: Notes
) -> Iterator[list[str]]:
    cleaned = [line for line in tokenizer.clean_lines("\n".join(lines)) if line]
    if cleaned:
        yield _sentences(cleaned, config, notes)
    else:
        notes.add("empty_records")


def _sentences(lines: list[str], config: CorpusFlags, notes: Notes) -> list[str]:
    if config.sentence_splitter == "rule":
        lines = [sentence for line in lines for sentence in split_sentences(line)]
    if max(map(len, lines)) <= MAX_LINE_CHARS:
        return lines
    short: list[str] = []
    for line in lines:
        if len(line) <= MAX_LINE_CHARS:
            short.append(line)
        else:
            notes.add("long_lines_cut")
            short += _cut_line(line)
    return short


def _cut_line(line: str) -> Iterator[str]:
    """Sentences of a line that is too long, cut hard where a sentence is still too long."""
    for sentence in split_sentences(line):
        for start in range(0, len(sentence), MAX_LINE_CHARS):
            if piece := sentence[start : start + MAX_LINE_CHARS].strip(" "):
                yield piece


def _records(part: Part, text: str, config: CorpusFlags, notes: Notes) -> Iterator[str]:
    names = text_fields(config)
    if part.format == "jsonl":
        yield from _json_records(part, text, names, config, notes)
    elif part.format == "tsv":
        lines = enumerate(text.split("\n"), part.first_line)
        rows = ((number, line.rstrip("\r").split("\t")) for number, line in lines if line.strip())
        yield from _table_records(part, rows, names, config, notes)
    else:
        csv.field_size_limit(1 << 30)
        reader = csv.reader(io.StringIO(text, newline=""))
        rows = ((part.first_line + reader.line_num - 1, row) for row in reader if row)
        yield from _table_records(part, rows, names, config, notes)


def _table_records(
    part: Part,
    rows: Iterator[tuple[int, list[str]]],
    names: tuple[str, ...],
    config: CorpusFlags,
    notes: Notes,
) -> Iterator[str]:
    places = [part.columns.index(name) for name in names]
    for number, row in rows:
        if len(row) <= max(places):
            what = f"{len(row)} fields where the header has {len(part.columns)}"
            _bad_record(part, number, what, config, notes)
            continue
        yield "\n".join([row[place] for place in places])


def _json_records(
    part: Part, text: str, names: tuple[str, ...], config: CorpusFlags, notes: Notes
) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), part.first_line):
        line = line.strip().lstrip("\ufeff")
        if not line:
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:  # recursion: nested a thousand deep
            _bad_record(part, number, f"not JSON: {error}", config, notes)
            continue
        missing = [
            name
            for name in names
            if not (isinstance(record, dict) and isinstance(record.get(name), str))
        ]
        if missing:
            keys = (
                ", ".join(map(str, record)) if isinstance(record, dict) else type(record).__name__
            )
            raise ValueError(
                f"{part.path}:{number}: no text in field {missing[0]!r}; "
                f"--text_field must name one that holds a string. The record has: {keys}."
            )
        yield "\n".join([record[name] for name in names])


def _bad_record(part: Part, number: int, what: str, config: CorpusFlags, notes: Notes) -> None:
    if config.strict:
        raise ValueError(f"{part.path}:{number}: {what}. Leave --strict out to skip such records.")
    notes.add("bad_records", f"{part.path}:{number}")
