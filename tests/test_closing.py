"""The box at the end of a command, the evaluations before it, hints, and prompts."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bert_ko.closing import advise, close, command_line
from bert_ko.messages import quiet
from bert_ko.prompts import typed_lines
from bert_ko.shipped import find_shipped
from bert_ko.tokenization.unknown import warn_of_unknown
from bert_ko.training.closing import Evaluations, chosen_scores, close_session, loss_never_fell
from tests.conftest import SAMPLE_CORPUS
from tests.fakes import Command

Captured = pytest.CaptureFixture[str]


def test_close_has_what_there_is_and_a_command_to_copy(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["bin/run_squad"])
    command = command_line("run_squad", "--interactive", "--output_dir=my reader")
    close("trained 300 steps", ["my reader/"], {"f1": 80.006, "em": 7}, "my reader/report.html",
          command)  # fmt: skip
    captured = capsys.readouterr()
    first, *lines, last = captured.err.splitlines()
    assert captured.out == "" and first.startswith("── trained 300 steps ──")
    assert last == "─" * 78 == "─" * len(first)
    assert lines == [
        "made    my reader/",
        "scores  f1 80.01, em 7.00",
        "report  my reader/report.html",
        "next",
        "  bin/run_squad --interactive '--output_dir=my reader'",
    ]
    close("done")
    assert len(capsys.readouterr().err.splitlines()) == 2
    with quiet():
        close("done")
    assert capsys.readouterr().err == ""


def test_close_stream_without_box_characters_has_hyphens(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    close("done")
    assert stream.buffer.getvalue().startswith(b"-- done --")  # type: ignore[attr-defined]


def test_advise_is_for_people(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    advise("bin/serve model")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    advise("bin/serve model")
    assert "\n  bin/serve model\n" in capsys.readouterr().err


def task(**values: Any) -> Any:
    return SimpleNamespace(
        **{"main_metric": "f1", "main_scores": ("f1", "em"), "larger_is_better": True, **values}
    )


def test_evaluations_are_said_and_the_best_is_marked_and_named(
    tmp_path: Path, capsys: Captured
) -> None:
    lines = [{"step": 2, "eval_f1": 50.0}, {"step": 3, "loss": 1.0}, {"step": 9, "eval_f1": 99.0}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    found = Evaluations(str(tmp_path), task(), 4)  # step 9 was after the checkpoint
    for step, f1 in ((1000, 40.0), (2000, 60.123), (3000, 60.123)):
        found.add(step, {"f1": f1, "em": 1.0, "loss": 3.0})
    found.name_best(is_kept=True)
    assert capsys.readouterr().err.splitlines() == [
        "evaluation at step 1,000: f1 40.00, em 1.00",
        "evaluation at step 2,000: f1 60.12, em 1.00  (the best so far)",
        "evaluation at step 3,000: f1 60.12, em 1.00",
        "best evaluation: step 2,000, f1 60.12; its weights are kept, and used",
    ]


def test_evaluations_smaller_may_be_better(tmp_path: Path, capsys: Captured) -> None:
    name = {"main_metric": "perplexity", "main_scores": ["perplexity"], "larger_is_better": False}
    found = Evaluations(str(tmp_path), task(**name), 0)
    for step, value in ((1, 9.0), (2, 8.0), (3, 8.5)):
        found.add(step, {"perplexity": value})
    found.name_best(is_kept=False)
    assert capsys.readouterr().err.splitlines() == [
        "evaluation at step 1: perplexity 9.00  (the best so far)",
        "evaluation at step 2: perplexity 8.00  (the best so far)",
        "evaluation at step 3: perplexity 8.50",
        "best evaluation: step 2, perplexity 8.00",
    ]


@pytest.mark.parametrize("has_page", [True, False])
@pytest.mark.parametrize("values", [{"f1": 80.0}, {}])
def test_close_session_names_the_page_once_if_it_was_written(
    has_page: bool, values: dict[str, float], tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "report.html").write_text("of an earlier run", encoding="utf-8")
    config: Any = SimpleNamespace(do_train=True, output_dir=str(tmp_path))
    close_session(config, task(next_command=lambda: "next"), 3, values, has_page)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "report" in line] == (
        [f"report  {tmp_path}/report.html"] if has_page else []
    )
    assert ("scores  f1 80.00" in lines) == bool(values)


def test_chosen_scores_are_those_there_are_or_their_means() -> None:
    values = {"f1_mean": 2.0, "em": 1.0, "loss": 3.0}
    assert chosen_scores(["f1", "em", "x"], values) == {"f1": 2.0, "em": 1.0}


@pytest.mark.parametrize(
    ("losses", "never_fell"),
    [
        ([5.0] * 7, False),  # too few to say
        ([5.0] * 8, True),
        ([5.0, 5.0, 4.9, 5.0, 5.1, 5.0, 5.1, 5.0], True),
        (np.linspace(5, 4.9, 40).tolist(), False),
    ],
)
def test_loss_never_fell(losses: list[float], never_fell: bool) -> None:
    assert loss_never_fell(losses) == never_fell


def test_hint_of_loss_is_one_line(tmp_path: Path, capsys: Captured) -> None:
    lines = "".join(json.dumps({"step": i, "loss": 2.0}) + "\n" for i in range(8))
    (tmp_path / "metrics.jsonl").write_text(lines, encoding="utf-8")
    Evaluations(str(tmp_path), task(), 0).hint_of_loss()
    assert capsys.readouterr().err.startswith("hint: the loss never fell: try another --learn")


@pytest.mark.parametrize(
    ("unknown", "said"), [(5, ""), (6, "hint: 6.0% of the pieces of x are"), (21, ": warning: 21%")]
)
def test_unknown_pieces_above_5_percent_earn_a_hint(
    unknown: int, said: str, capsys: Captured
) -> None:
    warn_of_unknown(unknown, 100, "x")
    found = capsys.readouterr().err
    assert said in found and bool(found) == bool(said)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_typed_lines_are_asked_for_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, prompts = Terminal(), iter(["context", "question", "question"])
    monkeypatch.setattr(sys, "stdin", Terminal("가\n나"))
    monkeypatch.setattr(sys, "stderr", screen)
    assert list(typed_lines(lambda: next(prompts))) == ["가\n", "나"]
    assert screen.getvalue() == "context> question> question> \n"


def test_typed_lines_of_a_pipe_have_no_prompt(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("가\n"))
    assert list(typed_lines(lambda: pytest.fail("asked"))) == ["가\n"]
    assert capsys.readouterr() == ("", "")


def test_next_command_of_shards_names_a_configuration_that_is_there(
    vocab_folder: str, tmp_path: Path
) -> None:
    make = Command("create_pretraining_data", {
        "input_file": SAMPLE_CORPUS, "vocab_file": vocab_folder, "num_workers": 1,
        "output_file": tmp_path / "shards" / "s.tfrecord",
    })  # fmt: skip
    assert "--bert_config_file=ko-mecab-32k/bert_config_mini.json" in make.succeed().err
    shipped = find_shipped("ko-mecab-32k/bert_config_mini.json")
    assert Path(shipped).is_file() and not (Path(vocab_folder) / "bert_config.json").exists()
