"""metrics.jsonl and TensorBoard events."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.data.records import read_records
from bert_ko.training.metrics import MetricsWriter, read_metrics


def records(first: int, last: int, value: float) -> list[dict[str, Any]]:
    return [{"step": s, "loss": s + value, "epoch": 0} for s in range(first, last + 1)]


def write(
    folder: Path, first_step: int, items: list[dict[str, Any]], prefix: str = "train"
) -> None:
    with MetricsWriter(str(folder), first_step) as writer:
        for item in items:
            writer.write(item, prefix)


def test_metrics_writer_continues_after_the_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, 0, records(1, 7, 0.25))
    write(tmp_path, 4, records(5, 9, 0.5))
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(str(path)) == [*records(1, 4, 0.25), *records(5, 9, 0.5)]
    assert [json.loads(line) for line in path.read_text().splitlines()] == read_metrics(str(path))


def test_metrics_writer_floats_are_the_same_again(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal(100).tolist()
    items = [{"step": n, "loss": value} for n, value in enumerate(values, 1)]
    write(tmp_path, 0, items)
    write(tmp_path, 100, [])  # read and written once more
    assert read_metrics(str(tmp_path / "metrics.jsonl")) == items


def test_metrics_writer_drops_a_line_that_a_kill_cut_off(tmp_path: Path) -> None:
    write(tmp_path, 0, records(1, 3, 0))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    write(tmp_path, 3, records(4, 4, 0))
    assert [record["step"] for record in read_metrics(str(path))] == [1, 2, 4]


def test_metrics_writer_record_is_on_the_disk_when_write_returns(tmp_path: Path) -> None:
    with MetricsWriter(str(tmp_path), 0) as writer:
        for step in (1, 2):
            writer.write({"step": step, "loss": 1.0}, "train")
            assert len(read_metrics(str(tmp_path / "metrics.jsonl"))) == step
            (events,) = (tmp_path / "tensorboard").iterdir()
            assert len(list(read_records(str(events)))) == 2 + step


@pytest.mark.parametrize("line", ["[]", "{}", '{"step": null}', "x", "[" * 9999, '{"step": 1.5}'])
def test_read_metrics_line_that_is_no_record_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n\n{line}\n{{"step": 2}}\n')
    with pytest.raises(ValueError) as error:
        read_metrics(str(path))
    assert str(error.value) == f"{path}:3: no record of metrics; delete that line."


def test_read_metrics_without_a_file_has_none(tmp_path: Path) -> None:
    assert read_metrics(str(tmp_path / "metrics.jsonl")) == []


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
def test_metrics_writer_events_are_read_by_tensorflow(tmp_path: Path) -> None:
    write(tmp_path, 0, records(1, 300, 0.25))  # killed before the first checkpoint
    write(tmp_path, 0, records(1, 7, 0.5))
    write(tmp_path, 5, [*records(6, 6, 1.0), {"step": 7, "loss": math.inf}])
    write(tmp_path, 7, [{"step": 10**10, "loss": 1e300, "한글": -1}], "eval")
    found = shown_by_tensorboard(tmp_path)
    assert found["train/loss"] == [*((s, s + 0.5) for s in range(1, 6)), (6, 7.0), (7, math.inf)]
    assert found["eval/loss"] == [(10**10, math.inf)]
    assert found["eval/한글"] == [(10**10, -1)]
    assert found.keys() == {"train/loss", "eval/loss", "eval/한글"}


@pytest.mark.slow
def test_metrics_writer_tensorboard_shows_no_step_twice(tmp_path: Path) -> None:
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
