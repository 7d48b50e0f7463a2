"""Pages that show a task's results: one HTML file each, which needs no network or other files.

Templates make the markup and escape all text; a page is useful without its script.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from bert_ko.report.curves import Figure

if TYPE_CHECKING:
    import jinja2
    import markupsafe

_PACKAGE = "bert_ko"
_BASE = "report/templates/page"
# Invisible, and some of them not allowed in HTML or UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


class Choice(NamedTuple):
    """An option of a menu."""

    value: str  # for the script
    label: str


class Menu(NamedTuple):
    """One more menu of a list."""

    name: str  # in the page's address and for the script; not "filter", "order", "q" or "page"
    label: str
    choices: Sequence[Choice]  # the first one, with the value "", lets everything through


@dataclass(frozen=True)
class Listing:
    """A list that `showList` of page.js fills, with its search, menus and pages."""

    noun: str  # what is listed, in the plural; the id of the section
    filters: Sequence[Choice]  # the first one shows everything
    orders: Sequence[Choice]  # the first one is the order of the data
    menus: Sequence[Menu] = ()  # more filters


@dataclass(frozen=True)
class Page:
    """What the pages of all tasks show."""

    title: str
    headline: Sequence[tuple[str, str, str]]  # the main figures: name, value, a note or ""
    facts: Sequence[tuple[str, str]]  # of the run: name and value
    seeds: Sequence[tuple[int, Mapping[str, float]]]  # scores of runs that differ only in the seed
    score_names: Mapping[str, str]  # scores of the table of seeds, and their labels
    curves: Sequence[Figure]
    listing: Listing
    data: Any  # JSON without NaN or infinity, for `readData("data")` of the script

    def seed_summary(self) -> list[tuple[str, list[float]]]:
        """Returns the mean and, of several seeds, the standard deviation of each score."""
        columns = [[scores[name] for _, scores in self.seeds] for name in self.score_names]
        rows = [("Mean", [statistics.fmean(column) for column in columns])]
        if len(self.seeds) > 1:
            rows.append(("Standard deviation", [statistics.stdev(column) for column in columns]))
        return rows


def render_task_page(folder: str, page: Page, **values: Any) -> str:
    """Renders report.html, with report.css and report.js, of a task's folder in the package.

    Args:
        folder: Path in the package.
        page: What the pages of all tasks show.
        values: For the template.
    """
    style, script = (read(f"{folder}/report.{kind}") for kind in ("css", "js"))
    return render_page(page, f"{folder}/report.html", style=style, script=script, **values)


def render_page(
    page: Page, template: str = f"{_BASE}.html", style: str = "", script: str = "", **values: Any
) -> str:
    """Renders a page.

    Args:
        page: What the pages of all tasks show.
        template: Extends page.html.
        style: CSS after that of all pages.
        script: JavaScript after that of all pages; the page's policy lets no other run.
        values: For the template.
    """
    return render(
        template, page=page, data=script_json(page.data), **inline(style, script), **values
    )


def inline(style: str, script: str) -> dict[str, Any]:
    """Returns style, script and script_hash for a template that holds them and lets no other run.

    Args:
        style: CSS after that of all pages.
        script: JavaScript after that of all pages.
    """
    from markupsafe import Markup

    script = read(f"{_BASE}.js") + script
    return {
        "style": Markup(read(f"{_BASE}.css") + style),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


def render(template: str, **values: Any) -> str:
    """Renders a template, named by its path in the package."""
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
    return environment


def _printable(value: Any) -> Any:
    r"""Escapes invisible and unencodable characters of text as Python does: \x00, \ud800."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), value)


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


def counted_choice(value: str, label: str, count: int) -> Choice:
    """Returns an option of a menu with the number of items that it shows."""
    return Choice(value, f"{label} ({count:,})")


def dataset_problems(counts: Iterable[tuple[str, int]]) -> list[tuple[int, str]]:
    """Returns the problems of a dataset for the macro `problems`: (how often, what)."""
    return [(count, f"times in the dataset: {kind.replace('_', ' ')}") for kind, count in counts]
