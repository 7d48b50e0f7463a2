import os
from pathlib import Path

import pytest

from bert_ko.folders import folder_writer


def write(folder: str, **contents: str) -> None:
    for name, text in contents.items():
        Path(folder, name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("exists", [False, True])
def test_folder_writer_missing_or_empty_folder_appears_at_once(
    exists: bool, tmp_path: Path
) -> None:
    path = tmp_path / "above" / "model"
    if exists:
        path.mkdir(parents=True)
        path.chmod(0o750)
    with folder_writer(str(path), "config") as folder:
        write(folder, config="c", weights="w")
        Path(folder, "checkpoint").mkdir()
        assert not exists or not os.listdir(path)
    assert contents(path) == {"config": "c", "weights": "w"}
    assert (path / "checkpoint").is_dir()
    assert os.listdir(tmp_path / "above") == ["model"]
    assert not exists or path.stat().st_mode & 0o777 == 0o750


def test_folder_writer_keeps_what_else_is_in_the_folder(tmp_path: Path) -> None:
    write(str(tmp_path), notes="mine", config="old")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "notes").write_text("mine")
    with folder_writer(str(tmp_path), "config") as folder:
        write(folder, config="c", weights="w")
        Path(folder, "checkpoint").mkdir()
        Path(folder, "checkpoint", "state").write_text("s")
    assert contents(tmp_path) == {"notes": "mine", "config": "c", "weights": "w"}
    assert contents(tmp_path / "checkpoint") == {"notes": "mine", "state": "s"}
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "config", "notes", "weights"]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("exists", [False, True])
def test_folder_writer_error_changes_nothing(
    kind: type[BaseException], exists: bool, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    if exists:
        path.mkdir()
        write(str(path), config="old")
    with pytest.raises(kind), folder_writer(str(path), "config") as folder:
        write(folder, config="new")
        raise kind
    assert os.listdir(tmp_path) == (["model"] if exists else [])
    assert not exists or contents(path) == {"config": "old"}


@pytest.mark.parametrize("calls", range(4))
def test_folder_writer_killed_while_it_replaces_files_leaves_no_mixture(
    calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(str(tmp_path), config="old", vocab="old")
    replace, left = os.replace, calls

    def count(source: str, target: str) -> None:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        replace(source, target)

    monkeypatch.setattr(os, "replace", count)
    try:
        with folder_writer(str(tmp_path), "config") as folder:
            write(folder, config="new", vocab="new", weights="new")
    except Killed:
        assert "config" not in contents(tmp_path)
    else:
        assert contents(tmp_path) == dict.fromkeys(("config", "vocab", "weights"), "new")


def test_folder_writer_over_a_file_is_refused(tmp_path: Path) -> None:
    write(str(tmp_path), model="x")
    with (
        pytest.raises(ValueError, match="model must be a folder, but it is a file"),
        folder_writer(str(tmp_path / "model"), "config"),
    ):
        pytest.fail("made")
    assert contents(tmp_path) == {"model": "x"}
