"""What a command shows of its work: progress, and tables of results.

rich, which draws both, is imported only when something is shown.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

_TERMINAL_INTERVAL = 0.2  # seconds between two states of the bar on a terminal
_PLAIN_INTERVAL = 30.0  # seconds between two lines in a log
_program = ""  # see running_as
_MIN_BAR_WIDTH = 10  # columns
_TABLE_WIDTH = 1 << 20  # columns; no table is ever folded
# A rate is that of the last minutes, or of the last updates where these take longer.
_RATE_SECONDS = 300.0
_RATE_UPDATES = 20


class Progress:
    """Shows how far a piece of work has come.

    On a terminal a bar is redrawn, at most 5 times a second; what does not fit beside it goes to
    the lines below. Elsewhere (a log, a pipe) a plain line is written at most every 30 seconds, and
    one at the end.

    Args:
        label: What is being done.
        total: The number of units in all; None if nobody knows.
        unit: What is counted, in the plural ("lines").
        stream: Where to write; None is standard error.
        initial: Units that were done before, in an earlier run; they count in no rate.
        compiles: The first update waits for a compiler and counts in no rate.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        unit: str,
        stream: TextIO | None = None,
        *,
        initial: int = 0,
        compiles: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label = label
        self._total = total
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        # A dumb terminal can't go back to draw a bar again.
        self._is_terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._interval = _TERMINAL_INTERVAL if self._is_terminal else _PLAIN_INTERVAL
        self._done = initial
        self._note = ""
        self._is_closed = False
        self._start = self._shown = clock()
        self._rate = _Rate(self._start, compiles)
        self._live: Live | None = None
        self._is_one_line = True

    def update(self, n: int = 1, note: str | None = None) -> None:
        """Counts `n` more units as done; `note` stands in the line until the next one."""
        now = self._clock()
        self._done += n
        self._rate.add(n, now)
        self._note = self._note if note is None else note
        self._show_if_due(now)

    def skip(self, n: int) -> None:
        """Counts `n` more units as done by an earlier run: they count in no rate."""
        self._done += n
        self._show_if_due(self._clock())

    def close(self) -> None:
        """Shows the last state and ends the line; a second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._show(self._clock())

    def __enter__(self) -> Progress:
        if self._is_terminal:
            self._show(self._start)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _show_if_due(self, now: float) -> None:
        if now - self._shown >= self._interval:
            self._shown = now
            self._show(now)

    def _show(self, now: float) -> None:
        state = self._state(now)
        if not self._is_terminal:
            self._stream.write(f"{self._label}: {', '.join([*state.facts, *state.times])}\n")
            self._stream.flush()
            return
        if self._live is None:
            self._live = _start_live(self._stream)
        self._live.update(self._drawing(state, self._live.console.width))
        if self._is_closed:
            self._live.stop()
        else:
            self._live.refresh()

    def _state(self, now: float) -> _State:
        if self._total is None:
            amount = f"{self._done:,} {self._unit}"
        else:
            percentage = f" ({100 * self._done / self._total:.0f} %)" if self._total else ""
            amount = f"{self._done:,}/{self._total:,} {self._unit}{percentage}"
        rate = self._rate.average(now) if self._is_closed else self._rate.current(now)
        facts = [amount, self._note, "" if rate is None else f"{format_rate(rate)} {self._unit}/s"]
        times = [f"{format_seconds(now - self._start)} elapsed"]
        if self._total is not None and rate and not self._is_closed:
            left = max(self._total - self._done, 0) / rate
            times.append(f"{format_seconds(left)} left")
        return _State(list(filter(None, facts)), times)

    def _drawing(self, state: _State, width: int) -> RenderableType:
        """Returns the bar between the label and the times, and the facts beside or below it."""
        from rich.cells import cell_len
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        facts, times = ", ".join(state.facts), ", ".join(state.times)
        room = width - _MIN_BAR_WIDTH - cell_len(f"{self._label}  {times}")
        if self._total is None or room < 0:
            return Text(f"{self._label}: {facts}, {times}", overflow="fold")
        # Two lines stay two, so that the bar does not jump with the length of a number.
        self._is_one_line = self._is_one_line and cell_len(f" {facts}") <= room
        bar = ProgressBar(total=self._total, completed=self._done)
        beside = [Text(facts), Text(times)] if self._is_one_line else [Text(times)]
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column()
        line.add_column(ratio=1)
        line.add_row(Text(self._label), bar, *beside)
        return line if self._is_one_line else Group(line, Text(facts, overflow="fold"))


class _State(NamedTuple):
    facts: list[str]  # how much is done, a note, the rate
    times: list[str]


class _Mark(NamedTuple):
    time: float
    done: int


class _Rate:
    """Units per second, without the time that a compiler takes before the first are done."""

    def __init__(self, start: float, compiles: bool) -> None:
        self._start = _Mark(start, 0)
        self._done = 0
        self._marks: deque[_Mark] = deque([] if compiles else [self._start])
        self._first = None if compiles else self._start

    def add(self, n: int, now: float) -> None:
        self._done += n
        mark, marks = _Mark(now, self._done), self._marks
        self._first = self._first or mark
        if marks and now - marks[-1].time < _TERMINAL_INTERVAL and len(marks) > _RATE_UPDATES:
            return  # a few thousand marks are enough
        marks.append(mark)
        while len(marks) > _RATE_UPDATES and now - marks[1].time >= _RATE_SECONDS:
            marks.popleft()

    def current(self, now: float) -> float | None:
        """Returns the rate of the last minutes, None before there is one."""
        return self._since(self._marks[0], now) if self._marks else None

    def average(self, now: float) -> float:
        """Returns the rate of all; with the compiler's time if there was but one update."""
        rate = self._since(self._first, now) if self._first else None
        return rate or self._since(self._start, now) or 0.0

    def _since(self, mark: _Mark, now: float) -> float | None:
        done, seconds = self._done - mark.done, now - mark.time
        return done / seconds if done > 0 and seconds > 0 else None


