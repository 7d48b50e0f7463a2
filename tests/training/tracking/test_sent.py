"""What a service has of a run."""

import json
from pathlib import Path

import filelock
import pytest

from bert_ko.training.tracking import sent as module
from bert_ko.training.tracking.sent import Sent
from bert_ko.training.tracking.tracker import Record


def test_sent_remembers_the_last_step_of_each_prefix(tmp_path: Path) -> None:
    first = Sent(str(tmp_path), "mlflow", "http://a")
    assert first.run_id is None and first.is_new(Record(0, "train", {}))
    first.run_id = "r1"
    first.note([Record(7, "train", {}), Record(8, "train", {}), Record(5, "eval", {})])
    key = first.key
    first.close()
    again = Sent(str(tmp_path), "mlflow", "http://a")
    assert (again.run_id, again.key) == ("r1", key)
    assert [again.is_new(Record(step, "train", {})) for step in (7, 8, 9)] == [False, False, True]
    assert [again.is_new(Record(step, "eval", {})) for step in (5, 8)] == [False, True]
    again.note([Record(6, "train", {})])  # never backwards
    assert again.steps == {"train": 8, "eval": 5}


def test_sent_another_place_has_nothing(tmp_path: Path) -> None:
    first = Sent(str(tmp_path), "mlflow", "http://a")
    first.run_id = "r1"
    first.note([Record(7, "train", {})])
    first.close()
    other = Sent(str(tmp_path), "mlflow", "http://b")
    assert other.run_id is None and other.steps == {} and other.key != first.key
    other.close()
    assert Sent(str(tmp_path), "mlflow", "http://a").run_id == "r1"


def test_sent_is_written_before_note_returns(tmp_path: Path) -> None:
    sent = Sent(str(tmp_path), "mlflow", "here")
    sent.note([Record(3, "train", {})])
    found = json.loads((tmp_path / "tracking" / "mlflow.json").read_text())
    assert found == {"runs": {"here": {"steps": {"train": 3}}}}


def test_sent_of_two_processes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = filelock.FileLock(tmp_path / "tracking" / "mlflow.json.lock")
    (tmp_path / "tracking").mkdir()
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    with held, pytest.raises(filelock.Timeout):
        Sent(str(tmp_path), "mlflow", "here")
    Sent(str(tmp_path), "mlflow", "here")


def test_sent_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tracking").mkdir()
    path = tmp_path / "tracking" / "mlflow.json"
    path.write_text("[")
    with pytest.raises(ValueError, match=r"mlflow\.json.*not JSON"):
        Sent(str(tmp_path), "mlflow", "here")
