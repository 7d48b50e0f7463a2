"""Records to arrays, many at a time.

Records of one shard have the same features in the same order, so that one cursor per record walks
through all of them together; the values of a feature are decoded for all records at once.

Legend: n records, L values of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko.data.features import FeatureNames, FeatureSpec, file_name
from bert_ko.data.tfrecord import decode_example

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
_FLOATS, _INTS = 0x12, 0x1A
_MAX_WIDTH = 4  # bytes of a number or size that is decoded here: below 2 ** 28
_MAX_ID = 2**31 - 1


class _OtherFormError(Exception):
    """The records may be valid, but are not alike; they are decoded one by one."""


class ExampleDecoder:
    """Decodes batches of tf.train.Examples of one schema."""

    def __init__(self, specs: Sequence[FeatureSpec], names: FeatureNames = "v1"):
        """Args: specs: the features; names: what they are called inside the records."""
        self._specs, self._names = tuple(specs), names
        self._by_key = {file_name(spec.name, names).encode(): spec for spec in specs}

    def decode(self, records: Sequence[bytes]) -> dict[str, npt.NDArray[Any]]:
        """Decodes n >= 1 serialised tf.train.Examples to int32 or float32 arrays [n, L].

        Raises:
            DamagedRecordError: a record that does not fit the schema, or an integer below 0 or
                from 2 ** 31 on.
        """
        try:
            return self._decode_alike(records)
        except (_OtherFormError, IndexError):
            return self._decode_each(records)

    def _decode_alike(self, records: Sequence[bytes]) -> dict[str, npt.NDArray[Any]]:
        content = b"".join(records)
        data = np.frombuffer(content, np.uint8)
        ends = np.cumsum(np.fromiter(map(len, records), np.int64, len(records)))
        cursor = np.concatenate([[0], ends[:-1]])
        cursor, size = _enter(data, cursor, 0x0A)
        _require_equal(cursor + size, ends)
        arrays = {}
        while (cursor < ends).all():
            cursor, size = _enter(data, cursor, 0x0A)
            after = cursor + size
            key_start, key_size = _enter(data, cursor, 0x0A)
            spec = self._by_key.get(_same_bytes(data, key_start, key_size))
            if spec is not None:
                start = key_start + key_size
                for tag in (0x12, _FLOATS if spec.dtype == "float32" else _INTS, 0x0A):
                    start, size = _enter(data, start, tag)
                    _require_equal(start + size, after)  # nothing follows the list
                arrays[spec.name] = _values(content, data, start, size, spec)
            cursor = after
        _require_equal(cursor, ends)
        if len(arrays) < len(self._specs):
            raise _OtherFormError
        return {spec.name: arrays[spec.name] for spec in self._specs}

    def _decode_each(self, records: Sequence[bytes]) -> dict[str, npt.NDArray[Any]]:
        rows = []
        for index, record in enumerate(records):
            try:
                row = decode_example(record, self._specs, self._names)
                rows.append({name: _narrowed(values, name) for name, values in row.items()})
            except ValueError as error:
                raise DamagedRecordError(index, str(error)) from None
        return {spec.name: np.stack([row[spec.name] for row in rows]) for spec in self._specs}


class DamagedRecordError(ValueError):
    """A record that can't be decoded: its index in the batch, and the reason."""

    def __init__(self, index: int, reason: str):
        super().__init__(reason)
        self.index, self.reason = index, reason


def _narrowed(values: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if values.dtype != np.int64:
        return values
    for value in (int(values.min()), int(values.max())):
        if not 0 <= value <= _MAX_ID:
            raise ValueError(f"{name} must be from 0 to {_MAX_ID:,}, got {value:,}.")
    return values.astype(np.int32)


def _require_equal(ours: Ints, theirs: Ints) -> None:
    if (ours != theirs).any():
        raise _OtherFormError


def _enter(data: Bytes, cursor: Ints, tag: int) -> tuple[Ints, Ints]:
    """Where the content of a length-delimited field begins, and its size: int64 [n] each."""
    if (data[cursor] != tag).any():
        raise _OtherFormError
    cursor = cursor + 1
    byte = data[cursor]
    size = (byte & 127).astype(np.int64)
    more = byte >= 128
    cursor = cursor + 1
    shift = 7
    while more.any():
        if shift == 7 * _MAX_WIDTH:
            raise _OtherFormError
        byte = np.where(more, data[cursor], 0)
        size |= (byte & 127).astype(np.int64) << shift
        cursor = cursor + more
        more = byte >= 128
        shift += 7
    return cursor, size


def _same_bytes(data: Bytes, start: Ints, size: Ints) -> bytes:
    """The key, which must be the same in every record."""
    if (size != size[0]).any():
        raise _OtherFormError
    keys = data[start[:, None] + np.arange(size[0])]
    if (keys != keys[0]).any():
        raise _OtherFormError
    return bytes(keys[0])


def _values(
    content: bytes, data: Bytes, start: Ints, size: Ints, spec: FeatureSpec
) -> npt.NDArray[Any]:
    if spec.dtype == "float32":
        if (size != 4 * spec.length).any():
            raise _OtherFormError
        raw = np.ascontiguousarray(data[start[:, None] + np.arange(4 * spec.length)])
        floats: npt.NDArray[np.float32] = raw.view("<f4")
        return floats.astype(np.float32)
    if (size == spec.length).all():  # one byte a value
        values: Bytes = data[start[:, None] + np.arange(spec.length)]
        if (values >= 128).any():
            raise _OtherFormError
        return values.astype(np.int32)
    stop = start + size
    packed = b"".join([content[a:b] for a, b in zip(start.tolist(), stop.tolist(), strict=True)])
    return _varints(np.frombuffer(packed, np.uint8), size, spec.length)


def _varints(packed: Bytes, size: Ints, length: int) -> npt.NDArray[np.int32]:
    """The values of all records, one after another."""
    last = np.flatnonzero(packed < 128).astype(np.int32)
    row_ends = np.cumsum(size) - 1
    # Each record must have ``length`` values, the last ending where the record does.
    if len(last) != length * len(size) or (last[length - 1 :: length] != row_ends).any():
        raise _OtherFormError
    first = np.empty_like(last)
    first[0], first[1:] = 0, last[:-1] + 1
    width = last - first
    values = (packed[first] & 127).astype(np.int32)
    for i in range(1, int(width.max(initial=0)) + 1):
        if i >= _MAX_WIDTH:
            raise _OtherFormError
        longer = np.flatnonzero(width >= i)
        values[longer] |= (packed[first[longer] + i] & 127).astype(np.int32) << (7 * i)
    return values.reshape(len(size), length)
