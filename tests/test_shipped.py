import configparser
import os
from pathlib import Path

import pytest

import bert_ko
from bert_ko.shipped import find_shipped, shipped_names
from bert_ko.tokenization.folder import load_tokenizer

NAME = "ko-mecab-32k"
SHIPPED = Path(__file__).parents[1] / "vocab" / NAME


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test is away from the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shipped_names_are_the_folders_of_vocab() -> None:
    assert shipped_names() == [NAME]


def test_package_data_takes_the_vocabulary_into_a_wheel() -> None:
    setup = configparser.ConfigParser()
    setup.read(SHIPPED.parents[1] / "setup.cfg", encoding="utf-8")
    pattern = setup["options.package_data"]["bert_ko"]
    package = Path(bert_ko.__file__).parent
    found = {path.name for path in package.glob(pattern) if path.parent.name == NAME}
    assert found == {path.name for path in SHIPPED.iterdir()}


@pytest.mark.parametrize("path", [NAME, f"{NAME}/vocab.txt", f"{NAME}/bert_config_mini.json"])
def test_find_shipped_name_is_found_from_any_folder(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert os.path.samefile(find_shipped(path), SHIPPED.parent / path)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "path",
    ["none", "README.md", ".", "", "..", f"{NAME}/none", f"./{NAME}", f"../{NAME}", f"x/{NAME}"],
)
def test_find_shipped_other_path_stays(path: str) -> None:
    assert find_shipped(path) == path


def test_find_shipped_own_folder_of_that_name_is_used_and_said(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / NAME).mkdir()
    assert find_shipped(NAME) == f"./{NAME}"
    assert capsys.readouterr().err.endswith(
        f"warning: ./{NAME} is used, not the {NAME} that comes with bert_ko\n"
    )
    # What is not in that folder isn't taken from another.
    with pytest.raises(FileNotFoundError, match=f"in ./{NAME}"):
        load_tokenizer(NAME)


def test_find_shipped_beside_the_shipped_folder_has_nothing_to_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(SHIPPED.parent)
    assert find_shipped(NAME) == f"./{NAME}"
    assert not capsys.readouterr().err


def test_load_by_name_is_the_tokenizer_of_the_folder() -> None:
    assert bert_ko.load(NAME).fingerprint == load_tokenizer(str(SHIPPED)).fingerprint


def test_load_tokenizer_unknown_name_says_what_there_is() -> None:
    with pytest.raises(FileNotFoundError, match=rf"no such file: ko-32k\. .* {NAME}\.$"):
        load_tokenizer("ko-32k")
