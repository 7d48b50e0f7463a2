"""Shards of words as create_pretraining_data --objective=bilm writes them, byte by byte."""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from bert_ko.data.tfrecord import masked_checksum

MARKS = ("<S>", "</S>", "<UNK>")
Sentences = Sequence[Sequence[str]]


def varint(value: int) -> bytes:
    head = bytearray()
    while value >= 128:
        head.append(value & 127 | 128)
        value >>= 7
    return bytes([*head, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(name: str, kind: int, content: bytes) -> bytes:
    return field(1, field(1, name.encode()) + field(2, field(kind, content)))


def encode(words: Iterable[bytes], ids: Iterable[int], lengths: Iterable[int]) -> bytes:
    """A record without its frame."""
    numbers = {"sentence_lengths": lengths, "word_ids": ids}
    entries = [
        feature(name, 3, field(1, b"".join(map(varint, values))))
        for name, values in numbers.items()
    ]
    entries.append(feature("words", 1, b"".join(field(1, word) for word in words)))
    return field(1, b"".join(entries))


def encode_sentences(sentences: Sentences, vocabulary: Sequence[str]) -> bytes:
    words = [word for sentence in sentences for word in sentence]
    ids = [vocabulary.index(word) if word in vocabulary else 2 for word in words]
    return encode([word.encode() for word in words], ids, map(len, sentences))


def write_records(path: Path, records: Iterable[bytes]) -> str:
    with path.open("wb") as file:
        for body in records:
            size = struct.pack("<Q", len(body))
            for part in (size, body):
                file.write(part + struct.pack("<I", masked_checksum(part)))
    return str(path)


def write_words(path: Path, documents: Iterable[Sentences], vocabulary: Sequence[str]) -> str:
    """A record for each document."""
    return write_records(path, [encode_sentences(one, vocabulary) for one in documents])
