"""Where compiled programs are kept, and that a folder that can't be used stops nobody."""

import os
import shutil
import time
from pathlib import Path

import pytest

from bert_ko.training import compiled_programs
from bert_ko.training.compiled_programs import keep_programs_of_tensorflow, programs_of_processor
from tests.fakes import last
from tests.small_data import Trainable

# Two fields with their lengths, the second of 200 bytes.
ENTRY = b"\x0a\x03key" + b"\x1a\xc8\x01" + bytes(range(200))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    folder = Path(programs_of_processor("tensorflow-2.0"))
    assert folder.parent == tmp_path / "bert_ko"
    folder.mkdir(parents=True)
    return folder


def kept() -> str:
    """What TensorFlow is told."""
    keep_programs_of_tensorflow("2.0")
    return os.environ.get("TF_XLA_FLAGS", "")


def test_folder_joins_other_flags(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept() == f"--tf_xla_persistent_cache_directory={cache}"
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_clustering_debug")
    flags = kept().split()
    assert flags[0] == "--tf_xla_clustering_debug" and len(flags) == 2
    assert not flags[1].endswith(str(cache)), "other flags may give other programs"


@pytest.mark.parametrize("folder", ["", "/of/the/user"])
def test_folder_of_the_user_stays(
    cache: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    given = f"--tf_xla_persistent_cache_directory={folder}"
    monkeypatch.setenv("TF_XLA_FLAGS", given)
    assert kept() == given


def test_programs_of_other_settings_lie_elsewhere(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    fast = programs_of_processor("tensorflow-2.0")
    monkeypatch.setattr(compiled_programs, "_processor", lambda: ["another"])
    assert len({str(cache), fast, programs_of_processor("tensorflow-2.0")}) == 3


def test_file_that_is_not_whole_is_removed(cache: Path) -> None:
    for size in range(len(ENTRY)):
        (cache / f"{size}.pb").write_bytes(ENTRY[:size])
    (cache / "whole.pb").write_bytes(ENTRY)
    (cache / "zeros.pb").write_bytes(bytes(len(ENTRY)))
    assert kept()
    # The first field alone, of five bytes, is whole, too.
    assert sorted(os.listdir(cache)) == ["5.pb", "whole.pb"]


def test_oldest_files_are_removed_where_there_are_many(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_programs, "_MOST_BYTES", 2 * len(ENTRY))
    other = cache.parent / "tensorflow-1.0-0123456789abcdef"
    other.mkdir()
    now, day = time.time(), 86_400
    for folder, name, days in (
        (other, "oldest.pb", 9), (cache, "old.pb", 5), (other, "newer.pb", 3),
        (cache, "young.pb", 0), (cache, "left.pb.tmp", 2), (cache, "written.pb.tmp", 0),
    ):  # fmt: skip
        (folder / name).write_bytes(ENTRY)
        os.utime(folder / name, (now, now - days * day))
    assert kept()
    assert sorted(os.listdir(cache)) == ["written.pb.tmp", "young.pb"]
    assert not os.listdir(other)


def test_disk_without_room_keeps_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 29))
    assert kept() == ""


def test_folder_that_cannot_be_made_keeps_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert kept() == ""


@pytest.mark.slow
def test_next_run_compiles_nothing_and_has_the_same_bits(
    classifier: Trainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)

    def run(name: str) -> tuple[bytes, list[Path]]:
        flags = {**classifier.train, "num_train_epochs": 1, "output_dir": tmp_path / name}
        assert "aot_loader" not in classifier.command.finish(**flags)
        (folder,) = (tmp_path / "cache" / "bert_ko").iterdir()
        return (last(tmp_path / name) / "model.safetensors").read_bytes(), sorted(folder.iterdir())

    weights, programs = run("first")
    written = [path.stat().st_mtime_ns for path in programs]
    assert programs and run("second") == (weights, programs)
    assert [path.stat().st_mtime_ns for path in programs] == written
    for path in programs:
        os.truncate(path, path.stat().st_size // 2)
    assert run("third") == (weights, programs)
