"""Trying a tagger on sentences that stand in no dataset."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from bert_ko.json_files import format_json
from bert_ko.tasks.fine_tuning import Predict
from bert_ko.tasks.ner.evaluation import record, tag
from bert_ko.tasks.ner.examples import Sentence, plain_sentence, read_texts
from bert_ko.tasks.ner.preparation import Setting


def try_tagger(setting: Setting, predict: Predict) -> None:
    """Prints what a model says of --input_file as JSON lines, then of what is typed.

    Args:
        setting: of the command.
        predict: the model.
    """
    if setting.config.input_file is not None:
        for found in _records(setting, predict, list(read_texts(setting.config.input_file))):
            print(format_json(found))
    if setting.config.interactive:
        print("type a sentence; Ctrl-D ends", flush=True)
        for number, line in enumerate(sys.stdin, start=1):
            text = line.rstrip("\r\n")
            if text.strip():
                (found,) = _records(setting, predict, [plain_sentence(text, number)])
                print(f"→ {found['tagged']}", flush=True)


def _records(
    setting: Setting, predict: Predict, sentences: Sequence[Sentence]
) -> list[dict[str, Any]]:
    features = setting.cut(sentences)
    plan = setting.plan(setting.config.predict_batch_size, None)
    found = tag(setting, sentences, features, predict, plan)
    return [record(s, t) for s, t in zip(sentences, found, strict=True)]
