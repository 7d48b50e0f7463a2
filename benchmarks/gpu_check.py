#!/usr/bin/env python3
"""Pre-training of BERT base on one GPU under JAX, checked and timed beside torch, in one command.

    python benchmarks/gpu_check.py --json=gpu.json

Needs JAX, Keras and numpy, and no data: sequences are random pieces of random lengths, as full as
real text makes them. Where torch and transformers are installed, they are timed, too, with SDPA,
torch.compile, masked positions only and fused AdamW. Each line is printed, and the JSON written, as
soon as it is known:

- losses on the device: the attention that was chosen, plain attention and packed rows agree;
- for lengths 128 and 512, unpacked and packed, each choice of attention, with and without dropout:
  tokens a second, padding not counted, and model FLOPs utilisation by the device's data sheet;
- the memory that an update needs, and one update by kind of kernel.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import gzip
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import ROOT

from bert_ko.data.packed_window import PackedWindow, Sequences, row_limits
from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.flops import update_flops

MASKED = 0.15
ROWS = {128: 256, 512: 64}
# How full rows are: of instances of 128 pieces made of documents, 93 %; of 512, 73 %.
FULL = {128: 0.93, 512: 0.73}
KINDS = (
    ("optimizer", r"optimizer"),
    ("attention", r"cudnn|fmha|flash|dot_product_attention|bqnd|bnqk"),
    ("products", r"gemm|cublas|cutlass|nvjet|dot_general|matmul"),
    ("embeddings", r"scatter|gather|take"),
)
OTHER = "elementwise"


class Case(NamedTuple):
    """One way to train."""

    length: int
    is_packed: bool = False
    attention: str = "fused"
    dropout: float = 0.0  # of units
    attention_dropout: float = 0.0
    side: str = "ours"

    def __str__(self) -> str:
        """As the table has it."""
        rows = "packed" if self.is_packed else "unpacked"
        dropout = f"dropout {self.dropout:g}, of attention {self.attention_dropout:g}"
        return f"{self.side:5} {self.length} {rows:8} {self.attention:5} {dropout}"


CASES = (
    *(Case(length, dropout=0.1) for length in ROWS),
    *(Case(length) for length in ROWS),
    *(Case(length, is_packed=True) for length in ROWS),
    *(Case(length, attention="plain") for length in ROWS),
    *(Case(length, is_packed=True, attention="plain") for length in ROWS),
    Case(128, attention="plain", dropout=0.1, attention_dropout=0.1),
)
TORCH_CASES = tuple(Case(length, dropout=0.1, side="torch") for length in ROWS)


def model_config(flags: argparse.Namespace, case: Case) -> BertConfig:
    """Base, or what was asked for."""
    values = json.loads((ROOT / "vocab" / "ko-mecab-32k" / "bert_config.json").read_text())
    values["num_hidden_layers"] = flags.layers
    values["hidden_dropout_prob"] = case.dropout
    values["attention_probs_dropout_prob"] = case.attention_dropout
    return BertConfig(**values)


def make_sequences(length: int, count: int, vocab_size: int) -> Sequences:
    """Random sequences; frequent pieces are as frequent as in text, roughly."""
    rng = np.random.default_rng(0)
    shortest = 2 * FULL[length] - 1
    sizes = rng.integers(max(8, round(shortest * length)), length + 1, count)
    masked = np.maximum(1, np.round(MASKED * sizes)).astype(np.int64)
    pieces, targets = int(sizes.sum()), int(masked.sum())
    # Zipf's law, by inversion.
    ids = np.exp(rng.random(pieces) * np.log(vocab_size)).astype(np.int32) % vocab_size
    positions = [np.sort(rng.choice(n, m, False)) for n, m in zip(sizes, masked, strict=True)]
    features = {
        "input_ids": ids,
        "segment_ids": np.zeros(pieces, np.int32),
        "masked_lm_positions": np.concatenate(positions).astype(np.int32),
        "masked_lm_ids": rng.integers(0, vocab_size, targets).astype(np.int32),
        "masked_lm_weights": np.ones(targets, np.float32),
        "next_sentence_labels": rng.integers(0, 2, count).astype(np.int32),
        "next_sentence_weights": np.ones(count, np.float32),
    }
    return Sequences(sizes, masked, features)


def in_rows(sequences: Sequences, length: int, is_packed: bool) -> dict[str, Any]:
    """All sequences as one batch, in packed rows or a row each."""
    limits = row_limits(length, MASKED, int(sequences.masked.max()))
    if is_packed:
        window = PackedWindow([sequences], limits)
        return window.take(0, len(window))
    # A row of each: a packed one whose only sequence fills it, without what packing adds.
    rows = PackedWindow([sequences], limits._replace(sequences=1))
    features = rows.take(0, len(rows))
    for name in ("sequence_ids", "position_ids", "first_positions", "sequence_lengths"):
        del features[name]
    features["next_sentence_weights"] = features["next_sentence_weights"][:, 0]
    return features


def make_batch(flags: argparse.Namespace, case: Case) -> dict[str, Any]:
    """Of the rows that the case has."""
    rows = max(1, ROWS[case.length] // flags.shrink)
    count = rows * (3 if case.is_packed else 1)
    sequences = make_sequences(case.length, count, model_config(flags, case).vocab_size)
    batch = in_rows(sequences, case.length, case.is_packed)
    return {name: value[:rows] for name, value in batch.items()}


class Report:
    """Lines on the terminal, and the same as JSON, so that what is known is never lost."""

    def __init__(self, path: str | None):
        self._path, self._values = path, {}
        if path and os.path.exists(path):
            self._values = json.loads(Path(path).read_text())

    def add(self, section: str, name: str, values: Mapping[str, Any], text: str) -> None:
        """A line, and its values under a name in a section."""
        print(text, flush=True)
        self._values.setdefault(section, {})[name] = values
        if self._path:
            Path(self._path).write_text(json.dumps(self._values, indent=1))


def timed(run: Callable[[], object], steps: int, rounds: int) -> float:
    """Median seconds of an update; ``run`` begins one and returns what is waited for."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(steps - 1):
            run()
        wait = run()
        assert callable(wait)
        wait()
        found.append((time.perf_counter() - start) / steps)
    return statistics.median(found)


