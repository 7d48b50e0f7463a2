"""Chunks of bytes to documents of sentences, and to arrays of pieces."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.corpus import Chunk, CorpusFlags, Part
from bert_ko.data.sentences import split_sentences
from bert_ko.data.settings import PipelineFlags
from bert_ko.tokenization.encoder import ID_MASK, MORPHEME_START, LineEncoder
from bert_ko.tokenization.tokenizer import Tokenizer

# A longer line is cut into several sentences: it would not fit into any sequence.
MAX_LINE_CHARS = 20_000
_MAX_EXAMPLES = 5


class Notes:
    """Counts of what was found and dropped, with a few places (``file:line``) of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, what: str, place: str | None = None) -> None:
        """Counts an event."""
        self.counts[what] += 1
        if place is not None and len(self.examples[what]) < _MAX_EXAMPLES:
            self.examples[what].append(place)


class EncodedDocuments(NamedTuple):
    """The n pieces, S sentences and D documents of one chunk."""

    pieces: npt.NDArray[np.uint32]  # [n], ids with start bits
    sentence_lengths: npt.NDArray[np.int32]  # [S], pieces of each, at least 1
    document_lengths: npt.NDArray[np.int32]  # [D], sentences of each, at least 1
    digests: npt.NDArray[np.uint8]  # [D, 16], hash of each text; zeros unless duplicates go
    notes: Notes


def read_documents(
    chunk: Chunk, config: CorpusFlags, tokenizer: Tokenizer, notes: Notes
) -> Iterator[list[str]]:
    """Documents of a chunk as lists of normalised, non-empty sentences.

    Args:
        chunk: bytes of whole documents.
        config: their format.
        tokenizer: its normalisation is applied.
        notes: receives what was dropped or replaced.

    Raises:
        ValueError: invalid UTF-8 or a bad record with ``strict``; a missing field.
    """
    for part in chunk.parts:
        yield from _PartReader(part, config, tokenizer, notes).documents()


def encode_documents(
    chunk: Chunk, config: PipelineFlags, tokenizer: Tokenizer, encoder: LineEncoder
) -> EncodedDocuments:
    """Reads and tokenizes a chunk."""
    notes = Notes()
    documents = list(read_documents(chunk, config, tokenizer, notes))
    encoded = encoder.encode([sentence for document in documents for sentence in document])
    sizes = np.fromiter(map(len, documents), np.int32, len(documents))
    empty = encoded.lengths == 0
    owner = np.repeat(np.arange(len(documents)), sizes)[~empty]
    lengths = np.bincount(owner, minlength=len(documents)).astype(np.int32)
    digest = _digest if config.drop_duplicate_documents else lambda _: bytes(16)
    digests = np.frombuffer(b"".join(map(digest, documents)), np.uint8).reshape(-1, 16)
    kept = lengths > 0
    ids = encoded.pieces & np.uint32(ID_MASK)
    notes.counts.update(
        lines_without_text=int(empty.sum()),
        documents=int(kept.sum()),
        sentences=int((~empty).sum()),
        pieces=len(ids),
        unknown_pieces=int((ids == tokenizer.vocab.unk_id).sum()),
        morphemes=int(np.count_nonzero(encoded.pieces & np.uint32(MORPHEME_START))),
    )
    return EncodedDocuments(
        encoded.pieces, encoded.lengths[~empty], lengths[kept], digests[kept], notes
    )


def _digest(document: list[str]) -> bytes:
    return hashlib.blake2b("\n".join(document).encode(), digest_size=16).digest()


