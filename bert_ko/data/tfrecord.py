"""TFRecord files of fixed-length tf.train.Examples, written and read without TensorFlow.

A batch of records is built in one array: where each part of each record begins is known from the
sizes, and a part is put into all records at once. The bytes equal tf.train.Example's deterministic
serialisation.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bert_ko.data.features import FeatureArrays, FeatureNames, FeatureSpec, file_name

Bytes = npt.NDArray[np.uint8]
Sizes = npt.NDArray[np.int64]
MAX_RECORD_BYTES = 1 << 30
_MAX_VARINT_BYTES = 10
_ONE_BYTE = 128  # the first number that takes two bytes
_TABLE_SIZE = 1 << 17  # numbers whose varints are looked up
# A record's size and its checksum, and the checksum of its content.
_HEAD_BYTES, _TAIL_BYTES = 12, 4
_SLACK = 8  # bytes that a number's word may reach beyond the last record
_MASK_DELTA = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, the lowest power in the highest bit
_BLOCK = 1024  # bytes whose checksum is looked up together


class EncodedRecords(NamedTuple):
    """Framed records one after another."""

    data: Bytes
    lengths: npt.NDArray[np.int64]  # [B], bytes of each, frame included


class ExampleEncoder:
    """Encodes batches of one schema."""

    def __init__(self, specs: Sequence[FeatureSpec], names: FeatureNames = "v1"):
        """Args: specs: the features; names: what they are called inside the records."""
        # Protocol buffers serialise maps in the order of their keys when asked to be deterministic.
        self._specs = sorted((file_name(spec.name, names), spec) for spec in specs)

    def encode(self, batch: FeatureArrays) -> EncodedRecords:
        """Encodes a batch, an array [B, length] for every feature, with frames and checksums.

        Integers are from 0 to 2 ** 56 - 1.
        """
        parts: list[_Part] = []
        for name, spec in self._specs:
            values = _payload(spec, batch[spec.name])
            kind = b"\x12" if spec.dtype == "float32" else b"\x1a"
            head = functools.partial(_head, name.encode(), kind)
            parts += [_Heads(head, values.lengths), values]
        parts.insert(0, _Heads(_tag, np.sum([part.lengths for part in parts], axis=0)))
        sizes = np.stack([part.lengths for part in parts])  # [parts, B]
        lengths = _HEAD_BYTES + sizes.sum(axis=0) + _TAIL_BYTES
        starts = np.cumsum(lengths) - lengths
        places = starts + _HEAD_BYTES + np.cumsum(sizes, axis=0) - sizes
        total = int(lengths.sum())
        data = np.zeros(total + _SLACK, np.uint8)
        # Numbers first: what they leave behind their last is overwritten by what follows.
        in_order = sorted(zip(parts, places, strict=True), key=lambda pair: pair[0].leaves_zeros)
        for part, place in reversed(in_order):
            part.put(data, place)
        _frame(data[:total], lengths)
        return EncodedRecords(data[:total], lengths)


class _Part(Protocol):
    """What stands in each of B records at the same place of the schema."""

    lengths: Sizes  # [B], bytes
    leaves_zeros: bool  # after its last byte; see _Varints

    def put(self, data: Bytes, places: Sizes) -> None:
        """Puts each record's bytes at its place."""


def _payload(spec: FeatureSpec, values: npt.NDArray[Any]) -> _Part:
    if spec.dtype == "float32":
        return _Blocks(np.ascontiguousarray(values, "<f4").view(np.uint8))
    assert int(values.min(initial=0)) >= 0
    if int(values.max(initial=0)) < _ONE_BYTE:
        return _Blocks(np.ascontiguousarray(values, np.uint8))
    return _Varints(values)


def _tag(size: int) -> bytes:
    """What stands before the feature map, of ``size`` bytes."""
    return b"\x0a" + _varint(size)


@functools.lru_cache(1 << 16)
def _head(key: bytes, kind: bytes, size: int) -> bytes:
    """Map entry (key, value) > Feature > Int64List or FloatList > packed values, of ``size``."""
    packed = b"\x0a" + _varint(size)
    feature = kind + _varint(len(packed) + size) + packed
    entry = b"\x0a" + _varint(len(key)) + key + b"\x12" + _varint(len(feature) + size) + feature
    return b"\x0a" + _varint(len(entry) + size) + entry


class _Heads:
    """What stands before content; it follows from the content's size."""

    leaves_zeros = False

    def __init__(self, make: Callable[[int], bytes], sizes: Sizes):
        distinct, self._inverse = np.unique(sizes, return_inverse=True)
        self._heads = [make(size) for size in distinct.tolist()]
        self._lengths = np.array([len(head) for head in self._heads], np.int64)
        self.lengths = self._lengths[self._inverse]

    def put(self, data: Bytes, places: Sizes) -> None:
        """See _Part."""
        for length in set(self._lengths.tolist()):
            rows = np.flatnonzero(self.lengths == length)
            heads = b"".join([head.ljust(length)[:length] for head in self._heads])
            blocks = np.frombuffer(heads, np.uint8).reshape(-1, length)
            _put_blocks(data, places[rows], blocks[self._inverse[rows]])


