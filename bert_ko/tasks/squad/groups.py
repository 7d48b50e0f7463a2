"""Questions by what they ask for and how long their context is, with the scores of each group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.scores import AnswerScore, Scores, mean_scores

# The first that a question has counts; "who" before "what", since 누가 is never part of another.
QUESTION_WORDS = (
    "누구", "누가", "언제", "어디", "무엇", "무슨", "왜", "어떻게", "어떤", "어느", "얼마", "몇",
)  # fmt: skip
OTHER = "others"
_LENGTHS = (250, 500, 1000)  # characters of a context

Group = tuple[str, float, float, int]  # name, exact match and F1 in percent, questions


def question_word(question: str) -> str:
    """Returns the question word, or OTHER."""
    return next((word for word in QUESTION_WORDS if word in question), OTHER)


def context_length(context: str) -> str:
    """Returns the range that the length of a context is in, in characters."""
    low = 0
    for high in _LENGTHS:
        if len(context) <= high:
            return f"{low + 1}–{high}"
        low = high
    return f"{low + 1}+"


def score_groups(
    dataset: Dataset, scores: Scores, name_of: Callable[[str, str], str], order: tuple[str, ...]
) -> list[Group]:
    """Scores the questions of each group.

    Args:
        dataset: questions.
        scores: of the answers.
        name_of: a question and its context to the name of its group.
        order: names, of which those without questions are left out.
    """
    groups: defaultdict[str, list[AnswerScore]] = defaultdict(list)
    for paragraph, asked in dataset.questions():
        if score := scores.by_question.get(asked.qas_id):
            groups[name_of(asked.question, paragraph.context)].append(score)
    found = []
    for name in order:
        if part := groups.get(name):
            means = mean_scores(part)
            found.append((name, means["exact_match"], means["f1"], len(part)))
    return found


LENGTH_NAMES = tuple(context_length("x" * size) for size in (1, 251, 501, 1001))
