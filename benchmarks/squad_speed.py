#!/usr/bin/env python3
"""Fine-tuning on KorQuAD: batches of about equal length beside batches padded to 384, and torch.

The peer is transformers' BertForQuestionAnswering in a process of its own, which rests while the
others train: the same windows shuffled, each batch padded to its longest (dynamic padding),
products in bfloat16 (by autocast) or float32 as ours, fused AdamW.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

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
from bert_ko.workers import num_processors

GOAL, TORCH_GOAL = 1.25, 1.5
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


def train_torch(connection: Any, batches: list[dict[str, Any]], precision: str) -> None:
    """Trains on the batches once for each message, and answers with seconds and losses."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    torch.set_num_threads(num_processors())
    torch.manual_seed(1)
    config = BertConfig(**json.loads((VOCAB / "bert_config_mini.json").read_text()))
    model = BertForQuestionAnswering(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    tensors = [{k: torch.from_numpy(v).long() for k, v in batch.items()} for batch in batches]
    while connection.recv():
        losses, start = [], time.perf_counter()
        for batch in tensors:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        windows = sum(len(batch["input_ids"]) for batch in batches)
        timed = Timed(time.perf_counter() - start, windows, statistics.mean(losses[-20:]))
        connection.send(tuple(timed))


def torch_batches(features: Features, plan: BatchPlan, count: int) -> list[dict[str, Any]]:
    """Shuffled windows, each batch as long as its longest, under transformers' names."""
    names = {
        "input_ids": "input_ids",
        "input_mask": "attention_mask",
        "segment_ids": "token_type_ids",
        "start_positions": "start_positions",
        "end_positions": "end_positions",
    }
    order = np.random.default_rng(2).permutation(len(features.lengths)).astype(np.int32)
    batches = []
    for chosen in order[: count * BATCH].reshape(count, BATCH):
        length = int(features.lengths[chosen].max())
        batch = gather_batch(features, plan, chosen)
        batches.append(
            {
                theirs: batch[ours][:, :length] if batch[ours].ndim == 2 else batch[ours]
                for ours, theirs in names.items()
            }
        )
    return batches


def main() -> None:
    """Prints windows a second of all, in turn, and the ratios."""
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
    given = torch_batches(features, plans["padded to 384"], arguments.steps)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(
        target=train_torch, args=(theirs, given, backend.precision), daemon=True
    ).start()
    found: dict[str, list[Timed]] = {name: [] for name in (*plans, "torch, dynamic padding")}
    for number in range(arguments.rounds + 1):  # the first one compiles
        for name, times in found.items():
            if name in plans:
                program.restart(arrays, 1)
                timed = train(program, features, plans[name], chosen[name])
            else:
                ours.send(True)
                timed = Timed(*ours.recv())
            if number:
                times.append(timed)
            speed = timed.windows / timed.seconds
            print(f"round {number}, {name}: {speed:.1f} windows/s", flush=True)
    speeds = {
        name: statistics.median(t.windows / t.seconds for t in times)
        for name, times in found.items()
    }
    for name, times in found.items():
        print(f"{name}: {speeds[name]:.1f} windows/s, loss of the last 20 {times[0].loss:.3f}")
    bucketed, padded, torch = speeds.values()
    print(f"ratio {bucketed / padded:.2f} (goal {GOAL}); to torch {bucketed / torch:.2f}", end=" ")
    print(f"(goal {TORCH_GOAL})")


if __name__ == "__main__":
    main()
