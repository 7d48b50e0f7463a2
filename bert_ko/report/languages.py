"""The words of pages: English where they are used, Korean in korean.py."""

from __future__ import annotations

import re
from typing import Any

from bert_ko.page_flags import Language
from bert_ko.report.korean import KOREAN

# How scripts ask for a text: t("…"), with names in braces.
_ASKED = re.compile(r'\bt\("((?:[^"\\]|\\.)*)"')


class Texts:
    """Gives the texts of a page in its language."""

    def __init__(self, language: Language = "en"):
        self.language = language

    def __call__(self, text: str, **values: Any) -> str:
        """Returns a text in the page's language.

        Args:
            text: In English, with a name in braces, as of str.format, for each of the values.
            values: What stands for the names.
        """
        found = KOREAN.get(text, text) if self.language == "ko" else text
        return found.format(**values) if values else found

    def of_script(self, script: str) -> dict[str, str]:
        """Returns the texts that a script asks for, by their English; none on an English page."""
        if self.language == "en":
            return {}
        return {text: KOREAN[text] for text in _ASKED.findall(script) if text in KOREAN}


ENGLISH = Texts("en")
