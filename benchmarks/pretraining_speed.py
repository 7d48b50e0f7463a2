#!/usr/bin/env python3
"""Pre-training steps on this machine's CPU beside transformers on torch, in one run.

Peers: (a) as its users run it: logits at all positions, float32, plain AdamW; (b) logits at masked
positions, bfloat16 products by autocast, fused AdamW; (c) as (b) in float32. Each side runs in a
process of its own, one after the other, in several rounds.
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

from common import ROOT, VOCAB, machine

SIZES = {"mini": ("bert_config_mini.json", 32), "base": ("bert_config.json", 8)}
LENGTH, PREDICTIONS = 128, 20
GOALS: dict[tuple[str, str], dict[str, float]] = {
    ("mini", "bfloat16"): {"torch-a": 5, "torch-b": 2},
    ("base", "bfloat16"): {"torch-a": 2.2, "torch-b": 1.5},
    ("mini", "float32"): {"torch-c": 1.2},
    ("base", "float32"): {"torch-c": 1.2},
}
SIDES = ("bfloat16", "float32", "torch-a", "torch-b", "torch-c")


def instances(batch: int, vocab_size: int) -> dict[str, Any]:
    """Random sequences without padding, the same for all sides; arrays [B, ...]."""
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (batch, LENGTH)
    positions = [np.sort(rng.permutation(LENGTH)[:PREDICTIONS]) for _ in range(batch)]
    return {
        "input_ids": rng.integers(5, vocab_size, shape, np.int32),
        "input_mask": np.ones(shape, np.int32),
        "segment_ids": np.zeros(shape, np.int32),
        "masked_lm_positions": np.stack(positions).astype(np.int32),
        "masked_lm_ids": rng.integers(5, vocab_size, (batch, PREDICTIONS), np.int32),
        "masked_lm_weights": np.ones((batch, PREDICTIONS), np.float32),
        "next_sentence_labels": rng.integers(0, 2, (batch, 1), np.int32),
        "next_sentence_weights": np.ones(batch, np.float32),
    }


def our_step(size: str, precision: str) -> Callable[[], object]:
    """An update of bert_ko."""
    from bert_ko.modeling.bert import BertConfig
    from bert_ko.modeling.heads import PretrainingHead, model_specs
    from bert_ko.modeling.parameters import initial_parameters
    from bert_ko.training.backend import DeviceConfig
    from bert_ko.training.devices import load_backend
    from bert_ko.training.optimization import OptimizerConfig, hyperparameters

    name, batch_size = SIZES[size]
    config, head = BertConfig(**json.loads((VOCAB / name).read_text())), PretrainingHead()
    backend = load_backend(DeviceConfig(precision=precision))  # type: ignore[arg-type]
    arrays = initial_parameters(model_specs(config, head), config.initializer_range, 1)
    optimizer = OptimizerConfig(learning_rate=1e-4, num_warmup_steps=0)
    program = backend.train_program(config, head, optimizer, arrays, 1)
    batch = instances(batch_size, config.vocab_size)
    scalars = head.denominators(batch)
    parts = {key: value[None] for key, value in batch.items()}
    steps = iter(range(1 << 30))

    def step() -> object:
        number = next(steps)
        return program.train_step(number, parts, scalars, hyperparameters(optimizer, number))()

    return step


def torch_step(size: str, variant: str) -> Callable[[], object]:
    """An update of transformers' BertForPreTraining."""
    import torch
    from transformers import BertConfig, BertForPreTraining

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    name, batch_size = SIZES[size]
    values = json.loads((VOCAB / name).read_text())
    model = BertForPreTraining(BertConfig(**values))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=variant != "a")
    batch = {k: torch.from_numpy(v) for k, v in instances(batch_size, values["vocab_size"]).items()}
    ids, positions = batch["input_ids"].long(), batch["masked_lm_positions"].long()
    labels = batch["masked_lm_ids"].long()
    everywhere = torch.full_like(ids, -100).scatter_(1, positions, labels)
    next_sentence = batch["next_sentence_labels"].long()[:, 0]
    inputs = {
        "input_ids": ids,
        "attention_mask": batch["input_mask"].long(),
        "token_type_ids": batch["segment_ids"].long(),
    }
    cross_entropy = torch.nn.functional.cross_entropy

    def masked_only() -> Any:
        output = model.bert(**inputs)
        hidden = output.last_hidden_state
        index = positions[..., None].expand(-1, -1, hidden.shape[-1])
        logits, relation = model.cls(hidden.gather(1, index), output.pooler_output)
        masked = cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        return masked + cross_entropy(relation.float(), next_sentence)

    def loss() -> Any:
        if variant == "a":
            return model(**inputs, labels=everywhere, next_sentence_label=next_sentence).loss
        with torch.autocast("cpu", torch.bfloat16, enabled=variant == "b"):
            return masked_only()

    def step() -> object:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        return optimizer.step()

    return step


