import contextlib
import io
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from bert_ko.messages import running_as, warn
from bert_ko.progress import Progress, format_rate, format_seconds, format_table

CONTROL = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")
LOSSES = "loss 2.345, accuracy 0.4512, 45.2k tokens/s"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def states(self) -> list[str]:
        """What was drawn, without colours; every state begins where the one before began."""
        drawn = re.split(r"(?:\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*)+", self.getvalue())
        return [CONTROL.sub("", state) for state in drawn]


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


def draw(
    label: str, total: int | None, note: str = "", seconds: float = 2.0, n: int = 250_000
) -> list[str]:
    """Returns the lines of the state after two updates."""
    stream, clock = Terminal(), Clock()
    with Progress(label, total, "steps", stream, clock=clock) as progress:
        for _ in range(2):
            clock.now += seconds
            progress.update(n, note)
        return stream.states()[-1].split("\n")


def words(text: str) -> str:
    """Returns text without line breaks, spaces and bars."""
    return re.sub(r"[\s━╸╺]", "", text)


def test_progress_terminal_draws_at_most_five_times_a_second() -> None:
    stream, clock = Terminal(), Clock()
    with Progress("masking", 2000, "lines", stream, clock=clock) as progress:
        for _ in range(1000):
            clock.now += 0.001
            progress.update()
    first, *states, last = stream.states()
    assert words(first) == "masking0/2,000lines(0%)0:00elapsed"
    assert 4 <= len(states) <= 5
    assert all(" left" in state for state in states)
    assert words(last) == "masking0:01elapsed1,000/2,000lines(50%),1.0klines/s"


def test_progress_terminal_short_facts_are_beside_the_bar() -> None:
    (line,) = draw("joining", 4, n=1)
    assert re.fullmatch(
        r"joining [━╸╺]{10,} 2/4 steps \(50 %\), 0\.5 steps/s 0:04 elapsed, 0:04 left", line
    )
    assert cell_len(line) == 80


def test_progress_terminal_long_facts_are_below_the_bar() -> None:
    bar, *facts = draw("training", 1_000_000, LOSSES, 4000)
    assert re.fullmatch(r"training [━╸╺]{20,} 2:13:20 elapsed, 2:13:20 left", bar)
    assert cell_len(bar) == 80
    assert words("".join(facts)) == words(f"500,000/1,000,000 steps (50 %), {LOSSES}, 62 steps/s")
    assert all(cell_len(line) <= 80 for line in facts)


