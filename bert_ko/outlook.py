"""What --dry_run says: sizes, and the time and the memory to expect, by what is measured here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bert_ko.flags import Flags, flag
from bert_ko.messages import show_scores
from bert_ko.progress import format_seconds, format_table


@dataclass(frozen=True)
class DryRunFlags(Flags):
    """Flags of the commands that take long."""

    dry_run: bool = flag(
        False,
        main=True,
        help="Read and compare everything, and say sizes, steps, memory and time to expect; write "
        "nothing.",
        affects_output=False,
    )


Outlook = Sequence[tuple[str, str]]


def show_outlook(rows: Outlook) -> None:
    """Shows what is to be expected, name by name."""
    show_scores(format_table(rows, ("dry run: nothing is written", "")))


def format_about(seconds: float) -> str:
    """Returns an estimated time: "about 12:34"."""
    return f"about {format_seconds(seconds)}"


def peak_memory() -> int | None:
    """Bytes that this process has had at most; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
