"""What run_classifier has before it computes, from small files."""

from pathlib import Path
from typing import Any

import pytest

from bert_ko.modeling.config import BertConfig
from bert_ko.progress import program_name
from bert_ko.tasks.batches import BatchPlan
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.preparation import Setting, prepare
from bert_ko.tasks.classifier.settings import ClassifierFlags
from bert_ko.tasks.command import Parts
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary
from bert_ko.training.labels import write_labels

WARNING = f"{program_name()}: warning:"

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "나무", "##는", "크", "##다", "숲"]
PARTS = Parts(
    BertConfig(vocab_size=10),
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


def prepared(folder: Path, **values: Any) -> Setting:
    return prepare(flags(folder, **values), PARTS)


def refusal(folder: Path, **values: Any) -> str:
    with pytest.raises(ValueError) as error:
        prepared(folder, **values)
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
def test_prepare_reads_what_is_needed_and_nothing_else(
    values: dict[str, Any], has: tuple[bool, ...], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write(tmp_path)
    (tmp_path / "run").mkdir()
    write_labels(str(tmp_path / "run"), ("9", "10"))
    setting = prepared(tmp_path, **values)
    found = (setting.training, setting.evaluated, setting.predicted)
    assert tuple(texts is not None for texts in found) == has
    printed = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    names = [name for name, there in zip(ROWS, has, strict=True) if there]
    assert printed == [f"{tmp_path}/{name}.tsv" for name in names]
    assert setting.labels == ("9", "10") and setting.num_outputs == 2


def test_prepare_training_gives_labels_by_their_numbers(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "run").mkdir()
    write_labels(str(tmp_path / "run"), ("of", "another", "run"))
    setting = prepared(tmp_path, do_train=True, do_eval=True, do_predict=True)
    assert setting.labels == ("9", "10")
    assert setting.training is not None and setting.evaluated is not None
    assert setting.training.features.targets.tolist() == [1, 0, 1, 0, 1]
    assert setting.evaluated.features.targets.tolist() == [0, 1]
    # What is to be predicted is not known.
    assert setting.predicted is not None
    assert setting.predicted.examples == (Example("2", "크다"),)
    assert setting.predicted.features.targets.tolist() == [0]


def test_prepare_class_weights_are_for_training_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    setting = prepared(tmp_path, do_train=True, do_eval=True, class_weights="balanced")
    assert setting.training is not None and setting.evaluated is not None
    # 2 and 3 of 5.
    wanted = [5 / 6, 1.25, 5 / 6, 1.25, 5 / 6]
    assert setting.training.features.weights.tolist() == pytest.approx(wanted)
    assert setting.evaluated.features.weights.tolist() == [1, 1]
    assert "class weights: 9 1.25, 10 0.833\n" in capsys.readouterr().out


def test_prepare_class_weights_count_what_is_drawn(tmp_path: Path) -> None:
    write(tmp_path, train=ROWS["train"] + "나무 나무\t10\n" * 20)
    values: dict[str, Any] = {"max_train_examples": 6, "class_weights": "balanced"}
    for seed in range(5):
        setting = prepared(tmp_path, do_train=True, random_seed=seed, **values)
        assert setting.training is not None
        features = setting.training.features
        assert len(features.targets) == len(setting.training.examples) == 6
        numbers = set(features.targets.tolist())
        for target in numbers:
            of_class = features.weights[features.targets == target]
            assert of_class.sum() == pytest.approx(6 / len(numbers))


def test_prepare_regression_has_no_labels(tmp_path: Path) -> None:
    write(tmp_path)
    setting = prepared(tmp_path, do_train=True, do_predict=True, task_type="regression")
    assert (setting.labels, setting.num_outputs) == ((), 1)
    assert setting.training is not None and setting.predicted is not None
    assert setting.training.features.targets.tolist() == [10, 9, 10, 9, 10]
    assert setting.predicted.examples[0].score is None
    assert setting.predicted.features.targets.tolist() == [0]


def test_prepare_problems_are_counted_with_their_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, train=ROWS["train"] + "\t9\n" * 5)
    setting = prepared(tmp_path, do_train=True)
    assert setting.training is not None and len(setting.training.examples) == 5
    places = ", ".join(f"{tmp_path}/train.tsv:{line}: a text is empty" for line in (7, 8, 9))
    assert capsys.readouterr().err == (
        f"{WARNING} empty_text: 5 ({places} and 2 more)\n"
        f"{WARNING} {tmp_path}/train.tsv: 5 examples without a text are not trained "
        "on\n"
    )


def test_prepare_texts_that_are_cut_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    setting = prepared(tmp_path, do_train=True, max_seq_length=3)
    assert setting.training is not None
    assert setting.training.features.lengths.tolist() == [3] * 5
    assert capsys.readouterr().err == (
        f"{WARNING} {tmp_path}/train.tsv: 3 examples are longer than "
        "--max_seq_length=3 pieces, and are cut\n"
    )


def test_setting_plan_is_for_the_texts_or_for_any(tmp_path: Path) -> None:
    write(tmp_path)
    setting = prepared(tmp_path, do_train=True, max_seq_length=100)
    assert setting.training is not None
    features = setting.training.features
    assert setting.plan(5, features) == BatchPlan(5, (0, 2, 3), (16,))
    assert setting.plan(5, None) == BatchPlan(5, (0, 2, 3), (64, 100))
    whole = prepared(tmp_path, do_train=True, max_seq_length=100, length_buckets=False)
    assert whole.plan(2, features) == whole.plan(2, None) == BatchPlan(2, (0, 2, 3), (100,))


def test_prepare_labels_stand_beside_the_weights_or_in_the_training_file(tmp_path: Path) -> None:
    write(tmp_path)
    assert prepared(tmp_path, interactive=True).labels == ("9", "10")
    assert refusal(tmp_path, interactive=True, data_dir=None) == (
        f"no labels.json beside {tmp_path}/run; give the --train_file that the model was trained "
        "on, for its labels."
    )
    (tmp_path / "run").mkdir()
    write_labels(str(tmp_path / "run"), ("나", "가"))
    assert prepared(tmp_path, interactive=True).labels == ("나", "가")  # as the weights have them


def test_prepare_labels_that_are_not_known_are_refused(tmp_path: Path) -> None:
    write(tmp_path, dev="숲\t9\n숲\t11\n숲\t8\n")
    message = f"{tmp_path}/dev.tsv: the model does not know the labels 8, 11; it knows 9, 10."
    assert refusal(tmp_path, do_train=True, do_eval=True) == message
    assert refusal(tmp_path, do_eval=True) == message
    # Labels of what is predicted are not looked at.
    write(tmp_path, test="숲\t11\n")
    assert prepared(tmp_path, do_predict=True).labels == ("9", "10")


def test_prepare_one_label_is_none(tmp_path: Path) -> None:
    write(tmp_path, train="숲\t9\n나무\t9\n")
    message = f"{tmp_path}/train.tsv: a classifier needs two labels or more, there is only 9."
    assert refusal(tmp_path, do_train=True) == message
    assert refusal(tmp_path, do_predict=True) == message
    assert prepared(tmp_path, do_train=True, task_type="regression").num_outputs == 1


def test_prepare_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, train="\t9\n \t10\n")
    message = f"{tmp_path}/train.tsv has no example to train on."
    assert refusal(tmp_path, do_train=True) == message


def test_prepare_other_kind_of_model_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "run").mkdir()
    write_labels(str(tmp_path / "run"), ("9", "10"))
    assert refusal(tmp_path, do_eval=True, task_type="regression") == (
        f"the model of {tmp_path}/run is for 2 labels, not for a score; give its --task_name or "
        "--task_type."
    )
    write_labels(str(tmp_path / "run"), ())
    assert refusal(tmp_path, do_eval=True) == (
        f"the model of {tmp_path}/run is for a score, not for labels; give its --task_name or "
        "--task_type."
    )
    assert prepared(tmp_path, do_eval=True, task_type="regression").labels == ()
