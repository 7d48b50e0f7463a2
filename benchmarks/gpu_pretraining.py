#!/usr/bin/env python3
"""Pre-training of BERT base on a GPU under JAX, beside transformers on torch, in one run.

Needs JAX, Keras, numpy and shards of create_pretraining_data (a folder for each length); torch and
transformers for the other side, which uses SDPA, torch.compile, masked positions only and fused
AdamW. Prints positions/s, padding among them, and model FLOPs utilisation: the operations of the
matrix products of an update, three times those of a prediction, per second, over the peak of the
device.

    python benchmarks/gpu_pretraining.py --shards128=shards/128 --shards512=shards/512
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
CONFIG = ROOT / "vocab" / "ko-mecab-32k" / "bert_config.json"
# Dense bfloat16 peaks of data sheets, TFLOP/s, without sparsity.
PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L4": 121.0, "T4": 65.0}
GOAL = 0.45
CASES = {128: (256, 20), 512: (64, 76)}  # length: sequences of an update, predictions


def load_batches(folder: str, length: int, batch: int, predictions: int, count: int) -> list[Any]:
    """Real instances, decoded before the clock starts."""
    from bert_ko.data.reader import InstanceReader, ReaderConfig
    from bert_ko.modeling.bert import BertConfig
    from bert_ko.tasks.pretraining.settings import PretrainingFlags
    from bert_ko.tasks.pretraining.shard_checks import check_shards
    from bert_ko.training.model_files import ModelFiles

    config = BertConfig(**json.loads(CONFIG.read_text()))
    flags = PretrainingFlags(
        input_file=(folder,), output_dir="", do_train=True, max_seq_length=length,
        max_predictions_per_seq=predictions,
    )  # fmt: skip
    data = check_shards([folder], flags, ModelFiles(config, str(CONFIG), None))
    reader = InstanceReader(
        ReaderConfig(
            data.sources, batch, length, predictions, config.vocab_size, masking=data.masking
        )
    )
    batches = reader.batches()
    return [next(batches).features for _ in range(count)]


def jax_steps(arguments: argparse.Namespace, batches: list[Any]) -> Callable[[int], object]:
    """Runs so many updates and waits for the last."""
    os.environ["KERAS_BACKEND"] = "jax"
    from bert_ko.modeling.bert import BertConfig
    from bert_ko.modeling.heads import PretrainingHead, model_specs
    from bert_ko.modeling.parameters import initial_parameters
    from bert_ko.training.backend import DeviceConfig
    from bert_ko.training.devices import load_backend
    from bert_ko.training.optimization import OptimizerConfig, hyperparameters

    values = model_values(arguments)
    config, head = BertConfig(**values), PretrainingHead()
    backend = load_backend(
        DeviceConfig(num_devices=1, precision="bfloat16", attention=arguments.attention)
    )
    print(backend.description, file=sys.stderr)
    arrays = initial_parameters(model_specs(config, head), 0.02, 1)
    optimizer = OptimizerConfig(learning_rate=1e-4, num_warmup_steps=100)
    program = backend.train_program(config, head, optimizer, arrays, 1)
    parts = [{key: value[None] for key, value in batch.items()} for batch in batches]
    scalars = [head.denominators(batch) for batch in batches]

    def run(count: int) -> object:
        result = None
        for number in range(count):
            i = number % len(parts)
            hyper = hyperparameters(optimizer, number)
            result = program.train_step(number, parts[i], scalars[i], hyper)
        assert result is not None
        return result()

    return run


def torch_steps(arguments: argparse.Namespace, batches: list[Any]) -> Callable[[int], object]:
    """The same with transformers."""
    import torch
    from transformers import BertConfig, BertForPreTraining

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    values = model_values(arguments)
    values["hidden_act"] = "gelu_pytorch_tanh"
    model = BertForPreTraining(BertConfig(**values, attn_implementation="sdpa")).to(device)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    placed = [
        {key: torch.from_numpy(value).to(device) for key, value in batch.items()}
        for batch in batches
    ]
    cross_entropy = torch.nn.functional.cross_entropy

    def loss(batch: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            output = model.bert(
                input_ids=batch["input_ids"],
                attention_mask=batch["input_mask"],
                token_type_ids=batch["segment_ids"],
            )
            hidden = output.last_hidden_state
            index = batch["masked_lm_positions"].long()[..., None]
            hidden = hidden.gather(1, index.expand(-1, -1, hidden.shape[-1]))
            logits, relation = model.cls(hidden, output.pooler_output)
        losses = cross_entropy(
            logits.flatten(0, 1).float(), batch["masked_lm_ids"].long().flatten(), reduction="none"
        )
        weights = batch["masked_lm_weights"].flatten()
        labels = batch["next_sentence_labels"].long()[:, 0]
        masked = (losses * weights).sum() / weights.sum()
        return masked + cross_entropy(relation.float(), labels)

    compiled = torch.compile(loss) if not arguments.no_compile else loss

    def run(count: int) -> object:
        value = None
        for number in range(count):
            optimizer.zero_grad(set_to_none=True)
            value = compiled(placed[number % len(placed)])
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        assert value is not None
        return value.item()

    return run


def model_values(arguments: argparse.Namespace) -> dict[str, Any]:
    """bert_config.json, with attention dropout as asked for."""
    values = dict(json.loads(CONFIG.read_text()))
    values["attention_probs_dropout_prob"] = arguments.attention_dropout
    if arguments.layers:
        values["num_hidden_layers"] = arguments.layers
    return values


def flops_per_sequence(arguments: argparse.Namespace, length: int, predictions: int) -> float:
    """Of an update."""
    c = model_values(arguments)
    h, i, layers = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]
    encoder = layers * (length * (4 * h * h + 2 * h * i) + 2 * length * length * h)
    return float(6 * (encoder + predictions * (h * h + h * c["vocab_size"])))


def measure(arguments: argparse.Namespace) -> None:
    """One side at one length, in a process of its own; prints JSON."""
    length = arguments.length
    batch, predictions = CASES[length]
    batch = arguments.batch_size or batch
    folder = arguments.shards128 if length == 128 else arguments.shards512
    batches = load_batches(folder, length, batch, predictions, 8)
    run = (jax_steps if arguments.side == "jax" else torch_steps)(arguments, batches)
    run(3)
    seconds = []
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        run(arguments.steps)
        seconds.append((time.perf_counter() - start) / arguments.steps)
    print(json.dumps({"sequences_per_second": batch / statistics.median(seconds)}))


def device_name() -> str:
    """Of the first GPU, as nvidia-smi tells; empty without one."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        return ""


