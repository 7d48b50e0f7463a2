#!/usr/bin/env python3
"""What text is never seen with --overflow=cut and with carry, and whether cuts tell the labels.

Each kind of text is tokenized once, and its instances are planned as create_pretraining_data plans
them for unmasked shards. A piece is seen if it stands in a first segment, or in a second one that
follows. "told" is how often the label is guessed right by who knows the best guess for each
combination of: does a segment begin and end within a sentence, how long is it (in sixteenths).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from common import DATA, VOCAB

from bert_ko.data.buckets import Bucket
from bert_ko.data.corpus import CHUNK_BYTES, read_chunks
from bert_ko.data.documents import encode_documents
from bert_ko.data.instances import plan_instances
from bert_ko.data.settings import InstanceFlags, Overflow, PipelineFlags
from bert_ko.data.walk import Plan
from bert_ko.tokenization.encoder import LineEncoder
from bert_ko.tokenization.folder import load_tokenizer

_KINDS = {
    "petitions": ("petitions_*.txt",),
    "Wikipedia": ("kowiki-01.txt",),
    "reviews": ("reviews-*.txt",),
}
_HEAD = """\
                                                     told by   and by   µs per   ns per
length overflow   unseen instances padding  label 1 the cuts   length instance    piece"""
_BUCKET_BYTES = 4 * CHUNK_BYTES  # as the command's


def read_buckets(paths: Sequence[Path]) -> list[Bucket]:
    """The tokenized documents of some files."""
    tokenizer = load_tokenizer(str(VOCAB))
    encoder = LineEncoder(tokenizer)
    config = PipelineFlags(input_file=tuple(map(str, paths)), output_file=("none",))
    buckets = []
    for chunk in read_chunks(config.input_file, config, _BUCKET_BYTES):
        documents = encode_documents(chunk, config, tokenizer, encoder)
        sentences, sizes = (
            np.append(0, np.cumsum(lengths, dtype=np.int64))
            for lengths in (documents.sentence_lengths, documents.document_lengths)
        )
        buckets.append(Bucket(documents.pieces, sentences, sizes, 0))
    return buckets


def cuts(bucket: Bucket, plan: Plan, max_seq_length: int) -> npt.NDArray[np.int64]:
    """Of each instance: does A, does B begin, end within a sentence; lengths: int64 [B, 6]."""
    is_boundary = np.zeros(len(bucket.pieces) + 1, np.bool_)
    is_boundary[bucket.sentence_offsets] = True
    edges = (
        plan.a_start, plan.a_start + plan.a_length, plan.b_start, plan.b_start + plan.b_length
    )  # fmt: skip
    lengths = (plan.a_length * 16 // max_seq_length, plan.b_length * 16 // max_seq_length)
    return np.stack([*(~is_boundary[edge] for edge in edges), *lengths], axis=1).astype(np.int64)


def told(features: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> float:
    """Share of labels that the best guess for each combination of features is right about."""
    _, cells = np.unique(features, axis=0, return_inverse=True)
    ones = np.bincount(cells.ravel(), labels)
    return float(np.maximum(ones, np.bincount(cells.ravel()) - ones).sum() / len(labels))


def measure(buckets: Sequence[Bucket], flags: InstanceFlags) -> str:
    """One row of the table."""
    plans, start = [], time.perf_counter()
    for number, bucket in enumerate(buckets):
        plans.append(plan_instances(bucket, flags, np.random.default_rng([1, number, 0])))
    seconds = time.perf_counter() - start
    pieces = sum(len(bucket.pieces) for bucket in buckets)
    seen = sum(plan.count_seen(flags.next_sentence == "nsp") for plan in plans)
    plan = Plan(*(np.concatenate(columns) for columns in zip(*plans, strict=True)))
    length = flags.max_seq_length
    features = np.concatenate(
        [cuts(bucket, one, length) for bucket, one in zip(buckets, plans, strict=True)]
    )
    special = 2 if flags.next_sentence == "none" else 3
    used = (plan.a_length + plan.b_length + special).sum() / (plan.size * length)
    return (
        f"{1 - seen / pieces:8.2%} {plan.size:9,} {1 - used:8.1%} {plan.label.mean():8.3f} "
        f"{told(features[:, :4], plan.label):8.3f} {told(features, plan.label):8.3f} "
        f"{seconds * 1e6 / plan.size:8.2f} {seconds * 1e9 / pieces:8.1f}"
    )


def main() -> None:
    """Prints a table for each kind of text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--next_sentence", choices=("nsp", "sop", "none"), default="nsp")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--copies", type=int, default=1, help="1 is what unmasked shards have")
    parser.add_argument("--files", nargs="+", type=Path, help="other files than the three kinds")
    arguments = parser.parse_args()
    kinds = {
        kind: sorted(path for pattern in patterns for path in (DATA / "pretrain").glob(pattern))
        for kind, patterns in _KINDS.items()
    }
    if arguments.files:
        kinds = {"files": arguments.files}
    for kind, paths in kinds.items():
        if not paths:
            sys.exit(f"no text of {kind} in {DATA / 'pretrain'}; set BERT_KO_DATA, or give --files")
        buckets = read_buckets(paths)
        pieces = sum(len(bucket.pieces) for bucket in buckets)
        print(f"\n{kind}: {pieces:,} pieces, {arguments.next_sentence}, {arguments.copies} copies")
        print(_HEAD)
        for length in arguments.lengths:
            overflows: tuple[Overflow, ...] = ("cut", "carry")
            for overflow in overflows[arguments.next_sentence == "none" :]:
                flags = InstanceFlags(
                    max_seq_length=length, next_sentence=arguments.next_sentence,
                    overflow=overflow, dupe_factor=arguments.copies,
                )  # fmt: skip
                print(f"{length:6} {overflow:8} {measure(buckets, flags)}", flush=True)


if __name__ == "__main__":
    main()
