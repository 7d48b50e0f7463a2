"""From the flags to examples and labels; what is scored, written and said of a trained model."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bert_ko.messages import program_name
from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.heads import ClassHead
from bert_ko.tasks.batches import BatchPlan
from bert_ko.tasks.classifier.features import ClassFeatures
from bert_ko.tasks.classifier.settings import ClassifierFlags
from bert_ko.tasks.classifier.task import ClassifierTask
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary
from bert_ko.training.labels import write_labels
from bert_ko.training.model_files import ModelFiles

WARNING = f"{program_name()}: warning:"

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "나무", "##는", "크", "##다", "숲"]
MODEL = ModelFiles(
    BertConfig(vocab_size=10),
    "bert_config.json",
    Tokenizer(Vocabulary(PIECES), TokenizerConfig(tokenizer_type="wordpiece")),
)
ROWS = {
    "train": "나무는\t10\n숲\t9\n크다\t10\n나무\t9\n숲 숲\t10\n",
    "dev": "숲\t9\n나무\t10\n",
    "test": "크다\t10\n",
}


def flags(folder: Path, **values: Any) -> ClassifierFlags:
    known: dict[str, Any] = {
        "vocab_file": "v", "bert_config_file": "c", "output_dir": str(folder / "run"),
        "task_name": "tsv", "data_dir": str(folder), "max_seq_length": 24,
    }  # fmt: skip
    return ClassifierFlags(**{**known, **values})


def write(folder: Path, **rows: str) -> None:
    for split, text in {**ROWS, **rows}.items():
        (folder / f"{split}.tsv").write_text(f"text\tlabel\n{text}", encoding="utf-8")


def make_task(folder: Path, **values: Any) -> ClassifierTask:
    return ClassifierTask(flags(folder, **values), MODEL)


def training(task: ClassifierTask) -> ClassFeatures:
    """What is trained on."""
    assert task.training is not None
    assert isinstance(task.training.examples, ClassFeatures)
    return task.training.examples


def refusal(folder: Path, **values: Any) -> str:
    with pytest.raises(ValueError) as error:
        make_task(folder, **values)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "has"),
    [
        ({"do_train": True}, (True, False, False)),
        ({"do_train": True, "eval_every_steps": 5}, (True, True, False)),
        ({"do_train": True, "do_eval": True, "do_predict": True}, (True, True, True)),
        ({"do_eval": True}, (False, True, False)),
        ({"do_predict": True}, (False, False, True)),
        ({"interactive": True}, (False, False, False)),
    ],
)
def test_classifier_task_reads_what_is_needed_and_nothing_else(
    values: dict[str, Any], has: tuple[bool, ...], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write(tmp_path)
    (tmp_path / "run").mkdir()
    write_labels(str(tmp_path / "run"), ("9", "10"))
    task = make_task(tmp_path, **values)
    assert (task.training is not None) == has[0]
    printed = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    names = [name for name, there in zip(ROWS, has, strict=True) if there]
    assert printed == [f"{tmp_path}/{name}.tsv" for name in names]
    assert (task.labels, task.head) == (("9", "10"), ClassHead(2))


def test_classifier_task_class_weights_count_what_is_drawn(tmp_path: Path) -> None:
    write(tmp_path, train=ROWS["train"] + "나무 나무\t10\n" * 20)
    values: dict[str, Any] = {"max_train_examples": 6, "class_weights": "balanced"}
    for seed in range(5):
        features = training(make_task(tmp_path, do_train=True, random_seed=seed, **values))
        assert len(features.targets) == 6
        numbers = set(features.targets.tolist())
        for target in numbers:
            of_class = features.weights[features.targets == target]
            assert of_class.sum() == pytest.approx(6 / len(numbers))


def test_plan_is_for_the_texts_or_for_any(tmp_path: Path) -> None:
    write(tmp_path)
    task = make_task(tmp_path, do_train=True, max_seq_length=100)
    lengths = training(task).lengths
    assert task.plan(5, lengths) == BatchPlan(5, (0, 2, 3), (16,))
    assert task.plan(5, None) == BatchPlan(5, (0, 2, 3), (64, 100))
    whole = make_task(tmp_path, do_train=True, max_seq_length=100, length_buckets=False)
    assert whole.plan(2, lengths) == whole.plan(2, None) == BatchPlan(2, (0, 2, 3), (100,))


def test_classifier_task_labels_stand_beside_the_weights_or_in_the_training_file(
    tmp_path: Path,
) -> None:
    write(tmp_path)
    assert make_task(tmp_path, interactive=True).labels == ("9", "10")
    assert refusal(tmp_path, interactive=True, data_dir=None) == (
        f"no labels.json beside {tmp_path}/run; give the --train_file that the model was trained "
        "on, for its labels."
    )
    (tmp_path / "run").mkdir()
    write_labels(str(tmp_path / "run"), ("나", "가"))
    assert make_task(tmp_path, interactive=True).labels == ("나", "가")  # as the weights have them


# What a trained model does


CHANCES = {5: [0.75, 0.25], 9: [0.25, 0.75]}  # 나무, 숲


def predict(batch: Any) -> Any:
    """By the first piece."""
    rows = [CHANCES.get(ids[1], [0.5, 0.5]) for ids in batch["input_ids"]]
    return {"probabilities": np.array(rows, np.float32)}


def predict_scores(batch: Any) -> Any:
    return {"scores": batch["input_mask"].sum(axis=1).astype(np.float32) - 2}


TRAINED: Any = SimpleNamespace(predict=predict)
SCORING: Any = SimpleNamespace(predict=predict_scores)
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with all files, and a run whose model knows 10 and 9."""
    write(tmp_path, dev="나무\t10\n숲\t10\n나무는\t10\n숲\t9\n")
    (tmp_path / "run").mkdir()
    write_labels(str(tmp_path / "run"), ("10", "9"))
    return tmp_path


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


