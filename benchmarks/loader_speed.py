#!/usr/bin/env python3
"""The reader of pre-training instances alone: sequences a second at length 128."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from pathlib import Path

from common import VOCAB, machine, write_sample

from bert_ko.create_pretraining_data import CreatePretrainingDataConfig, run
from bert_ko.data.prefetch import Prefetcher
from bert_ko.data.reader import InstanceReader, ReaderConfig
from bert_ko.tasks.pretraining.settings import PretrainingFlags
from bert_ko.tasks.pretraining.shard_checks import check_shards
from bert_ko.training.checkpoints import read_model_config
from bert_ko.training.model_files import ModelFiles

GOALS = {"static": 20_000, "dynamic": 10_000}
LENGTH, PREDICTIONS, BATCH = 128, 20, 256


def make_shards(corpus: Path, folder: Path, masking: str) -> None:
    """Whole-word masked shards, or unmasked ones."""
    config = CreatePretrainingDataConfig(
        input_file=(str(corpus),),
        output_file=(str(folder / "ko.tfrecord@16"),),
        vocab_file=str(VOCAB),
        max_seq_length=LENGTH,
        max_predictions_per_seq=PREDICTIONS,
        dupe_factor=1,
        do_whole_word_mask=True,
        masking=masking,  # type: ignore[arg-type]
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run(config)


def speed(folder: Path, sequences: int) -> float:
    """Sequences a second, decoded in the background as training takes them."""
    path = VOCAB / "bert_config.json"
    config = read_model_config(str(path))
    flags = PretrainingFlags(
        input_file=(str(folder),), output_dir="", do_train=True, max_seq_length=LENGTH,
        max_predictions_per_seq=PREDICTIONS,
    )  # fmt: skip
    data = check_shards(flags.input_file, flags, ModelFiles(config, str(path), None))
    reader = InstanceReader(
        ReaderConfig(
            data.sources, BATCH, LENGTH, PREDICTIONS, config.vocab_size, masking=data.masking
        )
    )
    start, count = time.perf_counter(), 0
    with Prefetcher(reader.batches()) as batches:
        for batch in batches:
            count += len(batch.shards)
            if count >= sequences:
                break
    return count / (time.perf_counter() - start)


def main() -> None:
    """Prints the median of several runs for shards of either kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        corpus = write_sample(Path(name, "sample.txt"), arguments.megabytes)
        for masking, goal in GOALS.items():
            folder = Path(name, masking)
            make_shards(corpus, folder, masking)
            totals = json.loads((folder / "manifest.json").read_text())["totals"]
            found = [speed(folder, arguments.sequences) for _ in range(arguments.rounds)]
            print(
                f"{masking}: {statistics.median(found):,.0f} sequences/s over "
                f"{totals['instances']:,} instances (goal {goal:,})"
            )


if __name__ == "__main__":
    main()
