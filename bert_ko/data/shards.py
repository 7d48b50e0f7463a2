"""A bucket of documents to shards of records: a function of bucket, flags and seed alone."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, cast

import google_crc32c
import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.data.buckets import Bucket
from bert_ko.data.instances import plan_instances
from bert_ko.data.manifest import Shard
from bert_ko.data.masking import mask_tokens, replacement_ids
from bert_ko.data.records import ShardReader
from bert_ko.data.sequences import UNITS, WordNumbers, build_sequences, word_ids
from bert_ko.data.settings import InstanceFlags
from bert_ko.data.tfrecord import ExampleEncoder
from bert_ko.data.walk import Plan
from bert_ko.tokenization.tokenizer import Tokenizer

# Cells (rows times length) of a batch: its matrices stay in the processor's cache.
_BATCH_CELLS = 1 << 18


class Built(NamedTuple):
    """Shards of one bucket and what was counted on the way."""

    shards: tuple[Shard, ...]
    counts: dict[str, int]


class _Sums:
    """A file that counts and sums what is written to it."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.bytes = self._crc = 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._crc = google_crc32c.extend(self._crc, bytes(view))
        self.bytes += len(view)
        return self._file.write(view)

    def flush(self) -> None:
        self._file.flush()

    @property
    def crc32c(self) -> str:
        return f"{self._crc:08x}"


@contextlib.contextmanager
def shard_writer(path: str) -> Iterator[tuple[BinaryIO, _Sums]]:
    """Yields where to write records, and the sums of the bytes of the file."""
    with files.atomic_writer(path) as file:
        sums = _Sums(file)
        if not path.endswith(".gz"):
            yield cast(BinaryIO, sums), sums
            return
        # No time and no name in the header: the same records give the same bytes.
        with gzip.GzipFile("", "wb", 6, cast(BinaryIO, sums), mtime=0) as packed:
            yield cast(BinaryIO, packed), sums


def build_bucket(
    bucket: Bucket, number: int, paths: Sequence[str], flags: InstanceFlags, tokenizer: Tokenizer
) -> Built:
    """Makes the instances of a bucket and writes them round-robin to its files, each atomically.

    The number of the bucket keys the random draws.
    """
    rng = np.random.default_rng([flags.random_seed, number, 0])
    plan = plan_instances(bucket, flags, rng)
    builder = _Builder(bucket, flags, tokenizer)
    shards = []
    for turn, path in enumerate(paths):
        rows = plan.rows(slice(turn, None, len(paths)))
        rng = np.random.default_rng([flags.random_seed, number, 1 + turn])
        with shard_writer(path) as (file, sums):
            for data in builder.records(rows, rng):
                file.write(data)
        shards.append(Shard(path, rows.size, sums.bytes, sums.crc32c))
    seen = plan.count_seen(random_second=flags.next_sentence == "nsp")
    counts = {
        "duplicate_documents": bucket.duplicates,
        "seen_pieces": seen,
        "unseen_pieces": len(bucket.pieces) - seen,
    }
    return Built(tuple(shards), {**counts, **builder.counts})


def is_as_written(shard: Shard, folder: str) -> bool:
    """Whether a file that a folder's manifest lists is in the folder, and is that shard.

    Only such a file may be removed: a manifest from elsewhere can name anything. A link, or a path
    that leads out of the folder, is no shard. A remote one is not read as a whole.
    """
    path = files.join(folder, shard.path)
    if files.is_remote(folder):
        is_inside = not {"", ".", ".."} & set(shard.path.split("/"))
        return (
            is_inside
            and shard._replace(path=path).is_intact
            and _begins_with_record(path, shard.records)
        )
    above = os.path.realpath(os.path.dirname(path)) + os.sep
    if os.path.isabs(shard.path) or not above.startswith(os.path.realpath(folder) + os.sep):
        return False
    if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) != shard.bytes:
        return False
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            crc = google_crc32c.extend(crc, block)
    return f"{crc:08x}" == shard.crc32c and _begins_with_record(path, shard.records)


def _begins_with_record(path: str, records: int) -> bool:
    try:
        with ShardReader(path) as reader:
            return len(reader.read(1)) == min(1, records)
    except ValueError:
        return False


def join_parts(parts: Sequence[Shard], path: str) -> Shard:
    """Writes the records of several files into one, in order."""
    with shard_writer(path) as (file, sums):
        for part in parts:
            with files.open_stored(part.path) as source:
                while block := source.read(1 << 20):
                    file.write(block)
    return Shard(path, sum(part.records for part in parts), sums.bytes, sums.crc32c)


class _Builder:
    """Plans to records, a batch at a time."""

    def __init__(self, bucket: Bucket, flags: InstanceFlags, tokenizer: Tokenizer):
        self._bucket, self._flags, self._vocab = bucket, flags, tokenizer.vocab
        self._encoder = ExampleEncoder(flags.features, flags.feature_names)
        self._replacements = replacement_ids(
            tokenizer.vocab, tokenizer.config.additional_special_tokens
        )
        self._words = {unit: WordNumbers(bucket.pieces, unit) for unit in UNITS}
        self._rows = max(64, _BATCH_CELLS // flags.max_seq_length)
        self.counts: Counter[str] = Counter()

    def records(self, plan: Plan, rng: np.random.Generator) -> Iterator[memoryview]:
        """Encoded records of the planned instances."""
        for start in range(0, plan.size, self._rows):
            rows = plan.rows(slice(start, start + self._rows))
            yield self._encoder.encode(self._features(rows, rng)).data.data

    def _features(self, plan: Plan, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
        flags = self._flags
        sequences = build_sequences(self._bucket.pieces, plan, flags.max_seq_length, self._vocab)
        features: dict[str, npt.NDArray[Any]] = {
            "input_ids": sequences.input_ids,
            "input_mask": sequences.input_mask.view(np.uint8),
            "segment_ids": sequences.segment_ids.view(np.uint8),
            "next_sentence_labels": plan.label[:, None],
        }
        self._count(plan)
        if flags.masking == "dynamic":
            for unit in UNITS:
                starts = sequences.word_starts(unit)
                features[f"{unit}_ids"] = word_ids(starts, sequences.is_piece)
            return features
        masked = mask_tokens(
            sequences.input_ids, sequences.is_piece,
            sequences.word_starts(flags.whole_word_unit)
            if flags.do_whole_word_mask else sequences.is_piece,
            self._vocab.mask_id, self._replacements, flags.masking_config, rng,
        )  # fmt: skip
        self.counts["masked_pieces"] += len(masked.targets)
        for unit, words in self._words.items():
            touched = words.count_touched(plan, masked.targets, flags.max_seq_length)
            self.counts[f"masked_{unit}s"] += touched
        return {**features, **masked.features()}

    def _count(self, plan: Plan) -> None:
        num_pieces = int(plan.a_length.sum() + plan.b_length.sum())
        num_special = 2 * plan.size + int(np.count_nonzero(plan.b_length))
        self.counts.update(
            instances=plan.size,
            positive_labels=int(plan.label.sum()),
            truncated_pieces=int(plan.truncated.sum()),
            cells=plan.size * self._flags.max_seq_length,
            used_cells=num_pieces + num_special,
            instance_pieces=num_pieces,
        )
        self.counts.update(
            {f"instance_{u}s": words.count(plan) for u, words in self._words.items()}
        )
