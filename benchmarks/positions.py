#!/usr/bin/env python3
"""Phase 2 at positions that phase 1 of pre-training has never reached: repeated, or left alone.

The language is synthetic: every word allows a few successors, drawn once, so that a masked word
follows from its neighbours alone. Phase 1 has 32 pieces a sequence; phase 2 has 128 and begins from
it twice, at a lower rate, with --untrained_positions=extend and =keep, otherwise with the same
flags and the same batches. All of it goes through the commands; held-out accuracy is counted by
position.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import machine

from bert_ko.create_pretraining_data import CreatePretrainingDataConfig
from bert_ko.create_pretraining_data import run as write_shards
from bert_ko.data.reader import InstanceReader
from bert_ko.modeling.heads import MaskedLmHead, model_specs
from bert_ko.run_pretraining import RunPretrainingConfig
from bert_ko.run_pretraining import run as pretrain
from bert_ko.tasks.pretraining.task import PretrainingTask
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.checkpoints import list_checkpoints, load_checkpoint, read_model_config
from bert_ko.training.devices import load_backend
from bert_ko.training.model_files import ModelFiles

SHORT, LONG = 32, 128
SUCCESSORS = 2
MODEL = {
    "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 256, "max_position_embeddings": 512,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip


def write_text(path: Path, words: list[str], num_documents: int, seed: int) -> None:
    """Documents of 120 sentences of ten words."""
    rules, rng = random.Random(0), random.Random(seed)
    successors = {word: rules.sample(words, SUCCESSORS) for word in words}
    with path.open("w", encoding="utf-8") as file:
        for _ in range(num_documents):
            word = rng.choice(words)
            for _ in range(120):
                sentence = []
                for _ in range(10):
                    word = rng.choice(successors[word])
                    sentence.append(word)
                print(*sentence, file=file)
            print(file=file)


def prepare(folder: Path, num_words: int, num_documents: int) -> None:
    """Vocabulary, model, and shards of both lengths, held-out ones too."""
    words = [chr(ord("가") + 28 * i) for i in range(num_words)]
    (folder / "vocab.txt").write_text("\n".join((*SPECIAL_TOKENS, *words)) + "\n", encoding="utf-8")
    settings = {"tokenizer_type": "wordpiece", "do_lower_case": False, "normalization": "nfc"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "model.json").write_text(
        json.dumps({**MODEL, "vocab_size": len(SPECIAL_TOKENS) + num_words})
    )
    for name, count, seed in (("train", num_documents, 1), ("held_out", 100, 2)):
        write_text(folder / f"{name}.txt", words, count, seed)
        for length in (SHORT, LONG):
            write_shards(
                CreatePretrainingDataConfig(
                    input_file=(str(folder / f"{name}.txt"),),
                    output_file=(str(folder / f"{name}{length}" / "a@1"),),
                    vocab_file=str(folder / "vocab.txt"),
                    max_seq_length=length,
                    max_predictions_per_seq=predictions(length),
                    masking="dynamic",
                    next_sentence="none",
                    short_seq_prob=0.0,
                    num_workers=1,
                )
            )


def predictions(length: int) -> int:
    """Masked pieces of a sequence at most: 15 %."""
    return length * 15 // 100 + 1


def settings_of(
    folder: Path, name: str, length: int, arguments: argparse.Namespace, **flags: object
) -> RunPretrainingConfig:
    """Of a phase; both see the same number of pieces an update."""
    values = {
        "input_file": (f"{folder}/train{length}",),
        "eval_input_file": (f"{folder}/held_out{length}",),
        "bert_config_file": f"{folder}/model.json",
        "output_dir": f"{folder}/{name}",
        "do_train": True,
        "max_seq_length": length,
        "max_predictions_per_seq": predictions(length),
        "eval_batch_size": 64,
        "train_batch_size": arguments.batch * SHORT // length,
        "optimizer": "adamw",
        "learning_rate": arguments.learning_rate,
        "num_warmup_steps": 20,
        "keep_checkpoint_max": 0,
        "log_every_steps": 100,
        **flags,
    }
    return RunPretrainingConfig(**values)


def accuracies(config: RunPretrainingConfig, path: str) -> tuple[float, float]:
    """Held-out masked-LM accuracy of a checkpoint at positions below SHORT, and at the others."""
    model_config = read_model_config(f"{path}/bert_config.json")
    files = ModelFiles(model_config, f"{path}/bert_config.json", None)
    task = PretrainingTask(
        # The task reads the held-out shards as it does for an evaluation.
        RunPretrainingConfig(**{**vars(config), "do_train": False, "do_eval": True}), files
    )  # fmt: skip
    found, head = load_checkpoint(path, with_slots=False).parameters, MaskedLmHead()
    arrays = {name: found[name] for name in model_specs(model_config, head)}
    devices = DeviceConfig(precision="float32", num_devices=1)
    predict = load_backend(devices).predictor(model_config, arrays, head.outputs)
    right, count = np.zeros(2), np.zeros(2)
    for features in held_out(task):
        guessed = predict(features)["probabilities"].argmax(axis=-1)
        weights = features["masked_lm_weights"] > 0
        is_late = (features["masked_lm_positions"] >= SHORT).astype(int)
        for late in (0, 1):
            here = weights & (is_late == late)
            count[late] += here.sum()
            right[late] += (here & (guessed == features["masked_lm_ids"])).sum()
    early, late = right / np.maximum(count, 1)
    return float(early), float(late)


def held_out(task: PretrainingTask) -> Iterator[dict[str, np.ndarray]]:
    """Batches of the held-out shards."""
    assert task._evaluation is not None
    for batch in InstanceReader(task._reader_config(task._evaluation, False)).one_epoch():
        names = ("input_ids", "input_mask", "segment_ids")
        features = {name: batch.features[name] for name in names}
        masked = ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights")
        yield features | {name: batch.features[name] for name in masked}


def main() -> None:
    """Trains phase 1, then phase 2 twice, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=32, help="of the language, at most 399")
    parser.add_argument("--steps", type=int, default=600, help="updates of phase 1")
    parser.add_argument("--long_steps", type=int, default=240, help="updates of phase 2")
    parser.add_argument("--learning_rate", type=float, default=2e-3, help="of phase 1")
    parser.add_argument("--long_learning_rate", type=float, default=5e-4, help="of phase 2")
    parser.add_argument("--documents", type=int, default=200, help="of 1,200 words each")
    parser.add_argument("--batch", type=int, default=64, help="sequences an update of phase 1")
    arguments = parser.parse_args()
    every = max(1, arguments.long_steps // 4)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, arguments.words, arguments.documents)
        steps = {"num_train_steps": arguments.steps, "save_checkpoints_steps": arguments.steps}
        first = settings_of(folder, "phase1", SHORT, arguments, **steps)
        pretrain(first)
        rows = {}
        for way in ("extend", "keep"):
            config = settings_of(
                folder, way, LONG, arguments,
                num_train_steps=arguments.long_steps, save_checkpoints_steps=every,
                init_checkpoint=f"{folder}/phase1", untrained_positions=way,
                learning_rate=arguments.long_learning_rate,
            )  # fmt: skip
            pretrain(config)
            rows[way] = [
                (int(path[-8:]), *accuracies(config, path))
                for path in list_checkpoints(config.output_dir)
            ]
        early, _ = accuracies(first, list_checkpoints(first.output_dir)[-1])
    print(f"\n{machine()}; phase 1, length {SHORT}, {arguments.steps:,} updates: {early:.3f}")
    print(f"| updates of phase 2 | extend: < {SHORT} | ≥ {SHORT} | keep: < {SHORT} | ≥ {SHORT} |")
    print("|---|---|---|---|---|")
    for extended, kept in zip(rows["extend"], rows["keep"], strict=True):
        values = " | ".join(f"{value:.3f}" for value in (*extended[1:], *kept[1:]))
        print(f"| {extended[0]:,} | {values} |")


if __name__ == "__main__":
    main()
