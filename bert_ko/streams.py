"""Standard streams that may be closed, or belong to a console that can't show every character."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TextIO


def prepare_streams() -> None:
    r"""Makes the standard streams usable: no character and no closed stream is a traceback.

    What a console can't show is escaped ("\uac00"). A closed standard input or output is an error
    where it is needed; what goes to a closed standard error is lost.
    """
    _occupy(0, lambda: os.open(os.devnull, os.O_WRONLY))
    _occupy(1, _dead_socket)
    _occupy(2, lambda: os.open(os.devnull, os.O_RDWR))
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_ClosedInput()))
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), "utf-8", "backslashreplace")
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def print_error(line: str, stream: TextIO | None = None) -> None:
    """Prints a line on standard error, or on another stream, unless nobody can read it there."""
    stream = sys.stderr if stream is None else stream
    try:
        print(line, file=stream, flush=True)
    except OSError:  # the reader has gone, or the disk is full; the work goes on
        silence(stream)


def silence(stream: TextIO) -> None:
    """Sends what a stream has not written yet to the null device, and all that follows."""
    with contextlib.suppress(OSError, ValueError):  # without a file, there is nothing to flush
        descriptor = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)


def _dead_socket() -> int:
    """Opens what can't be opened again: /dev/stdout is an error."""
    ours, other = socket.socketpair()
    other.close()
    return ours.detach()


def _occupy(descriptor: int, opener: Callable[[], int]) -> None:
    """Opens something under the number of a closed stream, which the next file would get."""
    try:
        os.fstat(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.set_inheritable(opener(), True)  # in workers, too


class _ClosedInput(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> NoReturn:
        raise OSError(errno.EBADF, "it is closed, but needed", "standard input")


class _ClosedOutput(io.TextIOBase):
    def write(self, text: str) -> NoReturn:
        raise OSError(errno.EBADF, "it is closed, but needed", "standard output")