def test_evaluate_literal_values(run: Path) -> None:
    # 10: 2 of 3 found, all right; 9: found, and once too often.
    assert make_task(run, do_eval=True).evaluate(TRAINED) == pytest.approx({
        "accuracy": 75, "macro_f1": 100 * (0.8 + 2 / 3) / 2, "micro_f1": 75,
        "weighted_f1": 100 * (3 * 0.8 + 2 / 3) / 4, "mcc": 57.7350269, "total": 4,
        "loss": -(3 * np.log(0.75) + np.log(0.25)) / 4,
    })  # fmt: skip


def test_evaluate_impossible_label_has_a_finite_loss(run: Path) -> None:
    sure: Any = SimpleNamespace(
        predict=lambda batch: {"probabilities": predict(batch)["probabilities"] > 0.5}
    )
    assert make_task(run, do_eval=True).evaluate(sure)["loss"] == pytest.approx(-np.log(1e-30) / 4)


def test_evaluate_regression_literal_values(run: Path) -> None:
    write(run, dev="나무\t2\n나무는\t3\n크다 숲\t5\n")
    task = make_task(run, do_train=True, do_eval=True, task_type="regression")
    assert task.evaluate(SCORING) == pytest.approx({
        "pearson": 100 * 3 / np.sqrt(2 * 14 / 3), "spearman": 100, "mse": 2, "mae": 4 / 3,
        "total": 3,
    })  # fmt: skip
    broken: Any = SimpleNamespace(
        predict=lambda batch: {"scores": predict_scores(batch)["scores"] + np.nan}
    )
    with pytest.raises(ValueError, match="3 of 3 predictions are "):
        task.evaluate(broken)


def test_evaluate_korsts_has_the_f1_of_alike_pairs(run: Path) -> None:
    items = [
        {"sentence1": a, "sentence2": "숲", "labels": {"label": score}}
        for a, score in (("나무", 3.0), ("나무 나무", 2.9), ("숲", 4.5))
    ]
    for split in ("train", "dev"):
        path = run / f"klue-sts-v1.1_{split}.json"
        path.write_text(json.dumps(items), encoding="utf-8")
    task = make_task(run, do_train=True, do_eval=True, task_name="korsts")
    assert task.evaluate(SCORING)["binary_f1"] == pytest.approx(80)


