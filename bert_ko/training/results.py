"""What a task has found out about a trained model, and the files that say so.

eval_results.txt  scores; over several seeds their means and deviations
report.html       a page
seeds.json        the scores of each seed
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bert_ko import files
from bert_ko.json_files import write_json
from bert_ko.messages import show_scores
from bert_ko.page_writing import write_page
from bert_ko.progress import format_table

RESULTS_NAME = "eval_results.txt"
SEEDS_NAME = "seeds.json"

SeedScores = Sequence[tuple[int, Mapping[str, float]]]


class Results(NamedTuple):
    """What a task has found out about a trained model."""

    values: dict[str, float]  # for eval_results.txt
    # Makes report.html, with the scores of all seeds if there are several.
    report: Callable[[SeedScores], str] | None = None


def write_results(folder: str, results: dict[str, Any]) -> None:
    """Writes and prints eval_results.txt, its lines sorted, as Google's."""
    text = "".join(f"{name} = {results[name]}\n" for name in sorted(results))
    files.write_atomic(os.path.join(folder, RESULTS_NAME), text)
    show_scores(text.rstrip("\n"))


def write_report(folder: str, results: Results, seeds: SeedScores = ()) -> bool:
    """Writes report.html, if the task has one; says whether it did.

    Args:
        folder: to write to.
        results: of the run, or of the first of several.
        seeds: the scores of all of several runs.
    """
    make = results.report
    return make is not None and write_page(folder, lambda: make(seeds)) is not None


def summarize(folder: str, seeds: SeedScores) -> dict[str, float]:
    """Writes mean and deviation over seeds.

    Returns:
        What was written to eval_results.txt.
    """
    results = [values for _, values in seeds]
    rows: list[list[object]] = []
    values: dict[str, Any] = {"num_seeds": len(results)}
    for name in (name for name in results[0] if not name.endswith("total")):
        numbers = [result[name] for result in results]
        mean, deviation = statistics.mean(numbers), statistics.stdev(numbers)
        values[f"{name}_mean"], values[f"{name}_stdev"] = mean, deviation
        rows.append([name, mean, deviation, min(numbers), max(numbers)])
    write_json(
        os.path.join(folder, SEEDS_NAME), {"seeds": [seed for seed, _ in seeds], "results": results}
    )
    show_scores(
        f"\n{format_table(rows, [f'{len(results)} seeds', 'mean', 'stdev', 'min', 'max'])}\n"
    )
    write_results(folder, values)
    return values
