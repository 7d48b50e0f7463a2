"""KLUE-MRC's scores: exact match and ROUGE-W over characters, of all questions and of each type."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from bert_ko.progress import format_table
from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.scores import Scores

_TO_NOTHING = str.maketrans("", "", string.punctuation)
# The official pattern was meant for any quote or bracket, but wants four characters in a row.
_TO_SPACE = re.compile("['\"《》<>〈〉]\\(\\)‘’")


class KlueScore(NamedTuple):
    """Of one answer."""

    exact_match: bool
    rouge_w: float  # of 1


def normalize_answer(text: str) -> str:
    """What KLUE compares: no case, ASCII punctuation or doubled spaces; other quotes stay.

    Source: the behaviour of metrics/utils.py of KLUE-benchmark/KLUE-baseline.
    """
    text = _TO_SPACE.sub(" ", text.lower()).translate(_TO_NOTHING)
    return " ".join(text.split())


def score_answer(prediction: str, golds: Sequence[str]) -> KlueScore:
    """The best exact match and the best ROUGE-W over the golds, each by itself.

    ROUGE-W is the F1 of the longest run of characters that the two have in common, spaces included.

    Args:
        prediction: the answer; "" says that there is none.
        golds: all accepted answers; none if the question can't be answered.
    """
    answer = normalize_answer(prediction)
    accepted = [normalize_answer(gold) for gold in golds] or [""]
    return KlueScore(answer in accepted, max(_rouge_w(answer, gold) for gold in accepted))


def _rouge_w(prediction: str, gold: str) -> float:
    if not (prediction and gold):
        return float(not gold and not prediction)
    # Of the standard library, as in the official script: it passes over the characters that are
    # frequent in golds of 200 characters or more.
    common = SequenceMatcher(None, prediction, gold).find_longest_match().size
    return 2 * common / (len(prediction) + len(gold))


def klue_scores(scores: Scores) -> dict[str, KlueScore]:
    """The scores of answers by question id; those without an answer score 0.

    Differs: the official script leaves out questions without an answer.
    """
    nothing = KlueScore(False, 0.0)
    return {
        qas_id: score_answer(scores.answers[qas_id], golds) if qas_id in scores.answers else nothing
        for qas_id, golds in scores.golds.items()
    }


def klue_values(dataset: Dataset, scores: Scores) -> dict[str, float]:
    """klue_exact_match and klue_rouge_w, in percent, then by question type; {} of other datasets.

    klue_total counts questions. Those of a type have its number at the end: klue_rouge_w_type_1.
    """
    if not dataset.is_klue:
        return {}
    found = klue_scores(scores)
    values = _means(list(found.values()), "")
    types = {question.qas_id: question.question_type for _, question in dataset.questions()}
    for kind in sorted({kind for kind in types.values() if kind is not None}):
        part = [score for qas_id, score in found.items() if types[qas_id] == kind]
        values |= _means(part, f"_type_{kind}")
    return values


def klue_rows(values: Mapping[str, float]) -> list[tuple[str, float, float, int]]:
    """What ``klue_values`` gives, as rows: question type, exact match, ROUGE-W, questions."""
    suffixes = [name.removeprefix("klue_total") for name in values if "klue_total" in name]
    return [
        (
            suffix.replace("_", " ").strip() or "all",
            values[f"klue_exact_match{suffix}"],
            values[f"klue_rouge_w{suffix}"],
            int(values[f"klue_total{suffix}"]),
        )
        for suffix in suffixes
    ]


def format_klue(values: Mapping[str, float]) -> str:
    """What ``klue_values`` gives, as a table."""
    return format_table(klue_rows(values), ["KLUE-MRC", "exact match", "ROUGE-W", "questions"])


def _means(scores: Sequence[KlueScore], suffix: str) -> dict[str, float]:
    count = max(len(scores), 1)
    return {
        f"klue_exact_match{suffix}": 100.0 * sum(score.exact_match for score in scores) / count,
        f"klue_rouge_w{suffix}": 100.0 * sum(score.rouge_w for score in scores) / count,
        f"klue_total{suffix}": len(scores),
    }
