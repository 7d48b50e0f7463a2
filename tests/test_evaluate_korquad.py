"""evaluate_korquad from end to end."""

import gzip
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from bert_ko import flags
from bert_ko.evaluate_korquad import EvaluateKorquadConfig, run
from tests.small_data import write_questions

Printed = pytest.CaptureFixture[str]
REPOSITORY = Path(__file__).parents[1]
CONTEXT = "마을 도서관은 언덕 위에 있다. 할머니는 강가에서 종이배를 띄웠다."
GOLDS = {"q1": "마을 도서관", "q2": "할머니", "q3": "강가", "q4": "종이배"}
PREDICTIONS = {"q1": "마을 도서관은", "q2": "할머니", "q3": "강가에서", "x": "언덕"}


def write(path: Path, value: Any) -> str:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return str(path)


def write_dataset(path: Path, *golds: tuple[str, Any], version: str = "1.1", **more: Any) -> str:
    """Questions by id, with a gold answer or None."""
    changes = {i: {**more, **({} if gold else {"answers": []})} for i, gold in golds}
    asked = [(CONTEXT, qas_id, "무엇인가?", gold or "") for qas_id, gold in golds]
    return write_questions(path, asked, version, **changes)


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    return write_dataset(tmp_path / "dataset.json", *GOLDS.items())


@pytest.fixture
def predictions(tmp_path: Path) -> str:
    return write(tmp_path / "predictions.json", PREDICTIONS)


def evaluate(*arguments: str) -> int:
    return flags.run_command(EvaluateKorquadConfig, run, arguments)


def evaluate_json(capsys: Printed, *arguments: str) -> dict[str, Any]:
    assert evaluate(*arguments, "--json") == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_evaluate_table_shows_literal_rows(dataset: str, predictions: str, capsys: Printed) -> None:
    assert evaluate(dataset, predictions) == 0
    assert rows(capsys.readouterr().out) == [
        ["official"],
        ["-----------", "--------"],
        ["exact_match", "25.00"],
        ["f1", "64.39"],  # 10/11, 1, 4/6 and 0
        ["questions", "4"],
        ["missing", "1"],
        ["extra", "1"],
        ["without", "a", "prediction,", "scored", "0:", "q4"],
    ]


def test_evaluate_json_has_official_keys_and_details(
    dataset: str, predictions: str, tmp_path: Path, capsys: Printed
) -> None:
    value = evaluate_json(capsys, dataset, predictions)
    assert list(value) == ["exact_match", "f1", "details"]
    assert value["exact_match"] == 25.0
    assert value["f1"] == pytest.approx(100 * (10 / 11 + 1 + 4 / 6) / 4)
    assert value["details"] == {
        "total": 4, "missing": ["q4"], "extra": 1, "repeated": 0, "other_form": [],
        "problems": [],
    }  # fmt: skip
    # Compressed and remote files:
    path = tmp_path / "dataset.json.gz"
    path.write_bytes(gzip.compress(Path(dataset).read_bytes()))
    assert evaluate_json(capsys, str(path), f"file://{predictions}") == value


def test_evaluate_output_file_has_every_question(
    dataset: str, predictions: str, tmp_path: Path
) -> None:
    path = tmp_path / "scores.jsonl"
    assert evaluate(dataset, predictions, f"--output_file={path}") == 0
    found = records(path)
    assert [record["id"] for record in found] == list(GOLDS)
    assert found[1] == {
        "id": "q2", "prediction": "할머니", "golds": ["할머니"], "exact_match": True, "f1": 1.0,
    }  # fmt: skip
    assert found[3]["prediction"] is None


def test_evaluate_strip_josa_scores_without_and_with(
    dataset: str, predictions: str, tmp_path: Path, capsys: Printed
) -> None:
    path = tmp_path / "changed.jsonl"
    assert evaluate(dataset, predictions, "--strip_josa", f"--output_file={path}") == 0
    printed = rows(capsys.readouterr().out)
    assert ["exact_match", "25.00", "75.00", "+50.00"] in printed
    assert ["에서", "josa", "1", "1", "0"] in printed
    assert ["은", "josa", "1", "1", "0"] in printed
    found = records(path)
    assert [(r["id"], r["before"], r["after"], r["removed"], r["effect"]) for r in found] == [
        ("q1", "마을 도서관은", "마을 도서관", "은", "better"),
        ("q3", "강가에서", "강가", "에서", "better"),
    ]
    assert found[0]["golds"] == ["마을 도서관"]
    assert found[0]["scores"]["after"] == {"exact_match": True, "f1": 1.0}


