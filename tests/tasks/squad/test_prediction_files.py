"""Files of answers: what is read, and what is refused by its name."""

import json
from pathlib import Path

import pytest

from bert_ko.tasks.squad.examples import Dataset, Paragraph, Question, Span
from bert_ko.tasks.squad.prediction_files import LocatedAnswers, PredictionFile, read_predictions


def test_read_predictions_strings_and_objects_are_read(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    values = '{"a": "책", "b": {"text": "산", "answer_start": 4}, "c": {"text": ""}, "a": "책을",'
    path.write_text(values + '"d": {"text": "강", "answer_start": null}}', encoding="utf-8")
    found = read_predictions(str(path))
    assert found.texts == {"a": "책을", "b": "산", "c": "", "d": "강"}
    assert found.starts == {"b": 4}
    assert found.repeated == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["책"]', "[0] must be an object, got a string."),
        ('"책"', "expected predictions, a JSON object of id to answer: "),
        ('{"version": "1.1", "data": []}', "got a dataset; the dataset comes first."),
        ('{"a": [{"text": "책"}]}', "got a list for each id, as in nbest_predictions.json"),
        ('{"a": "책", "b": null}', "answer of 'b' must be a string, got null (no answer is \"\")."),
        ('{"a": {"answer": "책"}}', "answer of 'a'.text is missing; found: answer."),
        (
            '{"a": {"text": "책", "answer_start": "3"}}',
            "answer of 'a'.answer_start must be an integer, got a string.",
        ),
        ('{"a": "책"\n', ":2: not JSON: "),
        ('{"predictions": [{"id": "a", "text": "책"}]}', "got an object of lists (predictions)."),
        ('{"a": ["책"]}', "got an object of lists (a)."),
        ('{"a": 1.5, "b": -2}', "got a number for each id, as in null_odds.json"),
        ('{"a": "책", "b": 3}', "answer of 'b' must be a string, got an integer"),
        ('[{"id": "a", "answers": []}]', "[0]: id and prediction_text are wanted; found: id, ans"),
        ('[{"prediction_text": "책"}]', "[0]: id and prediction_text are wanted; found: predictio"),
        (
            '[{"id": "a", "prediction_text": null}]',
            "[0].prediction_text must be a string, got null (id 'a'; no answer is \"\").",
        ),
        ('[{"id": [], "text": "책"}]', "[0].id must be a string, got a list."),
        (
            '[{"id": "a", "context": "", "question": "", "answers": {}}]',
            "got a dataset; the dataset comes first.",
        ),
        ('{"paragraphs": []}\n{"paragraphs": []}', "got a dataset; the dataset comes first."),
    ],
)
def test_read_predictions_wrong_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as error:
        read_predictions(str(path))
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


RECORDS = [
    {"id": 7, "prediction_text": "책", "no_answer_probability": 0.5},
    {"id": "b", "prediction_text": ""},
    {"id": "7", "prediction_text": "산"},
]


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])  # none: a list
def test_read_predictions_records_are_read(end: str, tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    lines = "".join(json.dumps(record, ensure_ascii=False) + end for record in RECORDS)
    path.write_bytes((lines if end else json.dumps(RECORDS)).encode())
    assert read_predictions(str(path)) == PredictionFile({"7": "산", "b": ""}, {}, 1)


def test_read_predictions_one_line_that_run_squad_prints_is_read(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "1", "question": "?", "answer": "책", "answer_start": 3}\n')
    assert read_predictions(str(path)) == PredictionFile({"1": "책"}, {"1": 3}, 0)


def test_locate_answers_of_a_file_are_found_near_answer_start_or_first() -> None:
    context = "도서관은 언덕에 있다. 옛 도서관은 강가에 있었다."
    questions = tuple(Question(name, "어디?", (), False) for name in "abcdefg")
    dataset = Dataset("", (Paragraph("", context, questions),), ())
    texts = {"a": " 도서관 ", "b": "도서관", "c": "도서관", "d": "바다", "e": " ", "f": "강가"}
    predictions = PredictionFile({**texts, "x": "언덕"}, {"b": 14, "c": 9999}, 0)
    assert predictions.locate(dataset) == LocatedAnswers(
        spans={
            "a": Span("도서관", 0, 3),
            "b": Span("도서관", 15, 18),
            "c": Span("도서관", 15, 18),
            "f": Span("강가", 20, 22),
        },
        not_found=["d"],
        ambiguous=["a"],
    )
