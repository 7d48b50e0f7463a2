"""Errors of the user's and of the machine's, as one line."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

from bert_ko.copies import named


class FlagError(ValueError):
    """The command line is wrong; the message is one line that says how."""


def error_message(error: Exception) -> str:
    """Returns the line that a command prints after an error of the user's or the machine's."""
    return named(_message(error))


def _message(error: Exception) -> str:
    if isinstance(error, BrokenExecutor):
        return (
            "a worker process ended abruptly, most likely because memory ran out; use fewer "
            "workers or a machine with more memory."
        )
    if isinstance(error, MemoryError):
        return one_line(f"memory ran out. {error}")
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f"{error.filename}: "
        return one_line(f"{place}{error.strerror}")
    return one_line(error) or type(error).__name__


def one_line(message: object) -> str:
    """Returns a message without line breaks."""
    return " ".join(line.strip() for line in str(message).splitlines() if line.strip())
