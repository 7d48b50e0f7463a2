"""benchmarks/kills.py, with few kills of the commands that need no training."""

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    folder = str(REPOSITORY / "benchmarks")
    path = sys.path.copy()
    sys.path.insert(0, folder)
    try:
        spec = importlib.util.spec_from_file_location("kills", f"{folder}/kills.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["kills"] = module
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
    return module


def test_differences_names_each_fault_and_no_time(kills: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"loss": 1.5, "seconds": 1.25}')
    (tmp_path / "b").write_text("가")
    wanted = kills.contents(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"loss": 1.5, "seconds": 7.0}')
    (tmp_path / ".lock").touch()
    assert kills.differences(tmp_path, wanted) == []
    (tmp_path / "a.jsonl").write_text('{"loss": 1.6, "seconds": 1.25}')
    (tmp_path / "b").rename(tmp_path / ".b.0123abcd.tmp")
    (tmp_path / ".model.0123abcd.tmp").mkdir()
    (tmp_path / ".model.0123abcd.tmp" / "c").touch()
    assert kills.differences(tmp_path, wanted) == [
        ".b.0123abcd.tmp is left",
        ".model.0123abcd.tmp/c is left",
        "b is missing",
        "a.jsonl differs",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_wait_for_group_finds_and_ends_who_outlives_the_parent(kills: ModuleType) -> None:
    command = ["bash", "-c", "sleep 60 & echo $!"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert kills.wait_for_group(process, 0.2) == [child]
        assert kills.wait_for_group(process, 5) == []
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_kills_reruns_end_as_if_nothing_had_happened(kills: ModuleType) -> None:
    names = ["build_vocab", "create_pretraining_data", "create_pretraining_data words"]
    done = kills.kill_all(3, 5, names, print)
    assert [kill.command for kill in done] == names
    assert not [kill for kill in done if kill.faults]
    assert any(kill.was_running for kill in done)


def test_send_to_a_worker_goes_to_the_parent_if_there_is_none(kills: ModuleType) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        assert kills.send(process, "worker", signal.SIGTERM, kills.random.Random(1)) == "parent"
    assert process.returncode == -signal.SIGTERM
