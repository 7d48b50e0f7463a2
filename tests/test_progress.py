import contextlib
import io
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from bert_ko.progress import (
    Progress,
    format_rate,
    format_seconds,
    format_table,
    running_as,
    warn,
)

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
    """Returns what stands in lines, however they are broken."""
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


def test_progress_terminal_short_facts_stand_beside_the_bar() -> None:
    (line,) = draw("joining", 4, n=1)
    assert re.fullmatch(
        r"joining [━╸╺]{10,} 2/4 steps \(50 %\), 0\.5 steps/s 0:04 elapsed, 0:04 left", line
    )
    assert cell_len(line) == 80


def test_progress_terminal_long_facts_stand_below_the_bar() -> None:
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


def test_progress_terminal_no_color_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    Progress("a", 2, "lines", stream, initial=1).close()
    assert re.search(r"\x1b\[[\d;]*m", stream.getvalue())
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Progress("a", 2, "lines", stream, initial=1).close()
    assert not re.search(r"\x1b\[[\d;]*m", stream.getvalue())


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


def test_progress_terminal_what_is_printed_stands_above_the_bar() -> None:
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


def test_progress_terminal_other_output_stays_where_it_goes() -> None:
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


def test_progress_terminal_second_bar_stands_with_the_first() -> None:
    terminal = Terminal()
    with standard_streams(terminal, terminal), Progress("training", 2, "steps"):
        with Progress("evaluating", 3, "texts"):
            pass
        print("scores")
    assert any(re.match(r"training ━.*\nevaluating ━.*$", state) for state in terminal.states())
    assert re.match(r"scores\ntraining ━", terminal.states()[-2])


def test_progress_log_has_line_every_thirty_seconds_and_at_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress("reading", 100, "files", stream, clock=clock) as progress:
        for _ in range(61):
            clock.now += 1
            progress.update()
    assert stream.getvalue().splitlines() == [
        "reading: 30/100 files (30 %), 1.0 files/s, 0:30 elapsed, 1:10 left",
        "reading: 60/100 files (60 %), 1.0 files/s, 1:00 elapsed, 0:40 left",
        "reading: 61/100 files (61 %), 1.0 files/s, 1:01 elapsed",
    ]


def test_progress_unknown_total_shows_amount_only() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress("reading", None, "lines", stream, clock=clock)
    clock.now += 2
    progress.update(9000)
    progress.close()
    progress.close()
    assert stream.getvalue() == "reading: 9,000 lines, 4.5k lines/s, 0:02 elapsed\n"


def test_progress_nothing_to_do_shows_zero() -> None:
    stream, clock = io.StringIO(), Clock()
    Progress("reading", 0, "lines", stream, clock=clock).close()
    assert stream.getvalue() == "reading: 0/0 lines, 0.0 lines/s, 0:00 elapsed\n"


def test_progress_initial_units_are_done_but_in_no_rate() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress("training", 1000, "steps", stream, initial=900, clock=clock)
    clock.now += 30
    progress.update(30)
    clock.now += 10
    progress.update(20)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "training: 930/1,000 steps (93 %), 1.0 steps/s, 0:30 elapsed, 1:10 left",
        "training: 950/1,000 steps (95 %), 1.2 steps/s, 0:40 elapsed",
    ]


def test_progress_initial_alone_is_shown_without_a_rate() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress("training", 10, "steps", stream, initial=10, clock=clock)
    clock.now += 5
    progress.close()
    assert stream.getvalue() == "training: 10/10 steps (100 %), 0.0 steps/s, 0:05 elapsed\n"


def test_progress_skipped_units_are_done_but_in_no_rate() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress("tokenizing", 1000, "B", stream, clock=clock)
    progress.skip(500)
    clock.now += 30
    progress.update(30)
    assert stream.getvalue() == "tokenizing: 530/1,000 B (53 %), 1.0 B/s, 0:30 elapsed, 7:50 left\n"


def test_progress_compilation_is_in_no_rate() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(
        "training", 1000, "steps", stream, initial=100, compiles=True, clock=clock
    ) as progress:
        clock.now += 300
        progress.update(10)
        for _ in range(3):
            clock.now += 10
            progress.update(10)
        clock.now += 10
    assert stream.getvalue().splitlines() == [
        "training: 110/1,000 steps (11 %), 5:00 elapsed",
        "training: 140/1,000 steps (14 %), 1.0 steps/s, 5:30 elapsed, 14:20 left",
        "training: 140/1,000 steps (14 %), 0.8 steps/s, 5:40 elapsed",
    ]


def test_progress_compilation_alone_has_the_rate_of_all() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress("predicting", 5, "texts", stream, compiles=True, clock=clock)
    clock.now += 10
    progress.update(5)
    progress.close()
    assert stream.getvalue() == "predicting: 5/5 texts (100 %), 0.5 texts/s, 0:10 elapsed\n"


def test_progress_time_left_is_that_of_the_last_minutes() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress("building", 100_000, "lines", stream, clock=clock)
    for seconds in (100, 1):  # slow at first: a hundred seconds for each hundred
        for _ in range(400):
            clock.now += seconds
            progress.update(100)
    assert stream.getvalue().splitlines()[-1].endswith(" 100 lines/s, 11:13:10 elapsed, 3:30 left")
    progress.close()
    assert ", 2.0 lines/s, " in stream.getvalue().splitlines()[-1]


def test_progress_time_left_of_long_units_is_that_of_the_last_twenty() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress("building", 100, "buckets", stream, clock=clock)
    for _ in range(25):  # two workers end at about the same time
        clock.now += 3600
        progress.update()
        progress.update()
    hours = re.findall(r"(\d+):\d+:\d+ left", stream.getvalue())
    assert hours[-1] in ("25", "26", "27")  # 51 buckets, two in an hour


def test_progress_note_stands_until_the_next_one() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress("training", None, "steps", stream, clock=clock)
    for note in (None, "손실 9.5", None, "손실 8", ""):
        clock.now += 30
        progress.update(30, note)
    assert stream.getvalue().splitlines() == [
        "training: 30 steps, 1.0 steps/s, 0:30 elapsed",
        "training: 60 steps, 손실 9.5, 1.0 steps/s, 1:00 elapsed",
        "training: 90 steps, 손실 9.5, 1.0 steps/s, 1:30 elapsed",
        "training: 120 steps, 손실 8, 1.0 steps/s, 2:00 elapsed",
        "training: 150 steps, 1.0 steps/s, 2:30 elapsed",
    ]


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0.0"),
        (9.94, "9.9"),
        (9.96, "10"),
        (999.6, "1.0k"),
        (4512, "4.5k"),
        (999_960, "1.0M"),
        (2.3e6, "2.3M"),
    ],
)
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


def test_format_table_numpy_numbers_and_bools() -> None:
    rows = [[np.int64(1000), np.float32(0.5), True]]
    assert format_table(rows, ["a", "b", "c"]).splitlines()[2] == "1,000  0.50  True"


def test_format_table_no_rows_has_headers_only() -> None:
    assert format_table([], ["a", "bc"]) == "a  bc\n-  --"


def test_format_table_ragged_row_raises() -> None:
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