def test_evaluate_strip_josa_json_keeps_official_score_on_top(
    dataset: str, tmp_path: Path, capsys: Printed
) -> None:
    answers = {
        "q1": {"text": "마을 도서관은", "answer_start": 0},
        "q2": {"text": "할머니는", "answer_start": 18},
        "q3": "강에서",
        "q4": "종이배를",
    }
    path = write(tmp_path / "objects.json", answers)
    value = evaluate_json(capsys, dataset, path, "--strip_josa")
    assert value["exact_match"] == 0.0
    josa = value["details"]["josa"]
    assert josa["without"]["exact_match"] == 0.0
    assert josa["with"]["exact_match"] == 75.0
    assert josa["changed"] == {"total": 3, "better": 3, "worse": 0, "same": 0}
    assert (josa["not_found"], josa["ambiguous"]) == (["q3"], [])
    assert {row["ending"] for row in josa["endings"]} == {"은", "는", "를"}


def test_evaluate_baseline_counts_and_shows_the_changed_questions(
    dataset: str, predictions: str, tmp_path: Path, capsys: Printed
) -> None:
    answers = {"q1": "마을 도서관", "q2": "할머", "q3": "강가에서.", "q4": "종"}
    other = write(tmp_path / "other.json", answers)
    path = tmp_path / "changed.jsonl"
    assert evaluate(dataset, predictions, f"--baseline={other}", f"--output_file={path}") == 0
    text = capsys.readouterr().out
    assert ["exact_match", "25.00", "25.00", "+0.00"] in rows(text)
    assert ["exact_match", "1", "1"] in rows(text)
    assert "answers that differ: 4, 3 of them in their score" in text
    assert rows(text)[-3:] == [
        ["q1", "마을", "도서관", "마을", "도서관", "마을", "도서관은", "-1", "-0.09"],
        ["q2", "할머니", "할머", "할머니", "+1", "+0.20"],
        ["q4", "종이배", "종", "(none)", "-0.50"],
    ]
    assert [(r["id"], r["before"], r["after"], r["effect"]) for r in records(path)] == [
        ("q1", "마을 도서관", "마을 도서관은", "worse"),
        ("q2", "할머", "할머니", "better"),
        ("q3", "강가에서.", "강가에서", "same"),
        ("q4", "종", None, "worse"),
    ]
    del answers["q3"]
    other = write(tmp_path / "other.json", answers)
    assert evaluate(dataset, predictions, f"--baseline={other}") == 0
    assert "questions that the baseline lacks: 1" in capsys.readouterr().out
    value = evaluate_json(capsys, dataset, predictions, "--baseline", other)["details"]["baseline"]
    assert value["exact_match"] == 25.0 and value["difference"]["exact_match"] == 0.0
    assert value["questions"]["f1"] == {"won": 2, "lost": 2}
    assert (value["different_answers"], value["missing"]) == (4, ["q3"])


