"""What a command shows of its work: a line of progress, and tables of results."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from types import TracebackType
from typing import TextIO

_TERMINAL_INTERVAL = 0.2  # seconds between two states of the line on a terminal
_PLAIN_INTERVAL = 30.0  # seconds between two lines in a log
_program = ""  # see running_as


class Progress:
    """Shows how far a piece of work has come.

    On a terminal one line is rewritten, at most 5 times a second. Elsewhere (a log, a pipe) a plain
    line is written at most every 30 seconds, and one at the end.

    Args:
        label: What is being done.
        total: The number of units in all; None if nobody knows.
        unit: What is counted, in the plural ("lines").
        stream: Where to write; None is standard error.
        initial: Units that were done before, in an earlier run; they count in no rate.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label = label
        self._total = total
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._interval = _TERMINAL_INTERVAL if self._is_terminal else _PLAIN_INTERVAL
        self._done = self._initial = initial
        self._note = ""
        self._is_closed = False
        self._start = clock()
        self._shown = self._start

    def update(self, n: int = 1, note: str | None = None) -> None:
        """Counts `n` more units as done; `note` stands in the line until the next one."""
        self._done += n
        self._note = self._note if note is None else note
        now = self._clock()
        if now - self._shown >= self._interval:
            self._shown = now
            self._show(now, is_last=False)

    def close(self) -> None:
        """Shows the last state and ends the line; a second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._show(self._clock(), is_last=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _show(self, now: float, *, is_last: bool) -> None:
        line = self._line(now - self._start, is_last)
        if self._is_terminal:
            line = _clip(line, self._columns() - 1)
            line = f"\r{line}\x1b[K"  # to the line's start, and clear what was longer before
        if is_last or not self._is_terminal:
            line += "\n"
        self._stream.write(line)
        self._stream.flush()

    def _line(self, elapsed: float, is_last: bool) -> str:
        rate = (self._done - self._initial) / elapsed if elapsed > 0 else 0.0
        if self._total is None:
            amount = f"{self._done:,} {self._unit}"
        else:
            percentage = f" ({100 * self._done / self._total:.0f} %)" if self._total else ""
            amount = f"{self._done:,}/{self._total:,} {self._unit}{percentage}"
        parts = [
            amount,
            f"{format_rate(rate)} {self._unit}/s",
            f"{format_seconds(elapsed)} elapsed",
        ]
        if self._note:
            parts.insert(1, self._note)
        if self._total is not None and rate > 0 and not is_last:
            left = max(self._total - self._done, 0) / rate
            parts.append(f"{format_seconds(left)} left")
        return f"{self._label}: {', '.join(parts)}"

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80


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


def display_width(text: str) -> int:
    """Returns the columns that a text takes on a terminal; "한글" takes 4."""
    return sum(map(_character_width, text))


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
    columns = [[row[index] for row in rows] for index in range(len(headers))]
    formatted = [_format_column(*column) for column in zip(headers, columns, strict=True)]
    lines = ["  ".join(cells).rstrip() for cells in zip(*formatted, strict=True)]
    return "\n".join(lines)


def _format_column(header: str, cells: Sequence[object]) -> list[str]:
    """Returns the header, a rule and the cells, all padded to the same width."""
    texts = [_cell_text(cell) for cell in cells]
    width = max(map(display_width, [header, *texts]))
    is_numeric = bool(cells) and all(cell is None or _is_number(cell) for cell in cells)
    padded = [_pad(text, width, is_right=is_numeric) for text in [header, *texts]]
    return [padded[0], "-" * width, *padded[1:]]


def _cell_text(cell: object) -> str:
    if cell is None:
        return ""
    if _is_number(cell):
        # An int, and a numpy integer, says so by its __index__.
        return f"{cell:,}" if hasattr(cell, "__index__") else f"{cell:,.2f}"
    return str(cell)


def _is_number(cell: object) -> bool:
    return isinstance(cell, Real) and not isinstance(cell, bool)


def _pad(text: str, width: int, *, is_right: bool) -> str:
    space = " " * (width - display_width(text))
    return space + text if is_right else text + space


def _clip(text: str, width: int) -> str:
    for end in range(len(text), 0, -1):
        if display_width(text[:end]) <= width:
            return text[:end]
    return ""


def _character_width(character: str) -> int:
    # Vowels and final consonants of decomposed Hangul join the initial consonant's two columns.
    if "\u1160" <= character <= "\u11ff":
        return 0
    if unicodedata.category(character) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


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
