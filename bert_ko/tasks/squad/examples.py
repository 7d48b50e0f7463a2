"""Questions on contexts, with their gold answers, and what is wrong with a file of them.

Offsets are characters of the context as the file has it; nothing in it is normalised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from bert_ko.display import shown_list
from bert_ko.json_files import expect

ProblemKind = Literal[
    "unknown_version",
    "offset_unit",
    "missing_id",
    "repeated_id",
    "empty_context",
    "empty_question",
    "no_answers",
    "impossible_with_answers",
    "empty_answer",
    "answer_moved",
    "answer_in_other_form",
    "answer_not_found",
]
# What becomes of the questions; the first two are of the whole file, and say it themselves.
_CONSEQUENCES: dict[ProblemKind, str] = {
    "missing_id": "named by their places, in the answers too",
    "repeated_id": "the first question of an id counts, the others are left out",
    "no_answers": "neither trained on nor scored",
    "impossible_with_answers": "without an answer, as is_impossible says",
    "empty_answer": "not trained on",
    "answer_moved": "not at answer_start, taken from the nearest place",
    "answer_in_other_form": "spelled otherwise in the context, where they were found",
    "answer_not_found": "not in the context, not trained on",
}


ID_KEYS = ("id", "guid", "question_id", "qas_id", "qid")  # SQuAD's, KLUE's, and others'


def find_id(value: dict[str, Any], place: str) -> str | None:
    """The id of a question or an answer as a text; None if it has none.

    Raises:
        ValueError: it is neither a string nor an integer.
    """
    for key in ID_KEYS:
        found = value.get(key)
        if type(found) is int:
            return str(found)
        if found is not None:
            return expect(found, str, f"{place}.{key}")
    return None


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
    spelled: str | None = None  # as the file has it, where its form is not that of the context

    @property
    def end(self) -> int | None:
        """The character after its last one; None if it is not in the context."""
        return None if self.start is None else self.start + len(self.text)

    @property
    def spellings(self) -> list[str]:
        """What counts as this answer: the file's text, and the context's in another form."""
        return [self.text] if self.spelled is None else [self.spelled, self.text]


@dataclass(frozen=True, slots=True)
class Question:
    """A question; without answers if it is_impossible, or if the file has none for it."""

    qas_id: str
    question: str
    answers: tuple[Gold, ...]
    is_impossible: bool
    question_type: int | None = None  # of KLUE-MRC: 1 paraphrase, 2 several sentences, 3 no answer


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

    @property
    def is_klue(self) -> bool:
        """Whether it is KLUE-MRC, which has scores of its own."""
        if self.version.startswith("klue-mrc"):
            return True
        return any(question.question_type is not None for _, question in self.questions())

    def golds(self) -> dict[str, list[str]]:
        """The accepted answers by id, none for is_impossible.

        Questions whose answers are unknown (the problem no_answers) can't be scored and are left
        out; a gold answer that is not in the context counts as any other.
        """
        return {
            question.qas_id: [text for answer in question.answers for text in answer.spellings]
            for _, question in self.questions()
            if question.answers or question.is_impossible
        }

    def problem_counts(self) -> dict[ProblemKind, int]:
        """How often each kind of problem was found, in the order of the file."""
        return dict(Counter(problem.kind for problem in self.problems))

    def describe_problems(self) -> Iterator[tuple[str, list[Problem]]]:
        """Yields a line for each kind of problem, and its problems: no_answers: 2 (q1, q7): ..."""
        for kind, count in self.problem_counts().items():
            found = [problem for problem in self.problems if problem.kind == kind]
            named = shown_list([problem.qas_id or problem.detail for problem in found])
            line = f"{kind}: {count:,} ({named})"
            yield f"{line}: {_CONSEQUENCES[kind]}" if kind in _CONSEQUENCES else line, found
