"""Flags of run_classifier: the task, its columns, and what goes with what."""

from typing import Any, get_args

import pytest

from bert_ko.flags import FlagError, output_flags, parse
from bert_ko.tasks.classifier.forms import FORMS, TaskName, table_form
from bert_ko.tasks.classifier.settings import ClassifierFlags

REQUIRED: dict[str, Any] = {"vocab_file": "v", "bert_config_file": "c", "output_dir": "o"}
COLUMNS = ("text_column", "text_pair_column", "label_column", "id_column")


def make(task_name: str = "tsv", **flags: Any) -> ClassifierFlags:
    return ClassifierFlags(**{**REQUIRED, "interactive": True, "task_name": task_name, **flags})


def refusal(**flags: Any) -> str:
    with pytest.raises(ValueError) as error:
        make(**flags)
    return str(error.value)


def test_classifier_flags_defaults() -> None:
    arguments = [f"--{name}={value}" for name, value in REQUIRED.items()]
    flags = parse(ClassifierFlags, [*arguments, "--task_name=tsv", "--interactive"])
    assert [getattr(flags, name) for name in COLUMNS] == ["text", None, "label", None]
    assert (flags.task_type, flags.class_weights) == ("classification", "none")
    assert flags.form == table_form() and not flags.is_regression
    with pytest.raises(FlagError) as error:
        parse(ClassifierFlags, [*arguments, "--interactive"])
    assert str(error.value) == "--task_name: this must be given, got nothing; see --help."
    with pytest.raises(FlagError, match="--task_name must be one of nsmc, ynat, korsts, paws, tsv"):
        parse(ClassifierFlags, [*arguments, "--interactive", "--task_name=sts"])


@pytest.mark.parametrize("name", get_args(TaskName))
def test_classifier_flags_form_is_that_of_the_task(name: TaskName) -> None:
    assert make(name).form == FORMS[name]
    assert make(name).is_regression == (name == "korsts")


def test_classifier_flags_columns_make_the_form() -> None:
    flags = make(
        task_type="regression", text_column="a", text_pair_column="b", label_column="c",
        id_column="d",
    )  # fmt: skip
    assert flags.form == table_form("regression", "a", "b", "c", "d")
    assert flags.is_regression and flags.form.is_pair


@pytest.mark.parametrize("task", ["nsmc", "ynat", "korsts", "paws"])
@pytest.mark.parametrize("name", ["task_type", *COLUMNS])
def test_classifier_flags_columns_are_for_tables_alone(name: str, task: str) -> None:
    value = "regression" if name == "task_type" else "x"
    assert refusal(task_name=task, **{name: value}) == (
        f"--{name} is for --task_name=tsv; the columns of {task} are known."
    )
    assert getattr(make("tsv", **{name: value}), name) == value


def test_classifier_flags_scores_have_no_class_weights() -> None:
    message = "--class_weights: a regression has no classes."
    assert refusal(task_name="korsts", class_weights="balanced") == message
    assert refusal(task_type="regression", class_weights="a=1") == message
    assert make(class_weights="balanced").class_weights == "balanced"


def test_classifier_flags_identity_is_what_decides_the_weights() -> None:
    names = set(output_flags(make()))
    assert {
        "task_name", "task_type", "text_column", "text_pair_column", "label_column",
        "class_weights",
    } <= names  # fmt: skip
    assert "id_column" not in names
