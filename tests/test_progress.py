import io

import numpy as np
import pytest

from bert_ko.progress import (
    Progress,
    display_width,
    format_rate,
    format_seconds,
    format_table,
    running_as,
    warn,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_terminal_rewrites_line_at_most_five_times_a_second() -> None:
    stream, clock = Terminal(), Clock()
    with Progress("masking", 2000, "lines", stream, clock=clock) as progress:
        for _ in range(1000):
            clock.now += 0.001
            progress.update()
    states = stream.getvalue().split("\r")[1:]
    assert 4 <= len(states) - 1 <= 5
    expected = "masking: 1,000/2,000 lines (50 %), 1.0k lines/s, 0:01 elapsed\x1b[K\n"
    assert states[-1] == expected
    assert states[-2].startswith("masking: ")
    assert states[-2].endswith(" left\x1b[K")


def test_progress_terminal_line_fits_80_columns() -> None:
    stream = Terminal()
    with Progress("가" * 60, None, "lines", stream):
        pass
    line = stream.getvalue().removeprefix("\r").removesuffix("\x1b[K\n")
    assert display_width(line) == 78


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


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("한글", 4),
        ("\u1112\u1161\u11ab", 2),
        ("１２", 4),
        ("e\u0301", 1),
        ("·", 1),
        ("a\u200db", 2),
    ],
)
def test_display_width_counts_columns(text: str, width: int) -> None:
    assert display_width(text) == width


def test_format_table_aligns_hangul_and_numbers() -> None:
    rows = [["형태소", 12345, 0.5, None], ["wordpiece", 7, 1234.0, "끝"]]
    assert format_table(rows, ["단위", "수", "share", "note"]).splitlines() == [
        "단위           수     share  note",
        "---------  ------  --------  ----",
        "형태소     12,345      0.50",
        "wordpiece       7  1,234.00  끝",
    ]


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
