"""Datasets in SQuAD's form, versions 1 and 2: KorQuAD 1.0, TyDiQA.

Offsets are characters of the context as it stands in the file; nothing in it is normalised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from bert_ko.json_files import expect, kind_of, load_json, member

ProblemKind = Literal[
    "unknown_version",
    "repeated_id",
    "empty_context",
    "empty_question",
    "no_answers",  # in a question that should have some
    "impossible_with_answers",
    "empty_answer",
    "answer_moved",  # found, but not at its answer_start
    "answer_not_found",
]

_EXPECTED = 'expected a dataset in SQuAD\'s form: {"version": ..., "data": [{"paragraphs": ...}]}'
_KNOWN_VERSIONS = ("1.", "v1.", "2.0", "v2.0", "KorQuAD_v1.0", "TyDiQA-GoldP")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a context; NO_ANSWER, which is empty, where there is none.

    text: context[start:end].
    start: first character in the context.
    end: the character after the last.
    """

    text: str
    start: int
    end: int


NO_ANSWER = Span("", 0, 0)


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold answer.

    text: context[start:end], or what the file says if that can't be found.
    start: its first character in the context; None if it is not there.
    """

    text: str
    start: int | None

    @property
    def end(self) -> int | None:
        """The character after its last one; None if it is not in the context."""
        return None if self.start is None else self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Question:
    """A question; without answers if it is_impossible, or if the file has none for it."""

    qas_id: str
    question: str
    answers: tuple[Gold, ...]
    is_impossible: bool


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A context and its questions; title is "" if the file has none."""

    title: str
    context: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that is not as it should be, and was mended or passed over.

    qas_id: the question; None for what is wrong with the file as a whole.
    detail: what was found where, in one line.
    """

    kind: ProblemKind
    qas_id: str | None
    detail: str


@dataclass(frozen=True)
class Dataset:
    """A file of questions; version is "" if it says none."""

    version: str
    paragraphs: tuple[Paragraph, ...]
    problems: tuple[Problem, ...]

    def questions(self) -> Iterator[tuple[Paragraph, Question]]:
        """Yields each question with its paragraph, in the order of the file."""
        for paragraph in self.paragraphs:
            for question in paragraph.questions:
                yield paragraph, question

    def golds(self) -> dict[str, list[str]]:
        """Returns the accepted answers by id, none for is_impossible.

        A question whose answers are unknown (the problem no_answers) can't be scored and is not
        there; a gold answer that is not in the context counts as any other.
        """
        return {
            question.qas_id: [answer.text for answer in question.answers]
            for _, question in self.questions()
            if question.answers or question.is_impossible
        }

    def problem_counts(self) -> dict[ProblemKind, int]:
        """Returns how often each kind of problem was found, in the order of the file."""
        return dict(Counter(problem.kind for problem in self.problems))


def read_dataset(path: str) -> Dataset:
    """Reads a dataset; what is wrong with single questions is counted, not fatal.

    Args:
        path: JSON, local or remote, compressed or not.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, another kind of file, or a part of it is missing or of the wrong
            type; the message names the place.
    """
    value = load_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {_EXPECTED}, got {kind_of(value)}.")
    if "data" not in value:
        if value and all(isinstance(answer, str) for answer in value.values()):
            raise ValueError(f"{path}: {_EXPECTED}, got a predictions file (id to answer).")
        keys = ", ".join(list(value)[:8]) or "nothing"
        raise ValueError(f"{path}: {_EXPECTED}, got an object without data; there is: {keys}.")
    return _Reader(path).read(value)


def locate(context: str, text: str, near: int) -> Span | None:
    """Finds a text in a context.

    Args:
        context: Where to look.
        text: What to look for; if it is nowhere, it is tried without the blanks around it.
        near: A character offset, in the context or not: the nearest occurrence is taken, and of
            two that are as near the first.

    Returns:
        What was found where; None if the text is blank or not in the context.
    """
    for candidate in (text, text.strip()):
        if not candidate.strip():
            return None
        before = context.rfind(candidate, 0, max(near, 0) + len(candidate))
        behind = context.find(candidate, max(near, 0))
        found = [start for start in (before, behind) if start >= 0]
        if found:
            start = min(found, key=lambda start: abs(start - near))
            return Span(candidate, start, start + len(candidate))
    return None


class _Reader:
    """Reads one file; gathers ids and problems on the way."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._is_version_2 = False
        self._ids: set[str] = set()
        self._problems: list[Problem] = []

    def read(self, value: dict[str, Any]) -> Dataset:
        version = self._version(value)
        data = member(value, "data", list, f"{self._path}: top level")
        paragraphs: list[Paragraph] = []
        for i, article in enumerate(data):
            place = f"{self._path}: data[{i}]"
            article = expect(article, dict, place)
            title = member(article, "title", str, place) if "title" in article else ""
            for j, paragraph in enumerate(member(article, "paragraphs", list, place)):
                inner = f"{place}.paragraphs[{j}]"
                paragraphs.append(self._paragraph(expect(paragraph, dict, inner), title, inner))
        return Dataset(version, tuple(paragraphs), tuple(self._problems))

    def _report(self, kind: ProblemKind, qas_id: str | None, detail: str) -> None:
        self._problems.append(Problem(kind, qas_id, detail))

    def _version(self, value: dict[str, Any]) -> str:
        version = value.get("version", "")
        if not isinstance(version, str):
            version = str(version)  # 1.1 as a number is clear enough
        if not version.startswith(_KNOWN_VERSIONS):
            said = f"the version {version!r} is unknown" if version else "no version is given"
            self._report("unknown_version", None, f"{said}; read as SQuAD's form")
        self._is_version_2 = version.removeprefix("v").startswith("2.")
        return version

    def _paragraph(self, value: dict[str, Any], title: str, place: str) -> Paragraph:
        context = member(value, "context", str, place)
        questions = []
        for i, item in enumerate(member(value, "qas", list, place)):
            inner = f"{place}.qas[{i}]"
            question = self._question(expect(item, dict, inner), context, inner)
            if question.qas_id in self._ids:
                continue
            self._ids.add(question.qas_id)
            questions.append(question)
        return Paragraph(title, context, tuple(questions))

    def _question(self, value: dict[str, Any], context: str, place: str) -> Question:
        qas_id = member(value, "id", str, place)
        note = f" (question {qas_id!r})"
        text = member(value, "question", str, place, note)
        answers = self._answers(value, place, note)
        is_impossible = not answers and self._is_version_2
        if "is_impossible" in value:
            is_impossible = member(value, "is_impossible", bool, place, note)
        if qas_id in self._ids:
            self._report("repeated_id", qas_id, f"{place}: only the first question counts")
            return Question(qas_id, text, (), is_impossible)
        if not context.strip():
            self._report("empty_context", qas_id, f"{place}: its context has no text")
        if not text.strip():
            self._report("empty_question", qas_id, f"{place}.question has no text")
        if is_impossible and answers:
            self._report("impossible_with_answers", qas_id, f"{place}: the answers are ignored")
            answers = []
        if not is_impossible and not answers:
            self._report("no_answers", qas_id, f"{place} has no answers; it can't be scored")
        placed = [self._place(answer, context, qas_id, place) for answer in answers]
        return Question(qas_id, text, tuple(placed), is_impossible)

    def _answers(self, value: dict[str, Any], place: str, note: str) -> list[tuple[str, int]]:
        """Returns text and answer_start of each; none where a test file keeps them back."""
        if "answers" not in value:
            return []
        found = []
        for i, item in enumerate(member(value, "answers", list, place, note)):
            inner = f"{place}.answers[{i}]"
            answer = expect(item, dict, inner, note)
            text = member(answer, "text", str, inner, note)
            found.append((text, member(answer, "answer_start", int, inner, note)))
        return found

    def _place(self, answer: tuple[str, int], context: str, qas_id: str, place: str) -> Gold:
        text, start = answer
        if start >= 0 and text.strip() and context.startswith(text, start):
            return Gold(text, start)
        if not text.strip():
            self._report("empty_answer", qas_id, f"{place}: an answer has no text")
            return Gold(text, None)
        found = locate(context, text, start)
        if found is not None:
            detail = f"{place}: {text!r} is not at {start} but at {found.start}"
            self._report("answer_moved", qas_id, detail)
            return Gold(found.text, found.start)
        if context.strip():
            self._report("answer_not_found", qas_id, f"{place}: {text!r} is not in the context")
        return Gold(text, None)
