"""Files of questions in SQuAD's form (versions 1 and 2, KorQuAD 1.0, TyDiQA), and of answers.

Offsets are characters of the context as the file has it; nothing in it is normalised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from bert_ko.display import shown_list
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

_DATASET = 'expected a dataset in SQuAD\'s form: {"version": ..., "data": [{"paragraphs": ...}]}'
_PREDICTIONS = 'expected predictions, a JSON object of id to answer: {"id": "answer", ...}'
_KNOWN_VERSIONS = ("1.", "v1.", "2.0", "v2.0", "KorQuAD_v1.0", "TyDiQA-GoldP")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a context, context[start:end]; NO_ANSWER is empty."""

    text: str
    start: int
    end: int


NO_ANSWER = Span("", 0, 0)


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold answer: context[start:end], or what the file says if that can't be found."""

    text: str
    start: int | None  # None if it is not in the context

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
    """Something in a file that is not as it should be, and was mended or passed over."""

    kind: ProblemKind
    qas_id: str | None  # None if the file as a whole is wrong
    detail: str  # what was found where, in one line


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
        """The accepted answers by id, none for is_impossible.

        Questions whose answers are unknown (the problem no_answers) can't be scored and are left
        out; a gold answer that is not in the context counts as any other.
        """
        return {
            question.qas_id: [answer.text for answer in question.answers]
            for _, question in self.questions()
            if question.answers or question.is_impossible
        }

    def problem_counts(self) -> dict[ProblemKind, int]:
        """How often each kind of problem was found, in the order of the file."""
        return dict(Counter(problem.kind for problem in self.problems))

    def describe_problems(self) -> Iterator[tuple[str, list[Problem]]]:
        """Yields a line for each kind of problem, and its problems: answer_moved: 2 (q1, q7)."""
        for kind, count in self.problem_counts().items():
            found = [problem for problem in self.problems if problem.kind == kind]
            named = shown_list([problem.qas_id or problem.detail for problem in found])
            yield f"{kind}: {count:,} ({named})", found


def read_dataset(path: str, encoding: str | None = None) -> Dataset:
    """Reads a dataset; what is wrong with single questions is counted, not fatal.

    Args:
        path: JSON, local or remote, compressed or not.
        encoding: see ``load_json``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not JSON or another kind of file, or a part of it is missing or of the
            wrong type; the message names the place.
    """
    value = load_json(path, encoding=encoding)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {_DATASET}, got {kind_of(value)}.")
    if "data" not in value:
        if value and all(isinstance(answer, str) for answer in value.values()):
            raise ValueError(f"{path}: {_DATASET}, got a predictions file (id to answer).")
        keys = ", ".join(list(value)[:8]) or "nothing"
        raise ValueError(f"{path}: {_DATASET}, got an object without data; found: {keys}.")
    return _Reader(path).read(value)


def locate(context: str, text: str, near: int) -> Span | None:
    """Finds a text in a context, with the blanks around it or without.

    Args:
        context: where to look.
        text: what to look for.
        near: a character offset, in the context or not; the nearest occurrence is found, the first
            one of two that are equally near.

    Returns:
        None if the text is blank or not in the context.
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
    """Reads one file, and gathers ids and problems."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._is_version_2 = False
        self._ids: set[str] = set()
        self._problems: list[Problem] = []

    def read(self, value: dict[str, Any]) -> Dataset:
        version = self._version(value)
        data = member(value, "data", list, f"{self._path}: top level")
        paragraphs: list[Paragraph] = []
        for article, place in _objects(data, f"{self._path}: data"):
            title = member(article, "title", str, place) if "title" in article else ""
            found = member(article, "paragraphs", list, place)
            for paragraph, inner in _objects(found, f"{place}.paragraphs"):
                paragraphs.append(self._paragraph(paragraph, title, inner))
        return Dataset(version, tuple(paragraphs), tuple(self._problems))

    def _report(self, kind: ProblemKind, qas_id: str | None, detail: str) -> None:
        self._problems.append(Problem(kind, qas_id, detail))

    def _version(self, value: dict[str, Any]) -> str:
        version = str(value.get("version", ""))  # 1.1 as a number is clear enough
        if not version.startswith(_KNOWN_VERSIONS):
            said = f"the version {version!r} is unknown" if version else "no version is given"
            self._report("unknown_version", None, f"{said}; read as SQuAD's form")
        self._is_version_2 = version.removeprefix("v").startswith("2.")
        return version

    def _paragraph(self, value: dict[str, Any], title: str, place: str) -> Paragraph:
        context = member(value, "context", str, place)
        questions = []
        for item, inner in _objects(member(value, "qas", list, place), f"{place}.qas"):
            question = self._question(item, context, inner)
            if question.qas_id not in self._ids:
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
        placed = [self._place(*answer, context, qas_id, place) for answer in answers]
        return Question(qas_id, text, tuple(placed), is_impossible)

    def _answers(self, value: dict[str, Any], place: str, note: str) -> list[tuple[str, int]]:
        """Text and answer_start of each; none in a test file that keeps them back."""
        answers = member(value, "answers", list, place, note) if "answers" in value else []
        return [
            (
                member(answer, "text", str, inner, note),
                member(answer, "answer_start", int, inner, note),
            )
            for answer, inner in _objects(answers, f"{place}.answers", note)
        ]

    def _place(self, text: str, start: int, context: str, qas_id: str, place: str) -> Gold:
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


def _objects(values: list[Any], place: str, note: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """Yields the objects of a list with their places."""
    for i, value in enumerate(values):
        yield expect(value, dict, f"{place}[{i}]", note), f"{place}[{i}]"


@dataclass(frozen=True)
class PredictionFile:
    """The answers of a file: predictions.json of run_squad and of other programs."""

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
    """Where the answers of a file are found, by question id."""

    spans: dict[str, Span]  # without the blanks around them if they are not in the context
    not_found: list[str]
    ambiguous: list[str]  # found at several places, none of which the file gives: the first is used


def read_predictions(path: str, encoding: str | None = None) -> PredictionFile:
    """Reads answers that are strings, or objects with "text" and perhaps "answer_start".

    Args:
        path: JSON, local or remote, compressed or not.
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

    value = load_json(path, keep_last, encoding=encoding)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {_PREDICTIONS}, got {kind_of(value)}.")
    if isinstance(value.get("data"), list):
        raise ValueError(f"{path}: {_PREDICTIONS}, got a dataset; the dataset comes first.")
    if value and all(isinstance(answer, list) for answer in value.values()):
        raise ValueError(
            f"{path}: {_PREDICTIONS}, got a list for each id, as in nbest_predictions.json; "
            "predictions.json beside it has one answer each."
        )
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
