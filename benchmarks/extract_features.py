#!/usr/bin/env python3
"""Features of sentences beside transformers' pipeline one sentence at a time, and file sizes.

Both have the same random weights, the same lines and float32 vectors of the last layer; each side
tokenizes for itself.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import VOCAB, corpus_files, machine, median_seconds
from safetensors.numpy import save_file

from bert_ko.data.prefetch import Prefetcher
from bert_ko.modeling.heads import model_specs
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.tasks.features.extraction import (
    Extractor,
    FeatureSettings,
    block_size,
    load_extractor,
)
from bert_ko.tasks.features.writers import make_layout, open_writer
from bert_ko.tasks.sentences import encode_blocks, join
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.checkpoints import read_model_config
from bert_ko.training.hugging_face import to_hugging_face_arrays, to_hugging_face_config
from bert_ko.training.model_files import ModelFlags, TrainedModel, open_model

GOAL = 5.0
MAX_SEQ_LENGTH = 128
PEER = "transformers' pipeline one by one"


def sample_lines(count: int) -> list[str]:
    """Lines of all files of the corpus, spread evenly."""
    files = corpus_files()
    share = -(-count // len(files))
    found: list[str] = []
    for file in files:
        with file.open(encoding="utf-8") as stream:
            lines = [line.strip() for line in stream.read(4_000_000).split("\n")[:-1]]
        lines = [line for line in lines if line]
        found += lines[:: max(1, len(lines) // share)][:share]
    order = np.random.default_rng(1).permutation(len(found))[:count]
    return [found[i] for i in order]


def write_model(folder: Path, name: str) -> None:
    """A Hugging Face folder of random weights, with the vocabulary."""
    path = VOCAB / ("bert_config.json" if name == "base" else f"bert_config_{name}.json")
    config = read_model_config(str(path))
    arrays = initial_parameters(model_specs(config), config.initializer_range, 1)
    theirs = to_hugging_face_arrays(config, arrays)
    save_file(
        {key: np.ascontiguousarray(value) for key, value in theirs.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    (folder / "config.json").write_text(json.dumps(to_hugging_face_config(config, arrays)))
    for file in ("vocab.txt", "tokenizer_config.json"):
        (folder / file).write_bytes((VOCAB / file).read_bytes())


def load_pipeline(folder: Path, dtype: str) -> Callable[[str], Any]:
    """The other side; tensors are asked for, which is faster than its lists."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    tokenizer = transformers.BertTokenizer(
        str(folder / "vocab.txt"), do_lower_case=True, strip_accents=False
    )
    model = transformers.BertModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    pipeline = transformers.pipeline("feature-extraction", model=model, tokenizer=tokenizer)
    limits = {"truncation": True, "max_length": MAX_SEQ_LENGTH}
    return lambda line: pipeline(line, return_tensors=True, tokenize_kwargs=limits)


def ask_all(ask: Callable[[str], Any], lines: list[str], threads: int) -> None:
    """The other side, with so many threads: where others compute, one may be faster than all."""
    import torch

    torch.set_num_threads(threads)
    for line in lines:
        ask(line)


def extract(
    model: TrainedModel, extractor: Extractor, settings: FeatureSettings, lines: list[str]
) -> int:
    """Ours, from lines to values; returns the number of pieces."""
    blocks = encode_blocks(
        lines, model.tokenizer, MAX_SEQ_LENGTH, block_size(settings, model.config)
    )
    with Prefetcher(blocks, 1) as ahead:
        return sum(len(values) for _, values in extractor.compute_blocks(ahead))