class _Blocks:
    """Values of a fixed number of bytes."""

    leaves_zeros = False

    def __init__(self, values: Bytes):
        self._values = values  # [B, bytes]
        self.lengths = np.full(len(values), values.shape[1])

    def put(self, data: Bytes, places: Sizes) -> None:
        """See _Part."""
        _put_blocks(data, places, self._values)


class _Varints:
    """Numbers of seven bits a byte, the lowest first; the top bit says that more follow.

    They are put as words of fixed size, each of which the next one overwrites where it is too long:
    numpy assigns in order. After the last one up to _SLACK zeros are left.
    """

    leaves_zeros = True

    def __init__(self, values: npt.NDArray[Any]):
        words, sizes = _varint_words(values)
        if words.itemsize == 4 and words.shape[1] % 2 == 0:  # at most 3 bytes each
            words, sizes = _joined_pairs(words, sizes)
        self._words = words
        ends = np.cumsum(sizes, axis=1, dtype=np.int32)
        self._offsets = ends - sizes
        self.lengths = ends[:, -1].astype(np.int64)

    def put(self, data: Bytes, places: Sizes) -> None:
        """See _Part."""
        size = self._words.itemsize
        window = np.lib.stride_tricks.as_strided(
            data[:size].view(self._words.dtype), (len(data) - size + 1,), (1,)
        )
        window[(self._offsets + places[:, None]).ravel()] = self._words.ravel()


def _put_blocks(data: Bytes, places: Sizes, blocks: Bytes) -> None:
    """Puts blocks of bytes [B, length] at places [B]."""
    length = blocks.shape[1]
    kind = np.dtype((np.void, length))
    window = np.lib.stride_tricks.as_strided(
        data[:length].view(kind), (len(data) - length + 1,), (1,)
    )
    window[places] = np.ascontiguousarray(blocks).view(kind).ravel()


def _varint_words(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Bytes]:
    """Each number's varint as a little-endian word with zeros behind it, and its bytes."""
    largest = int(values.max(initial=0))
    assert largest < 1 << 56, largest
    sizes = np.ones(values.shape, np.uint8)
    for bits in range(7, largest.bit_length(), 7):
        sizes += values >= 1 << bits
    if largest < _TABLE_SIZE:
        return _word_table().take(values), sizes
    return _words_of(values), sizes


def _joined_pairs(
    words: npt.NDArray[np.uint32], sizes: Bytes
) -> tuple[npt.NDArray[np.uint64], Bytes]:
    """The words of every two numbers as one: half as many to put."""
    pairs, first = words.view("<u8"), sizes[:, ::2]
    second = pairs >> np.uint64(32) << (8 * first).astype(np.uint64)
    return pairs & np.uint64(0xFFFFFFFF) | second, first + sizes[:, 1::2]


