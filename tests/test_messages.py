"""What is said, and where: standard error, standard output, --quiet, and the log."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bert_ko.flags import Flags, command_arguments, flag, run_command
from bert_ko.messages import (
    answers_on_stdout,
    open_log,
    quiet,
    recorded,
    say,
    say_error,
    show,
    show_scores,
    warn,
)
from bert_ko.progress import Progress

Captured = pytest.CaptureFixture[str]


def say_all() -> None:
    say("status")
    warn("odd")
    show("answer")
    show_scores("f1 = 1")
    say_error("error")


def test_status_is_on_stderr_and_results_on_stdout(capsys: Captured) -> None:
    say_all()
    captured = capsys.readouterr()
    assert captured.out == "answer\nf1 = 1\n"
    assert re.fullmatch(r"status\n.*: warning: odd\nerror\n", captured.err)


def test_answers_have_standard_output_to_themselves(capsys: Captured) -> None:
    with answers_on_stdout(), quiet():
        say_all()
    captured = capsys.readouterr()
    assert captured.out == "answer\n"
    assert re.fullmatch(r".*: warning: odd\nf1 = 1\nerror\n", captured.err)


def test_quiet_has_no_progress(capsys: Captured) -> None:
    with quiet(), Progress("training", 3, "steps") as progress:
        progress.update(3)
    assert capsys.readouterr().err == ""


LINE = r"\d\d:\d\d:\d\d "


def test_log_has_what_was_said_before_and_after_and_is_appended_to(
    tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "log.txt"
    for number in range(2):
        with recorded(f"bin/run --n={number}"), quiet():
            say("before\n\n  and")
            open_log(str(path))
            open_log(str(path))
            say_all()
            with Progress("training", 3, "steps") as progress:
                progress.update(3)
    start = (
        r"# \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} bert_ko \d+\.\d+\.\d+\n# bin/run --n=%d\n"
        rf"{LINE}before\n{LINE}  and\n{LINE}status\n{LINE}\S+: warning: odd\n{LINE}f1 = 1\n"
        rf"{LINE}error\n{LINE}training: 3/3 steps \(100 %%\), .*\n"
    )
    text = path.read_text(encoding="utf-8")
    assert re.fullmatch(start % 0 + start % 1, text), text
    say("after")  # to nobody's log
    open_log(str(tmp_path / "none.txt"))
    assert path.read_text(encoding="utf-8") == text and not (tmp_path / "none.txt").exists()


def test_log_ends_with_the_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError), recorded("x"):
        open_log(str(tmp_path / "log.txt"))
        raise ValueError("no such shard")
    last = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()[-1]
    assert last.endswith(" ended by ValueError: no such shard")


@dataclass(frozen=True)
class Config(Flags):
    input_file: tuple[str, ...] = flag(help="")
    notify_url: str | None = flag(None, help="", secret=True)
    do_train: bool = flag(False, help="")
    do_lower_case: bool = flag(True, help="")
    rate: float = flag(0.5, help="")
    setting: tuple[str, ...] = flag((), help="", repeatable=True)
    text: tuple[str, ...] = flag((), help="", positional=True)


def test_command_arguments_are_what_is_not_at_its_default_without_secrets() -> None:
    config = Config(input_file=("a", "b"), notify_url="https://x/secret", do_train=True,
                    do_lower_case=False, setting=("a=1,2", "b=3"), text=("-x", "책"))  # fmt: skip
    assert command_arguments(config) == [
        "--input_file=a,b", "--notify_url=...", "--do_train", "--nodo_lower_case",
        "--setting=a=1,2", "--setting=b=3", "--", "-x", "책",
    ]  # fmt: skip


def test_run_command_log_has_the_command_line_as_it_can_be_typed(
    tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "log.txt"

    def run(config: Config) -> None:
        open_log(str(path))
        say("status")

    arguments = ["--input_file=a b", "--rate=0.5", "--notify_url", "https://x/secret", "--quiet"]
    assert run_command(Config, run, arguments) == 0
    header = path.read_text(encoding="utf-8").splitlines()[1]
    assert header == "# bert_ko test_messages '--input_file=a b' --notify_url=..."
    assert capsys.readouterr() == ("", "")


BAR = """
import io, sys
from bert_ko.progress import Progress
class Terminal(io.StringIO):
    def isatty(self): return True
terminal = Terminal()
with Progress("training", 3, "steps", terminal) as progress:
    progress.update(2)
print(ascii(terminal.getvalue()))
"""


@pytest.mark.parametrize("has_colour", [False, True])
def test_bar_without_colour_if_no_color_is_set(
    has_colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "" if has_colour else "1")
    done = subprocess.run(
        [sys.executable, "-c", BAR], capture_output=True, text=True, check=True, timeout=60
    )
    assert "2/3 steps" in done.stdout
    assert bool(re.search(r"\\x1b\[[0-9;]*3[0-9]", done.stdout)) == has_colour
