"""Questions with contexts that come from no dataset: a file of pairs, or a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from bert_ko.json_files import kind_of
from bert_ko.tasks.squad.examples import Dataset, Paragraph, Question
from bert_ko.text_lines import read_lines, source_name


class Pair(NamedTuple):
    """A question and the context to answer it from; qas_id is what the file says, or its line."""

    qas_id: str
    question: str
    context: str


def read_pairs(path: str) -> list[Pair]:
    """Reads pairs.

    Args:
        path: lines of QUESTION TAB CONTEXT, or JSON lines with question, context and perhaps id;
            which of them, its first line says. Empty lines are passed over. See `open_lines`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line is neither, or not UTF-8, with its number; or an id repeats.
    """
    pairs: list[Pair] = []
    parse: Callable[[str, int, str], Pair] | None = None
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            if parse is None:
                parse = _parse_json if line.lstrip().startswith("{") else _parse_columns
            pairs.append(parse(line, number, f"{source_name(path)}:{number}"))
    if not pairs:
        raise ValueError(f"{source_name(path)} has no line with a question and a context.")
    seen: set[str] = set()
    for pair in pairs:
        if pair.qas_id in seen:
            raise ValueError(f"{source_name(path)}: the id {pair.qas_id!r} stands there twice.")
        seen.add(pair.qas_id)
    return pairs


def _parse_columns(line: str, number: int, place: str) -> Pair:
    question, tab, context = line.partition("\t")
    if not (tab and question.strip() and context.strip()):
        raise ValueError(f"{place}: expected QUESTION, a tab and CONTEXT, or a JSON object.")
    return Pair(str(number), question, context)


def _parse_json(line: str, number: int, place: str) -> Pair:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not JSON: {error}.") from None
    for name in ("question", "context"):
        text = value.get(name)
        if not (isinstance(text, str) and text.strip()):
            got = "nothing" if name not in value or isinstance(text, str) else kind_of(text)
            raise ValueError(f"{place}: {name} must be a text, got {got}.")
    qas_id = value.get("id")
    return Pair(str(number if qas_id is None else qas_id), value["question"], value["context"])


def to_dataset(pairs: Sequence[Pair]) -> Dataset:
    """The pairs as a dataset without answers; neighbours with the same context share it."""
    paragraphs = []
    for context, group in groupby(pairs, key=lambda pair: pair.context):
        questions = [Question(pair.qas_id, pair.question, (), False) for pair in group]
        paragraphs.append(Paragraph("", context, tuple(questions)))
    return Dataset("", tuple(paragraphs), ())


def converse(lines: Iterator[str]) -> Iterator[Pair]:
    """Pairs as a person types them: a context, its questions, an empty line, the next context.

    Args:
        lines: typed.
    """
    context, number = "", 0
    for line in lines:
        text = line.rstrip("\r\n")
        if not text.strip():
            context = ""
        elif not context:
            context = text
        else:
            number += 1
            yield Pair(str(number), text, context)
