r"""Records of words: a run of sentences of one document, with the text and the id of each word.

A record is a tf.train.Example, in the bytes of its deterministic serialisation:

    sentence_lengths  int64 list [S]  words of each sentence, at least 1
    word_ids          int64 list [n]  ids in the word vocabulary, that of <UNK> for other words
    words             bytes list [n]  UTF-8

where n is the sum of the sentence lengths. There are no marks of sentences among the words.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.tfrecord import (
    decode_varint,
    decode_varints,
    map_entries,
    masked_checksum,
    message_fields,
)

MAX_RECORD_WORDS = 2000
_SENTENCE_LENGTHS, _WORD_IDS, _WORDS = "sentence_lengths", "word_ids", "words"
_BYTES_LIST, _INT64_LIST = 1, 3  # fields of a tf.train.Feature


class WordRecord(NamedTuple):
    """What a record holds; see the module."""

    words: list[str]  # n
    word_ids: npt.NDArray[np.int64]  # [n]
    sentence_lengths: npt.NDArray[np.int64]  # [S]


class Ragged(NamedTuple):
    """Byte strings of several lengths, one after another."""

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]  # [items + 1], where each begins in ``data``

    def joined(self, start: int, end: int) -> bytes:
        """The bytes of the items from ``start`` to before ``end``."""
        return self.data[self.offsets[start] : self.offsets[end]].tobytes()


def encode_varints(values: npt.NDArray[np.int64]) -> Ragged:
    """Numbers [n] of at least 0 and below 2**63 as protocol buffers have them.

    Seven bits a byte, the lowest first; the top bit says that more follow.
    """
    width = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    small = values.astype(np.uint32 if width <= 4 else np.uint64)
    shifted = small[:, None] >> np.arange(0, 7 * width, 7).astype(small.dtype)  # [n, width]
    is_more = shifted[:, 1:] > 0
    is_used = np.concatenate([np.ones((len(values), 1), np.bool_), is_more], axis=1)
    data = shifted.astype(np.uint8) & np.uint8(127)
    data[:, :-1] |= is_more.view(np.uint8) << 7
    return Ragged(data[is_used], _offsets(is_used.sum(axis=1)))


def encode_words(text: npt.NDArray[np.uint8], word_offsets: npt.NDArray[np.int64]) -> Ragged:
    r"""Words as the values of a bytes list: a tag, the length and the bytes of each.

    Args:
        text: uint8 [bytes], the words, each ended by ``\n``.
        word_offsets: int64 [n + 1], where each begins.
    """
    lengths = np.diff(word_offsets) - 1
    sizes = encode_varints(lengths)
    size_lengths = np.diff(sizes.offsets)
    offsets = _offsets(1 + size_lengths + lengths)
    data = np.empty(offsets[-1], np.uint8)
    data[offsets[:-1]] = 0x0A
    data[_moved(sizes.offsets, size_lengths, offsets[:-1] + 1)] = sizes.data
    is_word = np.ones(len(text), np.bool_)
    is_word[word_offsets[1:] - 1] = False
    begin = offsets[:-1] + 1 + size_lengths
    data[_moved(_offsets(lengths), lengths, begin)] = text[is_word]
    return Ragged(data, offsets)


def _moved(
    offsets: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    begin: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Where the bytes of items go that now begin at ``offsets`` and are to begin elsewhere."""
    return np.repeat(begin - offsets[:-1], lengths) + np.arange(offsets[-1])


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)])


def frame_record(sentence_lengths: bytes, word_ids: bytes, words: bytes) -> bytes:
    """One record with its frame and checksums.

    Args:
        sentence_lengths: bytes of `encode_varints`.
        word_ids: the same.
        words: bytes of `encode_words`.
    """
    # Protocol buffers serialise maps in the order of their keys when asked to be deterministic.
    body = _delimited(
        1,
        _map_entry(_SENTENCE_LENGTHS, _INT64_LIST, _delimited(1, sentence_lengths))
        + _map_entry(_WORD_IDS, _INT64_LIST, _delimited(1, word_ids))
        + _map_entry(_WORDS, _BYTES_LIST, words),
    )
    size = struct.pack("<Q", len(body))
    return b"".join([size, _checksum(size), body, _checksum(body)])


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_checksum(data))


def _map_entry(name: str, kind: int, values: bytes) -> bytes:
    return _delimited(1, _delimited(1, name.encode()) + _delimited(2, _delimited(kind, values)))


def _delimited(field: int, content: bytes) -> bytes:
    """A length-delimited field of a message."""
    head = bytearray([field << 3 | 2])
    size = len(content)
    while size >= 128:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + content


def decode_word_record(record: bytes) -> WordRecord:
    """Decodes a record, without its frame.

    Raises:
        ValueError: it is not a record of words, or its lengths contradict each other.
    """
    try:
        features = dict(map_entries(record))
        found = WordRecord(
            _decode_words(_values(features[_WORDS], _BYTES_LIST)),
            _decode_numbers(features[_WORD_IDS]),
            _decode_numbers(features[_SENTENCE_LENGTHS]),
        )
    except (IndexError, KeyError, ValueError):
        raise ValueError(
            f"not a record of words ({len(record)} bytes): it must have {_WORDS}, {_WORD_IDS} and "
            f"{_SENTENCE_LENGTHS}, as bin/create_pretraining_data --objective=bilm writes them."
        ) from None
    words, ids, lengths = found
    if not len(words) == len(ids) == lengths.sum() or (lengths < 1).any():
        raise ValueError(
            f"a record of {len(words)} words has {len(ids)} word_ids and sentence_lengths that add "
            f"up to {lengths.sum()}; make the shard again."
        )
    return found


def decode_sentence_lengths(record: bytes) -> npt.NDArray[np.int64]:
    """The sentence lengths of a record alone, int64 [S]; a ValueError if it has none."""
    try:
        return _decode_numbers(dict(map_entries(record))[_SENTENCE_LENGTHS])
    except (IndexError, KeyError, ValueError):
        raise ValueError(
            f"not a record of words ({len(record)} bytes): it has no {_SENTENCE_LENGTHS}, "
            "as bin/create_pretraining_data --objective=bilm writes them."
        ) from None


def _values(feature: bytes, kind: int) -> bytes:
    """The content of the list that a tf.train.Feature is."""
    ((found, content),) = message_fields(feature)
    if found != kind:
        raise ValueError(f"kind {found}")
    return content


def _decode_numbers(feature: bytes) -> npt.NDArray[np.int64]:
    packed = b"".join(data for _, data in message_fields(_values(feature, _INT64_LIST)))
    return decode_varints(packed)


def _decode_words(values: bytes) -> list[str]:
    return b"\n".join(_words(values)).decode().split("\n") if values else []


def _words(values: bytes) -> Iterator[bytes]:
    cursor, end = 0, len(values)
    while cursor < end:
        size, start = values[cursor + 1], cursor + 2
        if values[cursor] != 0x0A:
            raise ValueError(f"tag {values[cursor]}")
        if size >= 128:  # a long word, which is rare
            size, start = decode_varint(values, cursor + 1)
        cursor = start + size
        yield values[start:cursor]
    if cursor > end:
        raise ValueError("the last word is cut off")