def _words_of(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    left, shift = values.astype(np.uint64), 0
    words = np.zeros(values.shape, np.uint64)
    while left.any():
        more = (left >= _ONE_BYTE).astype(np.uint64) << np.uint64(7)
        words |= (left & np.uint64(127) | more) << np.uint64(shift)
        left, shift = left >> np.uint64(7), shift + 8
    return words.astype("<u8")


@functools.cache
def _word_table() -> npt.NDArray[np.uint32]:
    return _words_of(np.arange(_TABLE_SIZE)).astype("<u4")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= _ONE_BYTE:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes(found + bytes([value]))


def _frame(data: Bytes, lengths: npt.NDArray[np.int64]) -> None:
    """Fills in the size, its checksum and the checksum of the content of each record."""
    ends = np.cumsum(lengths)
    starts = ends - lengths
    sizes = (lengths - 16).astype("<u8")
    heads = sizes.view(np.uint8).reshape(-1, 8)
    data[starts[:, None] + np.arange(8)] = heads
    distinct, inverse = np.unique(sizes, return_inverse=True)
    size_sums = [crc32c(struct.pack("<Q", size)) for size in distinct.tolist()]
    data[starts[:, None] + np.arange(8, 12)] = _masked(np.array(size_sums, np.uint32))[inverse]
    content = data.tobytes()
    bodies = zip((starts + 12).tolist(), (ends - 4).tolist(), strict=True)
    sums = [crc32c(content[start:end]) for start, end in bodies]
    data[ends[:, None] + np.arange(-4, 0)] = _masked(np.array(sums, np.uint32))


def _masked(sums: npt.NDArray[np.uint32]) -> Bytes:
    """TFRecord's masked checksums as bytes [n, 4]; Source: tensorflow/core/lib/hash/crc32c.h."""
    rotated = (sums >> 15) | (sums << 17)
    return (rotated + np.uint32(_MASK_DELTA)).astype("<u4").view(np.uint8).reshape(-1, 4)


def numpy_crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) without google_crc32c, which is dozens of times faster.

    A checksum is linear: that of a block is the XOR of what each byte alone would leave, which
    depends on the byte and on how many follow it. What came before is XORed into the first four.
    """
    table = _contributions()
    state = 0xFFFFFFFF
    for start in range(0, len(data), _BLOCK):
        block = np.frombuffer(data[start : start + _BLOCK], np.uint8).copy()
        size = len(block)
        block[:4] ^= np.frombuffer(state.to_bytes(4, "little"), np.uint8)[:size]
        left = np.bitwise_xor.reduce(table[np.arange(size - 1, -1, -1), block])
        state = (state >> (8 * size)) ^ int(left)
    return ~state & 0xFFFFFFFF


@functools.cache
def _contributions() -> npt.NDArray[np.uint32]:
    """What a byte leaves in the checksum after k more bytes: uint32 [_BLOCK, 256]."""
    row = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        row = (row >> np.uint32(1)) ^ (row & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    rows = [row]
    for _ in range(1, _BLOCK):
        rows.append((rows[-1] >> np.uint32(8)) ^ row[rows[-1] & 255])
    return np.stack(rows)


crc32c: Callable[[bytes], int]
try:
    from google_crc32c import value as crc32c
except ImportError:  # a machine that only reads shards may have numpy alone
    crc32c = numpy_crc32c


def masked_checksum(data: bytes) -> int:
    """TFRecord's masked CRC-32C."""
    value = crc32c(data)
    return (((value >> 15) | (value << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def decode_example(
    record: bytes, specs: Sequence[FeatureSpec], names: FeatureNames = "v1"
) -> dict[str, npt.NDArray[Any]]:
    """Decodes one serialised tf.train.Example to int64 and float32 arrays [length].

    Args:
        record: one record, without its frame.
        specs: the schema; its names are the keys of the result.
        names: what the features are called inside the record.

    Raises:
        ValueError: a feature is missing or has another length or type than in the schema, or the
            record is not a tf.train.Example.
    """
    try:
        found = dict(map_entries(record))
    except (IndexError, KeyError, ValueError):
        raise ValueError(f"not a tf.train.Example ({len(record)} bytes).") from None
    arrays: dict[str, npt.NDArray[Any]] = {}
    for spec in specs:
        name = file_name(spec.name, names)
        if name not in found:
            raise ValueError(f"feature {name!r} is missing; the record has {sorted(found)}.")
        try:
            values = _feature_values(found[name], spec)
        except (IndexError, ValueError):
            raise ValueError(f"feature {name!r} is not a list of {spec.dtype} numbers.") from None
        if len(values) != spec.length:
            raise ValueError(
                f"feature {name!r} has {len(values)} values, {spec.length} were expected: "
                "max_seq_length or max_predictions_per_seq differ from the shard's."
            )
        arrays[spec.name] = values
    return arrays


def map_entries(record: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each Feature; those that nobody wants may hold anything."""
    for _, features in message_fields(record):
        for _, entry in message_fields(features):
            parts = dict(message_fields(entry))
            yield parts[1].decode(), parts.get(2, b"")


def _feature_values(feature: bytes, spec: FeatureSpec) -> npt.NDArray[Any]:
    wanted = 2 if spec.dtype == "float32" else 3  # FloatList and Int64List
    kind, payload = next(message_fields(feature), (wanted, b""))
    if kind != wanted:
        raise ValueError(f"kind {kind}")
    packed = b"".join(data for _, data in message_fields(payload))
    return np.frombuffer(packed, "<f4") if kind == 2 else decode_varints(packed)


def message_fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each length-delimited field of a message."""
    cursor = 0
    while cursor < len(message):
        tag, cursor = decode_varint(message, cursor)
        if tag & 7 != 2:
            raise ValueError(f"wire type {tag & 7}")
        size, cursor = decode_varint(message, cursor)
        if cursor + size > len(message):
            raise ValueError(f"{size} bytes announced, {len(message) - cursor} left")
        yield tag >> 3, message[cursor : cursor + size]
        cursor += size


def decode_varint(data: bytes, cursor: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    value = shift = 0
    while True:
        byte = data[cursor]
        cursor += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, cursor
        shift += 7


def decode_varints(packed: bytes) -> npt.NDArray[np.int64]:
    """Numbers one after another: int64 [n]; a ValueError if they are none."""
    data = np.frombuffer(packed, np.uint8)
    if not len(data):
        return np.empty(0, np.int64)
    is_last = data < 128
    if not is_last[-1]:
        raise ValueError("the last value is cut off")
    first = np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1])
    rank = np.arange(len(data)) - np.repeat(first, np.diff(np.append(first, len(data))))
    if rank.max() >= _MAX_VARINT_BYTES:
        raise ValueError("a value has more than 64 bits")
    return np.add.reduceat((data & 127).astype(np.int64) << (7 * rank), first)
