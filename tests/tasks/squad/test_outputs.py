"""Files of a reading: literal content, byte for byte where Hangul or line ends may suffer."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from bert_ko.tasks.squad.examples import (
    NO_ANSWER,
    Dataset,
    Gold,
    Paragraph,
    Problem,
    Question,
    Span,
)
from bert_ko.tasks.squad.josa import Stripped
from bert_ko.tasks.squad.outputs import (
    result_values,
    write_changes,
    write_predictions,
    write_problems,
)
from bert_ko.tasks.squad.predictions import Candidate, Prediction
from bert_ko.tasks.squad.reader import Reading

CONTEXT = "마을 도서관은 언덕 위에 있다."
HILL = Candidate("언덕 위에", 8, 13, 7.5, 0.75, 4.0, 3.5)
SHORT = Candidate("언덕", 8, 10, 5.5, 0.25, 4.0, 1.5)
SILENCE = Candidate("", 0, 0, 6.0, 1.0, 0.0, 0.0)
NAMES = ["predictions.json", "nbest_predictions.json", "null_odds.json"]


def reading(null_odds: float = -1.5) -> Reading:
    return Reading(
        [
            Prediction("q1", [HILL, SHORT], null_odds),
            Prediction("q2", [SILENCE], math.inf),
        ],
        {"q1": HILL.span, "q2": NO_ANSWER},
        {"q1": Stripped(Span("언덕 위", 8, 12), "에", "josa")},
    )


def load(path: Path) -> Any:
    """As a reader that takes no Infinity and no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{path.name} has {name}, which is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_write_predictions_files_are_googles(tmp_path: Path) -> None:
    write_predictions(str(tmp_path), reading(), is_version_2=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    text = (tmp_path / "predictions.json").read_text(encoding="utf-8")
    assert text == '{\n  "q1": "언덕 위",\n  "q2": ""\n}\n'
    assert load(tmp_path / "nbest_predictions.json") == {
        "q1": [
            {
                "text": "언덕 위에", "probability": 0.75, "start_logit": 4.0, "end_logit": 3.5,
                "answer_start": 8, "answer_end": 13,
            },
            {
                "text": "언덕", "probability": 0.25, "start_logit": 4.0, "end_logit": 1.5,
                "answer_start": 8, "answer_end": 10,
            },
        ],
        "q2": [
            {
                "text": "", "probability": 1.0, "start_logit": 0.0, "end_logit": 0.0,
                "answer_start": None, "answer_end": None,
            },
        ],
    }  # fmt: skip


def test_write_predictions_null_odds_are_numbers_of_json(tmp_path: Path) -> None:
    write_predictions(str(tmp_path), reading(), is_version_2=True)
    found = load(tmp_path / "null_odds.json")
    assert found["q1"] == -1.5
    assert 1e300 < found["q2"] < math.inf


def test_write_predictions_version_1_has_no_null_odds(tmp_path: Path) -> None:
    write_predictions(str(tmp_path), reading(), is_version_2=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES[:2])


def test_write_predictions_again_replaces_and_leaves_no_half_file(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_text("old" * 1000)
    write_predictions(str(tmp_path), reading(), is_version_2=True)
    assert list(load(tmp_path / "predictions.json")) == ["q1", "q2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_write_predictions_lone_surrogate_is_written(tmp_path: Path) -> None:
    strange = Reading([], {"q\ud800": Span("언\ud800덕", 0, 3)}, {})
    write_predictions(str(tmp_path), strange, is_version_2=False)
    assert load(tmp_path / "predictions.json") == {"q\ud800": "언\ud800덕"}


# Changes and problems


def test_write_changes_has_a_line_for_each_changed_answer(tmp_path: Path) -> None:
    report = reading().report({"q1": ["언덕 위"], "q2": ["강가"]})
    write_changes(str(tmp_path), report)
    assert (tmp_path / "josa_changes.jsonl").read_text(encoding="utf-8") == (
        '{"id": "q1", "before": "언덕 위에", "after": "언덕 위", "golds": ["언덕 위"], '
        '"effect": "better", "scores": {"before": {"exact_match": false, "f1": '
        f'{6 / 7}}}, "after": {{"exact_match": true, "f1": 1.0}}}}, "removed": "에", '
        '"rule": "josa"}\n'
    )


def test_write_changes_nothing_changed_empties_the_file(tmp_path: Path) -> None:
    path = tmp_path / "josa_changes.jsonl"
    path.write_text("old\n")
    report = reading().report({"q2": ["강가"]})
    write_changes(str(tmp_path), report)
    assert path.read_text() == ""


def problems(*found: Problem) -> Dataset:
    return Dataset("1.1", (), found)


def test_write_problems_names_the_file_of_each(tmp_path: Path) -> None:
    datasets = {
        "train.json": problems(
            Problem("unknown_version", None, "the version '우리 것' is unknown"),
            Problem("answer_moved", "q\n1", "'강가' is not at 0 but at 3"),
        ),
        "clean.json": problems(),
        "dev.json": problems(Problem("no_answers", "q2", "it can't be scored")),
    }
    write_problems(str(tmp_path), datasets)
    lines = (tmp_path / "dataset_problems.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "file": "train.json", "kind": "unknown_version", "id": None,
            "detail": "the version '우리 것' is unknown",
        },
        {
            "file": "train.json", "kind": "answer_moved", "id": "q\n1",
            "detail": "'강가' is not at 0 but at 3",
        },
        {"file": "dev.json", "kind": "no_answers", "id": "q2", "detail": "it can't be scored"},
    ]  # fmt: skip
    assert "우리 것" in lines[0]


def test_write_problems_none_makes_no_file_and_empties_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "dataset_problems.jsonl"
    write_problems(str(tmp_path), {"train.json": problems()})
    assert not path.exists()
    path.write_text("of an earlier run\n")
    write_problems(str(tmp_path), {"train.json": problems()})
    assert path.read_text() == ""


# Results


def dataset(**golds: str | None) -> Dataset:
    """Questions by id; None for one that has no answer."""
    questions = tuple(
        Question(
            qas_id, "어디?", () if gold is None else (Gold(gold, 0),), is_impossible=gold is None
        )
        for qas_id, gold in golds.items()
    )
    return Dataset("", (Paragraph("", CONTEXT, questions),), ())


def test_result_values_have_final_answers_and_those_before() -> None:
    data = dataset(q1="언덕 위", q2="강가")
    assert result_values(reading().report(data.golds()), data) == {
        "exact_match": 50.0,
        "f1": 50.0,
        "exact_match_not_stripped": 0.0,
        "f1_not_stripped": pytest.approx(100 * 6 / 7 / 2),
        "total": 2,
    }


def test_result_values_version_2_parts_are_scored_apart() -> None:
    data = dataset(q1="언덕", q2=None, q3=None, q4=None)
    found = reading()
    found.chosen["q3"] = Span("마을", 0, 2)  # q4 is not answered at all, and scores nothing
    values = result_values(found.report(data.golds()), data)
    assert {name: v for name, v in values.items() if "answer" in name} == {
        "has_answer_exact_match": 0.0,
        "has_answer_f1": pytest.approx(100 * 0.8),
        "has_answer_total": 1,
        "no_answer_exact_match": pytest.approx(100 / 3),
        "no_answer_f1": pytest.approx(100 / 3),
        "no_answer_total": 3,
    }
    assert values["total"] == 4


def test_result_values_part_without_questions_is_zero() -> None:
    data = dataset(q2=None)
    values = result_values(reading().report(data.golds()), data)
    assert (values["has_answer_exact_match"], values["has_answer_total"]) == (0.0, 0)
    assert (values["no_answer_exact_match"], values["no_answer_total"]) == (100.0, 1)