@pytest.mark.parametrize("columns", [30, 80, 200])
@pytest.mark.parametrize("label", ["학습", unicodedata.normalize("NFD", "사전 학습"), "가" * 60])
@pytest.mark.parametrize("total", [None, 1_000_000])
def test_progress_terminal_of_any_width_shows_all(
    total: int | None, label: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = draw(label, total, LOSSES, 4000)
    assert all(cell_len(line) <= columns for line in lines)
    found = words("".join(lines))
    amount = "500,000 steps" if total is None else "500,000/1,000,000 steps (50 %)"
    left = [] if total is None else ["2:13:20 left"]
    for part in (label, amount, LOSSES, "62 steps/s", "2:13:20 elapsed", *left):
        assert words(part) in found


def test_progress_terminal_has_colors_unless_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for has_colors in (True, False):
        stream = Terminal()
        Progress("a", 2, "lines", stream, initial=1).close()
        assert bool(re.search(r"\x1b\[[\d;]*m", stream.getvalue())) == has_colors
        monkeypatch.setenv("NO_COLOR", "1")


def test_progress_dumb_terminal_has_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with Progress("a", 2, "lines", stream, initial=2, clock=Clock()):
        pass
    assert stream.getvalue() == "a: 2/2 lines (100 %), 0.0 lines/s, 0:00 elapsed\n"


@contextlib.contextmanager
def standard_streams(stdout: io.StringIO, stderr: io.StringIO) -> Iterator[None]:
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        yield


def test_progress_terminal_printed_text_appears_above_the_bar() -> None:
    terminal = Terminal()
    with standard_streams(terminal, terminal):
        with Progress("a", 2, "lines", initial=1):
            print("손실 [red]5[/red]")
            with running_as("run_squad"):
                warn("careful")
        print("over")
    *_, one, two, last = terminal.states()
    assert one.startswith("손실 [red]5[/red]\na ━") and two.startswith(
        "run_squad: warning: careful\na ━"
    )
    assert last.endswith(" elapsed\nover\n")


def test_progress_terminal_output_to_a_file_does_not_appear() -> None:
    terminal, file = Terminal(), io.StringIO()
    with standard_streams(file, terminal), Progress("a", 2, "lines"):
        print("result")
    assert file.getvalue() == "result\n"
    assert "result" not in terminal.getvalue()


def test_progress_terminal_error_gives_the_streams_back() -> None:
    terminal = Terminal()
    with standard_streams(terminal, terminal):
        with pytest.raises(RuntimeError), Progress("a", 2, "lines"):
            raise RuntimeError
        assert (sys.stdout, sys.stderr) == (terminal, terminal)
    hidden, shown = terminal.getvalue().rfind("\x1b[?25l"), terminal.getvalue().rfind("\x1b[?25h")
    assert hidden < shown  # the cursor


def test_progress_terminal_second_bar_appears_below_the_first() -> None:
    terminal = Terminal()
    with standard_streams(terminal, terminal), Progress("training", 2, "steps"):
        with Progress("evaluating", 3, "texts"):
            pass
        print("scores")
    assert any(re.match(r"training ━.*\nevaluating ━.*$", state) for state in terminal.states())
    assert re.match(r"scores\ntraining ━", terminal.states()[-2])


class Log:
    """A progress that writes plain lines, and its clock."""

    def __init__(self, total: int | None, **options: Any) -> None:
        self.stream, self.clock = io.StringIO(), Clock()
        self.progress = Progress("work", total, "steps", self.stream, clock=self.clock, **options)

    def update(self, seconds: float, n: int = 0, note: str | None = None) -> None:
        self.clock.now += seconds
        if n:
            self.progress.update(n, note)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("total", "options", "updates", "lines"),
    [
        (0, {}, [], ["0/0 steps, 0.0 steps/s, 0:00 elapsed"]),
        (None, {}, [(2, 9000)], ["9,000 steps, 4.5k steps/s, 0:02 elapsed"]),
        (100, {}, [(1, 1)] * 61, [
            "30/100 steps (30 %), 1.0 steps/s, 0:30 elapsed, 1:10 left",
            "60/100 steps (60 %), 1.0 steps/s, 1:00 elapsed, 0:40 left",
            "61/100 steps (61 %), 1.0 steps/s, 1:01 elapsed",
        ]),
        (1000, {"initial": 900}, [(30, 30), (10, 20)], [
            "930/1,000 steps (93 %), 1.0 steps/s, 0:30 elapsed, 1:10 left",
            "950/1,000 steps (95 %), 1.2 steps/s, 0:40 elapsed",
        ]),
        (10, {"initial": 10}, [(5, 0)], ["10/10 steps (100 %), 0.0 steps/s, 0:05 elapsed"]),
        (1000, {"initial": 100, "compiles": True}, [(300, 10), *[(10, 10)] * 3, (10, 0)], [
            "110/1,000 steps (11 %), 5:00 elapsed",
            "140/1,000 steps (14 %), 1.0 steps/s, 5:30 elapsed, 14:20 left",
            "140/1,000 steps (14 %), 0.8 steps/s, 5:40 elapsed",
        ]),
        (5, {"compiles": True}, [(10, 5)], ["5/5 steps (100 %), 0.5 steps/s, 0:10 elapsed"]),
        (None, {}, [(30, 30, note) for note in (None, "손실 9.5", None, "손실 8", "")], [
            "30 steps, 1.0 steps/s, 0:30 elapsed",
            "60 steps, 손실 9.5, 1.0 steps/s, 1:00 elapsed",
            "90 steps, 손실 9.5, 1.0 steps/s, 1:30 elapsed",
            "120 steps, 손실 8, 1.0 steps/s, 2:00 elapsed",
            "150 steps, 1.0 steps/s, 2:30 elapsed",
            "150 steps, 1.0 steps/s, 2:30 elapsed",
        ]),
    ],
)  # fmt: skip
def test_progress_log_has_a_line_every_thirty_seconds_and_at_the_end(
    total: int | None, options: dict[str, Any], updates: list[Any], lines: list[str]
) -> None:
    log = Log(total, **options)
    for update in updates:
        log.update(*update)
    log.progress.close()
    log.progress.close()
    assert log.lines == [f"work: {line}" for line in lines]


