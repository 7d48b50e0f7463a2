"""Trying a reader on questions that stand in no dataset."""

from __future__ import annotations

import sys

from bert_ko.tasks.fine_tuning import Predict
from bert_ko.tasks.shown import to_json
from bert_ko.tasks.squad.pairs import converse, read_pairs
from bert_ko.tasks.squad.preparation import Setting
from bert_ko.tasks.squad.reader import Answer


def try_reader(setting: Setting, predict: Predict) -> None:
    """Answers --input_file as JSON lines, then what is typed, if --interactive.

    Args:
        setting: of the command.
        predict: the reader.
    """
    config, reader = setting.config, setting.reader(predict, None)
    if config.input_file is not None:
        pairs = read_pairs(config.input_file)
        answers = reader.answer([pair.question for pair in pairs], [pair.context for pair in pairs])
        for pair, answer in zip(pairs, answers, strict=True):
            record = {
                "id": pair.qas_id,
                "question": pair.question,
                "answer": answer.text,
                "answer_start": answer.start,
                "answer_end": answer.end,
                "probability": answer.probability,
                "others": [
                    {"text": other.text, "probability": other.probability}
                    for other in answer.candidates[1:4]
                ],
            }
            print(to_json(record))
    if config.interactive:
        print("a context, then questions on it; an empty line before the next context", flush=True)
        for pair in converse(sys.stdin):
            print(_format_answer(reader.answer(pair.question, pair.context)), flush=True)


def _format_answer(answer: Answer) -> str:
    others = ", ".join(f"{c.text} {c.probability:.2f}" for c in answer.candidates[1:4])
    place = f"{answer.start}:{answer.end}"
    text = answer.text or "(no answer)"
    return f"→ {text}  ({answer.probability:.2f}, characters {place}; else {others})"
