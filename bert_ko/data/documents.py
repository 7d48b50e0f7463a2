"""Chunks of bytes to documents of sentences, and to arrays of pieces."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bert_ko.csv_rows import Row, read_rows
from bert_ko.data.corpus import Chunk, CorpusFlags
from bert_ko.data.forms import values
from bert_ko.data.parts import Part
from bert_ko.data.sentences import split_sentences
from bert_ko.data.settings import PipelineFlags
from bert_ko.json_files import kind_of
from bert_ko.tokenization.encoder import ID_MASK, MORPHEME_START, LineEncoder
from bert_ko.tokenization.tokenizer import Tokenizer

# A longer line is cut into several sentences: it would not fit into any sequence.
MAX_LINE_CHARS = 20_000
_MAX_EXAMPLES = 5
_MAX_KEYS = 12  # in a message
_DOC_TAG = re.compile(r"\s*(<doc( .*)?>|<doc id=.*|</doc>)\s*")
_NIKL = (
    " This is the nested form of the National Institute of Korean Language: write the texts in "
    "`form` as records, a document a line."
)


# What is counted, in words.
DROPPED = {
    "duplicate_documents": "duplicate documents",
    "lines_without_text": "lines of invisible characters alone",
    "empty_records": "records without text",
    "tag_lines": "lines of <doc> tags",
    "bad_records": "bad records",
    "truncated_pieces": "pieces cut off to fit the length",
}
MENDED = {
    "invalid_utf8_lines": "lines that can't be decoded, replaced",
    "long_lines_cut": "lines too long, cut into several sentences",
    "long_sentences_cut": "sentences too long for a record, cut into several",
}


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

    def merge(self, other: Notes) -> None:
        """Adds the events of another part of the corpus."""
        self.counts.update(other.counts)
        for what, places in other.examples.items():
            self.examples[what] = sorted(self.examples[what] + places)[:_MAX_EXAMPLES]

    def describe(self) -> Iterator[str]:
        """Yields what was dropped or mended, a line for each kind: "2 bad records (a.csv:3 …)"."""
        for what, text in {**DROPPED, **MENDED}.items():
            if self.counts[what]:
                places = ", ".join(self.examples[what][:2])
                yield f"{self.counts[what]:,} {text}" + (f" ({places} …)" if places else "")


class Cleaner(Protocol):
    """What documents are read with: a tokenizer, or a splitter into words."""

    def clean_lines(self, text: str) -> list[str]:
        r"""Normalises and strips many lines joined by ``\n``."""
        ...


# Lines of ``Cleaner.clean_lines`` to the pieces of all of them, and the pieces of each line.
Encode = Callable[[Sequence[str]], tuple[npt.NDArray[Any], npt.NDArray[np.int32]]]


class EncodedDocuments(NamedTuple):
    """The n pieces, S sentences and D documents of one chunk or of several."""

    # uint32 [n], ids with start bits; uint8 [n], the bytes of the words, in shards of words.
    pieces: npt.NDArray[Any]
    sentence_lengths: npt.NDArray[np.int32]  # [S], pieces of each, at least 1
    document_lengths: npt.NDArray[np.int32]  # [D], sentences of each, at least 1
    digests: npt.NDArray[np.uint8]  # [D, 16], hash of each text; zeros unless duplicates go
    notes: Notes


def join_documents(several: Sequence[EncodedDocuments]) -> EncodedDocuments:
    """The documents of consecutive chunks as one."""
    if len(several) == 1:
        return several[0]
    notes = Notes()
    for one in several:
        notes.merge(one.notes)
    return EncodedDocuments(
        np.concatenate([one.pieces for one in several]),
        np.concatenate([one.sentence_lengths for one in several]),
        np.concatenate([one.document_lengths for one in several]),
        np.concatenate([one.digests for one in several]),
        notes,
    )


def read_documents(
    chunk: Chunk, config: CorpusFlags, tokenizer: Cleaner, notes: Notes
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
    for part in chunk.parts():
        yield from _PartReader(part, config, tokenizer, notes).documents()


def encode_documents(
    chunk: Chunk, config: PipelineFlags, tokenizer: Tokenizer, encoder: LineEncoder
) -> EncodedDocuments:
    """Reads and tokenizes a chunk, and counts the pieces."""
    documents = read_and_encode(chunk, config, tokenizer, encoder.encode)
    ids = documents.pieces & np.uint32(ID_MASK)
    documents.notes.counts.update(
        pieces=len(ids),
        unknown_pieces=int((ids == tokenizer.vocab.unk_id).sum()),
        morphemes=int(np.count_nonzero(documents.pieces & np.uint32(MORPHEME_START))),
    )
    return documents


def read_and_encode(
    chunk: Chunk, config: PipelineFlags, cleaner: Cleaner, encode: Encode
) -> EncodedDocuments:
    """Reads a chunk, and counts its documents and sentences."""
    notes = Notes()
    documents = list(read_documents(chunk, config, cleaner, notes))
    pieces, line_lengths = encode([sentence for document in documents for sentence in document])
    sizes = np.fromiter(map(len, documents), np.int32, len(documents))
    empty = line_lengths == 0
    owner = np.repeat(np.arange(len(documents)), sizes)[~empty]
    lengths = np.bincount(owner, minlength=len(documents)).astype(np.int32)
    digest = _digest if config.drop_duplicate_documents else lambda _: bytes(16)
    digests = np.frombuffer(b"".join(map(digest, documents)), np.uint8).reshape(-1, 16)
    kept = lengths > 0
    notes.counts.update(
        lines_without_text=int(empty.sum()),
        documents=int(kept.sum()),
        sentences=int((~empty).sum()),
    )
    return EncodedDocuments(pieces, line_lengths[~empty], lengths[kept], digests[kept], notes)


def _digest(document: list[str]) -> bytes:
    return hashlib.blake2b("\n".join(document).encode(), digest_size=16).digest()


class _PartReader(NamedTuple):
    part: Part
    config: CorpusFlags
    tokenizer: Cleaner
    notes: Notes

    def documents(self) -> Iterator[list[str]]:
        text = self._decoded()
        if self.part.format in ("text", "doc"):
            if not text.isspace():  # a megabyte of line ends has a million blank lines
                yield from self._text_documents(text)
            return
        for record in self._records(text):
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
        has_tags = "<doc" in text or "</doc>" in text
        for number, line in enumerate(self.tokenizer.clean_lines(text)):
            is_tag = has_tags and _DOC_TAG.fullmatch(line) is not None
            if line and not is_tag:
                document.append(line)
                continue
            raw = text.split("\n") if raw is None else raw
            if is_tag and self.part.format == "text":
                self.notes.add("tag_lines", f"{self.part.path}:{self.part.first_line + number}")
            if self.part.format == "doc" and not is_tag:
                continue
            if raw[number].strip() and not is_tag:
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

    def _records(self, text: str) -> Iterator[str]:
        if self.part.format == "jsonl":
            return self._line_records(text)
        if self.part.format == "json":
            return self._value_records(text)
        return self._table_records(text)

    def _table_records(self, text: str) -> Iterator[str]:
        places = [self.part.columns.index(name) for name in self.config.text_fields]
        num_columns = len(self.part.columns)
        for number, row, problem in self._rows(text, num_columns):
            if problem is not None:
                self._bad_record(number, problem)
            elif len(row) > max(places):
                yield "\n".join([row[place] for place in places])
            elif row:
                self._bad_record(number, f"{len(row)} fields where the header has {num_columns}")

    def _rows(self, text: str, num_columns: int) -> Iterator[Row]:
        if self.part.format == "csv":
            return read_rows(text, self.part.first_line, num_columns)
        lines = enumerate(text.split("\n"), self.part.first_line)
        return (
            Row(number, line.rstrip("\r").split("\t") if line.strip() else [])
            for number, line in lines
        )

    def _line_records(self, text: str) -> Iterator[str]:
        for number, line in enumerate(text.split("\n"), self.part.first_line):
            line = line.strip().lstrip("\ufeff")
            if not line:
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:  # recursion: nested a thousand deep
                self._bad_record(number, f"not JSON: {error}")
                continue
            yield self._text_of(record, number)

    def _value_records(self, text: str) -> Iterator[str]:
        end, number = 0, self.part.first_line
        for start, stop in values(text):
            number += text.count("\n", end, start)
            size = 1 + text.count("\n", start, stop)
            try:
                value = json.loads(text[start:stop])
            except (ValueError, RecursionError):
                raise self._no_json(text[start:stop], number) from None
            yield self._text_of(value, number, size)
            number, end = number + size - 1, stop
        if rest := text[end:].strip(" \t\r\n,").removeprefix("]"):
            number += text.count("\n", end, text.index(rest, end))
            raise self._no_json(rest, number)

    def _no_json(self, text: str, number: int) -> ValueError:
        return ValueError(f"{self.part.path}:{number}: not JSON: {text[:20]!r}.")

    def _text_of(self, record: Any, number: int, num_lines: int = 1) -> str:
        """The text of a record, which is empty where it is null."""
        place = f"{self.part.path}:{number}"
        values = record if isinstance(record, dict) else {}
        texts = []
        for name in self.config.text_fields:
            text = values.get(name, 0)
            if text is None:
                if self.config.strict:
                    raise ValueError(f"{place}: {name!r} is null. Leave --strict out to skip it.")
                text = ""
            if not isinstance(text, str):
                raise ValueError(_no_text(place, name, record, num_lines))
            texts.append(text)
        return "\n".join(texts)

    def _bad_record(self, number: int, what: str) -> None:
        place = f"{self.part.path}:{number}"
        if self.config.strict:
            raise ValueError(f"{place}: {what}. Leave --strict out to skip such records.")
        self.notes.add("bad_records", place)


def _no_text(place: str, name: str, record: Any, num_lines: int) -> str:
    if not isinstance(record, dict):
        found = f"The record is {kind_of(record)}."
    else:
        found = f"The record has: {', '.join(list(record)[:_MAX_KEYS])}."
        if isinstance(record.get("document"), list):
            found += _NIKL
    if num_lines > 1:
        return (
            f"{place}: one JSON object over {num_lines:,} lines, without text in field {name!r}; a "
            f"record a line, or a list of records, is wanted. {found}"
        )
    return (
        f"{place}: no text in field {name!r}; --text_field must name one that holds a string. "
        f"{found}"
    )


def _cut_line(line: str) -> Iterator[str]:
    """Sentences of a line that is too long, cut hard where a sentence is still too long."""
    for sentence in split_sentences(line):
        for start in range(0, len(sentence), MAX_LINE_CHARS):
            if piece := sentence[start : start + MAX_LINE_CHARS].strip(" "):
                yield piece
