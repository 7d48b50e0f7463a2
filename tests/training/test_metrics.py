"""metrics.jsonl."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.training.metrics import MetricsWriter, read_metrics
from bert_ko.training.tracking.tracker import Tracker


def records(first: int, last: int, value: float) -> list[dict[str, Any]]:
    return [{"step": s, "loss": s + value, "epoch": 0} for s in range(first, last + 1)]


def write(folder: Path, first_step: int, items: list[dict[str, Any]]) -> None:
    with MetricsWriter(str(folder), first_step, Tracker()) as writer:
        for item in items:
            writer.write(item)


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
    with MetricsWriter(str(tmp_path), 0, Tracker()) as writer:
        for step in (1, 2):
            writer.write({"step": step, "loss": 1.0})
            assert len(read_metrics(str(tmp_path / "metrics.jsonl"))) == step


@pytest.mark.parametrize("line", ["[]", "{}", '{"step": null}', "x", "[" * 9999, '{"step": 1.5}'])
def test_read_metrics_line_that_is_no_record_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n\n{line}\n{{"step": 2}}\n')
    with pytest.raises(ValueError) as error:
        read_metrics(str(path))
    assert str(error.value) == f"{path}:3: no record of metrics; delete that line."


def test_read_metrics_without_a_file_has_none(tmp_path: Path) -> None:
    assert read_metrics(str(tmp_path / "metrics.jsonl")) == []
