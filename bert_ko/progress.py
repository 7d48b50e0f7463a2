"""What a command shows of its work: progress, and tables of results.

rich, which draws bars and tables, is imported only when one is drawn.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import TYPE_CHECKING, TextIO

from bert_ko.messages import is_quiet, record
from bert_ko.streams import print_error

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

_UNITS = ("B", "kB", "MB", "GB", "TB")
_TERMINAL_INTERVAL = 0.2  # seconds between two states of the bar on a terminal
_PLAIN_INTERVAL = 30.0  # seconds between two lines in a log
_MIN_BAR_WIDTH = 10  # columns
_TABLE_WIDTH = 1 << 20  # columns; no table is ever folded
# A rate is that of the last minutes, or of the last updates if they take longer.
_RATE_SECONDS = 300.0
_RATE_UPDATES = 20


@dataclass(eq=False)
class Progress:
    """Shows the progress of a piece of work.

    On a terminal a bar is redrawn at most 5 times a second; facts that do not fit beside it are on
    the lines below. Elsewhere (a log, a pipe) a plain line is written at most every 30 seconds, and
    one at the end.
    """

    label: str  # what is being done
    total: int | None  # number of units; None if it is unknown
    unit: str  # what is counted, in the plural ("lines")
    stream: TextIO | None = None  # where to write; None is standard error
    _: KW_ONLY
    initial: int = 0  # units done by an earlier run; they do not count for the rate
    compiles: bool = False  # the first update waits for a compiler; it doesn't count for the rate
    clock: Callable[[], float] = time.monotonic  # in seconds

    def __post_init__(self) -> None:
        self._stream = sys.stderr if self.stream is None else self.stream
        # A dumb terminal can't go back to redraw a bar.
        self._is_terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._interval = _TERMINAL_INTERVAL if self._is_terminal else _PLAIN_INTERVAL
        self._done = self.initial
        self._note = ""
        self._is_closed = False
        self._start = self._shown = self.clock()
        self._rate = _Rate(self._start, self.compiles)
        self._live: Live | None = None
        self._is_one_line = True

    def update(self, n: int = 1, note: str | None = None) -> None:
        """Counts `n` more units as done; shows `note` until the next one."""
        now = self.clock()
        self._rate.add(n, now)
        self._note = self._note if note is None else note
        self._count(n, now)

    def skip(self, n: int) -> None:
        """Counts `n` more units as done by an earlier run: they do not count for the rate."""
        self._count(n, self.clock())

    def close(self) -> None:
        """Shows the last state and ends the line; a second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._show(self.clock())

    def __enter__(self) -> Progress:
        if self._is_terminal:
            self._show(self._start)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _count(self, n: int, now: float) -> None:
        self._done += n
        if now - self._shown >= self._interval:
            self._shown = now
            self._show(now)

    def _show(self, now: float) -> None:
        facts, times = self._facts_and_times(now)
        line = f"{self.label}: {facts}, {times}"
        if self._is_closed or not self._is_terminal:
            record(line)
        if is_quiet() and self.stream is None:
            return
        if not self._is_terminal:
            print_error(line, self._stream)
            return
        self._live = self._live or _start_live(self._stream)
        self._live.update(self._drawing(facts, times, self._live.console.width))
        if self._is_closed:
            self._live.stop()
        else:
            self._live.refresh()

    def _facts_and_times(self, now: float) -> tuple[str, str]:
        amount = f"{self._done:,} {self.unit}"
        if self.total is not None:
            percentage = f" ({100 * self._done / self.total:.0f} %)" if self.total else ""
            amount = f"{self._done:,}/{self.total:,} {self.unit}{percentage}"
        rate = self._rate.average(now) if self._is_closed else self._rate.current(now)
        facts = [amount, self._note, "" if rate is None else f"{format_rate(rate)} {self.unit}/s"]
        times = f"{format_seconds(now - self._start)} elapsed"
        if self.total is not None and rate and not self._is_closed:
            left = max(self.total - self._done, 0) / rate
            times += f", {format_seconds(left)} left"
        return ", ".join(filter(None, facts)), times

    def _drawing(self, facts: str, times: str, width: int) -> RenderableType:
        """Returns the bar between the label and the times, and the facts beside or below it."""
        from rich.cells import cell_len
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        room = width - _MIN_BAR_WIDTH - cell_len(f"{self.label}  {times}")
        if self.total is None or room < 0:
            return Text(f"{self.label}: {facts}, {times}", overflow="fold")
        # Two lines stay two, so that the bar does not jump with the length of a number.
        self._is_one_line = self._is_one_line and cell_len(f" {facts}") <= room
        bar = ProgressBar(total=self.total, completed=self._done)
        beside = [Text(facts), Text(times)] if self._is_one_line else [Text(times)]
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column()
        line.add_column(ratio=1)
        line.add_row(Text(self.label), bar, *beside)
        return line if self._is_one_line else Group(line, Text(facts, overflow="fold"))


