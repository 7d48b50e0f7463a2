"""Writes report.html; a page is never the reason that a run fails."""

from __future__ import annotations

from collections.abc import Callable

from bert_ko import files
from bert_ko.messages import warn
from bert_ko.page_flags import REPORT_NAME


def write_page(folder: str, make: Callable[[], str]) -> str | None:
    """Makes a page and writes it to a local or remote folder; a failure is a warning.

    Returns:
        Its path, for the box at the end of the command; None if it was not written.
    """
    path = files.join(folder or ".", REPORT_NAME)
    try:
        files.write_atomic(path, make())
    except Exception as error:  # whatever it is, what was made is whole without its page
        warn(f"{path} was not written ({type(error).__name__}: {error}); the rest is whole.")
        return None
    return path
