"""Pages that show what a command has made: one HTML file each, which needs no other file.

A page asks no network for anything, and is useful without its script.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bert_ko.report.blocks import (
    Block,
    Calibration,
    Cell,
    Choice,
    Facts,
    Figures,
    Folded,
    Row,
    Section,
    Table,
    number,
    numbers,
)
from bert_ko.report.calibration import calibrate, calibration_error, draw_reliability
from bert_ko.report.curves import Figure
from bert_ko.report.languages import ENGLISH, Texts
from bert_ko.report.rendering import FOLDER, inline, read, render, script_json

Pairs = Sequence[tuple[str, str]]
Seeds = Sequence[tuple[int, Mapping[str, float]]]


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: names what is shown, without the folder that it is in.
        sections: in order.
        data: JSON without NaN or infinity, for `readData("data")` of the script.
    """

    title: str
    sections: Sequence[Section]
    data: Any = None


def render_page(page: Page, style: str = "", script: str = "", t: Texts = ENGLISH) -> str:
    """Renders a page.

    Args:
        page: what it shows.
        style: CSS after that of all pages.
        script: JavaScript after that of all pages; the page's policy lets no other run.
        t: the page's language.
    """
    return render(
        f"{FOLDER}/page.html",
        page=page,
        t=t,
        data=script_json(page.data),
        **inline(style, script, t),
    )


def render_task_page(folder: str, page: Page, t: Texts) -> str:
    """Renders a page with report.css and report.js of a folder of the package."""
    style, script = (read(f"{folder}/report.{kind}") for kind in ("css", "js"))
    return render_page(page, style, script, t)


def run_section(
    t: Texts, facts: Pairs, flags: Pairs, seeds: Seeds = (), score_names: Pairs = ()
) -> Section:
    """What a run was.

    Args:
        t: the page's language.
        facts: name and value.
        flags: those that are not at their defaults; see `facts.given_flags`.
        seeds: scores, in percent, of runs that differ only in the seed.
        score_names: of the scores that are shown, with their labels.
    """
    blocks: list[Block] = [Facts(facts)]
    if seeds:
        blocks.append(_seed_table(t, seeds, score_names))
    if flags:
        rows = [(name, Cell(value, is_code=True)) for name, value in flags]
        blocks.append(
            Table(t("Flags that are not at their defaults"), [t("Flag"), t("Value")], rows)
        )
    return Section("run", t("Run"), blocks)


def _seed_table(t: Texts, seeds: Seeds, score_names: Pairs) -> Table:
    rows = [
        [Cell(str(seed)), *numbers(scores[name] for name, _ in score_names)]
        for seed, scores in seeds
    ]
    columns = [[scores[name] for _, scores in seeds] for name, _ in score_names]
    footer = [[Cell(t("Mean")), *numbers(map(statistics.fmean, columns))]]
    if len(seeds) > 1:
        deviations = numbers(map(statistics.stdev, columns))
        footer.append([Cell(t("Standard deviation")), *deviations])
    caption = t("Runs that differ in their seed alone, in percent")
    return Table(caption, [t("Seed"), *(label for _, label in score_names)], rows, footer)


def curve_sections(t: Texts, figures: Sequence[Figure]) -> list[Section]:
    """The section of a run's curves, if there are any."""
    return [Section("curves", t("Curves"), [Figures(figures)])] if figures else []


def calibration_sections(
    t: Texts, noun: str, confidences: Sequence[float], is_right: Sequence[bool]
) -> list[Section]:
    """The section that compares the probabilities of predictions with what is right, if any are.

    Args:
        t: the page's language.
        noun: what is predicted, in English, with a capital.
        confidences: of each prediction, in [0, 1].
        is_right: whether each is right.
    """
    bins = calibrate(confidences, is_right)
    if not bins:
        return []
    rows: list[Row] = [
        (
            f"{one.low:.1f}–{one.high:.1f}",
            *numbers([100 * one.confidence, 100 * one.right]),
            number(one.size, ",d"),
        )
        for one in bins
    ]
    headers = [t("Probability"), t("Mean, percent"), t("Right, percent"), t(noun)]
    caption = t("Share of right predictions by their probability")
    error = (t("Expected calibration error, percent"), f"{calibration_error(bins):.2f}")
    blocks: list[Block] = [
        Facts([error]),
        Calibration(caption, t(noun), draw_reliability(bins)),
        Folded(t("The same as a table"), [Table(caption, headers, rows)]),
    ]
    return [Section("calibration", t("Calibration"), blocks)]


def counted_choice(value: str, label: str, count: int) -> Choice:
    """Returns an option of a menu with the number of items that it shows."""
    return Choice(value, f"{label} ({count:,})")


def dataset_problems(t: Texts, counts: Iterable[tuple[str, int]]) -> list[str]:
    """Returns sentences on the problems of a dataset that occur, from their kinds and numbers."""
    return [
        t(
            "{count} times in the dataset: {kind}",
            count=f"{count:,}",
            kind=t(kind.replace("_", " ")),
        )
        for kind, count in counts
        if count
    ]
