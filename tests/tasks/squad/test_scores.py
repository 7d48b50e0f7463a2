"""The official KorQuAD score: the vectors of its description, properties, and a slow reference."""

import json
import math
import string
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.squad.scores import (
    AnswerScore,
    normalize_answer,
    score_answer,
    score_predictions,
)

QUOTES = ["'", '"', "《", "》", "<", ">", "〈", "〉", "(", ")", "‘", "’"]
DELETED = sorted(set(string.punctuation) - set(QUOTES))

any_text = st.text(max_size=12) | st.text(
    alphabet="가나다 ab AB12,.'\"《》<>〈〉()‘’“”「」·…～（）-\t\u3000\u00a0\u200eΣßİ각\u1100",
    max_size=12,
)


def slow_normalize(text: str) -> str:
    """The four steps of the description, a character at a time."""
    spaced = ""
    for character in text:
        spaced += " " if character in QUOTES else character
    kept = ""
    for character in spaced.lower():
        if character not in string.punctuation:
            kept += character
    words, word = [], ""
    for character in kept:
        if not character.isspace():
            word += character
        elif word:
            words.append(word)
            word = ""
    return " ".join([*words, word] if word else words)


def slow_f1(prediction: str, gold: str) -> float:
    left = Counter(c for c in slow_normalize(prediction) if c != " ")
    right = Counter(c for c in slow_normalize(gold) if c != " ")
    common = sum((left & right).values())
    if not common:
        return 0.0
    return 2 * common / (sum(left.values()) + sum(right.values()))


@pytest.mark.parametrize(
    ("prediction", "gold", "is_exact", "f1"),
    [
        ("《가》", "가", True, 1.0),
        ("“가”", "가", False, 0.5),
        ("1,000명", "1000명", True, 1.0),
        ("가(나)", "가나", False, 1.0),
        ("나가", "가나", False, 1.0),
        ("()", "()", True, 0.0),
    ],
)
def test_score_answer_official_vectors_give_literal_results(
    prediction: str, gold: str, is_exact: bool, f1: float
) -> None:
    assert score_answer(prediction, [gold]) == AnswerScore(is_exact, pytest.approx(f1, abs=1e-15))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  푸른\t\u3000바다\u00a0 ", "푸른 바다"),
        ("Blue-Sea, 3.5km", "bluesea 35km"),
        ("‘푸른’바다", "푸른 바다"),
        ("〈푸른〉<바다>", "푸른 바다"),
        ("“푸른” 「바다」 『위』 가·나 … ～ （다）", "“푸른” 「바다」 『위』 가·나 … ～ （다）"),
        ("푸른\x1c바다\u2028위", "푸른 바다 위"),
        ("푸른\u200b바다\u200e", "푸른\u200b바다\u200e"),
        ("각", "각"),  # NFD stays NFD
        ("ΑΣ-Α", "αςα"),  # lower-cased before the hyphen goes, so the sigma is a final one
        ("ΑΣ'Α", "ας α"),
        ("", ""),
    ],
)
def test_normalize_answer_gives_literal_result(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected


@pytest.mark.slow
def test_normalize_answer_every_character_equals_slow_reference() -> None:
    for first in range(0, sys.maxunicode + 1, 256):
        text = "가".join(map(chr, range(first, first + 256)))
        assert normalize_answer(text) == slow_normalize(text), hex(first)


@given(any_text, any_text)
def test_score_answer_equals_slow_reference(prediction: str, gold: str) -> None:
    is_exact, f1 = score_answer(prediction, [gold])
    assert is_exact is (slow_normalize(prediction) == slow_normalize(gold))
    assert math.isclose(f1, slow_f1(prediction, gold), rel_tol=1e-12)
    assert 0.0 <= f1 <= 1.0
    assert score_answer(gold, [prediction]) == (is_exact, f1)


@pytest.mark.parametrize(
    ("prediction", "golds", "score"),
    [
        ("푸른 바다", ["바다", "푸른 바다", "산"], (True, 1.0)),
        ("나가", ["바다", "가나", "()"], (False, 1.0)),
        ("", ["()", "가"], (True, 0.0)),  # the exact match is of one gold, the F1 of none
        # Without golds silence is right.
        ("", [], (True, 1.0)),
        (" () ", [], (True, 1.0)),
        ("바다", [], (False, 0.0)),
    ],
)
def test_score_answer_takes_best_gold_for_each_metric(
    prediction: str, golds: list[str], score: tuple[bool, float]
) -> None:
    assert score_answer(prediction, golds) == score


def test_score_predictions_missing_scores_zero_and_extra_is_ignored() -> None:
    golds = {"a": ["바다"], "b": ["푸른 산", "산"], "c": [], "d": ["가나"]}
    predictions = {"x": "바다", "a": "바다.", "d": "나가", "y": ""}
    scores = score_predictions(golds, predictions)
    assert scores.means == {"exact_match": 25.0, "f1": 50.0}
    assert (scores.total, scores.missing, scores.extra) == (4, ["b", "c"], 2)
    assert list(scores.by_question) == ["a", "b", "c", "d"]
    assert scores.by_question["b"] == AnswerScore(False, 0.0)


def test_score_predictions_no_question_is_zero() -> None:
    scores = score_predictions({}, {"x": "바다"})
    assert (scores.means, scores.total, scores.extra) == ({"exact_match": 0.0, "f1": 0.0}, 0, 1)


@pytest.mark.parametrize("name", ["train", "dev"])
def test_score_predictions_real_golds_score_hundred_fast(name: str, data_folder: Path) -> None:
    content = json.loads((data_folder / "korquad" / f"{name}.json").read_bytes())
    golds = {
        question["id"]: [answer["text"] for answer in question["answers"]]
        for article in content["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    predictions = {qas_id: texts[-1] for qas_id, texts in golds.items()}
    start = time.process_time()
    scores = score_predictions(golds, predictions)
    seconds = time.process_time() - start
    assert (scores.means, scores.missing) == ({"exact_match": 100.0, "f1": 100.0}, [])
    assert seconds < 1.0  # 0.1 on one core; the bound leaves room for a busy machine
    shifted = dict(zip(predictions, [*list(predictions.values())[1:], ""], strict=True))
    other = score_predictions(golds, shifted)
    slow_f1_sum = sum(slow_f1(shifted[qas_id], texts[0]) for qas_id, texts in golds.items())
    assert all(len(texts) == 1 for texts in golds.values())
    assert other.means["f1"] == pytest.approx(100 * slow_f1_sum / len(golds), rel=1e-12)
