"""Pages that show a task's results: one HTML file each, without network and without other files.

Templates make the markup and escape all text; a page makes sense without its script.
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
# Neither HTML nor UTF-8 can hold them all, and nobody can see them.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


class Choice(NamedTuple):
    """An option of a menu.

    Attributes:
        value: passed to the script.
        label: shown to the reader.
    """

    value: str
    label: str


class Menu(NamedTuple):
    """One more menu of a list.

    Attributes:
        name: of its choice in the page's address and for the script; not "filter", "order", "q"
            or "page".
        label: shown to the reader.
        choices: the first one lets all through; its value is "".
    """

    name: str
    label: str
    choices: Sequence[Choice]


@dataclass(frozen=True)
class Listing:
    """A list that `showList` of page.js fills, with its search, menus and pages.

    Attributes:
        noun: what is listed, in the plural; the id of the section.
        filters: the first one shows all.
        orders: the first one is the order of the data.
        menus: further filters.
    """

    noun: str
    filters: Sequence[Choice]
    orders: Sequence[Choice]
    menus: Sequence[Menu] = ()


@dataclass(frozen=True)
class Page:
    """What the pages of all tasks show.

    Attributes:
        title: of the page.
        headline: the figures that are seen first: (name, value, a note or "").
        facts: of the run, in order: name and value.
        seeds: (seed, scores) of runs that differ in their seed alone.
        score_names: scores of the table of seeds, and what the reader is shown.
        curves: of training; empty for none.
        listing: the list, which the script fills.
        data: for JSON, with finite numbers alone; the script reads it with `readData("data")`.
    """

    title: str
    headline: Sequence[tuple[str, str, str]]
    facts: Sequence[tuple[str, str]]
    seeds: Sequence[tuple[int, Mapping[str, float]]]
    score_names: Mapping[str, str]
    curves: Sequence[Figure]
    listing: Listing
    data: Any

    def seed_summary(self) -> list[tuple[str, list[float]]]:
        """Returns the mean and, of several seeds, the standard deviation of each score."""
        columns = [[scores[name] for _, scores in self.seeds] for name in self.score_names]
        rows = [("Mean", [statistics.fmean(column) for column in columns])]
        if len(self.seeds) > 1:
            rows.append(("Standard deviation", [statistics.stdev(column) for column in columns]))
        return rows


def render_task_page(folder: str, page: Page, **values: Any) -> str:
    """Renders the page of a task.

    Args:
        folder: of the task in the package, with report.html, report.css and report.js.
        page: what the pages of all tasks show.
        values: for the template.
    """
    style, script = (_read(f"{folder}/report.{kind}") for kind in ("css", "js"))
    return render_page(page, f"{folder}/report.html", style=style, script=script, **values)


def render_page(
    page: Page, template: str = f"{_BASE}.html", style: str = "", script: str = "", **values: Any
) -> str:
    """Renders a page.

    Args:
        page: what the pages of all tasks show.
        template: extends page.html.
        style: CSS that follows what all pages share.
        script: JavaScript that follows what all pages share; no other runs: neither another script
            nor an attribute of an element.
        values: for the template.
    """
    from markupsafe import Markup

    script = _read(f"{_BASE}.js") + script
    return render(
        template,
        page=page,
        data=script_json(page.data),
        style=Markup(_read(f"{_BASE}.css") + style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )


def render(template: str, **values: Any) -> str:
    """Renders a template.

    Args:
        template: its path in the package.
        values: by the names that it uses.
    """
    return environment().get_template(template).render(values)


@functools.cache
def environment() -> jinja2.Environment:
    """Returns the environment of all templates, which are named by their path in the package."""
    import jinja2  # takes a while, and --help needs no page

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
    r"""Shows what can't be seen or written in text as Python does: \x00, \ud800."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), value)


def _read(name: str) -> str:
    return resources.files(_PACKAGE).joinpath(name).read_text(encoding="utf-8")


def script_json(value: Any) -> markupsafe.Markup:
    """Returns JSON that can stand in a script element.

    Args:
        value: with finite numbers alone. Lone surrogates, which no file and no address can hold,
            become U+FFFD, one for one, so that offsets stay right.
    """
    from markupsafe import Markup

    data = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(_SURROGATE.sub("\ufffd", data.translate(_JSON_ESCAPES)))


def finite(value: float, digits: int) -> float | None:
    """Returns a number rounded for JSON, which knows neither NaN nor infinity: they become None."""
    return round(value, digits) if math.isfinite(value) else None


def counted_choice(value: str, label: str, count: int) -> Choice:
    """Returns an option of a menu that says how many items it shows."""
    return Choice(value, f"{label} ({count:,})")


def dataset_problems(counts: Iterable[tuple[str, int]]) -> list[tuple[int, str]]:
    """Returns what was wrong in a dataset, for a list of problems: (how often, what).

    Args:
        counts: kinds of problems and how often each was found.
    """
    return [(count, f"times in the dataset: {kind.replace('_', ' ')}") for kind, count in counts]
