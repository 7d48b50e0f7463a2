"""Documents on disk, spread over buckets by a keyed hash: memory holds one bucket at a time.

Each batch of chunks becomes one spill file, sorted by bucket; a bucket is read by taking its slice
of every spill file, in the order of the batches. Where a slice stands in its file takes one short
read, and the slice a second one, so that spill files may be on an object store.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.data.documents import EncodedDocuments
from bert_ko.json_files import format_json

_MAGIC = b"bertko2\n"
_HEAD = struct.Struct("<8sQQ")  # with where the notes begin, and their size
_ROW = 24  # bytes of a row of the index: documents, sentences and pieces before a bucket
_SPILLS_AT_ONCE = 256  # whose notes are read together


class Bucket(NamedTuple):
    """The n pieces, S sentences and D documents of one bucket."""

    pieces: npt.NDArray[Any]  # [n]; see EncodedDocuments
    sentence_offsets: npt.NDArray[np.int64]  # [S + 1], where each sentence begins in ``pieces``
    document_offsets: npt.NDArray[np.int64]  # [D + 1], where each begins in ``sentence_offsets``
    duplicates: int  # documents dropped because the bucket has the same text already


def choose_num_buckets(text_bytes: int, num_shards: int, bucket_bytes: int) -> int:
    """How many buckets a corpus is spread over; depends on sizes alone.

    A small corpus is one bucket, whose instances go round-robin to the shards as in Google's
    script. A larger one has a multiple of the shards, so that shards are equally large, unless
    there are many more shards than buckets.
    """
    needed = min(4096, -(-text_bytes // bucket_bytes))
    if needed <= 1:
        return 1
    return -(-needed // num_shards) * num_shards if num_shards <= 8 * needed else needed


def assign_buckets(
    documents: EncodedDocuments, chunk: int, num_buckets: int, seed: int, by_content: bool
) -> npt.NDArray[np.int64]:
    """Bucket of each document of a chunk, int64 [D], by a hash keyed with the seed.

    With ``by_content`` equal texts meet in one bucket; else places in the corpus are hashed, so
    that a text that is repeated a million times spreads evenly.
    """
    key = struct.pack("<q", seed)
    if by_content:
        names = [digest.tobytes() for digest in documents.digests]
    else:
        names = [struct.pack("<qq", chunk, i) for i in range(len(documents.digests))]
    hashes = b"".join(hashlib.blake2b(name, digest_size=8, key=key).digest() for name in names)
    return (np.frombuffer(hashes, "<u8") % np.uint64(num_buckets)).astype(np.int64)


def write_spill(
    path: str, documents: EncodedDocuments, buckets: npt.NDArray[np.int64], num_buckets: int
) -> None:
    """Writes the documents of a batch, and the bucket of each, atomically.

    After the head comes the index, then what each bucket has: digests, sentences of each document,
    pieces of each sentence, and pieces. The notes are last.
    """
    order = np.argsort(buckets, kind="stable")
    owner, document_lengths = buckets[order], documents.document_lengths[order]
    sentences = _take_ranges(documents.document_lengths, order)
    sentence_owner = np.repeat(owner, document_lengths)
    sentence_lengths = documents.sentence_lengths[sentences]
    counts = (
        np.bincount(owner, minlength=num_buckets),
        np.bincount(sentence_owner, minlength=num_buckets),
        np.bincount(sentence_owner, sentence_lengths, num_buckets),
    )
    # Cumulated documents, sentences and pieces before each bucket: int64 [num_buckets + 1, 3].
    index = np.zeros((num_buckets + 1, 3), np.int64)
    index[1:] = np.cumsum(counts, axis=1).T
    pieces = documents.pieces[_take_ranges(documents.sentence_lengths, sentences)]
    columns = (documents.digests[order], document_lengths, sentence_lengths, pieces)
    body = b"".join(_by_bucket(index, columns))
    notes = {"counts": dict(documents.notes.counts), "examples": documents.notes.examples}
    footer = format_json(notes).encode()
    with files.atomic_writer(path) as file:
        file.write(_HEAD.pack(_MAGIC, _HEAD.size + index.nbytes + len(body), len(footer)))
        file.write(index.tobytes())
        file.write(body)
        file.write(footer)


def _by_bucket(
    index: npt.NDArray[np.int64], columns: tuple[npt.NDArray[Any], ...]
) -> Iterator[bytes]:
    """The bytes of all columns of the first bucket, then of the second, and so on."""
    data = [column.tobytes() for column in columns]
    ends = (index[:, [0, 0, 1, 2]] * _item_sizes(columns[-1].dtype)).tolist()
    for start, end in pairwise(ends):
        for one, begin, stop in zip(data, start, end, strict=True):
            yield one[begin:stop]


def _item_sizes(piece_dtype: npt.DTypeLike) -> npt.NDArray[np.int64]:
    """Bytes of a digest, a document's length, a sentence's length and a piece."""
    return np.array([16, 4, 4, np.dtype(piece_dtype).itemsize])


def read_spill_notes(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields the counts and examples that were written with each batch."""
    for start in range(0, len(paths), _SPILLS_AT_ONCE):
        some = paths[start : start + _SPILLS_AT_ONCE]
        heads = files.read_ranges([files.Range(path, 0, _HEAD.size) for path in some])
        places = [_unpack_head(head, path)[1:] for head, path in zip(heads, some, strict=True)]
        ranges = [
            files.Range(path, begin, begin + size)
            for path, (begin, size) in zip(some, places, strict=True)
        ]
        for path, (_, size), data in zip(some, places, files.read_ranges(ranges), strict=True):
            yield json.loads(_whole(data, size, path))


