"""The task: what it reads, and the files that it writes, literally."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.tasks.fine_tuning import file_identity
from bert_ko.tasks.squad.examples import (
    NO_ANSWER,
    Dataset,
    Gold,
    Paragraph,
    Problem,
    Question,
    Span,
)
from bert_ko.tasks.squad.features import WindowConfig, build_features
from bert_ko.tasks.squad.josa_rules import Stripped
from bert_ko.tasks.squad.predictions import Candidate, Prediction
from bert_ko.tasks.squad.reader import Reading
from bert_ko.tasks.squad.reading import Questions
from bert_ko.tasks.squad.task import SquadTask, result_values, write_predictions, write_problems
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.model_files import ModelFiles
from tests.tasks.squad.conftest import squad_flags, write_hill

CONTEXT = "마을 도서관은 언덕 위에 있다."
HILL = Candidate("언덕 위에", 8, 13, 7.5, 0.75, 4.0, 3.5)
SHORT = Candidate("언덕", 8, 10, 5.5, 0.25, 4.0, 1.5)
SILENCE = Candidate("", 0, 0, 6.0, 1.0, 0.0, 0.0)
NAMES = ["nbest_predictions.json", "null_odds.json", "predictions.json"]


# What is read


def make_task(folder: Path, tokenizer: Tokenizer, **values: Any) -> SquadTask:
    """Of a training file of three questions and a file of one to be answered."""
    files = {
        "train_file": write_hill(folder, {f"q{n}": "강가" for n in range(3)}, "train.json"),
        "predict_file": write_hill(folder, {"p1": "언덕"}, "dev.json"),
    }
    config = squad_flags(folder, **{"do_predict": False, **files, **values})
    return SquadTask(config, ModelFiles(BertConfig(vocab_size=19), "config.json", tokenizer))


@pytest.mark.parametrize(
    ("values", "is_trained_on", "is_asked", "is_stripped"),
    [
        ({"do_train": True}, True, False, True),
        ({"do_train": True, "strip_josa": "never"}, True, False, False),
        ({"do_train": True, "eval_every_steps": 5}, True, True, True),
        ({"do_train": True, "do_predict": True}, True, True, True),
        # To learn what helps, and for nothing else:
        ({"do_predict": True}, True, True, True),
        ({"do_predict": True, "strip_josa": "always"}, False, True, False),
        ({"do_predict": True, "strip_josa": "never"}, False, True, False),
        ({"interactive": True}, True, False, True),
        ({"interactive": True, "strip_josa": "never"}, False, False, False),
    ],
)
def test_squad_task_reads_what_is_needed_and_nothing_else(
    values: dict[str, Any], is_trained_on: bool, is_asked: bool, is_stripped: bool,
    tmp_path: Path, blanks: Tokenizer, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    task = make_task(tmp_path, blanks, **values)
    assert (task.training is not None) == values.get("do_train", False)
    assert not (tmp_path / "josa_endings.json").exists()  # checks come before
    task.begin(str(tmp_path))
    assert (tmp_path / "josa_endings.json").exists() == is_stripped
    printed = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    wanted = [tmp_path / "train.json"] * is_trained_on + [tmp_path / "dev.json"] * is_asked
    assert printed == [str(path) for path in wanted]


def test_squad_task_endings_are_written_for_the_run_and_its_seeds(
    tmp_path: Path, blanks: Tokenizer
) -> None:
    seed = tmp_path / "seed-2"
    seed.mkdir()
    make_task(tmp_path, blanks, do_train=True).begin(str(seed))
    written = [json.loads((place / "josa_endings.json").read_text()) for place in (tmp_path, seed)]
    wanted = {"file": file_identity(str(tmp_path / "train.json")), "endings": ["josa 에"]}
    assert written == [wanted, wanted]


def test_squad_task_plan_is_known_beforehand_or_chosen_for_the_windows(
    tmp_path: Path, blanks: Tokenizer
) -> None:
    for length_buckets, known, unknown in ((True, (32,), (64, 100)), (False, (100,), (100,))):
        task = make_task(
            tmp_path, blanks, do_train=True, max_seq_length=100, length_buckets=length_buckets
        )
        assert task.training is not None
        lengths = task.training.examples.lengths
        assert lengths.tolist() == [19] * 3
        assert task.plan(5, lengths).lengths == known
        assert task.plan(5, None).lengths == unknown


def test_write_problems_of_all_files_has_a_line_each(tmp_path: Path, blanks: Tokenizer) -> None:
    def part(path: str, *problems: Problem) -> Questions:
        data = Dataset("1.1", (), problems)
        return Questions(path, data, build_features(data, blanks, WindowConfig()))

    written = tmp_path / "dataset_problems.jsonl"
    write_problems(str(tmp_path), [part("train.json")])
    assert not written.exists()
    parts = [
        part(
            "train.json",
            Problem("unknown_version", None, "the version '우리 것' is unknown"),
            Problem("answer_moved", "q\n1", "'강가' is not at 0 but at 3"),
        ),
        part("clean.json"),
        part("dev.json", Problem("no_answers", "q2", "it can't be scored")),
    ]
    write_problems(str(tmp_path), parts)
    lines = written.read_text(encoding="utf-8").splitlines()
    assert [tuple(json.loads(line).items()) for line in lines] == [
        (("file", part.path), ("kind", p.kind), ("id", p.qas_id), ("detail", p.detail))
        for part in parts
        for p in part.dataset.problems
    ]
    assert "우리 것" in lines[0]
    write_problems(str(tmp_path), [part("train.json")])
    assert written.read_text() == ""  # it is of the last run


# Predictions


def reading() -> Reading:
    return Reading(
        [Prediction("q1", [HILL, SHORT], -1.5), Prediction("q2", [SILENCE], math.inf)],
        {"q1": HILL.span, "q2": NO_ANSWER},
        {"q1": Stripped(Span("언덕 위", 8, 12), "에", "josa")},
    )


def load(path: Path) -> Any:
    """As a reader that takes no Infinity and no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{path.name} has {name}, which is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_write_predictions_files_are_googles(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_text("old" * 1000)
    write_predictions(str(tmp_path), reading(), is_version_2=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES
    text = (tmp_path / "predictions.json").read_text(encoding="utf-8")
    assert text == '{\n  "q1": "언덕 위",\n  "q2": ""\n}\n'
    keys = (
        "text", "probability", "start_logit", "end_logit", "answer_start", "answer_end",
    )  # fmt: skip
    assert load(tmp_path / "nbest_predictions.json") == {
        "q1": [
            dict(zip(keys, ("언덕 위에", 0.75, 4.0, 3.5, 8, 13), strict=True)),
            dict(zip(keys, ("언덕", 0.25, 4.0, 1.5, 8, 10), strict=True)),
        ],
        "q2": [dict(zip(keys, ("", 1.0, 0.0, 0.0, None, None), strict=True))],
    }
    odds = load(tmp_path / "null_odds.json")
    assert odds["q1"] == -1.5
    assert 1e300 < odds["q2"] < math.inf


def test_write_predictions_version_1_has_no_null_odds(tmp_path: Path) -> None:
    strange = Reading([], {"q\ud800": Span("언\ud800덕", 0, 3)}, {})  # a lone surrogate
    write_predictions(str(tmp_path), strange, is_version_2=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAMES[0], NAMES[2]]
    assert load(tmp_path / "predictions.json") == {"q\ud800": "언\ud800덕"}


# Results


def dataset(**golds: str | None) -> Dataset:
    """Questions by id; None for one that has no answer."""
    questions = tuple(
        Question(qas_id, "어디?", () if gold is None else (Gold(gold, 0),), gold is None)
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


def test_result_values_of_klue_mrc_have_its_scores() -> None:
    question = Question("q1", "어디?", (Gold("언덕", 8),), False, 2)
    data = Dataset("", (Paragraph("", CONTEXT, (question,)),), ())
    values = result_values(reading().report(data.golds()), data)  # the answer is 언덕 위
    assert values["exact_match"] == values["klue_exact_match"] == 0.0
    assert values["klue_rouge_w"] == values["klue_rouge_w_type_2"] == pytest.approx(100 * 4 / 6)


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
    data = dataset(q2=None)
    values = result_values(reading().report(data.golds()), data)
    assert (values["has_answer_exact_match"], values["has_answer_total"]) == (0.0, 0)
    assert (values["no_answer_exact_match"], values["no_answer_total"]) == (100.0, 1)