def add_rate(
    flags: argparse.Namespace, report: Report, case: Case, seconds: float, peak: float | None,
    **more: Any,
) -> None:  # fmt: skip
    """A line of the table."""
    batch = make_batch(flags, case)
    tokens = int(np.count_nonzero(batch["input_mask"]))
    flops = update_flops(model_config(flags, case), batch)
    assert flops is not None
    used = flops / seconds
    values: dict[str, Any] = {"tokens_per_second": tokens / seconds, "milliseconds": seconds * 1e3}
    values |= {"tflops": used / 1e12, "mfu": used / peak if peak else None, **more}
    share = f"  {used / peak:6.1%} of the peak" if peak else ""
    memory = f"  {more['megabytes']:8,.0f} MB" if "megabytes" in more else ""
    text = f"{case!s:70} {tokens / seconds:10,.0f} tokens/s  {used / 1e12:6.1f} TFLOP/s"
    report.add("rates", str(case), values, f"{text}{share}{memory}")


# Ours


class Ours:
    """All cases of ours in one process; they are compiled at once, and timed one by one."""

    def __init__(self, flags: argparse.Namespace, report: Report):
        os.environ["KERAS_BACKEND"] = "jax"
        from bert_ko.modeling.heads import PretrainingHead, model_specs
        from bert_ko.modeling.parameters import initial_parameters
        from bert_ko.training.optimization import OptimizerConfig

        self.flags, self.report = flags, report
        self.head = PretrainingHead()
        self.optimizer = OptimizerConfig(learning_rate=1e-4, num_warmup_steps=10)
        config = model_config(flags, CASES[0])
        self.arrays = initial_parameters(model_specs(config, self.head), 0.02, 1)

    def backend(self, attention: str) -> Any:
        """The device with one choice of attention."""
        from bert_ko.training.backend import DeviceConfig
        from bert_ko.training.devices import load_backend

        precision: Any = self.flags.precision
        return load_backend(DeviceConfig(1, precision=precision, attention=attention))  # type: ignore[arg-type]

    def check(self) -> bool:
        """Whether the losses of one set of sequences, computed in every way, agree."""
        agree = True
        for length in ROWS:
            count = max(8, ROWS[length] // 4 // self.flags.shrink)
            sequences = make_sequences(length, count, 32000)
            losses = {}
            for name, attention, is_packed in (
                ("plain", "plain", False),
                ("fused", "fused", False),
                ("plain, packed", "plain", True),
                ("fused, packed", "fused", True),
            ):
                config = model_config(self.flags, Case(length))
                program = self.backend(attention).train_program(
                    config, self.head, None, self.arrays, 1
                )
                batch = in_rows(sequences, length, is_packed)
                scalars = {one: np.float32(1) for one in self.head.denominators(batch)}
                sums = program.eval_step(batch, scalars)
                losses[name] = sums["masked_lm_loss"] / sums["masked_lm_weight"]
            worst = max(losses.values()) - min(losses.values())
            # Rounding to 8 bits, averaged over a thousand losses of about 10.
            verdict = "agree" if worst < 0.02 else "DIFFER"
            agree &= worst < 0.02
            text = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
            values = {**losses, "largest_difference": worst}
            self.report.add("losses", str(length), values, f"losses at {length} {verdict}: {text}")
        return agree

    def lower(self, case: Case) -> tuple[Any, Any]:
        """An update that can be compiled, and a function that makes it run."""
        from bert_ko.training.optimization import hyperparameters

        config, batch = model_config(self.flags, case), make_batch(self.flags, case)
        backend = self.backend(case.attention)
        program = backend.train_program(config, self.head, self.optimizer, self.arrays, 1)
        placed = program._split({name: value[None] for name, value in batch.items()}, 1)
        rest = (self.head.denominators(batch), hyperparameters(self.optimizer, 20))
        key, number = program._key, np.uint32(3)
        state = [program._params, program._slots]
        lowered = program._train_function.lower(*state, placed, *rest, (key, number))
        del program

        def start(compiled: Any) -> Callable[[], Any]:
            def run() -> Callable[[], object]:
                *state[:], sums = compiled(*state, placed, *rest, (key, number))
                return lambda: float(sums["objective"])

            return run

        return lowered, start

    def run(self) -> bool:
        """Everything; whether the losses agree."""
        import jax

        from bert_ko.training.peaks import peak_flops

        device = jax.devices()[0]
        peak = peak_flops(device.device_kind)
        values = {"kind": device.device_kind, "jax": jax.__version__, "peak": peak}
        rate = f"{peak / 1e12:g} TFLOP/s" if peak else "unknown"
        text = f"{device.device_kind}, JAX {jax.__version__}, peak {rate}"
        self.report.add("device", "0", values, text)
        agree = self.check()
        with concurrent.futures.ThreadPoolExecutor(self.flags.compile_threads) as pool:
            lowered = [(case, *self.lower(case)) for case in CASES[: self.flags.cases]]
            futures = [(case, pool.submit(lower.compile), start) for case, lower, start in lowered]
            compiled = [(case, future.result(), start) for case, future, start in futures]
        for number, (case, program, start) in enumerate(compiled):
            run = start(program)
            run()()
            seconds = timed(run, self.flags.steps, self.flags.rounds)
            memory = program.memory_analysis().temp_size_in_bytes / 1e6
            add_rate(self.flags, self.report, case, seconds, peak, megabytes=memory)
            if number < len(ROWS):
                self.profile(case, program, run)
        return agree

    def profile(self, case: Case, program: Any, run: Callable[[], Any]) -> None:
        """One update by kind of kernel."""
        import jax

        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                run()()
            found = by_kind(Path(folder), program.as_text())
        total = sum(found.values()) or 1.0
        parts = ", ".join(f"{kind} {ms:.1f} ms ({ms / total:.0%})" for kind, ms in found.items())
        self.report.add("kernels", str(case), found, f"      of which {parts}")


def by_kind(folder: Path, program: str) -> dict[str, float]:
    """Milliseconds of a device by kind of kernel, and between kernels.

    Args:
        folder: of the profiler.
        program: the compiled one as text, whose operations name where they come from.
    """
    sources = dict(re.findall(r"%?([\w.\-]+) = [^\n]*op_name=\"([^\"]*)\"", program))
    (path,) = folder.rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    devices = {
        event["pid"]
        for event in events
        if event.get("name") == "process_name" and "/device:" in event["args"]["name"]
    }
    kernels = [
        event
        for event in events
        if event.get("ph") == "X"
        and "hlo_op" in event.get("args", {})
        and (not devices or event["pid"] in devices)
    ]
    found: Counter[str] = Counter()
    for event in kernels:
        operation = event["args"]["hlo_op"]
        text = f"{event['name']} {operation} {sources.get(operation, '')}"
        kind = next((kind for kind, pattern in KINDS if re.search(pattern, text)), OTHER)
        found[kind] += event["dur"] / 1e3
    if kernels and devices:
        end = max(event["ts"] + event["dur"] for event in kernels)
        span = (end - min(event["ts"] for event in kernels)) / 1e3
        found["gaps"] = max(0.0, span - found.total())
    return dict(found.most_common())


# torch


def time_torch(flags: argparse.Namespace, report: Report, case: Case) -> None:
    """The same with transformers."""
    import torch
    from transformers import BertConfig as TheirConfig
    from transformers import BertForPreTraining

    from bert_ko.training.peaks import peak_flops

    is_cuda = torch.cuda.is_available()
    device = "cuda" if is_cuda else "cpu"
    torch.set_float32_matmul_precision("high")
    config = model_config(flags, case)
    values = {**config.to_dict(), "hidden_act": "gelu_pytorch_tanh"}
    model = BertForPreTraining(TheirConfig(**values, attn_implementation="sdpa")).to(device)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    batch = {k: torch.from_numpy(v).to(device) for k, v in make_batch(flags, case).items()}
    cross_entropy = functools.partial(torch.nn.functional.cross_entropy, reduction="none")

    def loss() -> Any:
        with torch.autocast(device, torch.bfloat16):
            output = model.bert(
                input_ids=batch["input_ids"],
                attention_mask=batch["input_mask"],
                token_type_ids=batch["segment_ids"],
            )
            index = batch["masked_lm_positions"].long()[..., None]
            hidden = output.last_hidden_state
            hidden = hidden.gather(1, index.expand(-1, -1, hidden.shape[-1]))
            logits, relation = model.cls(hidden, output.pooler_output)
        labels, weights = batch["masked_lm_ids"].long(), batch["masked_lm_weights"].flatten()
        losses = cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        masked = (losses * weights).sum() / weights.sum()
        relations = cross_entropy(relation.float(), batch["next_sentence_labels"].long()[:, 0])
        return masked + relations.mean()

    compiled = torch.compile(loss) if flags.compile_torch else loss

    def run() -> Callable[[], object]:
        optimizer.zero_grad(set_to_none=True)
        value = compiled()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return lambda: value.item()

    for _ in range(3):
        run()()
    seconds = timed(run, flags.steps, flags.rounds)
    kind = torch.cuda.get_device_name(0) if is_cuda else "cpu"
    add_rate(flags, report, case, seconds, peak_flops(kind), torch=torch.__version__)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", help="Where everything is written as it becomes known.")
    parser.add_argument("--steps", type=int, default=20, help="Updates of a round.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile_threads", type=int, default=8)
    parser.add_argument("--compile_torch", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--no_torch", action="store_true", help="Ours alone.")
    small = parser.add_argument_group("to try the command itself on a CPU")
    small.add_argument("--layers", type=int, default=12)
    small.add_argument("--shrink", type=int, default=1, help="So many times fewer rows.")
    small.add_argument("--cases", type=int, default=len(CASES), help="Only the first ones.")
    small.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Runs ours in one process and each case of torch in another, so that memory is free again."""
    flags = parse()
    if flags.part is not None:
        report = Report(flags.json)
        if flags.part == 0:
            sys.exit(0 if Ours(flags, report).run() else 1)
        else:
            time_torch(flags, report, TORCH_CASES[flags.part - 1])
        return
    if flags.json and os.path.exists(flags.json):
        sys.exit(f"--json: {flags.json} exists; name a new file.")
    start = time.monotonic()
    has_torch = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
    parts = [0, *(range(1, 1 + len(TORCH_CASES)) if has_torch and not flags.no_torch else ())]
    failed = 0
    for part in parts:
        command = [sys.executable, __file__, *sys.argv[1:], f"--part={part}"]
        failed |= subprocess.run(command).returncode
    print(f"{time.monotonic() - start:.0f} s in all", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
