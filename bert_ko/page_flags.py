"""The flag of every command that writes report.html, and the name of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bert_ko.flags import Flags, flag

Language = Literal["en", "ko"]
REPORT_NAME = "report.html"
LANGUAGE_HELP = "Language of report.html: English or Korean."


@dataclass(frozen=True)
class PageFlags(Flags):
    """How report.html is written."""

    group = "Report"

    report_language: Language = flag("en", help=LANGUAGE_HELP, affects_output=False)
