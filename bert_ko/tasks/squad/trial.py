"""Trying a reader on questions that come from no dataset: a file of them, or a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bert_ko.json_files import format_json, kind_of
from bert_ko.messages import say, show
from bert_ko.prompts import typed_lines
from bert_ko.tasks.squad.examples import find_id
from bert_ko.tasks.squad.reader import Reader
from bert_ko.text_lines import read_lines, source_name


class Pair(NamedTuple):
    """A question and the context to answer it from."""

    qas_id: str  # what the file says, or the number of the line
    question: str
    context: str


def read_pairs(path: str, encoding: str | None = None) -> list[Pair]:
    """Reads questions with contexts.

    Args:
        path: lines of QUESTION TAB CONTEXT, or JSON lines with question, context and perhaps id;
            the first line decides which of the two. Empty lines are skipped. See ``open_lines``.
        encoding: see ``open_lines``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line is neither, or not UTF-8, with its number; or an id repeats.
    """
    pairs: dict[str, Pair] = {}
    parse: Callable[[str, int, str], Pair] | None = None
    for number, line in enumerate(read_lines(path, encoding=encoding), start=1):
        if not line.strip():
            continue
        parse = parse or (_parse_json if line.lstrip().startswith("{") else _parse_columns)
        pair = parse(line, number, f"{source_name(path)}:{number}")
        if pairs.setdefault(pair.qas_id, pair) is not pair:
            raise ValueError(f"{source_name(path)}: the id {pair.qas_id!r} is used twice.")
    if not pairs:
        raise ValueError(f"{source_name(path)} has no line with a question and a context.")
    return list(pairs.values())


def _parse_columns(line: str, number: int, place: str) -> Pair:
    question, _, context = line.partition("\t")
    if not (question.strip() and context.strip()):
        raise ValueError(f"{place}: expected QUESTION, a tab and CONTEXT, or a JSON object.")
    return Pair(str(number), question, context)


def _parse_json(line: str, number: int, place: str) -> Pair:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ValueError(f"{place}: expected a JSON object, got {kind_of(value)}.")
    if "data" in value or "paragraphs" in value:
        raise ValueError(f"{place}: this is a dataset; --predict_file takes it.")
    for name in ("question", "context"):
        text = value.get(name)
        if not (isinstance(text, str) and text.strip()):
            got = "nothing" if name not in value or isinstance(text, str) else kind_of(text)
            raise ValueError(f"{place}: {name} must be a text, got {got}.")
    return Pair(
        find_id(value, f"{place}: record") or str(number), value["question"], value["context"]
    )


def answer_file(reader: Reader, path: str, encoding: str | None = None) -> None:
    """Prints the answers to the questions of a file as JSON lines; see ``read_pairs``."""
    pairs = read_pairs(path, encoding)
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
        show(format_json(record))


def converse(reader: Reader, lines: Iterable[str] | None = None) -> None:
    """Prints answers to what is typed: a context, its questions, an empty line, and so on."""
    context = ""

    def prompt() -> str:
        return "question" if context else "context"

    say("type a context, then questions on it; an empty line before the next context; Ctrl-D ends")
    for line in typed_lines(prompt) if lines is None else lines:
        text = line.rstrip("\r\n")
        if not text.strip():
            context = ""
        elif not context:
            context = text
        else:
            answer = reader.answer(text, context)
            others = ", ".join(f"{c.text} {c.probability:.2f}" for c in answer.candidates[1:4])
            about = f"{answer.probability:.2f}, characters {answer.start}:{answer.end}"
            show(f"→ {answer.text or '(no answer)'}  ({about}; else {others})")
