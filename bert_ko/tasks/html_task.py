"""The page of a task: its scores, its run, curves, and a list of what was predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bert_ko.tasks.html_report import (
    Html,
    Section,
    asset,
    fact_list,
    join,
    json_script,
    page,
    seed_table,
)


class Reported(Protocol):
    """What the pages of all tasks show.

    Attributes:
        title: of the page.
        facts: of the run, in order: name and value.
        seeds: (seed, scores) of runs that differ in their seed alone, in percent.
    """

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def facts(self) -> Sequence[tuple[str, str]]: ...  # noqa: D102
    @property
    def seeds(self) -> Sequence[tuple[int, Mapping[str, float]]]: ...  # noqa: D102


def task_page(
    package: str,
    data: Reported,
    scores: Html,
    score_names: Mapping[str, str],
    curves: Html,
    listed: Section,
    values: Mapping[str, Any],
) -> str:
    """Puts the page of a task together.

    Args:
        package: of the task, with html_report.css and html_report.js beside its modules.
        data: what every page shows.
        scores: tables and figures.
        score_names: scores of the table of seeds, and what people read.
        curves: of training; empty for none.
        listed: the list, which the script fills.
        values: for the script, which reads them as "data".
    """
    sections = [
        Section("scores", "Scores", scores),
        Section("run", "Run", join(fact_list(data.facts), seed_table(data.seeds, score_names))),
        *([Section("curves", "Curves", curves)] if curves else []),
        listed,
    ]
    return page(
        data.title,
        sections,
        style=asset(package, "html_report.css"),
        script=asset(package, "html_report.js"),
        data=json_script("data", values),
    )