@functools.lru_cache(maxsize=1)
def _console(stream: TextIO) -> Console:
    """Returns the one console of a stream, where one bar may stand below another."""
    from rich.console import Console

    return Console(file=stream, force_terminal=True, highlight=False)


def _start_live(stream: TextIO) -> Live:
    """Begins an area of the terminal that is drawn again and again; what is printed goes above."""
    from rich.live import Live

    # Within another bar, standard error is that bar's.
    console = _console(getattr(stream, "rich_proxied_file", stream))
    live = Live(
        console=console,
        auto_refresh=False,  # no thread: the bar moves when the work does
        redirect_stdout=sys.stdout.isatty(),  # into a file, it is no business of a terminal
        vertical_overflow="visible",
    )
    live.start()
    console.show_cursor(True)  # a killed process would leave it hidden
    return live


def format_rate(rate: float) -> str:
    """Returns a number in a few characters: 950 -> "950", 4512 -> "4.5k", 2.3e6 -> "2.3M"."""
    if rate >= 999_950:
        return f"{rate / 1e6:.1f}M"
    if rate >= 999.5:
        return f"{rate / 1e3:.1f}k"
    return f"{rate:.0f}" if rate >= 9.95 else f"{rate:.1f}"


def format_seconds(seconds: float) -> str:
    """Returns a duration as minutes:seconds or hours:minutes:seconds: 75 -> "1:15"."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """Lays out rows as an aligned table of plain text.

    Args:
        rows: Cells; integers get thousands separators, other numbers those and two decimals, None
            is empty. Pass a string for any other form.
        headers: One for each column.

    Returns:
        Lines without a final line break; columns of numbers are aligned to the right.
    """
    for row in rows:
        if len(row) != len(headers):
            raise ValueError(f"each row must have {len(headers)} cells, got {len(row)}: {row!r}.")
    from rich.console import Console
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), pad_edge=False)
    for index in range(len(headers)):
        cells = [row[index] for row in rows]
        is_numeric = bool(cells) and all(cell is None or _is_number(cell) for cell in cells)
        table.add_column(justify="right" if is_numeric else "left", no_wrap=True)
    table.add_row(*map(Text, headers))
    table.add_row(*[Rule(characters="-") for _ in headers])
    for row in rows:
        table.add_row(*[Text(_cell_text(cell)) for cell in row])
    console = Console(width=_TABLE_WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))


def _cell_text(cell: object) -> str:
    if cell is None:
        return ""
    if _is_number(cell):
        # An int, and a numpy integer, says so by its __index__.
        return f"{cell:,}" if hasattr(cell, "__index__") else f"{cell:,.2f}"
    return str(cell)


def _is_number(cell: object) -> bool:
    return isinstance(cell, Real) and not isinstance(cell, bool)


@contextlib.contextmanager
def running_as(program: str) -> Iterator[None]:
    """Names the program in its warnings, as long as it runs."""
    global _program
    before, _program = _program, program
    try:
        yield
    finally:
        _program = before


def program_name() -> str:
    """Returns the name of the running command; else that of the script."""
    return _program or os.path.splitext(os.path.basename(sys.argv[0]))[0]


def warn(message: str) -> None:
    """Prints a warning on standard error."""
    print(f"{program_name()}: warning: {message}", file=sys.stderr)
