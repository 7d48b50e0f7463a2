"""Templates to markup, and values to scripts; templates escape all text."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from bert_ko.report.languages import ENGLISH, Texts

if TYPE_CHECKING:
    import jinja2
    import markupsafe

FOLDER = "report/templates"
_PACKAGE = "bert_ko"
_BASE = f"{FOLDER}/page"
# Invisible, and some of them not allowed in HTML or UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def render(template: str, **values: Any) -> str:
    """Renders a template, named by its path in the package; it is English without a value `t`."""
    return environment().get_template(template).render(values)


@functools.cache
def environment() -> jinja2.Environment:
    """Returns the environment of all templates."""
    import jinja2  # slow to import, and --help needs no page

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(_PACKAGE, ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["form"] = format
    environment.globals["t"] = ENGLISH
    return environment


def _printable(value: Any) -> Any:
    r"""Escapes invisible and unencodable characters of text as Python does: \x00, \ud800."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), value)


def inline(style: str, script: str, t: Texts = ENGLISH) -> dict[str, Any]:
    """Returns style, script, script_hash and words for a template that lets no other script run.

    Args:
        style: CSS after that of all pages.
        script: JavaScript after that of all pages.
        t: The page's texts, of which those of the script become JSON.
    """
    from markupsafe import Markup

    script = read(f"{_BASE}.js") + script
    return {
        "style": Markup(read(f"{_BASE}.css") + style),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "words": script_json(t.of_script(script)),
    }


def read(name: str) -> str:
    """Returns the text of a file of the package."""
    return resources.files(_PACKAGE).joinpath(name).read_text(encoding="utf-8")


def script_json(value: Any) -> markupsafe.Markup:
    """Returns JSON for a script element.

    Args:
        value: Without NaN or infinity. Lone surrogates, which no file or URL can hold, become
            U+FFFD, one for one, so that offsets stay right.
    """
    from markupsafe import Markup

    data = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(_SURROGATE.sub("\ufffd", data.translate(_JSON_ESCAPES)))


def finite(value: float, digits: int) -> float | None:
    """Rounds a number for JSON, in which NaN and infinity become None."""
    return round(value, digits) if math.isfinite(value) else None
