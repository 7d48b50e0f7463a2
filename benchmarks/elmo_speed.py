#!/usr/bin/env python3
"""Updates of a bidirectional language model on this machine's CPU beside plain torch, in one run.

The peer has the same sizes and the same batch: convolutions and highways over the same distinct
words, an nn.LSTM with projection for each direction, a softmax over all words, fused AdamW, in
float32. It lacks what nn.LSTM has not: clipping of cells and the residual connection. Each side
runs in a process of its own, one after the other, in several rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from common import ROOT, machine

VOCAB_SIZE, BATCH, STEPS, DISTINCT = 20_000, 64, 20, 768
GOAL = 1.0  # of ours, by the better precision
SIDES = ("auto", "float32", "torch")


def batch(places: int) -> dict[str, Any]:
    """Random words, the same for all sides; see modeling.heads.BiLmHead."""
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (BATCH, STEPS)
    found = {
        "characters": rng.integers(0, 12_000, (1, DISTINCT, places), np.int32),
        "input_mask": np.ones(shape, np.int32),
        "num_cut": np.zeros((BATCH, 1), np.int32),
    }
    for direction in ("forward", "backward"):
        found[f"{direction}_inputs"] = rng.integers(0, DISTINCT, shape, np.int32)
        found[f"{direction}_targets"] = rng.integers(0, VOCAB_SIZE, shape, np.int32)
    return found


def our_step(precision: str) -> Callable[[], object]:
    """An update of bert_ko with the default configuration."""
    from bert_ko.modeling.elmo import ElmoConfig
    from bert_ko.modeling.heads import BiLmHead, model_specs
    from bert_ko.modeling.parameters import initial_parameters
    from bert_ko.training.backend import DeviceConfig
    from bert_ko.training.devices import load_backend
    from bert_ko.training.optimization import OptimizerConfig, hyperparameters

    config, head = ElmoConfig(vocab_size=VOCAB_SIZE), BiLmHead(BATCH)
    backend = load_backend(DeviceConfig(precision=precision))  # type: ignore[arg-type]
    arrays = initial_parameters(model_specs(config, head), config.initializer_range, 1)
    optimizer = OptimizerConfig(name="adamw", learning_rate=1e-4, num_warmup_steps=0)
    program = backend.train_program(config, head, optimizer, arrays, 1)
    features = batch(config.places)
    scalars = head.denominators(features)
    parts = {key: value[None] for key, value in features.items()}
    steps = iter(range(1 << 30))

    def step() -> object:
        number = next(steps)
        return program.train_step(number, parts, scalars, hyperparameters(optimizer, number))()

    return step


def torch_step() -> Callable[[], object]:
    """An update of a model made of torch.nn."""
    import torch
    from torch import nn

    from bert_ko.characters import num_characters
    from bert_ko.modeling.elmo import ElmoConfig

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config = ElmoConfig(vocab_size=VOCAB_SIZE)
    features = {name: torch.from_numpy(x).long() for name, x in batch(config.places).items()}
    size, total = config.character_embedding_size, sum(n for _, n in config.filters)

    class BiLm(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.characters = nn.Embedding(num_characters("syllable"), size)
            self.convolutions = nn.ModuleList(nn.Conv1d(size, n, w) for w, n in config.filters)
            self.carries = nn.ModuleList(nn.Linear(total, total) for _ in range(2))
            self.transforms = nn.ModuleList(nn.Linear(total, total) for _ in range(2))
            self.projection = nn.Linear(total, config.units)
            self.lstms = nn.ModuleList(
                nn.LSTM(config.units, config.cell_size, 2, dropout=0.1, proj_size=config.units)
                for _ in range(2)
            )
            self.dropout = nn.Dropout(0.1)
            self.words = nn.Linear(config.units, VOCAB_SIZE)

        def forward(self) -> Any:
            x = self.characters(features["characters"][0]).transpose(1, 2)
            found = [torch.relu(one(x).amax(dim=2)) for one in self.convolutions]
            y = torch.cat(found, dim=1)
            for carry, transform in zip(self.carries, self.transforms, strict=True):
                gate = torch.sigmoid(carry(y))
                y = gate * torch.relu(transform(y)) + (1 - gate) * y
            vectors, losses = self.projection(y), []
            for direction, lstm in zip(("forward", "backward"), self.lstms, strict=True):
                inputs = vectors[features[f"{direction}_inputs"].T]
                hidden, _ = lstm(self.dropout(inputs))
                logits = self.words(self.dropout(hidden)).flatten(0, 1)
                targets = features[f"{direction}_targets"].T.flatten()
                losses.append(nn.functional.cross_entropy(logits, targets))
            return sum(losses) / 2

    model = BiLm()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> object:
        optimizer.zero_grad(set_to_none=True)
        model().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        return optimizer.step()

    return step


def measure(side: str, count: int) -> None:
    """Runs in a process of its own; prints JSON."""
    step = torch_step() if side == "torch" else our_step(side)
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start  # tracing and compiling, above all
    step()
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": statistics.median(seconds), "first": first, "peak": peak}))


def run(side: str, count: int) -> dict[str, float]:
    """One side in a new process."""
    command = [sys.executable, __file__, f"--side={side}", f"--steps={count}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return dict(json.loads(output.splitlines()[-1]))


def main() -> None:
    """Prints a line for each side, and what ours is beside torch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--side", choices=SIDES, help="Measure this alone, and print JSON.")
    arguments = parser.parse_args()
    if arguments.side:
        measure(arguments.side, arguments.steps)
        return
    print(machine())
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(arguments.rounds):
        for side in SIDES:
            found[side].append(run(side, arguments.steps))
    words = BATCH * STEPS
    rates = {s: words / statistics.median(r["seconds"] for r in rs) for s, rs in found.items()}
    print(f"{BATCH} x {STEPS} words, vocabulary of {VOCAB_SIZE:,}, all words in the softmax")
    for side in SIDES:
        peak = max(r["peak"] for r in found[side])
        first = statistics.median(r["first"] for r in found[side])
        ratio = f"; {rates[side] / rates['torch']:.2f} times torch" if side != "torch" else ""
        print(
            f"{side:8} {rates[side]:7,.0f} words/s, peak {peak:,.0f} MB, first {first:.1f} s{ratio}"
        )
    best = max(rates["auto"], rates["float32"]) / rates["torch"]
    print(f"{best:.2f} times torch (goal {GOAL})")


if __name__ == "__main__":
    main()