def read_bucket(
    paths: Sequence[str],
    bucket: int,
    num_buckets: int,
    drop_duplicates: bool,
    dtype: npt.DTypeLike = np.uint32,
) -> Bucket:
    """Gathers one bucket from all spill files, which are in the order of their batches.

    With ``drop_duplicates`` it keeps only the first of equal texts. ``dtype`` is that of the pieces
    that were written.
    """
    slices = _read_slices(paths, bucket, num_buckets, dtype)
    digests, document_lengths, sentence_lengths, pieces = map(
        np.concatenate, zip(*slices, strict=True)
    )
    del slices
    duplicates = 0
    if drop_duplicates and len(digests):
        _, first = np.unique(digests, return_index=True)
        duplicates = len(digests) - len(first)
        if duplicates:
            kept = np.sort(first)
            sentences = _take_ranges(document_lengths, kept)
            pieces = pieces[_take_ranges(sentence_lengths, sentences)]
            document_lengths, sentence_lengths = document_lengths[kept], sentence_lengths[sentences]
    return Bucket(pieces, _offsets(sentence_lengths), _offsets(document_lengths), duplicates)


def _read_slices(
    paths: Sequence[str], bucket: int, num_buckets: int, piece_dtype: npt.DTypeLike
) -> list[list[npt.NDArray[Any]]]:
    """Digests, document lengths, sentence lengths and pieces of a bucket, of each spill file."""
    row = _HEAD.size + _ROW * bucket
    rows = files.read_ranges([files.Range(path, row, row + 2 * _ROW) for path in paths])
    base, sizes = _HEAD.size + _ROW * (num_buckets + 1), _item_sizes(piece_dtype)
    counts, ranges = [], []
    for path, data in zip(paths, rows, strict=True):
        begin, end = np.frombuffer(_whole(data, 2 * _ROW, path), np.int64).reshape(2, 3)
        start, stop = (base + int(edge[[0, 0, 1, 2]] @ sizes) for edge in (begin, end))
        counts.append((end - begin)[[0, 0, 1, 2]])
        ranges.append(files.Range(path, start, stop))
    found = files.read_ranges(ranges)
    return [
        _columns(_whole(data, one.end - one.start, one.path), count, piece_dtype)
        for data, one, count in zip(found, ranges, counts, strict=True)
    ]


def _columns(
    data: bytes, counts: npt.NDArray[np.int64], piece_dtype: npt.DTypeLike
) -> list[npt.NDArray[Any]]:
    columns: list[npt.NDArray[Any]] = []
    place = 0
    for dtype, count in zip(("V16", np.int32, np.int32, piece_dtype), counts.tolist(), strict=True):
        columns.append(np.frombuffer(data, dtype, count, place))
        place += columns[-1].nbytes
    return columns


def _unpack_head(data: bytes, path: str) -> tuple[bytes, int, int]:
    magic, begin, size = _HEAD.unpack(_whole(data, _HEAD.size, path))
    assert magic == _MAGIC
    return magic, begin, size


def _whole(data: bytes, size: int, path: str) -> bytes:
    if len(data) < size:
        raise ValueError(f"{path}: cut off; delete it and run the command again.")
    return data


def spill_path(work_dir: str, batch: int) -> str:
    """The file of the documents of a batch of chunks."""
    return files.join(work_dir, f"spill-{batch:06d}.bin")


def _offsets(lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _take_ranges(
    lengths: npt.NDArray[np.int32], chosen: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Indexes of all items of the chosen ranges; ranges of these lengths follow one another.

    >>> _take_ranges(np.array([2, 1, 3]), np.array([2, 0])).tolist()
    [3, 4, 5, 0, 1]
    """
    counts = lengths[chosen].astype(np.int64)
    ends = np.cumsum(counts)
    shift = _offsets(lengths)[chosen] - (ends - counts)
    return np.repeat(shift, counts) + np.arange(int(counts.sum()))
