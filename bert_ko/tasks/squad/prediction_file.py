"""Files of predictions: predictions.json of run_squad and of other programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from bert_ko.json_files import expect, kind_of, load_json, member
from bert_ko.tasks.squad.examples import Dataset, Span, locate

_EXPECTED = 'expected predictions, a JSON object of id to answer: {"id": "answer", ...}'


@dataclass(frozen=True)
class PredictionFile:
    """The answers of a file.

    texts: question id to answer.
    starts: question id to the answer's first character in its context, where the file says it.
    repeated: the number of answers that a later one of the same id replaced.
    """

    texts: dict[str, str]
    starts: dict[str, int]
    repeated: int

    def locate(self, dataset: Dataset) -> LocatedAnswers:
        """Looks for the answers in their contexts, near where the file says.

        Args:
            dataset: The questions and contexts.
        """
        spans, not_found, ambiguous = {}, [], []
        for paragraph, question in dataset.questions():
            qas_id = question.qas_id
            text = self.texts.get(qas_id, "")
            if not text.strip():
                continue
            span = locate(paragraph.context, text, self.starts.get(qas_id, 0))
            if span is None:
                not_found.append(qas_id)
                continue
            spans[qas_id] = span
            occurs_again = paragraph.context.find(span.text, span.start + 1) >= 0
            if occurs_again and qas_id not in self.starts:
                ambiguous.append(qas_id)
        return LocatedAnswers(spans, not_found, ambiguous)


class LocatedAnswers(NamedTuple):
    """Where the answers of a file stand.

    spans: question id to answer, without the blanks around it if they are not in the context.
    not_found: ids of answers that are not in their context.
    ambiguous: ids of answers that stand at several places, none of which the file gives; the first
        one is taken.
    """

    spans: dict[str, Span]
    not_found: list[str]
    ambiguous: list[str]


def read_predictions(path: str) -> PredictionFile:
    """Reads answers that are strings, or objects with "text" and, if known, "answer_start".

    Args:
        path: JSON, local or remote, compressed or not.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, another kind of file, or an answer is of the wrong type.
    """
    repeated = 0

    def keep_last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        value = dict(pairs)
        repeated += len(pairs) - len(value)
        return value

    value = load_json(path, keep_last)
    _require_predictions(value, path)
    texts: dict[str, str] = {}
    starts: dict[str, int] = {}
    for qas_id, answer in value.items():
        place = f"{path}: answer of {qas_id!r}"
        if isinstance(answer, dict):
            texts[qas_id] = member(answer, "text", str, place)
            if answer.get("answer_start") is not None:
                starts[qas_id] = member(answer, "answer_start", int, place)
        else:
            texts[qas_id] = expect(answer, str, place)
    return PredictionFile(texts, starts, repeated)


def _require_predictions(value: object, path: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {_EXPECTED}, got {kind_of(value)}.")
    if isinstance(value.get("data"), list):
        raise ValueError(f"{path}: {_EXPECTED}, got a dataset; the dataset comes first.")
    if value and all(isinstance(answer, list) for answer in value.values()):
        raise ValueError(
            f"{path}: {_EXPECTED}, got a list for each id, as in nbest_predictions.json; "
            "predictions.json beside it has one answer each."
        )