def matmul_rate(precision: str) -> float:
    """FLOP/s of the machine: the best product of 2,048 x 2,048 matrices through TensorFlow."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.stateless_normal((2048, 2048), [1, 2]), precision)
    seconds = []
    for _ in range(100):
        start = time.perf_counter()
        tf.matmul(matrix, matrix)
        seconds.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(seconds)


def flops_per_step(size: str) -> float:
    """Of the matrix products of an update: twice the weights and the scores, three times."""
    name, batch = SIZES[size]
    c = json.loads((VOCAB / name).read_text())
    h, i, layers = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]
    rows = batch * LENGTH
    encoder = layers * (rows * (4 * h * h + 2 * h * i) + 2 * rows * LENGTH * h)
    head = batch * PREDICTIONS * (h * h + h * c["vocab_size"])
    return float(6 * (encoder + head))


def measure(size: str, side: str, steps: int) -> None:
    """Runs in a process of its own; prints JSON."""
    rate = None if side.startswith("torch") else matmul_rate(side)
    if side.startswith("torch"):
        step = torch_step(size, side.removeprefix("torch-"))
    else:
        step = our_step(size, side)
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start  # tracing and compiling, above all
    for _ in range(2):
        step()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"seconds": statistics.median(seconds), "first": first, "peak": peak, "rate": rate}
    print(json.dumps(found))


def run(size: str, side: str, steps: int) -> dict[str, float]:
    """One side in a new process."""
    command = [sys.executable, __file__, f"--side={side}", f"--size={size}", f"--steps={steps}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return dict(json.loads(output.splitlines()[-1]))


def report(size: str, rounds: int, steps: int) -> None:
    """Prints a table of one size."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            found[side].append(run(size, side, steps))
    tokens = SIZES[size][1] * LENGTH
    speed = {s: tokens / statistics.median(r["seconds"] for r in rs) for s, rs in found.items()}
    print(f"\n{size}: {LENGTH} x {SIZES[size][1]}")
    for side in SIDES:
        peak = max(r["peak"] for r in found[side])
        first = statistics.median(r["first"] for r in found[side])
        line = f"{side:10} {speed[side]:8,.0f} tokens/s, peak {peak:6,.0f} MB, first {first:.1f} s"
        if not side.startswith("torch"):
            limit = max(r["rate"] for r in found[side])
            used = flops_per_step(size) * speed[side] / tokens
            line += f", {used / 1e9:.0f} of {limit / 1e9:.0f} GFLOP/s ({used / limit:.0%})"
            for peer, goal in GOALS[size, side].items():
                line += f"; {speed[side] / speed[peer]:.2f} times {peer} (goal {goal})"
        print(line, flush=True)


def main() -> None:
    """Prints a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--size", choices=SIZES)
    parser.add_argument("--side", choices=SIDES, help="Measure this alone, and print JSON.")
    arguments = parser.parse_args()
    if arguments.side:
        measure(arguments.size, arguments.side, arguments.steps)
        return
    print(machine())
    for size in [arguments.size] if arguments.size else SIZES:
        report(size, arguments.rounds, arguments.steps)


if __name__ == "__main__":
    main()