def main() -> None:
    """Prints a line for each side and length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards128", help="Folder of shards of length 128.")
    parser.add_argument("--shards512", help="Folder of shards of length 512.")
    parser.add_argument("--batch_size", type=int, help="Default: 256 at 128, 64 at 512.")
    parser.add_argument("--attention", default="auto", choices=("auto", "plain", "fused"))
    parser.add_argument("--attention_dropout", type=float, default=0.0)
    parser.add_argument("--peak_tflops", type=float, help="Default: by the name of the GPU.")
    parser.add_argument("--layers", type=int, help="Fewer layers, to try this out.")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no_compile", action="store_true", help="torch without torch.compile.")
    parser.add_argument("--side", choices=("jax", "torch"), help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        measure(arguments)
        return
    name = device_name()
    peak = arguments.peak_tflops or next((v for k, v in PEAKS.items() if k in name), None)
    print(f"{name or 'no GPU'}; peak {peak or 'unknown'} TFLOP/s")
    for length, folder in ((128, arguments.shards128), (512, arguments.shards512)):
        if folder is None:
            continue
        rates = {}
        for side in ("jax", "torch"):
            command = [sys.executable, __file__, *sys.argv[1:], f"--side={side}"]
            output = subprocess.run(
                [*command, f"--length={length}"], check=True, stdout=subprocess.PIPE, text=True
            ).stdout
            rates[side] = json.loads(output.splitlines()[-1])["sequences_per_second"]
            used = rates[side] * flops_per_sequence(arguments, length, CASES[length][1]) / 1e12
            share = f", {used / peak:.1%} of the peak (goal {GOAL:.0%})" if peak else ""
            print(
                f"length {length}, {side}: {rates[side] * length:,.0f} positions/s, "
                f"{used:.3g} TFLOP/s{share}",
                flush=True,
            )
        print(f"length {length}: {rates['jax'] / rates['torch']:.2f} times torch", flush=True)


if __name__ == "__main__":
    main()
