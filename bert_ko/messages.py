"""What a command says: how the work goes on standard error, results on standard output.

say          how the work goes, which --quiet leaves out
hint         what may be wrong, and what to try
warn         what the user should look at
show         a result
show_scores  a result that is no answer for another program

All but answers is kept for the log.txt of a run. Remote folders are named, not their copies here.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TextIO

from bert_ko.copies import named
from bert_ko.streams import print_error
from bert_ko.version import VERSION

_program = ""  # see running_as
_is_quiet = False  # see quiet
_has_answers = False  # see answers_on_stdout
_log: _Log | None = None  # see recorded
_MOST_KEPT = 10_000  # lines


@contextlib.contextmanager
def running_as(program: str) -> Iterator[None]:
    """Sets the program's name for warnings and errors."""
    global _program
    before, _program = _program, program
    try:
        yield
    finally:
        _program = before


@contextlib.contextmanager
def quiet(is_quiet: bool = True) -> Iterator[None]:
    """Leaves out what is said, and the progress; warnings, errors and results stay."""
    global _is_quiet
    before, _is_quiet = _is_quiet, is_quiet
    try:
        yield
    finally:
        _is_quiet = before


def is_quiet() -> bool:
    """Returns whether nothing is said."""
    return _is_quiet


def program_name() -> str:
    """Returns the name of the running command, or of the script."""
    return _program or os.path.splitext(os.path.basename(sys.argv[0]))[0]


def say(message: str) -> None:
    """Says how the work goes."""
    message = named(message)
    record(message)
    if not _is_quiet:
        print_error(message)


def hint(message: str) -> None:
    """Says what may be wrong, and what to try."""
    say(f"hint: {message}")


def warn(message: str) -> None:
    """Warns of what the user should look at."""
    say_error(f"{program_name()}: warning: {message}")


def say_error(message: str) -> None:
    """Says why a command ends, or what the user should look at."""
    message = named(message)
    record(message)
    print_error(message)


def show(text: str) -> None:
    """Shows a result, or a part of it, at once."""
    print(named(text), flush=True)


def show_scores(text: str) -> None:
    """Shows a result; on standard error where standard output has answers for other programs."""
    text = named(text)
    record(text)
    if _has_answers:
        print_error(text)
    else:
        show(text)


@contextlib.contextmanager
def answers_on_stdout(has_answers: bool = True) -> Iterator[None]:
    """Leaves standard output to what ``show`` is given."""
    global _has_answers
    before, _has_answers = _has_answers, has_answers
    try:
        yield
    finally:
        _has_answers = before


class _Log:
    """What was said, kept until there is a file for it, and then in the file."""

    def __init__(self, header: str):
        self._header, self._start = header, time.time()
        self._lines: deque[str] = deque(maxlen=_MOST_KEPT)
        self._stream: TextIO | None = None

    def add(self, text: str) -> None:
        now = time.strftime("%H:%M:%S")
        lines = [f"{now} {line}".rstrip() + "\n" for line in text.splitlines() if line.strip()]
        if self._stream is None:
            self._lines.extend(lines)
        else:
            self._write(lines)

    def open(self, path: str) -> None:
        if self._stream is None:
            # Appended to, by one process: the folder is locked.
            self._stream = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            start = time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(self._start))
            self._write([f"# {start} bert_ko {VERSION}\n# {self._header}\n", *self._lines])

    def _write(self, lines: Iterable[str]) -> None:
        assert self._stream is not None
        with contextlib.suppress(OSError):  # a full disk is noticed where it matters
            self._stream.writelines(lines)
            self._stream.flush()

    def close(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()


@contextlib.contextmanager
def recorded(command_line: str) -> Iterator[None]:
    """Keeps what is said, for ``open_log``; the header of the log has the command line."""
    global _log
    before, _log = _log, _Log(command_line)
    try:
        yield
    except Exception as error:
        record(f"ended by {type(error).__name__}: {error}")
        raise
    finally:
        _log.close()
        _log = before


def open_log(path: str) -> None:
    """Appends what is said to a file, and what was said before; a second call does nothing."""
    if _log is not None:
        _log.open(path)


def record(text: str) -> None:
    """Adds lines to the log alone."""
    if _log is not None:
        _log.add(text)
