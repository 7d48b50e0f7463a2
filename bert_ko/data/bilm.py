"""A bucket of words to shards of records: a function of bucket, vocabulary and seed alone."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.buckets import Bucket
from bert_ko.data.manifest import Shard
from bert_ko.data.shards import Built, shard_writer
from bert_ko.data.word_records import (
    MAX_RECORD_WORDS,
    encode_varints,
    encode_words,
    frame_record,
)
from bert_ko.tokenization.word_splitting import WORD_END
from bert_ko.tokenization.word_vocabulary import UNKNOWN_ID

Offsets = npt.NDArray[np.int64]


class RecordPlan(NamedTuple):
    """The R records of a bucket of n words: each is a run of its S sentences."""

    sentence_offsets: Offsets  # [S + 1], where each sentence begins among the words
    record_offsets: Offsets  # [R + 1], where each record begins among the sentences
    cut_sentences: int  # how many were too long, and are several now


def plan_records(sentence_offsets: Offsets, document_offsets: Offsets) -> RecordPlan:
    """Divides documents at sentences into runs of at most MAX_RECORD_WORDS words, in order.

    A run takes as many sentences as fit. A sentence that is longer is cut into several first.

    Args:
        sentence_offsets: int64 [S + 1], where each sentence begins among the words.
        document_offsets: int64 [D + 1], where each document begins among the sentences.

    >>> plan = plan_records(np.array([0, 1500, 1600, 2100, 6200]), np.array([0, 3, 4]))
    >>> plan.sentence_offsets.tolist()
    [0, 1500, 1600, 2100, 4100, 6100, 6200]
    >>> plan.record_offsets.tolist()
    [0, 2, 3, 4, 5, 6]
    """
    lengths = np.diff(sentence_offsets)
    parts = -(-lengths // MAX_RECORD_WORDS)
    part_offsets = np.concatenate([[0], np.cumsum(parts)])
    rank = np.arange(part_offsets[-1]) - np.repeat(part_offsets[:-1], parts)
    starts = np.repeat(sentence_offsets[:-1], parts) + rank * MAX_RECORD_WORDS
    offsets = [*starts.tolist(), int(sentence_offsets[-1])]
    records: list[int] = []
    for sentence, end in itertools.pairwise(part_offsets[document_offsets].tolist()):
        while sentence < end:
            records.append(sentence)
            last = offsets[sentence] + MAX_RECORD_WORDS
            sentence = bisect_right(offsets, last, sentence + 1, end + 1) - 1
    records.append(len(offsets) - 1)
    return RecordPlan(
        np.array(offsets, np.int64), np.array(records, np.int64), int((parts > 1).sum())
    )


def build_word_bucket(
    bucket: Bucket, number: int, paths: Sequence[str], seed: int, ids: Mapping[bytes, int]
) -> Built:
    """Makes the records of a bucket and writes them round-robin to its files, each atomically.

    Args:
        bucket: its documents; the pieces are the bytes of words.
        number: of the bucket; keys the order of the records, which is random.
        paths: files to write.
        seed: of the order.
        ids: of the words of the vocabulary, by their UTF-8.
    """
    rng = np.random.default_rng([seed, number, 0])
    word_offsets = np.append(0, np.flatnonzero(bucket.pieces == WORD_END) + 1)
    words = bucket.pieces.tobytes().split(b"\n")[:-1]
    found = map(ids.get, words, itertools.repeat(UNKNOWN_ID))
    word_ids = np.fromiter(found, np.int64, len(words))
    # A sentence begins where a word begins.
    plan = plan_records(
        np.searchsorted(word_offsets, bucket.sentence_offsets), bucket.document_offsets
    )
    order = rng.permutation(len(plan.record_offsets) - 1)
    records = _Records(bucket.pieces, word_offsets, word_ids, plan)
    shards = []
    for turn, path in enumerate(paths):
        rows = order[turn :: len(paths)]
        with shard_writer(path) as (file, sums):
            for record in records.encoded(rows):
                file.write(record)
        shards.append(Shard(path, len(rows), sums.bytes, sums.crc32c))
    counts = {
        "duplicate_documents": bucket.duplicates,
        "records": len(order),
        "record_words": len(words),
        "unknown_words": int(np.count_nonzero(word_ids == UNKNOWN_ID)),
        "long_sentences_cut": plan.cut_sentences,
    }
    return Built(tuple(shards), counts)


class _Records:
    """The records of a bucket; all that a record consists of is a part of one array."""

    def __init__(
        self,
        text: npt.NDArray[np.uint8],
        word_offsets: Offsets,
        word_ids: npt.NDArray[np.int64],
        plan: RecordPlan,
    ):
        self._plan = plan
        self._words = encode_words(text, word_offsets)
        self._word_ids = encode_varints(word_ids)
        self._sentence_lengths = encode_varints(np.diff(plan.sentence_offsets))

    def encoded(self, rows: npt.NDArray[np.int64]) -> Iterator[bytes]:
        """The records of these numbers, with their frames."""
        sentences = self._plan.record_offsets
        for row in rows.tolist():
            first, end = int(sentences[row]), int(sentences[row + 1])
            start, stop = map(int, self._plan.sentence_offsets[[first, end]])
            yield frame_record(
                self._sentence_lengths.joined(first, end),
                self._word_ids.joined(start, stop),
                self._words.joined(start, stop),
            )
