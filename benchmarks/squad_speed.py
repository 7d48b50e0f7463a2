#!/usr/bin/env python3
"""Fine-tuning on KorQuAD: batches of about equal length beside batches padded to 384."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from common import DATA, VOCAB, machine

from bert_ko.modeling.heads import SpanHead, model_specs
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.tasks.batches import BatchPlan, choose_lengths, epoch_batches, gather_batch
from bert_ko.tasks.squad.features import Features, Ints, WindowConfig, build_features
from bert_ko.tasks.squad.question_files import read_dataset
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.backend import DeviceConfig, TrainProgram
from bert_ko.training.checkpoints import read_model_config
from bert_ko.training.devices import load_backend
from bert_ko.training.optimization import OptimizerConfig, hyperparameters

GOAL = 1.25
BATCH = 32
HEAD = SpanHead()


class Timed(NamedTuple):
    """Of a sequence of updates."""

    seconds: float
    windows: int
    loss: float


def representative(features: Features, batches: list[Ints], count: int) -> list[Ints]:
    """Batches of all lengths in the proportion of the epoch, in an order that mixes them."""
    ordered = sorted(batches, key=lambda windows: int(features.lengths[windows].max()))
    chosen = [ordered[(2 * i + 1) * len(ordered) // (2 * count)] for i in range(count)]
    return [chosen[i] for i in np.random.default_rng(1).permutation(count)]


def train(
    program: TrainProgram, features: Features, plan: BatchPlan, batches: Sequence[Ints]
) -> Timed:
    """Updates with these batches."""
    optimizer = OptimizerConfig(learning_rate=3e-4, num_warmup_steps=0, name="adamw")
    losses = []
    start = time.perf_counter()
    for step, windows in enumerate(batches):
        batch = gather_batch(features, plan, windows)
        scalars = HEAD.denominators(batch)
        parts = {name: value[None] for name, value in batch.items()}
        result = program.train_step(step, parts, scalars, hyperparameters(optimizer, step))()
        losses.append(HEAD.metrics(result)["loss"])
    windows_done = sum(map(len, batches))
    return Timed(time.perf_counter() - start, windows_done, statistics.mean(losses[-20:]))


def main() -> None:
    """Prints windows a second of both, in turn, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    path = DATA / "korquad" / "train.json"
    if not path.is_file():
        sys.exit(f"no {path}; set BERT_KO_DATA to a folder that has it.")
    tokenizer = load_tokenizer(str(VOCAB))
    features = build_features(read_dataset(str(path)), tokenizer, WindowConfig())
    config_path = VOCAB / "bert_config_mini.json"
    config = read_model_config(str(config_path))
    backend = load_backend(DeviceConfig(precision=arguments.precision))
    arrays = initial_parameters(model_specs(config, HEAD), config.initializer_range, 1)
    optimizer = OptimizerConfig(learning_rate=3e-4, num_warmup_steps=0, name="adamw")
    program = backend.train_program(config, HEAD, optimizer, dict(arrays), 1)
    special = (tokenizer.vocab.pad_id, tokenizer.vocab.cls_id, tokenizer.vocab.sep_id)
    plans = {
        "length buckets": BatchPlan(BATCH, special, choose_lengths(features.lengths, 384)),
        "padded to 384": BatchPlan(BATCH, special, (384,)),
    }
    chosen = {
        name: representative(features, epoch_batches(features.lengths, plan, 0), arguments.steps)
        for name, plan in plans.items()
    }
    print(f"{machine()}\n{backend.description}, {backend.precision}; BERT mini, batches of {BATCH}")
    found: dict[str, list[Timed]] = {name: [] for name in plans}
    for number in range(arguments.rounds + 1):  # the first one compiles
        for name, plan in plans.items():
            program.restart(arrays, 1)
            timed = train(program, features, plan, chosen[name])
            if number:
                found[name].append(timed)
    speeds = {
        name: statistics.median(t.windows / t.seconds for t in times)
        for name, times in found.items()
    }
    for name, times in found.items():
        print(f"{name}: {speeds[name]:.1f} windows/s, loss of the last 20 {times[0].loss:.3f}")
    bucketed, padded = speeds.values()
    print(f"ratio {bucketed / padded:.2f} (goal {GOAL})")


if __name__ == "__main__":
    main()
