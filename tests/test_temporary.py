import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_ko import files
from bert_ko.temporary import remove_leftovers, temporary_file, temporary_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("left", [".a.json.0123abcd.tmp", ".a.json.4321.tmp"])
def test_atomic_writer_removes_what_a_killed_writer_of_the_file_left(
    left: str, tmp_path: Path
) -> None:
    (tmp_path / left).write_text("half")
    stay = [".a.json.mine.tmp", ".a.json.tmp", ".b.json.0123abcd.tmp", "a.json.0123abcd.tmp"]
    for name in stay:
        (tmp_path / name).write_text("x")
    files.write_atomic(str(tmp_path / "a.json"), "new")
    assert names(tmp_path) == sorted(["a.json", *stay])


def test_remove_leftovers_takes_files_and_folders_of_all_names(tmp_path: Path) -> None:
    (tmp_path / ".모형.0123abcd.tmp" / "checkpoint").mkdir(parents=True)
    (tmp_path / ".a.0123abcd.tmp").write_text("half")
    (tmp_path / ".keep").write_text("x")
    remove_leftovers(str(tmp_path))
    assert names(tmp_path) == [".keep"]
    remove_leftovers(str(tmp_path / "none"))


def test_remove_leftovers_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a").write_text("x")
    (tmp_path / ".b.0123abcd.tmp").symlink_to(tmp_path / "kept")
    remove_leftovers(str(tmp_path))
    assert (tmp_path / "kept" / "a").exists()


def test_atomic_writer_longest_name_is_written_and_cleaned(tmp_path: Path) -> None:
    name = "가" * 85  # 255 bytes
    with pytest.raises(KeyboardInterrupt), files.atomic_writer(str(tmp_path / name)):
        (left,) = names(tmp_path)
        raise KeyboardInterrupt
    (tmp_path / left).write_text("half")
    files.write_atomic(str(tmp_path / name), "text")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("make", [temporary_file, temporary_folder])
def test_remove_leftovers_leaves_what_is_being_written(make: object, tmp_path: Path) -> None:
    with make(str(tmp_path / "a")) as temporary:  # type: ignore[operator]
        remove_leftovers(str(tmp_path))
        with make(str(tmp_path / "a")) as other:  # type: ignore[operator]
            assert os.path.exists(temporary) and os.path.exists(other) and temporary != other
        assert names(tmp_path) == [os.path.basename(temporary)]
    assert names(tmp_path) == []


def test_remove_leftovers_knows_whether_another_process_lives(tmp_path: Path) -> None:
    script = (
        "import sys, time; from bert_ko import files\n"
        "with files.atomic_writer(sys.argv[1]) as f: print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        remove_leftovers(str(tmp_path))
        assert len(names(tmp_path)) == 1
        process.kill()
        process.wait()
    assert len(names(tmp_path)) == 1
    remove_leftovers(str(tmp_path))
    assert names(tmp_path) == []


def test_temporary_file_that_a_cleaner_takes_at_once_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    flock, taken = fcntl.flock, []

    def late(file: int, how: int) -> None:
        for name in () if taken else names(tmp_path):
            taken.append(name)
            (tmp_path / name).unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    files.write_atomic(str(tmp_path / "a"), "text")
    assert taken and (tmp_path / "a").read_text() == "text"


def test_temporary_file_without_locks_leaves_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError("no locks on this network file system")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refuse)
    (tmp_path / ".a.0123abcd.tmp").write_text("another's, perhaps")
    files.write_atomic(str(tmp_path / "a"), "text")
    assert names(tmp_path) == [".a.0123abcd.tmp", "a"]