def compare(name: str, arguments: argparse.Namespace) -> None:
    """Prints sentences a second of both sides, in turn, and the ratios."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_model(folder, name)
        lines = sample_lines(arguments.sentences)
        few = lines[:: max(1, len(lines) // arguments.one_by_one)][: arguments.one_by_one]
        model = open_model(ModelFlags(init_checkpoint=str(folder)))
        sides: dict[str, tuple[int, Callable[[], Any]]] = {}
        for precision in ("auto", "float32"):
            settings = FeatureSettings((-1,), "none", "float32", MAX_SEQ_LENGTH, arguments.batch)
            extractor, backend = load_extractor(model, settings, DeviceConfig(precision=precision))
            label = f"ours, {backend.description}, {backend.precision}"
            if label not in sides:
                sides[label] = (
                    len(lines),
                    lambda e=extractor, s=settings: extract(model, e, s, lines),  # type: ignore[misc]
                )
        num_ours = len(sides)
        pieces = [function() for _, function in sides.values()].pop()  # compiles
        for dtype in ("float32", "bfloat16"):
            ask = load_pipeline(folder, dtype)
            counts = [ask(line).shape[1] for line in few]  # warms up
            for threads in sorted({1, len(os.sched_getaffinity(0))}):
                sides[f"{PEER}, {dtype}, {threads} threads"] = (
                    len(few),
                    functools.partial(ask_all, ask, few, threads),
                )
        print(
            f"BERT {name}: {len(lines):,} lines of {pieces / len(lines):.1f} pieces; one by one "
            f"{len(few):,} of {np.mean(counts):.1f}"
        )
        seconds = median_seconds([function for _, function in sides.values()], arguments.rounds)
        speeds = [count / taken for (count, _), taken in zip(sides.values(), seconds, strict=True)]
        for label, speed in zip(sides, speeds, strict=True):
            print(f"{label}: {speed:.1f} sentences/s")
        theirs = dict(list(zip(sides, speeds, strict=True))[num_ours:])
        float32 = max(speed for label, speed in theirs.items() if "float32" in label)
        for label, speed in zip(list(sides)[:num_ours], speeds, strict=False):
            print(
                f"ratio of {label}: {speed / float32:.1f} to their best in float32, "
                f"{speed / max(theirs.values()):.1f} to their best (goal {GOAL:.0f})"
            )


def compare_sizes(name: str, count: int) -> None:
    """Prints the bytes of every form of output, and the seconds to write them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_model(folder, name)
        lines = sample_lines(count)
        model = open_model(ModelFlags(init_checkpoint=str(folder)))
        print(f"\nBERT {name}, {len(lines):,} lines, layers -1,-2,-3,-4")
        smallest = None
        for form in (
            "json none float32", "npz none float32", "safetensors none float32",
            "parquet none float32", "npz none float16", "safetensors none float16",
            "parquet none float16", "npz mean float32", "safetensors mean float16",
        ):  # fmt: skip
            output_format, pooling, dtype = form.split()
            settings = FeatureSettings(
                (-1, -2, -3, -4),
                pooling,  # type: ignore[arg-type]
                dtype,  # type: ignore[arg-type]
            )
            extractor, _ = load_extractor(model, settings, DeviceConfig())
            blocks = list(
                encode_blocks(
                    lines, model.tokenizer, MAX_SEQ_LENGTH, block_size(settings, model.config)
                )
            )
            values = [values for _, values in extractor.compute_blocks(blocks)]
            layout = make_layout(model, settings, "random weights", "")
            path = folder / "out"
            start = time.perf_counter()
            with (
                path.open("wb") as stream,
                open_writer(output_format, stream, layout, join(blocks)) as write,  # type: ignore[arg-type]
            ):
                for block, found in zip(blocks, values, strict=True):
                    write(block, found)
            taken, size = time.perf_counter() - start, path.stat().st_size
            smallest = smallest or size
            print(
                f"{output_format:<11} {dtype}, pooling {pooling}: {size:>13,} bytes, 1/"
                f"{smallest / size:.1f} of the JSON, {1000 * taken / len(lines):.2f} ms a sentence"
            )


def main() -> None:
    """Prints both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="mini,base")
    parser.add_argument("--sentences", type=int, default=2000, help="for batches")
    parser.add_argument("--one_by_one", type=int, default=200, help="of them, for the pipeline")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size_sentences", type=int, default=200)
    arguments = parser.parse_args()
    print(machine())
    for name in arguments.models.split(","):
        compare(name, arguments)
        compare_sizes(name, arguments.size_sentences)


if __name__ == "__main__":
    main()