def test_progress_skipped_units_are_done_but_in_no_rate() -> None:
    log = Log(1000)
    log.progress.skip(500)
    log.update(30, 30)
    assert log.lines == ["work: 530/1,000 steps (53 %), 1.0 steps/s, 0:30 elapsed, 7:50 left"]


def test_progress_time_left_depends_on_the_last_minutes() -> None:
    log = Log(100_000)
    for seconds in (100, 1):  # slow at first: a hundred seconds for each hundred
        for _ in range(400):
            log.update(seconds, 100)
    assert log.lines[-1].endswith(" 100 steps/s, 11:13:10 elapsed, 3:30 left")
    log.progress.close()
    assert ", 2.0 steps/s, " in log.lines[-1]


def test_progress_time_left_of_long_units_depends_on_the_last_twenty() -> None:
    log = Log(100)
    for _ in range(25):  # two workers end at about the same time
        log.update(3600, 1)
        log.update(0, 1)
    hours = re.findall(r"(\d+):\d+:\d+ left", log.stream.getvalue())
    assert hours[-1] in ("25", "26", "27")  # 51 units, two in an hour


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0.0"), (9.94, "9.9"), (9.96, "10"), (999.6, "1.0k"), (4512, "4.5k"),
        (999_960, "1.0M"), (2.3e6, "2.3M"),
    ],
)  # fmt: skip
def test_format_rate_is_short(rate: float, text: str) -> None:
    assert format_rate(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (75, "1:15"), (3600, "1:00:00")]
)
def test_format_seconds_has_hours_when_needed(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_format_table_aligns_hangul_and_numbers() -> None:
    rows = [["형태소", 12345, 0.5, None], ["wordpiece", 7, 1234.0, "끝"]]
    assert format_table(rows, ["단위", "수", "share", "note"]).splitlines() == [
        "단위           수     share  note",
        "---------  ------  --------  ----",
        "형태소     12,345      0.50",
        "wordpiece       7  1,234.00  끝",
    ]


def test_format_table_decomposed_hangul_is_as_wide_as_composed() -> None:
    rows = [["형태소", 1], ["각", 2], ["[b]", 3]]
    composed = format_table(rows, ["값", "수"])
    decomposed = format_table(
        [[unicodedata.normalize("NFD", str(a)), b] for a, b in rows], ["값", "수"]
    )
    assert unicodedata.normalize("NFC", decomposed) == composed
    assert composed.splitlines()[2:] == ["형태소   1", "각       2", "[b]      3"]


def test_format_table_long_cells_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    assert format_table([["가" * 500, "끝"]], ["a", "b"]).splitlines()[2] == f"{'가' * 500}  끝"


def test_format_table_other_cells() -> None:
    rows = [[np.int64(1000), np.float32(0.5), True]]
    assert format_table(rows, ["a", "b", "c"]).splitlines()[2] == "1,000  0.50  True"
    assert format_table([], ["a", "bc"]) == "a  bc\n-  --"
    with pytest.raises(ValueError, match="2 cells, got 1"):
        format_table([["a"]], ["a", "b"])


def test_warn_names_the_command_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with running_as("run_squad"):
        warn("train.json: 2 questions are not trained on")
    assert capsys.readouterr() == (
        "", "run_squad: warning: train.json: 2 questions are not trained on\n",
    )  # fmt: skip


def test_progress_nothing_shown_imports_no_rich() -> None:
    script = """
import sys
from bert_ko.progress import Progress
with Progress("reading", 1, "lines"):
    pass
assert not any(name.split(".")[0] == "rich" for name in sys.modules)
"""
    subprocess.run(
        [sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[1],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