class _PartReader(NamedTuple):
    part: Part
    config: CorpusFlags
    tokenizer: Tokenizer
    notes: Notes

    def documents(self) -> Iterator[list[str]]:
        text = self._decoded()
        if self.part.format == "text":
            yield from self._text_documents(text)
            return
        read = self._json_records if self.part.format == "jsonl" else self._table_records
        for record in read(text):
            lines = [line for line in self.tokenizer.clean_lines(record) if line]
            if lines:
                yield self._sentences(lines)
            else:
                self.notes.add("empty_records")

    def _decoded(self) -> str:
        data, path = self.part.data, self.part.path
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            if self.config.strict:
                line = self.part.first_line + data.count(b"\n", 0, error.start)
                raise ValueError(
                    f"{path}:{line}: invalid UTF-8 ({error.reason}). Convert the file, for "
                    "example with `iconv -f cp949 -t utf-8`, or leave --strict out to replace it."
                ) from None
        for number, line_bytes in enumerate(data.split(b"\n"), self.part.first_line):
            try:
                line_bytes.decode()
            except UnicodeDecodeError:
                self.notes.add("invalid_utf8_lines", f"{path}:{number}")
        return data.decode(errors="replace")

    def _text_documents(self, text: str) -> Iterator[list[str]]:
        raw: list[str] | None = None
        document: list[str] = []
        for number, line in enumerate(self.tokenizer.clean_lines(text)):
            if line:
                document.append(line)
                continue
            raw = text.split("\n") if raw is None else raw
            if raw[number].strip():
                # A lone U+200D, say: nothing is left of it, but the line is not blank either.
                self.notes.add("lines_without_text")
            elif document:
                yield self._sentences(document)
                document = []
        if document:
            yield self._sentences(document)

    def _sentences(self, lines: list[str]) -> list[str]:
        if self.config.sentence_splitter == "rule":
            lines = [sentence for line in lines for sentence in split_sentences(line)]
        if max(map(len, lines)) <= MAX_LINE_CHARS:
            return lines
        short: list[str] = []
        for line in lines:
            if len(line) <= MAX_LINE_CHARS:
                short.append(line)
            else:
                self.notes.add("long_lines_cut")
                short += _cut_line(line)
        return short

    def _table_records(self, text: str) -> Iterator[str]:
        places = [self.part.columns.index(name) for name in self.config.text_fields]
        for number, row in self._rows(text):
            if len(row) > max(places):
                yield "\n".join([row[place] for place in places])
            else:
                columns = len(self.part.columns)
                self._bad_record(number, f"{len(row)} fields where the header has {columns}")

    def _rows(self, text: str) -> Iterator[tuple[int, list[str]]]:
        """Yields each row with its line in the file."""
        first = self.part.first_line
        if self.part.format == "tsv":
            for number, line in enumerate(text.split("\n"), first):
                if line.strip():
                    yield number, line.rstrip("\r").split("\t")
            return
        csv.field_size_limit(1 << 30)
        reader = csv.reader(io.StringIO(text, newline=""))
        for row in reader:
            if row:
                yield first + reader.line_num - 1, row

    def _json_records(self, text: str) -> Iterator[str]:
        names = self.config.text_fields
        for number, line in enumerate(text.split("\n"), self.part.first_line):
            line = line.strip().lstrip("\ufeff")
            if not line:
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:  # recursion: nested a thousand deep
                self._bad_record(number, f"not JSON: {error}")
                continue
            values = record if isinstance(record, dict) else {}
            missing = [name for name in names if not isinstance(values.get(name), str)]
            if missing:
                found = ", ".join(map(str, record)) if record is values else type(record).__name__
                raise ValueError(
                    f"{self.part.path}:{number}: no text in field {missing[0]!r}; "
                    f"--text_field must name one that holds a string. The record has: {found}."
                )
            yield "\n".join([record[name] for name in names])

    def _bad_record(self, number: int, what: str) -> None:
        place = f"{self.part.path}:{number}"
        if self.config.strict:
            raise ValueError(f"{place}: {what}. Leave --strict out to skip such records.")
        self.notes.add("bad_records", place)


def _cut_line(line: str) -> Iterator[str]:
    """Sentences of a line that is too long, cut hard where a sentence is still too long."""
    for sentence in split_sentences(line):
        for start in range(0, len(sentence), MAX_LINE_CHARS):
            if piece := sentence[start : start + MAX_LINE_CHARS].strip(" "):
                yield piece
