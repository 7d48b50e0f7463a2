#!/usr/bin/env python3
"""What the masks and pairs of real shards look like, against what Google's script promises.

Whole words never split; 80 % [MASK], 10 % unchanged, 10 % random; the share of random next
sentences against a plain walk through the same documents as Google's script does it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from common import VOCAB, create_command, write_sample

from bert_ko.data.features import instance_features
from bert_ko.data.records import read_records
from bert_ko.data.tfrecord import decode_example
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary


def label_share(documents: list[list[int]], max_tokens: int, copies: int) -> float:
    """Share of random next sentences of a plain walk; documents are lengths of sentences."""
    rng = random.Random(0)
    labels = []
    for document in documents * copies:
        target = rng.randint(2, max_tokens) if rng.random() < 0.1 else max_tokens
        i, chunk = 0, []
        while i < len(document):
            chunk.append(document[i])
            if i == len(document) - 1 or sum(chunk) >= target:
                cut = rng.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
                is_random = len(chunk) == 1 or rng.random() < 0.5
                labels.append(is_random)
                i -= len(chunk) - cut if is_random else 0
                chunk = []
            i += 1
    return sum(labels) / len(labels)


def word_starts(ids: list[int], pieces: tuple[str, ...], first_sep: int) -> list[bool]:
    """Where eojeols begin; each segment begins one."""
    return [
        not pieces[i].startswith("##") or place in (1, first_sep + 1) for place, i in enumerate(ids)
    ]


def main() -> None:
    """Prints the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=5)
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(str(VOCAB))
    vocab = tokenizer.vocab
    with tempfile.TemporaryDirectory() as folder:
        path = write_sample(Path(folder, "sample.txt"), arguments.megabytes)
        out = Path(folder, "shards")
        command = create_command(
            [path], out, "--num_workers=2", "--dupe_factor=10", "--whole_word_unit=eojeol", shards=1
        )
        subprocess.run(command, check=True, capture_output=True)
        documents = [
            [n for line in text.split("\n") if (n := len(tokenizer.encode(line)))]
            for text in path.read_text(encoding="utf-8").split("\n\n")
        ]
        share = label_share([document for document in documents if document], 125, 20)
        counts = dict.fromkeys(("masked", "kept", "random", "split", "words", "labels", "n"), 0)
        specs = instance_features(128, 20, False)
        for record in read_records(str(next(out.glob("*.tfrecord-*")))):
            _count(decode_example(record, specs), vocab, counts)
    targets = counts["masked"] + counts["kept"] + counts["random"]
    print(f"{counts['n']:,} instances, {targets:,} targets in {counts['words']:,} eojeols")
    print(f"eojeols masked in part: {counts['split']} (goal 0)")
    for name, goal in (("masked", 0.8), ("kept", 0.1), ("random", 0.1)):
        print(f"{name}: {counts[name] / targets:.4f} (goal {goal} within 0.01)")
    ours = counts["labels"] / counts["n"]
    print(f"random next: {ours:.4f}, Google's walk {share:.4f} (goal within 0.02)")


def _count(instance: dict[str, np.ndarray], vocab: Vocabulary, counts: dict[str, int]) -> None:
    ids = instance["input_ids"].copy()
    used = int(instance["masked_lm_weights"].sum())
    positions = instance["masked_lm_positions"][:used].tolist()
    labels = instance["masked_lm_ids"][:used]
    for place, label in zip(positions, labels.tolist(), strict=True):
        found = int(ids[place])
        # A random draw that hits the original counts as kept: one in 32,000.
        kind = "masked" if found == vocab.mask_id else "kept" if found == label else "random"
        counts[kind] += 1
    ids[positions] = labels
    length = int(instance["input_mask"].sum())
    first_sep = ids.tolist().index(vocab.sep_id)
    starts = word_starts(ids.tolist(), vocab.pieces, first_sep)
    words = np.cumsum(starts)
    is_target = np.zeros(len(ids), bool)
    is_target[positions] = True
    is_piece = np.arange(len(ids)) < length - 1
    is_piece[[0, first_sep]] = False
    for word in np.unique(words[is_target]):
        inside = (words == word) & is_piece
        counts["words"] += 1
        counts["split"] += not is_target[inside].all()
    counts["labels"] += int(instance["next_sentence_labels"][0])
    counts["n"] += 1


if __name__ == "__main__":
    main()
