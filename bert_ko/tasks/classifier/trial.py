"""Trying a classifier on texts that stand in no dataset."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from bert_ko.json_files import format_json
from bert_ko.tasks.classifier.evaluation import classify, records
from bert_ko.tasks.classifier.examples import Example, read_texts
from bert_ko.tasks.classifier.features import class_features
from bert_ko.tasks.classifier.preparation import Setting
from bert_ko.tasks.fine_tuning import Predict


def try_classifier(setting: Setting, predict: Predict) -> None:
    """Prints what a model says of --input_file as JSON lines, then of what is typed.

    Args:
        setting: of the command.
        predict: the model.
    """
    config = setting.config
    if config.input_file is not None:
        examples = read_texts(config.input_file, is_pair=config.form.is_pair)
        for record in _records(setting, predict, examples):
            print(format_json(record))
    if config.interactive:
        wanted = "two texts, a tab between them" if config.form.is_pair else "a text"
        print(f"type {wanted}; Ctrl-D ends", flush=True)
        for number, line in enumerate(sys.stdin, start=1):
            texts = line.rstrip("\r\n").split("\t")
            if not line.strip():
                continue
            if len(texts) != 1 + config.form.is_pair:
                print(f"expected {wanted}", flush=True)
                continue
            (record,) = _records(setting, predict, [Example(str(number), *texts)])
            print(_format_record(record), flush=True)


def _records(
    setting: Setting, predict: Predict, examples: Sequence[Example]
) -> list[dict[str, Any]]:
    config = setting.config
    features = class_features(
        examples, setting.parts.tokenizer, config.max_seq_length, setting.labels
    )
    plan = setting.plan(config.predict_batch_size, None)
    found = classify(features, predict, plan, setting.num_outputs)
    return list(records(examples, found, setting))


def _format_record(record: dict[str, Any]) -> str:
    if "score" in record:
        return f"→ {record['score']:.3f}"
    ranked = sorted(record["probabilities"].items(), key=lambda item: -item[1])
    return "→ " + ", ".join(f"{label} {probability:.3f}" for label, probability in ranked[:3])