class _Rate:
    """Units per second, without the time that a compiler takes before the first ones are done."""

    def __init__(self, start: float, compiles: bool) -> None:
        self._start = (start, 0)
        self._done = 0
        # (time, units done); the first one that counts, and those of the last minutes.
        self._first = None if compiles else self._start
        self._marks = deque([] if compiles else [self._start])

    def add(self, n: int, now: float) -> None:
        self._done += n
        mark, marks = (now, self._done), self._marks
        self._first = self._first or mark
        if marks and now - marks[-1][0] < _TERMINAL_INTERVAL and len(marks) > _RATE_UPDATES:
            return  # a few thousand marks are enough
        marks.append(mark)
        while len(marks) > _RATE_UPDATES and now - marks[1][0] >= _RATE_SECONDS:
            marks.popleft()

    def current(self, now: float) -> float | None:
        """Returns the rate of the last minutes; None if it is not known yet."""
        return self._since(self._marks[0], now) if self._marks else None

    def average(self, now: float) -> float:
        """Returns the overall rate; after a single update, it includes the compiler's time."""
        rate = self._since(self._first, now) if self._first else None
        return rate or self._since(self._start, now) or 0.0

    def _since(self, mark: tuple[float, int], now: float) -> float | None:
        done, seconds = self._done - mark[1], now - mark[0]
        return done / seconds if done > 0 and seconds > 0 else None


@functools.lru_cache(maxsize=1)
def _console(stream: TextIO) -> Console:
    """Returns the one console of a stream, which can show one bar below another."""
    from rich.console import Console

    return Console(file=stream, force_terminal=True, highlight=False)


def _start_live(stream: TextIO) -> Live:
    """Starts an area of the terminal that is redrawn; printed text appears above it."""
    from rich.live import Live

    # While another bar is shown, rich replaces standard error.
    console = _console(getattr(stream, "rich_proxied_file", stream))
    live = Live(
        console=console,
        auto_refresh=False,  # no thread: the bar moves when the work does
        redirect_stdout=sys.stdout.isatty(),  # a file gets it as it is
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


def format_bytes(size: float) -> str:
    """Returns a size with three digits, in a unit of which there are less than a thousand."""
    unit = 0
    while size >= 1000 and unit + 1 < len(_UNITS):
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {_UNITS[unit]}" if unit else f"{size:,.0f} B"


def format_seconds(seconds: float) -> str:
    """Returns a duration as minutes:seconds or hours:minutes:seconds: 75 -> "1:15"."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """Lays out rows as a plain text table, without a final line break.

    Args:
        rows: Cells; numbers get thousands separators, and two decimals unless they are integers;
            None is empty. Columns of numbers are aligned to the right.
        headers: One for each column.
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
    if _is_number(cell):
        # Only integers, those of numpy too, have an __index__.
        return f"{cell:,}" if hasattr(cell, "__index__") else f"{cell:,.2f}"
    return "" if cell is None else str(cell)


def _is_number(cell: object) -> bool:
    return isinstance(cell, Real) and not isinstance(cell, bool)
