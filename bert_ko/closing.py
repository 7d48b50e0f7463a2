"""The box that a command ends with: what was made, how good it is, and what to type next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence

from bert_ko.commands import typed
from bert_ko.messages import say

_WIDTH = 78  # columns of the lines above and below


def command_line(command: str, *arguments: str) -> str:
    """Returns a command as it is typed here, with its arguments."""
    return " ".join([typed(command), shlex.join(arguments)])


def format_scores(scores: Mapping[str, float]) -> str:
    """Returns scores on one line, with two decimals."""
    return ", ".join(f"{name} {value:.2f}" for name, value in scores.items())


def close(
    title: str,
    made: Sequence[str] = (),
    scores: Mapping[str, float] | None = None,
    report: str | None = None,
    next_command: str | None = None,
) -> None:
    """Says what a command has done.

    Args:
        title: what it was: "trained 300 steps".
        made: files and folders, the main one first.
        scores: the main ones, by name.
        report: path of the page.
        next_command: as it is typed.
    """
    shown = format_scores(scores or {})
    lines = [("made", ", ".join(made)), ("scores", shown), ("report", report)]
    rule = _rule()
    text = [f"{rule * 2} {title} {rule * max(2, _WIDTH - len(title) - 4)}"]
    text += [f"{name:8}{value}" for name, value in lines if value]
    if next_command:
        text += ["next", f"  {next_command}"]  # alone on its line, to be copied
    say("\n".join([*text, rule * _WIDTH]))


def advise(next_command: str) -> None:
    """Says what to type next, after results that a person reads."""
    if sys.stdout.isatty():
        close("done", next_command=next_command)


def _rule() -> str:
    """A line's character, of those that the stream has."""
    try:
        "─".encode(getattr(sys.stderr, "encoding", None) or "utf-8")
    except UnicodeError:
        return "-"
    return "─"
