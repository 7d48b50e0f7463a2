"""What a classifier says, scored and written, from a function that predicts by the pieces."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.config import BertConfig
from bert_ko.tasks.classifier.evaluation import (
    classify,
    evaluate,
    evaluate_and_report,
    predict_and_write,
    records,
    result_values,
    score,
)
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.features import class_features
from bert_ko.tasks.classifier.preparation import Setting, Texts
from bert_ko.tasks.classifier.settings import ClassifierFlags
from bert_ko.tasks.command import Parts
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "가", "나", "다"]
TINY = Tokenizer(Vocabulary(PIECES), TokenizerConfig(tokenizer_type="wordpiece"))
LABELS = ("하나", "둘", "셋")
# What is said is the first piece's; the second is said wrong.
EXAMPLES = (
    Example("a", "가 나", label="하나"),
    Example("b", "나 나 나 나 나", label="셋"),
    Example("c", "다", label="셋"),
    Example("d", "가", label="하나"),
)
SURE = {5: [0.8, 0.1, 0.1], 6: [0.2, 0.5, 0.3], 7: [0.0, 0.25, 0.75]}


def predict(batch: Any) -> Any:
    return {"probabilities": np.array([SURE[ids[1]] for ids in batch["input_ids"]], np.float32)}


def predict_scores(batch: Any) -> Any:
    return {"scores": batch["input_mask"].sum(axis=1).astype(np.float32) - 2}


def make_setting(folder: Path, **values: Any) -> Setting:
    config = ClassifierFlags(
        vocab_file="v", bert_config_file="c", output_dir=str(folder), task_name="tsv",
        interactive=True, max_seq_length=16, **values,
    )  # fmt: skip
    labels = () if config.is_regression else LABELS
    return Setting(config, Parts(BertConfig(vocab_size=8), TINY), labels, None, None, None)


def texts_of(examples: Any = EXAMPLES, labels: Any = LABELS) -> Texts:
    return Texts("dev.tsv", tuple(examples), class_features(examples, TINY, 16, labels))


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return make_setting(tmp_path)


SCORED = tuple(
    Example(name, text, score=score)
    for name, text, score in (("a", "가", 2.0), ("b", "가 나", 3.0), ("c", "가 나 다", 5.0))
)


@pytest.mark.parametrize("size", [1, 3, 4, 9])
def test_classify_is_in_the_order_of_the_examples(size: int, setting: Setting) -> None:
    texts = texts_of()
    found = classify(texts.features, predict, setting.plan(size, texts.features), 3)
    wanted = [SURE[piece] for piece in (5, 6, 7, 5)]
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))


def test_classify_scores_are_a_column(tmp_path: Path) -> None:
    texts, setting = texts_of(SCORED, ()), make_setting(tmp_path, task_type="regression")
    plan = setting.plan(2, texts.features)
    found = classify(texts.features, predict_scores, plan, setting.num_outputs)
    assert found.tolist() == [[1], [2], [3]] and found.dtype == np.float32


def test_classify_no_examples_are_no_rows(setting: Setting) -> None:
    texts = texts_of(())
    plan = setting.plan(2, texts.features)
    assert classify(texts.features, predict, plan, 3).shape == (0, 3)


def test_evaluate_literal_values(setting: Setting) -> None:
    found = evaluate(setting, texts_of(), predict)
    # 하나: 1; 둘: 0, predicted once; 셋: 1 of 2.
    assert found == pytest.approx({
        "accuracy": 75, "macro_f1": 100 * (1 + 0 + 2 / 3) / 3, "micro_f1": 75,
        "weighted_f1": 100 * (2 * 1 + 2 * 2 / 3) / 4, "mcc": 67.0820393, "total": 4,
        "loss": -(2 * np.log(0.8) + np.log(0.3) + np.log(0.75)) / 4,
    })  # fmt: skip


def test_evaluate_impossible_label_has_a_finite_loss(setting: Setting) -> None:
    found = evaluate(setting, texts_of([Example("x", "다", label="하나")]), predict)
    assert found["loss"] == pytest.approx(-np.log(1e-30))


def test_evaluate_regression_literal_values(tmp_path: Path) -> None:
    setting = make_setting(tmp_path, task_type="regression")
    found = evaluate(setting, texts_of(SCORED, ()), predict_scores)
    assert found == pytest.approx({
        "pearson": 100 * 3 / np.sqrt(2 * 14 / 3), "spearman": 100, "mse": 2, "mae": 4 / 3,
        "total": 3,
    })  # fmt: skip


def test_score_and_values_agree_with_what_was_found(setting: Setting) -> None:
    texts = texts_of()
    found = np.array([SURE[piece] for piece in (5, 6, 7, 5)], np.float32)
    scores = score(setting, texts, found)
    values = result_values(setting, texts, found, scores)
    assert {name: values[name] for name in scores.summary()} == scores.summary()


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_evaluate_and_report_writes_what_is_found(
    setting: Setting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = evaluate_and_report(setting, texts_of(), predict, str(tmp_path), 7)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusion_matrix.svg", "eval_predictions.jsonl", "eval_results.txt", "report.html",
    ]  # fmt: skip
    text = (tmp_path / "eval_results.txt").read_text()
    assert text in capsys.readouterr().out
    assert text.splitlines()[:2] == ["accuracy = 75.0", "global_step = 7"]
    assert outcome.values == evaluate(setting, texts_of(), predict)
    assert lines(tmp_path / "eval_predictions.jsonl")[1] == {
        "id": "b", "text": "나 나 나 나 나", "gold": "셋", "label": "둘", "probability": 0.5,
        "probabilities": {"하나": 0.2, "둘": 0.5, "셋": 0.3},
    }  # fmt: skip
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "of the first seed" not in page and "dev.tsv" in page
    outcome.write_report(str(tmp_path / "all.html"), [(5, outcome.values), (6, outcome.values)])
    page = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert "of the first seed" in page


def test_evaluate_and_report_scores_have_no_confusion(tmp_path: Path) -> None:
    setting = make_setting(tmp_path, task_type="regression")
    evaluate_and_report(setting, texts_of(SCORED, ()), predict_scores, str(tmp_path), 7)
    assert not (tmp_path / "confusion_matrix.svg").exists()
    assert lines(tmp_path / "eval_predictions.jsonl")[2] == {
        "id": "c", "text": "가 나 다", "gold": 5.0, "score": 3.0,
    }  # fmt: skip


def test_evaluate_and_report_scores_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    setting = make_setting(tmp_path, task_type="regression")
    with pytest.raises(ValueError, match="3 of 3 predictions are no finite numbers"):
        evaluate(
            setting,
            texts_of(SCORED, ()),
            lambda b: {"scores": predict_scores(b)["scores"] + np.nan},
        )


def test_predict_and_write_literal_files(
    setting: Setting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = [Example("a", "가 \ud800", "나"), Example("b", "다 \u2028")]
    predict_and_write(setting, texts_of(examples), predict, str(tmp_path))
    found = np.loadtxt(tmp_path / "test_results.tsv", delimiter="\t", dtype=np.float32)
    np.testing.assert_array_equal(found, np.array([SURE[5], SURE[7]], np.float32))
    assert (tmp_path / "test_results.tsv").read_text().endswith("0.0\t0.25\t0.75\n")
    text = (tmp_path / "test_predictions.jsonl").read_text(encoding="utf-8")
    first = '{"id": "a", "text": "가 \\ud800", "text_pair": "나", "label": "하나", '
    assert text.startswith(first + '"probability": 0.8, "probabilities": {"하나": 0.8, ')
    assert text.count("\n") == 2
    assert capsys.readouterr().out == f"2 texts predicted: {tmp_path}/test_results.tsv\n"


def test_records_labels_may_have_any_name(setting: Setting) -> None:
    found = np.array([[0.0000004, 0.3, 0.7]], np.float32)
    (record,) = records([Example("a", "")], found, setting._replace(labels=("id", "label", "둘")))
    assert record == {
        "id": "a", "text": "", "label": "둘", "probability": 0.7,
        "probabilities": {"id": 0.0, "label": 0.3, "둘": 0.7},
    }  # fmt: skip
