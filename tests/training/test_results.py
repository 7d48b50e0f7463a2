"""The files of scores."""

import os
from pathlib import Path

import pytest

from bert_ko.training.results import write_results


def test_write_results_writes_and_prints_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "eval_results.txt").write_text("old = 1\n")
    write_results(str(tmp_path), {"b": 2, "a": 1.5})
    assert (tmp_path / "eval_results.txt").read_text() == "a = 1.5\nb = 2\n"
    assert capsys.readouterr().out == "a = 1.5\nb = 2\n"
    assert os.listdir(tmp_path) == ["eval_results.txt"]
