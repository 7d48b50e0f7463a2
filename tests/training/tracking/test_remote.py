"""A reporter that hangs, ends or doesn't read costs little, and one warning."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_ko.training.tracking import opening, remote
from bert_ko.training.tracking.opening import opened_trackers, require_services
from bert_ko.training.tracking.remote import Remote
from bert_ko.training.tracking.tracker import Status, TrackedRun

HANGS = """
import os, sys, time
open(os.path.join(sys.argv[2], "pid"), "w").write(f"{os.getpid()}\\n")
if os.fork() == 0:  # as W&B's package starts a process
    open(os.path.join(sys.argv[2], "child"), "w").write(f"{os.getpid()}\\n")
time.sleep(60)
"""
ANSWERS = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "close" in message:
        print(json.dumps({"problem": message["close"]}), flush=True)
        print(json.dumps({"problem": "another"}), flush=True)
        print(json.dumps({"left": 3, "shows": ["ui"]}), flush=True)
"""
Captured = pytest.CaptureFixture[str]


def tell(folder: Path, seconds: float, lines: int = 1) -> tuple[list[str], float]:
    """Returns what is said in the end, and the seconds that the end took."""
    tracker = Remote("mlflow", str(folder))
    tracker.start(TrackedRun(str(folder), "run", {}))
    for step in range(lines):
        tracker.write({"step": step, "loss": 1.0, "text": "x" * 100})
    begin = time.monotonic()
    found = tracker.close("FAILED", begin + seconds)
    return found, time.monotonic() - begin


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_remote_reporter_that_hangs_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(remote, "_PROGRAM", HANGS)
    tracker = Remote("mlflow", str(tmp_path))
    tracker.start(TrackedRun(str(tmp_path), "run", {}))
    wait_until(lambda: all((tmp_path / n).exists() for n in ("pid", "child")))
    wait_until(lambda: all((tmp_path / n).read_text()[-1:] == "\n" for n in ("pid", "child")))
    for step in range(5000):  # more than a pipe holds
        tracker.write({"step": step, "text": "x" * 100})
    begin = time.monotonic()
    assert tracker.close("FINISHED", begin + 0.5) == []
    assert 0.5 <= time.monotonic() - begin < 5
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        "warning: --report_to=mlflow: it did not answer in time. The run itself is not affected. "
        in line
    )
    assert line.endswith("or when the same command is run again.")
    for name in ("pid", "child"):
        pid = int((tmp_path / name).read_text())
        wait_until(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]


def test_remote_reporter_that_ends_is_spoken_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(remote, "_PROGRAM", "raise SystemExit(3)")
    found, seconds = tell(tmp_path, 30, lines=5000)
    assert found == [] and seconds < 20
    (line,) = capsys.readouterr().err.splitlines()
    assert "--report_to=mlflow: its process ended. " in line


@pytest.mark.slow
def test_remote_problems_are_warned_of_once_and_the_end_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(remote, "_PROGRAM", ANSWERS)
    found, _ = tell(tmp_path, 30)
    assert found == [
        "curves: ui",
        "mlflow: 3 items not sent; run the same command again to send them",
    ]
    (line,) = capsys.readouterr().err.splitlines()
    assert "--report_to=mlflow: FAILED. " in line


def test_remote_session_without_a_run_starts_no_process(tmp_path: Path, capsys: Captured) -> None:
    with opened_trackers(["mlflow", "wandb", "tensorboard"], str(tmp_path)):
        pass
    assert capsys.readouterr() == ("", "") and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"), (ValueError(), "FAILED"), (KeyboardInterrupt(), "KILLED"),
        (SystemExit(128 + signal.SIGTERM), "KILLED"), (SystemExit("no"), "FAILED"),
    ],
)  # fmt: skip
def test_opened_trackers_end_as_the_session_does(
    error: BaseException | None, status: Status, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[Status] = []

    def close(self: Remote, status: Status, deadline: float) -> list[str]:
        found.append(status)
        assert 14 < deadline - time.monotonic() <= 15
        return []

    monkeypatch.setattr(Remote, "close", close)
    try:
        with opened_trackers(["mlflow", "mlflow"], str(tmp_path)):
            if error is not None:
                raise error
    except BaseException as caught:
        assert caught is error
    assert found == [status]


@pytest.mark.parametrize(
    ("name", "missing", "uri", "package"),
    [
        ("mlflow", "mlflow", "", "mlflow"), ("wandb", "wandb", "", "wandb"),
        ("mlflow", "mlflow", "http://127.0.0.1:1", "mlflow"),
        ("mlflow", "sqlalchemy", "", "sqlalchemy"), ("mlflow", "alembic", "", "alembic"),
    ],
)  # fmt: skip
def test_require_services_missing_package_has_the_line_that_installs_it(
    name: str, missing: str, uri: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(opening, "_is_installed", lambda package: package != missing)
    with pytest.raises(ValueError) as error:
        require_services(["tensorboard", name], "runs")
    assert str(error.value) == (
        f"--report_to={name} needs the package {package}: pip install 'bert_ko[{name}]'"
    )


def test_require_services_server_needs_the_client_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setattr(opening, "_is_installed", lambda package: package == "mlflow")
    require_services(["mlflow", "tensorboard"], "s3://bucket/run")


def test_require_services_folder_of_that_name_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no_such_package").mkdir()  # as W&B leaves one in the working directory
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not opening._is_installed("no_such_package")
    assert opening._is_installed("json")
