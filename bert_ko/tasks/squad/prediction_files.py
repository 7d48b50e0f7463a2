"""Files of answers: predictions.json of run_squad and of other programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from bert_ko.json_files import expect, kind_of, load_json, member, names
from bert_ko.tasks.squad.examples import Dataset, Span, find_id
from bert_ko.tasks.squad.places import find_answer

_FORM = 'expected predictions, a JSON object of id to answer: {"id": "answer", ...}'
_TEXT_KEYS = ("prediction_text", "prediction", "answer", "text")


@dataclass(frozen=True)
class PredictionFile:
    """The answers of a file."""

    texts: dict[str, str]  # question id to answer
    starts: dict[str, int]  # question id to answer_start, if the file has it
    repeated: int  # answers that a later one of the same id replaced

    def locate(self, dataset: Dataset) -> LocatedAnswers:
        """Looks for the answers in their contexts, near answer_start."""
        spans, not_found, ambiguous = {}, [], []
        for paragraph, question in dataset.questions():
            qas_id = question.qas_id
            text = self.texts.get(qas_id, "")
            if not text.strip():
                continue
            span = find_answer(paragraph.context, text, self.starts.get(qas_id, 0))
            if span is None:
                not_found.append(qas_id)
                continue
            spans[qas_id] = span
            occurs_again = paragraph.context.find(span.text, span.start + 1) >= 0
            if occurs_again and qas_id not in self.starts:
                ambiguous.append(qas_id)
        return LocatedAnswers(spans, not_found, ambiguous)


class LocatedAnswers(NamedTuple):
    """Where the answers of a file are found, by question id."""

    spans: dict[str, Span]  # without the blanks around them if they are not in the context
    not_found: list[str]
    ambiguous: list[str]  # found at several places, none of which the file gives: the first is used


def read_predictions(path: str, encoding: str | None = None) -> PredictionFile:
    """Reads answers that are strings, or objects with "text" and perhaps "answer_start".

    A list, or JSON lines, of objects with "id" and "prediction_text" is read as well.

    Args:
        path: JSON or JSON lines, local or remote, compressed or not.
        encoding: see ``load_json``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not JSON or another kind of file, or an answer is of the wrong type.
    """
    repeated = 0

    def keep_last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        value = dict(pairs)
        repeated += len(pairs) - len(value)
        return value

    value = load_json(path, keep_last, encoding=encoding, allows_lines=True)
    texts: dict[str, str] = {}
    starts: dict[str, int] = {}
    for qas_id, answer, place in _answers(value, path):
        repeated += qas_id in texts
        starts.pop(qas_id, None)
        if isinstance(answer, dict):
            texts[qas_id] = member(answer, "text", str, place)
            if answer.get("answer_start") is not None:
                starts[qas_id] = member(answer, "answer_start", int, place)
        else:
            texts[qas_id] = expect(answer, str, place, ' (no answer is "")')
    return PredictionFile(texts, starts, repeated)


def _answers(value: Any, path: str) -> Iterator[tuple[str, Any, str]]:
    """Yields id, answer and place of each.

    Raises:
        ValueError: it is no file of predictions; the message says what it is.
    """
    if isinstance(value, dict) and "id" in value and len(value) > 1 and _text_key(value):
        value = [value]  # one line of JSON lines
    found = _other_file(value)
    if found is not None:
        raise ValueError(f"{path}: {_FORM}, got {found}.")
    if isinstance(value, dict):
        for qas_id, answer in value.items():
            yield qas_id, answer, f"{path}: answer of {qas_id!r}"
        return
    for i, record in enumerate(value):
        place = f"{path}: [{i}]"
        yield _record(expect(record, dict, place), place)


def _record(record: dict[str, Any], place: str) -> tuple[str, Any, str]:
    qas_id, text_key = find_id(record, place), _text_key(record)
    if qas_id is None or text_key is None:
        raise ValueError(f"{place}: id and prediction_text are wanted; found: {names(record)}.")
    start = record.get("answer_start")
    text = expect(
        record[text_key], str, f"{place}.{text_key}", f' (id {qas_id!r}; no answer is "")'
    )
    return qas_id, {"text": text, "answer_start": start}, place


def _text_key(record: dict[str, Any]) -> str | None:
    return next((key for key in _TEXT_KEYS if key in record), None)


def _other_file(value: Any) -> str | None:
    """What a file is that has no predictions; None if it may have."""
    if isinstance(value, list):
        first = value[0] if value and isinstance(value[0], dict) else {}
        if "paragraphs" in first or ("context" in first and "answers" in first):
            return "a dataset; the dataset comes first"
        return None
    if not isinstance(value, dict):
        return kind_of(value)
    if isinstance(value.get("data"), list):
        return "a dataset; the dataset comes first"
    kinds = {type(answer) for answer in value.values()}
    if kinds == {list} and not _is_nbest(value):
        return f"an object of lists ({names(value)})"
    if kinds == {list}:
        return (
            "a list for each id, as in nbest_predictions.json; predictions.json beside it has one "
            "answer each"
        )
    if kinds and kinds <= {int, float}:
        return "a number for each id, as in null_odds.json; predictions.json beside it has answers"
    return None


def _is_nbest(value: dict[str, list[Any]]) -> bool:
    """Whether all lists are of candidates with a text, and hold no ids."""
    candidates = [candidate for found in value.values() for candidate in found]
    return all(
        isinstance(candidate, dict) and "text" in candidate and find_id(candidate, "") is None
        for candidate in candidates
    )