@pytest.mark.parametrize(
    ("dev", "message"),
    [
        ("나무\t10\n숲\t11\n", ":3: the model does not know the label '11'; it knows 9, 10."),
        ("나무\t10.0\n", ":2: the model does not know the label '10.0'; it knows 9, 10 ('10' is "
         "spelt otherwise)."),
        ("나무\tx\n숲\ty\n", ":2: the model does not know 2 labels, such as 'x'"
         "; it knows 9, 10."),
    ],
)  # fmt: skip
def test_classifier_task_unknown_label_is_named_with_its_line(
    dev: str, message: str, run: Path
) -> None:
    write(run, dev=dev)
    with pytest.raises(ValueError) as error:
        make_task(run, do_train=True, do_eval=True)
    assert str(error.value) == f"{run}/dev.tsv{message}"


def test_classifier_task_table_is_no_text(run: Path) -> None:
    with pytest.raises(ValueError, match=r"--input_file=x\.csv: expected a text a line, not a t"):
        make_task(run, input_file="x.csv")


def test_classifier_task_column_of_numbers_is_asked_about(run: Path, capsys: Captured) -> None:
    write(run, train="".join(f"나무\t{n}\n" for n in range(30)))
    make_task(run, do_train=True)
    assert f"{run}/train.tsv: 30 examples have 30 labels; is it --label_column? " in (
        capsys.readouterr().err
    )


def test_finish_evaluated_texts_are_written_and_reported(run: Path, parse: Any) -> None:
    folder = run / "run"
    task = make_task(run, do_eval=True)
    results = task.finish(TRAINED, str(folder), 7)
    assert results is not None and results.report is not None
    assert results.values == task.evaluate(TRAINED)
    assert (folder / "confusion_matrix.svg").exists()
    assert lines(folder / "eval_predictions.jsonl")[1] == {
        "id": "3", "text": "숲", "gold": "10", "label": "9", "probability": 0.75,
        "probabilities": {"10": 0.25, "9": 0.75},
    }  # fmt: skip
    assert "dev.tsv" in results.report([]) and "of the first seed" not in results.report([])
    rows = [[cell.text for cell in row.children] for row in parse(results.report([])).all("tr")]
    assert ["without", "75.00", "4"] in rows and ["0.7–0.8", "75.00", "75.00", "4"] in rows
    assert "of the first seed" in results.report([(5, results.values), (6, results.values)])


def test_finish_predicted_texts_are_written_without_labels(run: Path, capsys: Captured) -> None:
    write(run, test="나무 \u2028\t11\n숲\t\n")
    assert make_task(run, do_predict=True).finish(TRAINED, str(run / "run"), 7) is None
    results = run / "run" / "test_results.tsv"
    assert results.read_text() == "0.75\t0.25\n0.25\t0.75\n"
    found = lines(run / "run" / "test_predictions.jsonl")
    assert [(record["label"], "gold" in record) for record in found] == [
        ("10", False), ("9", False)
    ]  # fmt: skip
    assert f"2 texts predicted: {results}\n" in capsys.readouterr().err


@pytest.fixture
def typed(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Any:
    """What is said of what is typed."""

    def say(text: str, trained: Any = TRAINED, **values: Any) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        make_task(run, interactive=True, **values).finish(trained, str(run / "run"), 0)
        return capsys.readouterr().out.splitlines()

    return say


def test_finish_typed_pairs_have_a_tab(typed: Any) -> None:
    wanted = "two texts, a tab between them"
    assert typed("나무\t숲\n숲\n\n나무\t숲\t나무\n숲\t", text_pair_column="b") == [
        "→ 10 0.750, 9 0.250",
        f"expected {wanted}",
        f"expected {wanted}",
        "→ 9 0.750, 10 0.250",
    ]


def test_finish_typed_text_has_a_score(run: Path, typed: Any) -> None:
    write_labels(str(run / "run"), ())
    assert typed("나무 숲\n", SCORING, task_type="regression") == ["→ 2.000"]
