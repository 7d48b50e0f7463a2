"""What a recipe ends in: results.md, results.json and curves.svg."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from bert_ko.files import write_atomic
from bert_ko.report.curves import Figure, draw_curves
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.results import RESULTS_NAME
from recipes.common.config import FineTuning, Recipe
from recipes.common.plan import updates_per_second
from recipes.common.steps import State

_COLOURS = ("#1f6fb4", "#c8501e", "#2f8f4e", "#8250b4", "#b49a1f", "#505860")
_LEGEND_LINE = 18  # height


def read_results(path: Path) -> dict[str, float] | None:
    """eval_results.txt as numbers by name; None if there is no such file."""
    if not path.exists():
        return None
    pairs = (line.split(" = ", 1) for line in path.read_text().splitlines() if " = " in line)
    return {name: float(value) for name, value in pairs}


def seed_scores(folder: Path, names: Sequence[str], num_seeds: int) -> dict[str, list[float]]:
    """The scores of the seeds that are done, by name; empty if none is."""
    folders = [folder] if num_seeds == 1 else sorted(folder.glob("seed-*"))
    results = [read_results(one / RESULTS_NAME) for one in folders]
    found = [one for one in results if one is not None]
    return {name: [one[name] for one in found if name in one] for name in names} if found else {}


def phase_results(recipe: Recipe, output: Path, state: State) -> list[dict[str, Any]]:
    """A record for each phase that has begun."""
    found = []
    for phase in recipe.phases:
        records = read_metrics(str(output / phase.name / METRICS_NAME))
        last = next((one for one in reversed(records) if "seconds" in one), None)
        if last is None:
            continue
        speed = updates_per_second(records)
        rates = [one["tokens_per_second"] for one in records if "tokens_per_second" in one]
        found.append({
            "phase": phase.name,
            "length": phase.max_seq_length,
            "rows": phase.train_batch_size,
            "updates": last["step"],
            "minutes": round(last["seconds"] / 60, 2),
            "updates_per_second": None if speed is None else round(speed, 2),
            "tokens_per_second": round(statistics.median(rates)),
            "is_done": phase.name in state.done,
            "held_out": _held_out(recipe, output, phase.name),
        })  # fmt: skip
    return found


def _held_out(recipe: Recipe, output: Path, phase: str) -> dict[str, float]:
    """Masked-LM accuracy by length."""
    found = {}
    for length in sorted({one.max_seq_length for one in recipe.phases}):
        folder = output / f"held-out-accuracy-{phase}-at-{length}"
        values = read_results(folder / RESULTS_NAME)
        if values is not None:
            found[str(length)] = values["masked_lm_accuracy"]
    return found


def task_results(
    recipe: Recipe, tasks: Sequence[FineTuning], output: Path, state: State
) -> list[dict[str, Any]]:
    """A record for each task and the weights it begins with, of those with a score."""
    found = []
    for begun in ("pre-trained", "random"):
        for task in tasks:
            name = task.name if begun == "pre-trained" else f"{task.name}-random"
            scores = seed_scores(output / name, task.scores, recipe.num_seeds)
            if scores:
                minutes = round(state.seconds.get(name, 0.0) / 60, 2)
                found.append(
                    {"task": task.name, "weights": begun, "scores": scores, "minutes": minutes}
                )
    return found


def phase_table(phases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of Markdown."""
    lines = [
        "| phase | length × rows | updates | minutes | tokens/s | held-out masked-LM accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for one in phases:
        found = one["held_out"].items()
        accuracy = ", ".join(f"{value:.4f} at length {length}" for length, value in found)
        unfinished = "" if one["is_done"] else " (not finished)"
        lines.append(
            f"| {one['phase']}{unfinished} | {one['length']} × {one['rows']} | {one['updates']:,} "
            f"| {one['minutes']:.1f} | {one['tokens_per_second']:,} | {accuracy or '–'} |"
        )
    return lines


def task_table(
    tasks: Sequence[FineTuning], records: Sequence[Mapping[str, Any]], num_seeds: int
) -> list[str]:
    """Lines of Markdown: mean and standard deviation over seeds, beside random weights if known."""
    by_key = {(one["task"], one["weights"]): one for one in records}
    has_baseline = any(weights == "random" for _, weights in by_key)
    names = ["task", "score", "pre-trained", *(["random weights", "gain"] if has_baseline else [])]
    lines = [
        "| " + " | ".join([*names, "seeds", "minutes"]) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for task in tasks:
        trained, random = (by_key.get((task.name, one)) for one in ("pre-trained", "random"))
        for score in task.scores:
            values = trained["scores"].get(score, []) if trained else []
            cells = [task.name, score, _mean(values)]
            if has_baseline:
                others = random["scores"].get(score, []) if random else []
                both = values and others
                gain = statistics.mean(values) - statistics.mean(others) if both else 0.0
                cells += [_mean(others), f"{gain:+.2f}" if both else "–"]
            cells += [
                f"{len(values)} of {num_seeds}",
                f"{trained['minutes']:.1f}" if trained else "–",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def _mean(values: Sequence[float]) -> str:
    """Mean and standard deviation.

    >>> _mean([80.0, 81.0]), _mean([80.0]), _mean([])
    ('80.50 ± 0.71', '80.00', '–')
    """
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def write_results(recipe: Recipe, tasks: Sequence[FineTuning], output: Path, state: State) -> str:
    """Writes what is known so far; returns results.md."""
    phases = phase_results(recipe, output, state)
    records = task_results(recipe, tasks, output, state)
    lines = [*phase_table(phases), "", *task_table(tasks, records, recipe.num_seeds), ""]
    lines.append(f"{state.used / 60:.1f} minutes in all; mean and standard deviation over seeds.")
    curves = training_curves(recipe, output)
    if curves is not None:
        write_atomic(str(output / "curves.svg"), curves)
        lines += ["", "![masked-LM accuracy in training](curves.svg)"]
    values = {"phases": phases, "tasks": records, "minutes": round(state.used / 60, 2)}
    values["seconds_of_steps"] = state.seconds
    write_atomic(str(output / "results.json"), json.dumps(values, indent=1, ensure_ascii=False))
    text = "\n".join(lines) + "\n"
    write_atomic(str(output / "results.md"), text)
    return text


def training_curves(recipe: Recipe, output: Path) -> str | None:
    """An SVG of masked-LM accuracy over minutes of training; None if nothing was trained."""
    lines, start = {}, 0.0
    for phase in recipe.phases:
        records = [
            one for one in read_metrics(str(output / phase.name / METRICS_NAME)) if "seconds" in one
        ]
        if records:
            lines[f"{phase.name}, length {phase.max_seq_length}"] = [
                (start + one["seconds"] / 60, one["masked_lm_accuracy"]) for one in records
            ]
            start += records[-1]["seconds"] / 60
    figure = draw_curves("Masked-LM accuracy on the batches of training", lines)
    return None if figure is None else _svg(figure)


def _svg(figure: Figure) -> str:
    x, y = figure.x, figure.y
    height = figure.height + _LEGEND_LINE * len(figure.lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {figure.width} {height}" '
        'font-family="sans-serif" font-size="11">',
        f"<title>{escape(figure.title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for place, label in y.ticks():
        parts.append(_segment(x.start, place, x.end, place, "#ddd"))
        parts.append(_label(x.start - 6, place + 4, label, "end"))
    for place, label in x.ticks():
        parts.append(_segment(place, y.start, place, y.start + 4, "#444"))
        parts.append(_label(place, y.start + 18, label, "middle"))
    parts.append(_segment(x.start, y.start, x.end, y.start, "#444"))
    parts.append(_label((x.start + x.end) / 2, figure.height - 6, "minutes of training", "middle"))
    for number, (line, summary) in enumerate(zip(figure.lines, figure.legend, strict=True)):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in line.points)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        place = figure.height + _LEGEND_LINE * number + 8
        parts.append(_segment(10, place - 4, 30, place - 4, colour))
        parts.append(_label(36, place, summary, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _segment(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}"/>'


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
