#!/usr/bin/env python3
"""The tokenizer of a Hugging Face folder against our own, in seconds for a batch of sentences."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import VOCAB, machine, median_seconds, write_sample

from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.hugging_face import write_hugging_face_tokenizer

GOAL = 1.5


def main() -> None:
    """Prints a line a path; theirs are times of a call with the whole batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    ours = load_tokenizer(str(VOCAB))
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(HF_HUB_OFFLINE="1", HF_HOME=folder, HF_MODULES_CACHE=f"{folder}/modules")
        import transformers

        write_hugging_face_tokenizer(f"{folder}/model", ours)
        theirs = transformers.AutoTokenizer.from_pretrained(
            f"{folder}/model", trust_remote_code=True
        )
        sample = write_sample(Path(folder, "sample.txt"), 2).read_text(encoding="utf-8")
    lines = [line for line in sample.split("\n") if line.strip()]
    lines = lines[:: max(1, len(lines) // arguments.sentences)][: arguments.sentences]
    paths: dict[str, Callable[[], object]] = {
        "bert_ko, ids with offsets": lambda: [ours.encode(line) for line in lines],
        "transformers, ids": lambda: theirs(lines),
        "transformers, ids with offsets": lambda: theirs(lines, return_offsets_mapping=True),
        "transformers, cut to 128 and padded": lambda: theirs(
            lines, truncation=True, max_length=128, padding=True, return_tensors="np"
        ),
    }
    for function in paths.values():  # both have seen the words of the batch
        function()
    seconds = median_seconds(list(paths.values()), arguments.rounds)
    characters = sum(map(len, lines))
    print(
        f"{machine()}; transformers {transformers.__version__}; "
        f"{len(lines):,} sentences of {characters:,} characters"
    )
    for name, taken in zip(paths, seconds, strict=True):
        print(f"{name}: {taken:.3f} s, {taken / seconds[0]:.2f} times ours")
    print(f"goal: {GOAL} times ours")


if __name__ == "__main__":
    main()
