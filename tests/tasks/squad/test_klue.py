"""KLUE-MRC's scores: what its official script computes, properties, and a slow reference."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.squad.examples import Dataset, Gold, Paragraph, Question
from bert_ko.tasks.squad.klue import KlueScore, klue_values, normalize_answer, score_answer
from bert_ko.tasks.squad.scores import score_predictions

short = st.text(alphabet="가나다 a.,'‘《", max_size=12)


def slow_rouge_w(prediction: str, gold: str) -> float:
    """F1 of the longest common run of characters, all runs tried."""
    runs = [gold[i:j] for i in range(len(gold)) for j in range(i + 1, len(gold) + 1)]
    common = max((len(run) for run in runs if run in prediction), default=0)
    if not (prediction or gold):
        return 1.0
    if not common:
        return 0.0
    precision, recall = common / len(prediction), common / len(gold)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Blue\t바다, 3.5km", "blue 바다 35km"),
        ("'바다'(海)", "바다海"),  # deleted, where KorQuAD has blanks
        ("‘바다’ 《산》", "‘바다’ 《산》"),  # they stay
        ("바'()‘’다", "바 다"),
    ],
)
def test_normalize_answer_is_klues(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    ("prediction", "golds", "score"),
    [
        ("언덕 위", ["언덕 위"], (True, 1.0)),
        ("언덕 위에", ["언덕 위"], (False, 8 / 9)),
        ("위 언덕", ["언덕 위"], (False, 0.5)),  # one run, in its order
        ("언덕", ["강가", "언덕 위"], (False, 2 / 3)),
        ("강", ["언덕"], (False, 0.0)),
        ("", ["언덕"], (False, 0.0)),
        ("", [], (True, 1.0)),
        ("언덕", [], (False, 0.0)),
        (".", ["!"], (True, 1.0)),
    ],
)
def test_score_answer_gives_literal_result(
    prediction: str, golds: list[str], score: tuple[bool, float]
) -> None:
    found = score_answer(prediction, golds)
    assert found == KlueScore(score[0], pytest.approx(score[1]))


def test_score_answer_long_gold_is_scored_as_officially() -> None:
    # The standard library passes over what is frequent in 200 characters or more.
    assert score_answer("나가가가", ["가" * 199]).rouge_w == pytest.approx(6 / 203)
    assert score_answer("나가가가", ["가" * 200]).rouge_w == 0.0


@given(short, short)
def test_score_answer_equals_slow_reference(prediction: str, gold: str) -> None:
    expected = slow_rouge_w(normalize_answer(prediction), normalize_answer(gold))
    found = score_answer(prediction, [gold])
    assert found.rouge_w == pytest.approx(expected)
    assert found.exact_match == (normalize_answer(prediction) == normalize_answer(gold))


def dataset(**types: int | None) -> Dataset:
    """Questions whose answer is 언덕 위; those of type 3 have none."""
    questions = tuple(
        Question(qas_id, "?", () if kind == 3 else (Gold("언덕 위", 0),), kind == 3, kind)
        for qas_id, kind in types.items()
    )
    return Dataset("", (Paragraph("", "언덕 위", questions),), ())


def test_klue_values_are_means_of_all_and_of_each_type() -> None:
    data = dataset(a=1, b=1, c=3, d=2, e=None)
    answers = {"a": "언덕 위", "b": "언덕", "c": "", "e": "언덕 위"}
    values = klue_values(data, score_predictions(data.golds(), answers))
    expected = {
        "": (60.0, 100 * (3 + 2 / 3) / 5, 5),
        "_type_1": (50.0, 100 * (1 + 2 / 3) / 2, 2),
        "_type_2": (0.0, 0.0, 1),  # d has no answer
        "_type_3": (100.0, 100.0, 1),
    }
    names = ("klue_exact_match", "klue_rouge_w", "klue_total")
    assert list(values) == [name + suffix for suffix in expected for name in names]
    for suffix, row in expected.items():
        assert tuple(values[name + suffix] for name in names) == pytest.approx(row)


def test_klue_values_of_other_datasets_are_none() -> None:
    data = dataset(a=None)
    named = replace(data, version="klue-mrc-v1.1")
    assert "klue_rouge_w" in klue_values(named, score_predictions(data.golds(), {}))
    assert klue_values(data, score_predictions(data.golds(), {"a": "언덕 위"})) == {}
