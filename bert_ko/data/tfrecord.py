"""TFRecord files of fixed-length tf.train.Examples, written and read without TensorFlow.

A batch of records is built as one byte matrix with a validity mask: what is constant is there
from the start, varints have room for their widest form, and one boolean selection drops the bytes
that a row does not need. The bytes equal tf.train.Example's deterministic serialisation.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.features import FeatureArrays, FeatureNames, FeatureSpec, file_name

Bytes = npt.NDArray[np.uint8]
Sizes = npt.NDArray[np.int64] | int
MAX_RECORD_BYTES = 1 << 30
_MAX_VARINT_BYTES = 10
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
        self._matrices: dict[tuple[int, ...], _Matrix] = {}

    def encode(self, batch: FeatureArrays) -> EncodedRecords:
        """Encodes a batch, an array [B, length] for every feature, with frames and checksums."""
        rows = len(batch[self._specs[0][1].name])
        widths = [_widest(spec, batch[spec.name]) for _, spec in self._specs]
        shape = (rows, *widths)
        if shape not in self._matrices:
            self._matrices = {shape: _Matrix(self._specs, widths, rows)}
        data, lengths = self._matrices[shape].fill(batch)
        _frame(data, lengths)
        return EncodedRecords(data, lengths)


def _widest(spec: FeatureSpec, values: npt.NDArray[Any]) -> int:
    """Bytes of the widest value."""
    if spec.dtype == "float32":
        return 4
    assert int(values.min(initial=0)) >= 0
    return _varint_size(int(values.max(initial=0)))


class _Field(NamedTuple):
    """Columns of one entry of the feature map: sizes from the outermost message inwards."""

    spec: FeatureSpec
    width: int
    overheads: tuple[int, ...]  # bytes of each message that are neither a size nor inside another
    sizes: tuple[slice, ...]
    payload: slice


class _Matrix:
    """The byte matrix [B, columns] of a schema, with everything constant in its place."""

    def __init__(self, specs: Sequence[tuple[str, FeatureSpec]], widths: Sequence[int], rows: int):
        self._columns = bytearray(b"\0" * 12 + b"\x0a")
        named = [(name, spec, width) for (name, spec), width in zip(specs, widths, strict=True)]
        largest = sum(64 + spec.length * width + len(name) for name, spec, width in named)
        self._total = self._reserve(_varint_size(largest))
        self._fields = [self._add_field(*field) for field in named]
        self._reserve(4)
        constant = np.frombuffer(bytes(self._columns), np.uint8)
        self._data = np.repeat(constant[None], rows, axis=0)
        self._valid = np.ones(self._data.shape, np.bool_)

    def _reserve(self, columns: int) -> slice:
        start = len(self._columns)
        self._columns += b"\0" * columns
        return slice(start, start + columns)

    def _add_field(self, name: str, spec: FeatureSpec, width: int) -> _Field:
        """Map entry (key, value) > Feature > Int64List or FloatList > packed values."""
        key = name.encode()
        kind = b"\x12" if spec.dtype == "float32" else b"\x1a"
        tags = (b"\x0a", b"\x0a" + bytes([len(key)]) + key + b"\x12", kind, b"\x0a")
        largest = _varint_size(spec.length * width + len(key) + 32)
        sizes = []
        for tag in tags:
            self._columns += tag
            sizes.append(self._reserve(largest))
        payload = self._reserve(spec.length * width)
        return _Field(spec, width, tuple(map(len, tags)), tuple(sizes), payload)

    def fill(self, batch: FeatureArrays) -> tuple[Bytes, npt.NDArray[np.int64]]:
        """Puts a batch in; returns its bytes without gaps and the length of each record."""
        total: Sizes = 0
        for field in self._fields:
            size = self._put_payload(field, batch[field.spec.name])
            for columns, overhead in zip(field.sizes[::-1], field.overheads[::-1], strict=True):
                size = size + self._put_size(columns, size) + overhead
            total = total + size
        total = total + self._put_size(self._total, total) + 17  # frame, and the tag of Features
        lengths = np.broadcast_to(np.asarray(total, np.int64), len(self._data))
        return self._data[self._valid], lengths

    def _put_payload(self, field: _Field, values: npt.NDArray[Any]) -> Sizes:
        if field.spec.dtype == "float32":
            raw = np.ascontiguousarray(values, "<f4").view(np.uint8)
            self._data[:, field.payload] = raw
            return int(raw.shape[1])
        return self._put_varints(field.payload, values, field.width)

    def _put_size(self, columns: slice, size: Sizes) -> Sizes:
        values = np.broadcast_to(np.asarray(size), len(self._data))[:, None]
        return self._put_varints(columns, values, columns.stop - columns.start)

    def _put_varints(self, columns: slice, values: npt.NDArray[Any], width: int) -> Sizes:
        """Seven bits a byte, the lowest first; the top bit says that more follow."""
        rows, length = values.shape
        if width == 1:
            self._data[:, columns] = values
            return int(length)
        # Views [B, length, width] into the matrix.
        data = self._data[:, columns].reshape(rows, length, width)
        assert np.shares_memory(data, self._data)
        valid = self._valid[:, columns].reshape(rows, length, width)
        values = values.astype(np.uint32 if width <= 4 else np.uint64)
        sizes: npt.NDArray[np.int64] = np.full(rows, length)
        for i in range(width):
            more = values >= 128
            np.bitwise_or(
                values & 127, more.view(np.uint8) << 7, out=data[..., i], casting="unsafe"
            )
            if i + 1 < width:
                valid[..., i + 1] = more
                sizes += _count_rows(more)
            values = values >> 7
        return sizes


def _varint_size(value: int) -> int:
    return max(1, (value.bit_length() + 6) // 7)


def _count_rows(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    # A product is three times faster than a sum over the short axis, and exact below 2 ** 24.
    return (flags.astype(np.float32) @ np.ones(flags.shape[1], np.float32)).astype(np.int64)


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
        found = dict(_map_entries(record))
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


def _map_entries(record: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each Feature; those that nobody wants may hold anything."""
    for _, features in _fields(record):
        for _, entry in _fields(features):
            parts = dict(_fields(entry))
            yield parts[1].decode(), parts.get(2, b"")


def _feature_values(feature: bytes, spec: FeatureSpec) -> npt.NDArray[Any]:
    wanted = 2 if spec.dtype == "float32" else 3  # FloatList and Int64List
    kind, payload = next(_fields(feature), (wanted, b""))
    if kind != wanted:
        raise ValueError(f"kind {kind}")
    packed = b"".join(data for _, data in _fields(payload))
    return np.frombuffer(packed, "<f4") if kind == 2 else _decode_varints(packed)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each length-delimited field of a message."""
    cursor = 0
    while cursor < len(message):
        tag, cursor = _decode_varint(message, cursor)
        if tag & 7 != 2:
            raise ValueError(f"wire type {tag & 7}")
        size, cursor = _decode_varint(message, cursor)
        if cursor + size > len(message):
            raise ValueError(f"{size} bytes announced, {len(message) - cursor} left")
        yield tag >> 3, message[cursor : cursor + size]
        cursor += size


def _decode_varint(data: bytes, cursor: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[cursor]
        cursor += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, cursor
        shift += 7


def _decode_varints(packed: bytes) -> npt.NDArray[np.int64]:
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
