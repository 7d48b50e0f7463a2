"""What a command says: how the work goes on standard error, results on standard output.

say     how the work goes, which --quiet leaves out
warn    what the user should look at
show    a result
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from bert_ko.streams import print_error

_program = ""  # see running_as
_is_quiet = False  # see quiet


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
    if not _is_quiet:
        print_error(message)


def warn(message: str) -> None:
    """Warns of what the user should look at."""
    print_error(f"{program_name()}: warning: {message}")


def say_error(message: str) -> None:
    """Says why a command ends."""
    print_error(message)


def show(text: str) -> None:
    """Shows a result, or a part of it, at once."""
    print(text, flush=True)