def test_evaluate_baseline_list_is_limited_on_screen_and_complete_in_the_file(
    tmp_path: Path, capsys: Printed
) -> None:
    ids = [f"q{number}" for number in range(30)]
    dataset = write_dataset(tmp_path / "many.json", *((qas_id, "도서관") for qas_id in ids))
    # The last one alone changes the exact match, so it comes first on screen.
    before = write(tmp_path / "a.json", dict.fromkeys(ids, "도서"))
    after = {qas_id: "도" for qas_id in ids} | {"q29": "도서관"}
    path = tmp_path / "changed.jsonl"
    arguments = [dataset, write(tmp_path / "b.json", after), f"--baseline={before}"]
    assert evaluate(*arguments, f"--output_file={path}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "... and 10 more: --output_file has them all"
    assert lines[-21].split()[0] == "q29"
    assert len(records(path)) == 30


def test_evaluate_problems_of_the_files_are_listed(tmp_path: Path, capsys: Printed) -> None:
    path = tmp_path / "dataset.json"
    golds = (("q1", "도서관"), ("q1", "도서관"), ("q2", None))
    dataset = write_dataset(path, *golds, version="우리 것")
    path.write_text(path.read_text().replace('"answer_start": 3', '"answer_start": 0'))
    path = tmp_path / "predictions.json"
    path.write_text('{"q3": "", "q3": "도"}', encoding="utf-8")
    assert evaluate(dataset, str(path)) == 0
    text = capsys.readouterr().out
    for line in [
        "no prediction has the id of a question: do the two files belong together?",
        "repeated in the predictions, the last one counts: 1",
        "dataset: unknown_version: 1 (the version '우리 것' is unknown; read as SQuAD's form)",
        "dataset: answer_moved: 1 (q1): not at answer_start, taken from the nearest place",
        "dataset: repeated_id: 1 (q1): the first question of an id counts, the others are left out",
        "dataset: no_answers: 1 (q2): neither trained on nor scored",
    ]:
        assert line in text.splitlines()
    problems = evaluate_json(capsys, dataset, str(path))["details"]["problems"]
    assert [(problem["kind"], problem["qas_id"]) for problem in problems] == [
        ("unknown_version", None),
        ("answer_moved", "q1"),
        ("repeated_id", "q1"),
        ("no_answers", "q2"),
    ]


def test_evaluate_version_2_silence_is_right(tmp_path: Path, capsys: Printed) -> None:
    golds = (("q1", None), ("q2", None))
    dataset = write_dataset(tmp_path / "d.json", *golds, version="v2.0", is_impossible=True)
    path = write(tmp_path / "predictions.json", {"q1": "", "q2": "도서관"})
    found = evaluate_json(capsys, dataset, path)
    assert (found["exact_match"], found["f1"]) == (50.0, 50.0)


def test_evaluate_klue_mrc_has_its_own_scores_beside(tmp_path: Path, capsys: Printed) -> None:
    dataset = write_dataset(tmp_path / "d.json", *GOLDS.items(), question_type=1)
    path = write(tmp_path / "predictions.json", PREDICTIONS)
    value = evaluate_json(capsys, dataset, path)
    assert (value["exact_match"], value["klue_exact_match"]) == (25.0, 25.0)
    rouge_w = 100 * (12 / 13 + 1 + 4 / 6) / 4
    assert value["klue_rouge_w"] == value["klue_rouge_w_type_1"] == pytest.approx(rouge_w)
    assert list(value)[2:5] == ["klue_exact_match", "klue_rouge_w", "klue_total"]
    output = tmp_path / "scores.jsonl"
    assert evaluate(dataset, path, f"--output_file={output}") == 0
    printed = rows(capsys.readouterr().out)
    assert ["KLUE-MRC", "exact", "match", "ROUGE-W", "questions"] in printed
    assert ["type", "1", "25.00", "64.74", "4"] in printed
    assert records(output)[2]["klue_rouge_w"] == pytest.approx(4 / 6)
    assert records(output)[2]["question_type"] == 1


def test_evaluate_decomposed_context_takes_the_slice_and_the_file_text(
    tmp_path: Path, capsys: Printed
) -> None:
    context = unicodedata.normalize("NFD", CONTEXT)
    asked = [(context, i, "?", gold) for i, gold in GOLDS.items()]
    dataset = write_questions(tmp_path / "d.json", asked)
    for form in ("NFC", "NFD"):  # a prediction that composes nothing, and a slice
        answers = {i: unicodedata.normalize(form, gold) for i, gold in GOLDS.items()}
        path = write(tmp_path / "predictions.json", answers)
        assert evaluate_json(capsys, dataset, path)["exact_match"] == 100.0


def test_evaluate_answers_in_another_form_are_wrong_and_said_to_be(
    dataset: str, tmp_path: Path, capsys: Printed
) -> None:
    answers = {"q1": "마을 도서관", "q2": unicodedata.normalize("NFD", "할머니"), "q3": "언덕"}
    path = write(tmp_path / "predictions.json", answers)
    assert evaluate(dataset, path) == 0
    line = "right but for their Unicode form (NFC against NFD), scored as the official script does"
    assert f"{line}: 1 (q2)" in capsys.readouterr().out
    value = evaluate_json(capsys, dataset, path)
    assert (value["exact_match"], value["details"]["other_form"]) == (25.0, ["q2"])


@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "blanks.json.gz"])
def test_evaluate_what_has_no_end_is_one_line(name: str, tmp_path: Path, capsys: Printed) -> None:
    path = name if name.startswith("/") else str(tmp_path / name)
    if name == "pipe":
        os.mkfifo(path)
    elif "gz" in name:
        Path(path).write_bytes(gzip.compress(b" " * (20 << 20)))
    assert evaluate(path, path) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"evaluate_korquad: error: {path} ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
