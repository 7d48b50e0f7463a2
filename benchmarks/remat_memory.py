"""What --remat saves: memory of one update of pre-training, with it and without.

    KERAS_BACKEND=jax python benchmarks/remat_memory.py

Under JAX it is what the compiled update needs beside its arguments, as the compiler counts it,
on any machine; under TensorFlow the most that the process held above what it held before the first
update, in a process of its own.
"""

import argparse
import os
import subprocess
import sys
from typing import Any

import numpy as np

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.heads import PretrainingHead, model_specs
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.devices import choose_backend, load_backend
from bert_ko.training.optimization import OptimizerConfig, hyperparameters

HEAD = PretrainingHead()
MASKED = 20  # pieces of a sequence


def make_batch(rows: int, length: int, vocab_size: int) -> dict[str, np.ndarray]:
    """Random pieces; int32 and float32 arrays [rows, ...]."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, vocab_size, (rows, length), np.int32)
    return {
        "input_ids": ids,
        "input_mask": np.ones_like(ids),
        "segment_ids": np.zeros_like(ids),
        "masked_lm_positions": np.tile(np.arange(MASKED, dtype=np.int32), (rows, 1)),
        "masked_lm_ids": ids[:, :MASKED],
        "masked_lm_weights": np.ones((rows, MASKED), np.float32),
        "next_sentence_labels": np.zeros(rows, np.int32),
        "next_sentence_weights": np.ones(rows, np.float32),
    }


def resident(name: str) -> float:
    """VmHWM (the most so far) or VmRSS (now) of this process, in MB."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(name))
    return int(line.split()[1]) / 1024


def compiled_memory(program: Any, batch: Any, scalars: Any, hyper: Any) -> float:
    """MB that a compiled update of JAX needs beside arguments and results; nothing is computed."""
    step = program._key, np.uint32(0)
    lowered = program._train_function.lower(
        program._params, program._slots, batch, scalars, hyper, step
    )
    return float(lowered.compile().memory_analysis().temp_size_in_bytes / 1e6)


def measure(args: argparse.Namespace, remat: bool) -> float:
    """MB of an update."""
    config = BertConfig(
        vocab_size=args.vocab_size, hidden_size=args.hidden_size, num_hidden_layers=args.layers,
        num_attention_heads=args.hidden_size // 64, intermediate_size=4 * args.hidden_size,
    )  # fmt: skip
    optimizer = OptimizerConfig()
    backend = load_backend(DeviceConfig(precision="float32", remat=remat))
    arrays = initial_parameters(model_specs(config, HEAD), 0.02, 1)
    program = backend.train_program(config, HEAD, optimizer, arrays, 1)
    batch = make_batch(args.batch_size, args.length, args.vocab_size)
    parts = {name: value[None] for name, value in batch.items()}
    inputs = parts, HEAD.denominators(batch), hyperparameters(optimizer, 0)
    if backend.name == "jax":
        return compiled_memory(program, *inputs)
    before = resident("VmRSS")
    for step in range(2):
        program.train_step(step, *inputs)()
    return resident("VmHWM") - before


def main() -> None:
    """Measures both, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("layers", 12), ("hidden_size", 256), ("length", 128), ("batch_size", 32),
        ("vocab_size", 1000),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=("kept", "remat"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(measure(args, args.only == "remat"))
        return
    found = {}
    for name in ("kept", "remat"):
        command = [sys.executable, *sys.argv, f"--only={name}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
        found[name] = float(done.stdout.split()[-1])
    print(
        f"{choose_backend()}: {found['kept']:,.0f} MB, with --remat {found['remat']:,.0f} MB "
        f"({found['remat'] / found['kept']:.0%})"
    )


if __name__ == "__main__":
    main()
