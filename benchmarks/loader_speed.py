#!/usr/bin/env python3
"""The reader of pre-training instances alone: sequences a second, and the padding of its batches.

python benchmarks/loader_speed.py
python benchmarks/loader_speed.py --pack --length=512
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import VOCAB, machine, write_sample

from bert_ko.create_pretraining_data import CreatePretrainingDataConfig, run
from bert_ko.data.packed_window import row_limits
from bert_ko.data.prefetch import Prefetcher
from bert_ko.data.reader import InstanceReader, ReaderConfig
from bert_ko.tasks.pretraining.settings import PretrainingFlags
from bert_ko.tasks.pretraining.shard_checks import check_shards
from bert_ko.training.checkpoints import read_model_config
from bert_ko.training.model_files import ModelFiles

GOALS = {"static": 20_000, "dynamic": 10_000}
PACKED_GOAL, PADDING_GOAL = 20_000, 0.03  # the padding at length 512
PIECES, MASKED = 1 << 15, 0.15  # of a batch; and the share of them that is masked


class Found(NamedTuple):
    """What the batches of a reader were like."""

    speed: float  # sequences a second
    padding: float  # share of all positions


def predictions(length: int) -> int:
    """Masked pieces of a sequence at most."""
    return math.ceil(MASKED * length)


def make_shards(corpus: Path, folder: Path, masking: str, length: int) -> None:
    """Whole-word masked shards, or unmasked ones."""
    config = CreatePretrainingDataConfig(
        input_file=(str(corpus),),
        output_file=(str(folder / "ko.tfrecord@16"),),
        vocab_file=str(VOCAB),
        max_seq_length=length,
        max_predictions_per_seq=predictions(length),
        dupe_factor=1,
        do_whole_word_mask=True,
        masking=masking,  # type: ignore[arg-type]
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run(config)


def measure(folder: Path, sequences: int, length: int, pack: bool) -> Found:
    """Batches are decoded in the background, as training takes them."""
    path = VOCAB / "bert_config.json"
    config = read_model_config(str(path))
    flags = PretrainingFlags(
        input_file=(str(folder),), output_dir="", do_train=True, max_seq_length=length,
        max_predictions_per_seq=predictions(length),
    )  # fmt: skip
    data = check_shards(flags.input_file, flags, ModelFiles(config, str(path), None))
    reader = InstanceReader(
        ReaderConfig(
            data.sources,
            PIECES // length,
            length,
            flags.max_predictions_per_seq,
            config.vocab_size,
            masking=data.masking,
            packing=row_limits(length, MASKED, flags.max_predictions_per_seq) if pack else None,
        )
    )
    start, count, real, positions = time.perf_counter(), 0, 0, 0
    with Prefetcher(reader.batches()) as batches:
        for batch in batches:
            count += len(batch.shards)
            mask = batch.features["input_mask"]
            real += int(np.count_nonzero(mask))
            positions += mask.size
            if count >= sequences:
                break
    return Found(count / (time.perf_counter() - start), 1 - real / positions)


def main() -> None:
    """Prints the median of several runs for shards of either kind, unpacked and packed in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--pack", action="store_true", help="Measure packed batches, too.")
    parser.add_argument("--corpus", type=Path, help="A text file, in place of the sample.")
    arguments = parser.parse_args()
    length = arguments.length
    print(f"{machine()}; length {length}")
    with tempfile.TemporaryDirectory() as name:
        corpus = arguments.corpus
        corpus = corpus or write_sample(Path(name, "sample.txt"), arguments.megabytes)
        for masking, goal in GOALS.items():
            folder = Path(name, masking)
            make_shards(corpus, folder, masking, length)
            totals = json.loads((folder / "manifest.json").read_text())["totals"]
            found: dict[bool, list[Found]] = {False: [], True: []}
            for _ in range(arguments.rounds):
                for pack in (False, True) if arguments.pack else (False,):
                    found[pack].append(measure(folder, arguments.sequences, length, pack))
            print(f"{masking}, {totals['instances']:,} instances")
            report("unpacked", found[False], f"goal {goal:,}")
            if arguments.pack:
                goals = f"goal {PACKED_GOAL:,}; padding at length 512 below {PADDING_GOAL:.0%}"
                report("packed", found[True], goals)


def report(name: str, found: list[Found], goal: str) -> None:
    """Prints a line."""
    speed = statistics.median(one.speed for one in found)
    print(
        f"  {name}: {speed:,.0f} sequences/s, {found[0].padding:.2%} padding ({goal})", flush=True
    )


if __name__ == "__main__":
    main()
