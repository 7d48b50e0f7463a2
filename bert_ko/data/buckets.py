"""Documents on disk, spread over buckets by a keyed hash: memory holds one bucket at a time.

Each chunk becomes one spill file whose documents are sorted by bucket; a bucket is read by taking
its slice of every spill file, in the order of the chunks.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.data.documents import EncodedDocuments
from bert_ko.json_files import format_json

_MAGIC = b"bertko1\n"
_HEAD = struct.Struct("<8sQ")


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
    """Writes one chunk, atomically."""
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
    notes = {"counts": dict(documents.notes.counts), "examples": documents.notes.examples}
    header = format_json(notes).encode()
    with files.atomic_writer(path) as file:
        file.write(_HEAD.pack(_MAGIC, len(header)))
        file.write(header)
        file.write(index.tobytes())
        file.write(documents.digests[order].tobytes())
        file.write(document_lengths.tobytes())
        file.write(sentence_lengths.tobytes())
        file.write(documents.pieces[_take_ranges(documents.sentence_lengths, sentences)].tobytes())


def read_spill_notes(path: str) -> dict[str, Any]:
    """Counts and examples that were written with a chunk."""
    with open(path, "rb") as file:
        _, size = _HEAD.unpack(file.read(_HEAD.size))
        notes: dict[str, Any] = json.loads(file.read(size))
    return notes


def read_bucket(
    paths: Sequence[str],
    bucket: int,
    num_buckets: int,
    drop_duplicates: bool,
    dtype: npt.DTypeLike = np.uint32,
) -> Bucket:
    """Gathers one bucket from all spill files, which are in the order of their chunks.

    With ``drop_duplicates`` it keeps only the first of equal texts. ``dtype`` is that of the pieces
    that were written.
    """
    slices = [_read_slice(path, bucket, num_buckets, dtype) for path in paths]
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


def _read_slice(
    path: str, bucket: int, num_buckets: int, piece_dtype: npt.DTypeLike
) -> list[npt.NDArray[Any]]:
    """Digests, document lengths, sentence lengths and pieces of a bucket in one chunk."""
    with open(path, "rb") as file:
        magic, header_size = _HEAD.unpack(file.read(_HEAD.size))
        assert magic == _MAGIC
        base = _HEAD.size + header_size
        begin, end = np.fromfile(file, np.int64, 6, offset=header_size + 24 * bucket).reshape(2, 3)
        file.seek(base + 24 * num_buckets)
        totals = np.fromfile(file, np.int64, 3)
        base += 24 * (num_buckets + 1)
        arrays: list[npt.NDArray[Any]] = []
        for column, dtype in ((0, "V16"), (0, np.int32), (1, np.int32), (2, piece_dtype)):
            size = np.dtype(dtype).itemsize
            file.seek(base + int(begin[column]) * size)
            count = int(end[column] - begin[column])
            arrays.append(np.fromfile(file, dtype, count))
            if len(arrays[-1]) != count:
                raise ValueError(f"{path}: cut off; delete it and run the command again.")
            base += int(totals[column]) * size
    return arrays


def spill_path(work_dir: str, chunk: int) -> str:
    """The file of the documents of a chunk."""
    return os.path.join(work_dir, f"chunk-{chunk:06d}.spill")


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
