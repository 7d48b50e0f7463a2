"""Flags of run_classifier, the forms of the known tasks, and the files found for them."""

from pathlib import Path
from typing import Any, get_args

import pytest

from bert_ko.flags import FlagError, output_flags, parse
from bert_ko.tasks.classifier.settings import (
    FORMS,
    SPLITS,
    ClassifierFlags,
    TaskName,
    table_form,
)
from bert_ko.tasks.labelling import find_file
from bert_ko.tasks.settings import Split

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


def found(folder: Path, name: TaskName, split: Split) -> str:
    return Path(find_file(str(folder), FORMS[name].files[split], split)).name


@pytest.mark.parametrize("name", list(FORMS))
def test_forms_every_task_names_its_columns_and_files(name: TaskName) -> None:
    form = FORMS[name]
    assert form.text_a and form.label
    assert set(form.files) == set(SPLITS)
    assert all(form.files.values())
    assert set(form.label_files) <= set(form.label)


def test_forms_pairs_and_kinds_are_those_of_the_tasks() -> None:
    assert {name: form.is_pair for name, form in FORMS.items()} == {
        "nsmc": False,
        "ynat": False,
        "korsts": True,
        "paws": True,
        "tsv": False,
    }
    assert [name for name, form in FORMS.items() if form.kind == "regression"] == ["korsts"]


def test_table_form_names_become_columns() -> None:
    form = table_form("regression", "질문", "답", "점수", "번호")
    assert (form.text_a, form.text_b, form.label) == (("질문",), ("답",), ("점수",))
    assert (form.kind, form.example_id, form.is_pair) == ("regression", ("번호",), True)
    form = table_form()
    assert (form.text_a, form.text_b, form.label) == (("text",), (), ("label",))
    assert (form.kind, form.example_id, form.is_pair) == ("classification", (), False)


@pytest.mark.parametrize(
    ("name", "split", "wanted"),
    [
        ("nsmc", "train", "ratings_train.txt"),
        ("nsmc", "dev", "ratings_test.txt"),
        ("nsmc", "test", "ratings_test.txt"),
        ("ynat", "train", "ynat-v1.1_train.json"),
        ("ynat", "dev", "dev.csv"),
        ("korsts", "dev", "sts-dev.tsv"),
        ("paws", "train", "translated_train.tsv"),
        ("paws", "dev", "dev_2k.tsv"),
        ("paws", "test", "test_2k.tsv"),
        ("tsv", "test", "test.jsonl"),
    ],
)
def test_find_file_gives_the_first_of_the_names(
    name: TaskName, split: Split, wanted: str, tmp_path: Path
) -> None:
    names = ["ratings_train.txt", "ratings_test.txt", "ynat-v1.1_train.json", "dev.csv"]
    names += ["ynat-v1.1_dev.json", "sts-dev.tsv", "translated_train.tsv", "dev_2k.tsv"]
    for present in [*names, "test_2k.tsv", "test.jsonl"]:
        (tmp_path / present).touch()
    assert found(tmp_path, name, split) == wanted


def test_find_file_dev_stands_for_test_and_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "ratings_dev.txt").touch()
    assert found(tmp_path, "nsmc", "test") == "ratings_dev.txt"
    (tmp_path / "ratings_test.txt").touch()
    assert found(tmp_path, "nsmc", "test") == "ratings_test.txt"
    assert found(tmp_path, "nsmc", "dev") == "ratings_dev.txt"


def test_find_file_compressed_is_found_behind_the_plain_one(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv.zst").touch()
    assert found(tmp_path, "tsv", "dev") == "dev.tsv.zst"
    (tmp_path / "dev.csv").touch()  # a later name
    assert found(tmp_path, "tsv", "dev") == "dev.tsv.zst"
    (tmp_path / "dev.tsv").touch()
    assert found(tmp_path, "tsv", "dev") == "dev.tsv"


def test_find_file_without_any_lists_the_names(tmp_path: Path) -> None:
    (tmp_path / "ratings_dev.txt").mkdir()  # a folder is no file
    (tmp_path / "ratings_test.csv").touch()
    message = (
        f"--data_dir={tmp_path} has no file for dev; looked for ratings_dev.txt, "
        "ratings_test.txt, each also with .gz, .bz2, .xz, .zst; it has ratings_dev.txt, "
        "ratings_test.csv."
    )
    with pytest.raises(FileNotFoundError) as caught:
        find_file(str(tmp_path), FORMS["nsmc"].files["dev"], "dev")
    assert str(caught.value) == message


def test_find_file_without_the_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("nothing", "file"):
        folder = str(tmp_path / name)
        with pytest.raises(FileNotFoundError, match=rf"--data_dir=.*/{name} is not a folder\."):
            find_file(folder, FORMS["nsmc"].files["dev"], "dev")


def test_find_file_glob_characters_of_a_folder_are_plain(tmp_path: Path) -> None:
    for name in ("자료[1]", "자료1"):
        (tmp_path / name).mkdir()
    (tmp_path / "자료1" / "dev.tsv").touch()
    with pytest.raises(FileNotFoundError, match="has no file for dev"):
        find_file(str(tmp_path / "자료[1]"), FORMS["tsv"].files["dev"], "dev")


def test_find_file_remote_folder_is_searched() -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    file_system = MemoryFileSystem()
    file_system.pipe("/classifier_forms/sts-dev.tsv.gz", b"")
    try:
        path = find_file("memory://classifier_forms", FORMS["korsts"].files["dev"], "dev")
        assert path == "memory://classifier_forms/sts-dev.tsv.gz"
        with pytest.raises(FileNotFoundError, match=r"looked for sts-test\.tsv, klue-sts-"):
            find_file("memory://classifier_forms", FORMS["korsts"].files["test"], "test")
    finally:
        file_system.rm("/classifier_forms", recursive=True)
