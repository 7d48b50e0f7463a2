"""The known tasks' forms, and the files that are found for them."""

from pathlib import Path

import pytest

from bert_ko.tasks.classifier.forms import FORMS, SPLITS, TaskName, table_form
from bert_ko.tasks.labelling import find_file
from bert_ko.tasks.settings import Split


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
        "ratings_test.txt, each also with .gz, .bz2, .xz, .zst."
    )
    with pytest.raises(FileNotFoundError) as caught:
        find_file(str(tmp_path), FORMS["nsmc"].files["dev"], "dev")
    assert str(caught.value) == message


def test_find_file_without_the_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("nothing", "file"):
        folder = str(tmp_path / name)
        with pytest.raises(FileNotFoundError, match=rf"--data_dir=.*/{name} is no folder\."):
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
        with pytest.raises(FileNotFoundError, match=r"looked for sts-test\.tsv, each"):
            find_file("memory://classifier_forms", FORMS["korsts"].files["test"], "test")
    finally:
        file_system.rm("/classifier_forms", recursive=True)
