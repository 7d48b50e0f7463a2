"""TensorBoard events."""

import math
import time
from pathlib import Path
from typing import Any

import pytest

from bert_ko.data.records import read_records
from bert_ko.training.tracking.tensorboard import TensorBoard
from bert_ko.training.tracking.tracker import TrackedRun


def records(first: int, last: int, value: float) -> list[dict[str, Any]]:
    return [{"step": s, "loss": s + value, "epoch": 0} for s in range(first, last + 1)]


def write(folder: Path, first_step: int, items: list[dict[str, Any]]) -> list[str]:
    """Returns what is said in the end."""
    board = TensorBoard(str(folder))
    board.start(TrackedRun(str(folder), "run", {}))
    board.begin(first_step)
    for item in items:
        board.write(item)
    return board.close("FINISHED", time.monotonic())


def test_tensorboard_record_is_on_the_disk_when_write_returns(tmp_path: Path) -> None:
    board = TensorBoard(str(tmp_path))
    board.start(TrackedRun(str(tmp_path), "run", {}))
    board.begin(0)
    for step in (1, 2):
        board.write({"step": step, "loss": 1.0})
        (events,) = (tmp_path / "tensorboard").iterdir()
        assert len(list(read_records(str(events)))) == 2 + step
    board.close("FINISHED", time.monotonic())


def test_tensorboard_says_how_to_see_what_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "내 모델"
    folder.mkdir()
    (line,) = write(folder, 0, records(1, 2, 0))
    assert line.startswith(f"curves: tensorboard --logdir='{folder}'")
    board = TensorBoard(str(folder))  # of a run that does not train
    board.start(TrackedRun(str(folder), "run", {}), records(1, 2, 0))
    board.finish({"f1": 1.0}, 2)
    assert board.close("FINISHED", time.monotonic()) == []
    assert len(list((folder / "tensorboard").iterdir())) == 1


def shown_by_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Points of each curve: a start of a session takes away those from its step on."""
    from tensorflow.compat.v1.train import summary_iterator

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        events = list(summary_iterator(str(path)))
        assert events[0].file_version == "brain.Event:2"
        for event in events[1:]:
            assert event.wall_time > 1e9
            if event.WhichOneof("what") == "session_log":
                found = {k: [p for p in v if p[0] < event.step] for k, v in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


@pytest.mark.slow
def test_tensorboard_events_are_read_by_tensorflow(tmp_path: Path) -> None:
    write(tmp_path, 0, records(1, 300, 0.25))  # killed before the first checkpoint
    write(tmp_path, 0, records(1, 7, 0.5))
    write(tmp_path, 5, [*records(6, 6, 1.0), {"step": 7, "loss": math.inf}])
    write(tmp_path, 7, [{"step": 10**10, "eval_loss": 1e300, "eval_한글": -1}])
    found = shown_by_tensorboard(tmp_path)
    assert found["train/loss"] == [*((s, s + 0.5) for s in range(1, 6)), (6, 7.0), (7, math.inf)]
    assert found["eval/eval_loss"] == [(10**10, math.inf)]
    assert found["eval/eval_한글"] == [(10**10, -1)]
    assert found.keys() == {"train/loss", "eval/eval_loss", "eval/eval_한글"}


@pytest.mark.slow
def test_tensorboard_shows_no_step_twice(tmp_path: Path) -> None:
    name = "tensorboard.backend.event_processing.event_accumulator"
    accumulators = pytest.importorskip(name)
    write(tmp_path, 0, records(1, 9, 0.25))
    write(tmp_path, 4, records(5, 6, 0.5))
    write(tmp_path, 6, records(7, 7, 0.75))
    found = accumulators.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    points = [(point.step, point.value) for point in found.Scalars("train/loss")]
    assert points == [
        (1, 1.25), (2, 2.25), (3, 3.25), (4, 4.25), (5, 5.5), (6, 6.5), (7, 7.75),
    ]  # fmt: skip
