#!/usr/bin/env python3
"""Pre-training on packed rows beside unpacked ones: pieces of the text a second, in one run.

The same instances of the corpus (petitions and encyclopedia), the same model and as many rows in a
batch; the two programs take turns in one process.

    python benchmarks/packing.py
    KERAS_BACKEND=jax python benchmarks/packing.py
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import VOCAB, machine, write_sample
from loader_speed import MASKED, make_shards, predictions

from bert_ko.data.packed_window import row_limits
from bert_ko.data.reader import InstanceReader, ReaderConfig
from bert_ko.modeling.heads import PretrainingHead, model_specs
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.tasks.pretraining.settings import PretrainingFlags
from bert_ko.tasks.pretraining.shard_checks import check_shards
from bert_ko.training.backend import Backend, DeviceConfig
from bert_ko.training.checkpoints import read_model_config
from bert_ko.training.devices import load_backend
from bert_ko.training.model_files import ModelFiles
from bert_ko.training.optimization import OptimizerConfig, hyperparameters

GOAL = 1.4
CONFIG = str(VOCAB / "bert_config_mini.json")
HEAD = PretrainingHead()
OPTIMIZER = OptimizerConfig(learning_rate=1e-4, num_warmup_steps=0, name="adamw")


class Rate(NamedTuple):
    """Of some updates."""

    pieces: float  # a second, without padding
    sequences: float  # a second


def load_batches(folder: str, length: int, rows: int, count: int, pack: bool) -> list[Any]:
    """Batches, decoded before the clock starts."""
    config = read_model_config(CONFIG)
    flags = PretrainingFlags(
        input_file=(folder,), output_dir="", do_train=True, max_seq_length=length,
        max_predictions_per_seq=predictions(length),
    )  # fmt: skip
    data = check_shards([folder], flags, ModelFiles(config, CONFIG, None))
    reader = InstanceReader(
        ReaderConfig(
            data.sources,
            rows,
            length,
            flags.max_predictions_per_seq,
            config.vocab_size,
            masking=data.masking,
            packing=row_limits(length, MASKED) if pack else None,
        ),
        announce=print,
    )
    with contextlib.closing(reader.batches()) as batches:  # type: ignore[type-var]
        return list(itertools.islice(batches, count))


class Side:
    """A program and its batches."""

    def __init__(self, backend: Backend, batches: list[Any]):
        config = read_model_config(CONFIG)
        arrays = initial_parameters(model_specs(config, HEAD), config.initializer_range, 1)
        self._program = backend.train_program(config, HEAD, OPTIMIZER, arrays, 1)
        self._batches, self._step = batches, 0
        masks = [batch.features["input_mask"] for batch in batches]
        self._pieces = sum(int(np.count_nonzero(mask)) for mask in masks)
        self._sequences = sum(len(batch.shards) for batch in batches)
        self.padding = 1 - self._pieces / sum(mask.size for mask in masks)

    def train(self) -> Rate:
        """An update for each batch."""
        start = time.perf_counter()
        for batch in self._batches:
            parts = {name: value[None] for name, value in batch.features.items()}
            scalars = HEAD.denominators(batch.features)
            rates = hyperparameters(OPTIMIZER, self._step)
            self._program.train_step(self._step, parts, scalars, rates)()
            self._step += 1
        seconds = time.perf_counter() - start
        return Rate(self._pieces / seconds, self._sequences / seconds)


def main() -> None:
    """Prints the rates of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rows", type=int, default=8, help="Of a batch, on both sides.")
    parser.add_argument("--steps", type=int, default=10, help="Updates of a round.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--corpus", type=Path, help="A text file, in place of the sample.")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    backend = load_backend(DeviceConfig(precision=arguments.precision))
    print(f"{machine()}\n{backend.description}, {backend.precision}; BERT mini")
    print(f"{arguments.rows} rows of {arguments.length} pieces, {arguments.rounds} rounds")
    sides = {}
    with tempfile.TemporaryDirectory() as name:
        corpus = arguments.corpus
        corpus = corpus or write_sample(Path(name, "sample.txt"), arguments.megabytes)
        folder = Path(name, "shards")
        make_shards(corpus, folder, "dynamic", arguments.length)
        for side, pack in (("unpacked", False), ("packed", True)):
            batches = load_batches(
                str(folder), arguments.length, arguments.rows, arguments.steps, pack
            )
            sides[side] = Side(backend, batches)
    found: dict[str, list[Rate]] = {side: [] for side in sides}
    for number in range(arguments.rounds + 1):  # the first one compiles
        for side, trained in sides.items():
            rate = trained.train()
            if number:
                found[side].append(rate)
    pieces = {name: statistics.median(r.pieces for r in rates) for name, rates in found.items()}
    for name, rates in found.items():
        sequences = statistics.median(rate.sequences for rate in rates)
        print(
            f"{name}: {pieces[name]:,.0f} tokens/s without padding, {sequences:.1f} sequences/s, "
            f"{sides[name].padding:.1%} padding"
        )
    print(f"packed / unpacked: {pieces['packed'] / pieces['unpacked']:.2f} (goal {GOAL})")


if __name__ == "__main__":
    main()
