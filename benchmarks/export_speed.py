#!/usr/bin/env python3
"""A reader as it is, as ONNX, in int8, as a SavedModel and in torch: answers, latency, size.

Answers are those to the questions of KorQuAD's dev set, from the same windows: exact match, and
how many are the same as before the export. Latency is that of a batch of full rows; each form
computes in a process of its own, which rests while the others are measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, ROOT, machine

import bert_ko
from bert_ko.tasks.conversion.export_files import model_size, open_export
from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.question_files import read_dataset
from bert_ko.tasks.squad.reader import Reader
from bert_ko.tasks.squad.scores import score_predictions
from bert_ko.training.backend import Predict
from bert_ko.workers import num_processors

# Points of exact match that int8 may cost.
GOAL = 0.3
SHAPES = [(size, length) for size in (1, 32) for length in (128, 384)]
EXPORTS = {
    "onnx": ("--to_format=onnx",),
    "onnx int8": ("--to_format=onnx", "--quantize"),
    "savedmodel": ("--to_format=savedmodel",),
    "torch": ("--to_format=huggingface",),
}
OURS = {"ours, float32": "float32", "ours, auto": "auto"}


def export(reader: str, folder: Path) -> dict[str, str]:
    """Converts the reader to every form; returns their folders."""
    places = {name: str(folder / name.replace(" ", "_")) for name in EXPORTS}
    for name, flags in EXPORTS.items():
        command = [sys.executable, str(ROOT / "bin" / "convert_checkpoint"), f"--from={reader}"]
        subprocess.run([*command, f"--to={places[name]}", *flags], check=True)
    return places


def open_form(name: str, folder: str) -> Predict:
    """The function of a form, of input_ids, input_mask and segment_ids [B, L]."""
    if name in OURS:
        return bert_ko.load(folder, "reader", precision=OURS[name]).predict
    return open_torch(folder) if name == "torch" else open_export(folder)


def open_torch(folder: str) -> Predict:
    """The reader of transformers."""
    import torch
    from transformers import AutoModelForQuestionAnswering

    torch.set_num_threads(num_processors())
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()

    def predict(batch: Mapping[str, Any]) -> dict[str, Any]:
        ids, mask, segments = (torch.from_numpy(array).long() for array in batch.values())
        with torch.inference_mode():
            found = model(input_ids=ids, attention_mask=mask, token_type_ids=segments)
        return {name: found[name].numpy() for name in ("start_logits", "end_logits")}

    return predict


def measure(connection: Any, name: str, folder: str) -> None:
    """Computes batches of the shapes it is sent, and answers with the seconds of each."""
    predict, rng = open_form(name, folder), np.random.default_rng(1)
    while (message := connection.recv()) is not None:
        shape, count = message
        batch = {
            "input_ids": rng.integers(5, 1000, shape).astype(np.int32),
            "input_mask": np.ones(shape, np.int32),
            "segment_ids": np.zeros(shape, np.int32),
        }
        predict(batch)  # compiles
        connection.send([seconds_of(predict, batch) for _ in range(count)])


def seconds_of(predict: Predict, batch: dict[str, Any]) -> float:
    """Times one call."""
    start = time.perf_counter()
    predict(batch)
    return time.perf_counter() - start


def print_answers(reader: Reader, places: Mapping[str, str], dataset: Dataset) -> None:
    """Exact match of the forms whose answers may differ, and how many of them do."""
    predicts = {"ours": reader.predict}
    predicts |= {name: open_export(places[name]) for name in ("onnx", "onnx int8")}
    scores: dict[str, float] = {}
    known: dict[str, str] = {}
    for name, predict in predicts.items():
        reading = dataclasses.replace(reader, predict=predict).read(dataset)
        answers = {qas_id: span.text for qas_id, span in reading.answers.items()}
        known = known or answers
        same = sum(answers[qas_id] == text for qas_id, text in known.items())
        means = score_predictions(dataset.golds(), answers).means
        scores[name] = means["exact_match"]
        print(
            f"{name}: EM {scores[name]:.2f}, F1 {means['f1']:.2f}, {same:,} of {len(known):,} "
            "answers as ours",
            flush=True,
        )
    loss = scores["ours"] - scores["onnx int8"]
    print(f"int8 costs {loss:.2f} points of EM (goal: at most {GOAL})")


def print_latencies(reader: str, places: Mapping[str, str], rounds: int, calls: int) -> None:
    """Milliseconds of a batch by its shape, the median of all calls; forms take turns."""
    context = multiprocessing.get_context("spawn")
    folders = {**dict.fromkeys(OURS, reader), **places}
    connections = {}
    for name, folder in folders.items():
        connections[name], theirs = context.Pipe()
        context.Process(target=measure, args=(theirs, name, folder), daemon=True).start()
    print("milliseconds of a batch: " + ", ".join(f"{size} x {length}" for size, length in SHAPES))
    times: dict[str, list[str]] = {name: [] for name in folders}
    for shape in SHAPES:
        found: dict[str, list[float]] = {name: [] for name in folders}
        for _ in range(rounds):
            for name, connection in connections.items():
                connection.send((shape, max(1, calls // shape[0])))
                found[name] += connection.recv()
        for name, seconds in found.items():
            times[name].append(f"{1e3 * statistics.median(seconds):.1f}")
    for connection in connections.values():
        connection.send(None)
    for name, columns in times.items():
        print(f"{name}: {', '.join(columns)}")


def main() -> None:
    """Prints all of it for one reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", help="folder of run_squad")
    parser.add_argument("--predict_file", default=str(DATA / "korquad" / "dev.json"))
    parser.add_argument("--paragraphs", type=int, help="of the file, the first ones; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=32, help="of one row in a round")
    arguments = parser.parse_args()
    print(machine())
    dataset = read_dataset(arguments.predict_file)
    dataset = Dataset("", dataset.paragraphs[: arguments.paragraphs], ())
    with tempfile.TemporaryDirectory() as folder:
        places = export(arguments.reader, Path(folder))
        for name in places:
            size = model_size(places[name])
            if name == "torch":
                size = os.path.getsize(Path(places[name], "model.safetensors"))
            print(f"{name}: {size / 1e6:.1f} MB")
        print_answers(bert_ko.load(arguments.reader, "reader"), places, dataset)
        print_latencies(arguments.reader, places, arguments.rounds, arguments.calls)


if __name__ == "__main__":
    main()
