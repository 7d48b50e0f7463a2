"""Lines that a person types: a prompt before each of them, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator


def is_typed() -> bool:
    """Whether a person types what is read, and sees what is asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def typed_lines(prompt: Callable[[], str]) -> Iterator[str]:
    """Yields the lines of standard input; on a terminal, each is asked for.

    Args:
        prompt: of the next line; called when the one before has been dealt with.
    """
    while True:
        if is_typed():
            print(f"{prompt()}> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            if is_typed():
                print(file=sys.stderr)  # after Ctrl-D the shell begins on a line of its own
            return
        yield line