def test_evaluate_input_encoding_is_the_datasets_and_that_of_predictions_that_need_it(
    encoding: str, dataset: str, predictions: str, capsys: Printed
) -> None:
    for path, name in ((dataset, "cp949"), (predictions, encoding)):
        Path(path).write_bytes(Path(path).read_text(encoding="utf-8").encode(name))
    assert evaluate(dataset, predictions) == 1
    assert f"{dataset}: not UTF-8 text but CP949; give --input" in capsys.readouterr().err
    found = evaluate_json(capsys, dataset, predictions, "--input_encoding=cp949")
    assert found["exact_match"] == 25.0


def test_evaluate_strange_texts_are_printable(
    dataset: str, tmp_path: Path, capsys: Printed
) -> None:
    texts = ["\ud800줄\n바꿈\x1b[31m", "가" * 500, "\u200e" * 500, '"']
    path = tmp_path / "strange.json"
    path.write_text(json.dumps(dict(zip(GOLDS, texts, strict=True))), encoding="utf-8")
    empty = write(tmp_path / "empty.json", dict.fromkeys(GOLDS, "도서관 종이배 강가 할머"))
    output = tmp_path / "changed.jsonl"
    arguments = [dataset, str(path), f"--baseline={empty}", f"--output_file={output}"]
    for form in ("--nojson", "--json"):
        assert evaluate(*arguments, form) == 0
        printed = capsys.readouterr().out
        printed.encode()
        assert "\x1b" not in printed
        assert max(map(len, printed.splitlines())) < 200
    assert [record["after"] for record in records(output)] == texts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{d}"], "give two files, DATASET and PREDICTIONS, got 1: {d}."),
        (["{d}", "{p}", "{p}"], "give two files, DATASET and PREDICTIONS, got 3: "),
        ([], "FILE: this must be given"),
        (["{d}", "{p}", "--strip_josa", "--baseline={p}"], "give one of them, got both."),
        (["{d}", "{p}", "--output_file={p}"], "--output_file must be a file of its own, got {p}."),
        (["{d}", "{p}", "--output_file={d}"], "--output_file must be a file of its own, got {d}."),
        (["{p}", "{d}"], "{p}: expected a dataset in SQuAD's form"),
        (["{d}", "{d}"], "{d}: expected predictions, a JSON object of id to answer"),
        (["{d}", "{p}", "--baseline={d}"], "{d}: expected predictions"),
        (["{d}", "/none/p.json"], "/none/p.json: No such file or directory"),
        (["{d}", "{p}", "--output_file=/none/o.jsonl"], "/none/o.jsonl: its folder does not exist"),
        (["{e}", "{p}"], "{e} has no question with answers to score."),
    ],
)
def test_evaluate_wrong_arguments_are_one_line(
    arguments: list[str], message: str, dataset: str, predictions: str, tmp_path: Path,
    capsys: Printed,
) -> None:  # fmt: skip
    empty = write(tmp_path / "empty.json", {"version": "1.1", "data": []})
    names = {"d": dataset, "p": predictions, "e": empty}
    assert evaluate(*(argument.format(**names) for argument in arguments)) == 1
    error = capsys.readouterr().err
    assert error.startswith("evaluate_korquad: error: ")
    assert error.count("\n") == 1
    assert message.format(**names) in error


@pytest.mark.parametrize("name", ["korquad/train", "korquad/dev", "tydiqa-ko/train"])
def test_evaluate_real_golds_are_hundred(
    name: str, data_folder: Path, tmp_path: Path, capsys: Printed
) -> None:
    dataset = data_folder / f"{name}.json"
    golds = {
        question["id"]: question["answers"][0]["text"]
        for article in json.loads(dataset.read_bytes())["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    value = evaluate_json(capsys, str(dataset), write(tmp_path / "golds.json", golds))
    assert (value["exact_match"], value["f1"]) == (100.0, 100.0)
    assert value["details"]["problems"] == []


def test_evaluate_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, bert_ko.evaluate_korquad\n"
        "heavy = {'tensorflow', 'keras', 'jax', 'torch', 'numpy', 'mecab', 'fsspec'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=REPOSITORY, text=True
    )
    assert done.stdout == "[]\n"


def test_evaluate_launcher_prints_the_score(dataset: str, predictions: str, tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "bin" / "evaluate_korquad")]
    done = subprocess.run(
        [*command, dataset, predictions, "--json"], capture_output=True, check=True, cwd=tmp_path
    )
    assert json.loads(done.stdout)["exact_match"] == 25.0
