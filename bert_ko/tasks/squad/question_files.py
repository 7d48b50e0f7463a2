"""Files of questions: SQuAD's form (KorQuAD 1.0, KLUE-MRC, TyDiQA), and flat ones.

A flat file has a question with its context and answers in each record, as the datasets library of
Hugging Face gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from bert_ko.json_files import expect, kind_of, load_json, member, names
from bert_ko.tasks.squad.examples import (
    Dataset,
    Gold,
    Paragraph,
    Problem,
    ProblemKind,
    Question,
    find_id,
)
from bert_ko.tasks.squad.places import (
    CHARACTERS,
    Offset,
    Unit,
    choose_unit,
    find_answer,
    form_difference,
)

_FORM = 'SQuAD\'s form: {"version": ..., "data": [{"paragraphs": ...}]}'
_KNOWN_VERSIONS = ("1.", "v1.", "2.0", "v2.0", "KorQuAD_v1.0", "TyDiQA-GoldP", "klue-mrc")
_OTHER_ANSWERS = ("answer", "answer_text", "answer_start", "detected_answers")
_QUESTION_TYPES = (1, 2, 3)  # of KLUE-MRC
_MAX_DIGITS = 10  # of an offset


def read_dataset(path: str, encoding: str | None = None) -> Dataset:
    """Reads a dataset; what is wrong with single questions is counted, not fatal.

    Args:
        path: JSON or JSON lines, local or remote, compressed or not.
        encoding: see ``load_json``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not JSON or another kind of file, or a part of it is missing or of the
            wrong type; the message names the place.
    """
    value = load_json(path, encoding=encoding, allows_lines=True)
    first = _Reader(path)
    dataset = first.read(value)
    if not first.misplaced:
        return dataset
    return _Reader(path, choose_unit(first.in_place, first.misplaced)).read(value)


class _Reader:
    """Reads one file, and gathers ids and problems."""

    def __init__(self, path: str, unit: Unit | None = None) -> None:
        """Args: unit: of answer_start; None looks only which answers are in their place."""
        self._path = path
        self._unit = unit or CHARACTERS
        self._searches = unit is not None
        self._is_version_2 = False
        self._ids: set[str] = set()
        self._problems: list[Problem] = []
        self.in_place: list[Offset] = []
        self.misplaced: list[Offset] = []

    def read(self, value: Any) -> Dataset:
        if isinstance(value, dict) and ("paragraphs" in value or _is_flat(value)):
            value = [value]  # one line of JSON lines
        if isinstance(value, list):
            if value and isinstance(value[0], dict) and "prediction_text" in value[0]:
                raise ValueError(
                    f"{self._path}: expected a dataset in {_FORM}, got predictions "
                    f"({names(value[0])}); the dataset comes first."
                )
            version, data, place = "", value, f"{self._path}: "
        else:
            data, place = self._data(value), f"{self._path}: data"
            version = str(value.get("version") or "")  # 1.1 as a number is clear enough
        self._note_version(version)
        if self._unit is not CHARACTERS:
            detail = f"answer_start counts {self._unit.name}"
            self._report("offset_unit", None, detail)
        paragraphs = list(self._paragraphs(list(_objects(data, place))))
        return Dataset(version, tuple(paragraphs), tuple(self._problems))

    def _data(self, value: Any) -> list[Any]:
        """The articles of an object.

        Raises:
            ValueError: it is not a dataset; the message says what it is.
        """
        if not isinstance(value, dict):
            raise ValueError(f"{self._path}: expected a dataset in {_FORM}, got {kind_of(value)}.")
        if "data" in value:
            return member(value, "data", list, f"{self._path}: top level")
        if value and all(isinstance(answer, str) for answer in value.values()):
            found = "a predictions file (id to answer); the dataset comes first"
        elif value and all(isinstance(answer, list) for answer in value.values()):
            found = f"an object of lists ({names(value)})"
        else:
            found = f"an object without data; found: {names(value)}"
        raise ValueError(f"{self._path}: expected a dataset in {_FORM}, got {found}.")

    def _report(self, kind: ProblemKind, qas_id: str | None, detail: str) -> None:
        self._problems.append(Problem(kind, qas_id, detail))

    def _note_version(self, version: str) -> None:
        if not version.startswith(_KNOWN_VERSIONS):
            said = f"the version {version!r} is unknown" if version else "no version is given"
            self._report("unknown_version", None, f"{said}; read as SQuAD's form")
        self._is_version_2 = version.removeprefix("v").startswith("2.")

    def _paragraphs(self, items: list[tuple[dict[str, Any], str]]) -> Iterator[Paragraph]:
        """The paragraphs of articles; flat questions that follow one another share a context."""
        for (is_flat, _), group in groupby(items, lambda item: _shared(item[0])):
            found = list(group)
            if is_flat:
                value, place = found[0]
                context = member(value, "context", str, place)
                yield self._paragraph(_title(value), context, found)
            else:
                for article, place in found:
                    yield from self._article(article, place)

    def _article(self, article: dict[str, Any], place: str) -> Iterator[Paragraph]:
        if "paragraphs" in article or "qas" not in article:
            found = member(article, "paragraphs", list, place)
            paragraphs = _objects(found, f"{place}.paragraphs")
        else:  # a file without articles
            _refuse_korquad_2(article, place)
            paragraphs = iter([(article, place)])
        for paragraph, inner in paragraphs:
            context = member(paragraph, "context", str, inner)
            items = _objects(member(paragraph, "qas", list, inner), f"{inner}.qas")
            yield self._paragraph(_title(article), context, items)

    def _paragraph(
        self, title: str, context: str, items: Iterable[tuple[dict[str, Any], str]]
    ) -> Paragraph:
        questions = []
        for item, place in items:
            question = self._question(item, context, place)
            if question.qas_id not in self._ids:
                self._ids.add(question.qas_id)
                questions.append(question)
        return Paragraph(title, context, tuple(questions))

    def _id(self, value: dict[str, Any], place: str) -> str:
        """The id as a text; its place for a question that has none."""
        qas_id = find_id(value, place)
        if qas_id is not None:
            return qas_id
        name = place.removeprefix(f"{self._path}: ")
        self._report("missing_id", name, f"{place} has no id; in the answers it is {name!r}")
        return name

    def _question(self, value: dict[str, Any], context: str, place: str) -> Question:
        qas_id = self._id(value, place)
        note = f" (question {qas_id!r})"
        text = member(value, "question", str, place, note)
        is_impossible = "is_impossible" in value
        if is_impossible:
            is_impossible = member(value, "is_impossible", bool, place, note)
        records = _answer_records(value, place, note)
        answers = [_answer(*record, note) for record in records if not is_impossible]
        if "is_impossible" not in value:
            is_impossible = not answers and self._is_version_2
        kind = value.get("question_type")
        kind = kind if type(kind) is int and kind in _QUESTION_TYPES else None
        if qas_id in self._ids:
            self._report("repeated_id", qas_id, f"{place}: only the first question counts")
            return Question(qas_id, text, (), is_impossible, kind)
        if not context.strip():
            self._report("empty_context", qas_id, f"{place}: its context has no text")
        if not text.strip():
            self._report("empty_question", qas_id, f"{place}.question has no text")
        if is_impossible and any(answer.get("text") for answer, _ in records):
            self._report("impossible_with_answers", qas_id, f"{place}: the answers are ignored")
        if not is_impossible and not answers:
            self._report("no_answers", qas_id, f"{place} has no answers; it can't be scored")
        placed = [self._place(*answer, context, qas_id, place) for answer in answers]
        return Question(qas_id, text, tuple(placed), is_impossible, kind)

    def _place(self, text: str, start: int, context: str, qas_id: str, place: str) -> Gold:
        near = self._unit.at(context, start)
        if near >= 0 and text.strip() and context.startswith(text, near):
            self.in_place.append(Offset(context, text, start))
            return Gold(text, near)
        if not text.strip():
            self._report("empty_answer", qas_id, f"{place}: an answer has no text")
            return Gold(text, None)
        self.misplaced.append(Offset(context, text, start))
        found = find_answer(context, text, near) if self._searches else None
        if found is None:
            if context.strip():
                self._report("answer_not_found", qas_id, f"{place}: {text!r} is not in the context")
            return Gold(text, None)
        if found.text not in (text, text.strip()):
            how = f"{form_difference(text, found.text)}, at {found.start}"
            self._report("answer_in_other_form", qas_id, f"{place}: {text!r} is there {how}")
            return Gold(found.text, found.start, text)
        if found.text != text or found.start != near:
            detail = f"{place}: {text!r} is not at {start} but at {found.start}"
            self._report("answer_moved", qas_id, detail)
        return Gold(found.text, found.start)


def _is_flat(value: Any) -> bool:
    """Whether it is a question with its context, of a file without articles."""
    return isinstance(value, dict) and "question" in value and "context" in value


def _shared(value: dict[str, Any]) -> tuple[bool, Any]:
    """Whether it is a flat question, and the context that it may share with its neighbours."""
    return (True, value["context"]) if _is_flat(value) else (False, None)


def _title(value: dict[str, Any]) -> str:
    """What an article says that it is called: nothing is computed from it."""
    title = value.get("title", value.get("doc_title"))
    return title if isinstance(title, str) else ""


def _answer_records(
    value: dict[str, Any], place: str, note: str
) -> list[tuple[dict[str, Any], str]]:
    """The answers of a question with their places; none in a test file that keeps them back.

    They are a list of objects, one object, or an object with a list of each (Hugging Face).
    """
    answers = value.get("answers")
    if answers is None:
        if any(key in value for key in _OTHER_ANSWERS):
            raise ValueError(f"{place}.answers is missing{note}; found: {names(value)}.")
        return []
    inner = f"{place}.answers"
    if not isinstance(answers, dict):
        return list(_objects(expect(answers, list, inner, note), inner, note))
    if not isinstance(answers.get("text"), list):
        return [(answers, inner)]
    texts = member(answers, "text", list, inner, note)
    starts = member(answers, "answer_start", list, inner, note)
    if len(texts) != len(starts):
        raise ValueError(
            f"{inner} has {len(texts)} text and {len(starts)} answer_start{note}; each answer "
            "needs both."
        )
    pairs = [{"text": t, "answer_start": s} for t, s in zip(texts, starts, strict=True)]
    return list(_objects(pairs, inner, note))


def _answer(value: dict[str, Any], place: str, note: str) -> tuple[str, int]:
    text = member(value, "text", str, place, note)
    start = value.get("answer_start")
    if isinstance(start, float) and start.is_integer():
        return text, int(start)  # as a table with gaps writes it
    if isinstance(start, str) and start.isdecimal() and len(start) < _MAX_DIGITS:
        return text, int(start)
    return text, member(value, "answer_start", int, place, note)


def _refuse_korquad_2(article: dict[str, Any], place: str) -> None:
    questions = member(article, "qas", list, place)
    if "raw_html" in article or any(isinstance(q, dict) and "answer" in q for q in questions):
        raise ValueError(
            f"{place} has its qas beside HTML, and an answer is an object: this is KorQuAD 2; "
            f"expected KorQuAD 1.0's, {_FORM}."
        )


def _objects(values: list[Any], place: str, note: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """Yields the objects of a list with their places."""
    for i, value in enumerate(values):
        yield expect(value, dict, f"{place}[{i}]", note), f"{place}[{i}]"
