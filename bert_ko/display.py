"""Untrusted text for a terminal or a report: on one line, printable, not too long."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

# What JSON does not escape: control characters, Unicode's line ends and changes of direction.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def shown(text: str | None, width: int = 28) -> str:
    """Returns a text on one line, printable, at most `width` terminal columns wide."""
    if text is None:
        return "(none)"
    from rich.cells import cell_len  # Hangul takes two columns

    line = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"')
    line = _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)
    line = line.encode("utf-8", "backslashreplace").decode()
    end = 3 * width  # characters: decomposed Hangul has three in two columns, others take none
    if cell_len(line) <= width and len(line) <= end:
        return line
    while cell_len(line[:end]) >= width:
        end -= 1
    return f"{line[:end]}…"


def shown_list(items: Sequence[str], limit: int = 5, width: int = 80) -> str:
    """Returns the first items, separated by commas, and how many more there are."""
    text = ", ".join(shown(item, width) for item in items[:limit])
    return f"{text} and {len(items) - limit:,} more" if len(items) > limit else text
