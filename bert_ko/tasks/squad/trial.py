"""Trying a reader on questions that stand in no dataset."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from bert_ko.json_files import format_json
from bert_ko.tasks.fine_tuning import Predict
from bert_ko.tasks.squad.pairs import Pair, converse, read_pairs, to_dataset
from bert_ko.tasks.squad.preparation import Setting, padded_lengths
from bert_ko.tasks.squad.reader import ask


def try_reader(setting: Setting, predict: Predict) -> None:
    """Answers --input_file as JSON lines, then what is typed, if --interactive.

    Args:
        setting: of the command.
        predict: the reader.
    """
    config = setting.config
    if config.input_file is not None:
        pairs = read_pairs(config.input_file)
        for pair, record in zip(pairs, _records(setting, predict, pairs), strict=True):
            print(format_json({"id": pair.qas_id, "question": pair.question, **record}))
    if config.interactive:
        print("a context, then questions on it; an empty line before the next context", flush=True)
        for pair in converse(sys.stdin):
            (record,) = _records(setting, predict, [pair])
            print(_format_record(record), flush=True)


def _records(setting: Setting, predict: Predict, pairs: list[Pair]) -> Iterator[dict[str, Any]]:
    plan = dataclasses.replace(setting.reader.plan, lengths=padded_lengths(setting.config, None))
    settings = dataclasses.replace(setting.reader, plan=plan)
    reading = ask(to_dataset(pairs), predict, settings)
    for prediction in reading.predictions:
        start, end = reading.spans[prediction.qas_id]
        best = prediction.best(setting.reader.answers)
        others = [candidate for candidate in prediction.candidates if candidate != best]
        yield {
            "answer": reading.stripped.texts[prediction.qas_id],
            "answer_start": start,
            "answer_end": end,
            "probability": best.probability,
            "others": [{"text": c.text, "probability": c.probability} for c in others[:3]],
        }


def _format_record(record: dict[str, Any]) -> str:
    others = ", ".join(f"{c['text']} {c['probability']:.2f}" for c in record["others"])
    place = f"{record['answer_start']}:{record['answer_end']}"
    answer = record["answer"] or "(no answer)"
    return f"→ {answer}  ({record['probability']:.2f}, characters {place}; else {others})"
