"""What a reader is worth: answers, scores, josa and report, of one seed and of several."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from bert_ko.data.manifest import write_json
from bert_ko.progress import format_table
from bert_ko.tasks.fine_tuning import Predict
from bert_ko.tasks.squad.html_report import ReportData, write_report
from bert_ko.tasks.squad.josa import JosaStripper
from bert_ko.tasks.squad.josa_report import JosaReport, make_josa_report, strip_answers
from bert_ko.tasks.squad.outputs import result_values, write_changes, write_predictions
from bert_ko.tasks.squad.preparation import Questions, Setting
from bert_ko.tasks.squad.reader import Reading, evaluate, read
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.runs import write_results

SEEDS_NAME = "seeds.json"
REPORT_NAME = "report.html"


class Outcome(NamedTuple):
    """Of a seed: the numbers of eval_results.txt, and what the report shows."""

    values: dict[str, float]
    report: ReportData


def answer_and_score(
    setting: Setting, asked: Questions, predict: Predict, folder: str, step: int
) -> Outcome | None:
    """Answers questions, and writes answers, scores and report.

    Args:
        setting: of the command.
        asked: the questions.
        predict: the reader.
        folder: to write to.
        step: updates that the reader has seen.

    Returns:
        None where the questions have no gold answers.
    """
    start = time.perf_counter()
    reading = read(asked.dataset, asked.features, predict, setting.reader, "answering")
    seconds = time.perf_counter() - start
    write_predictions(folder, reading, setting.config.version_2_with_negative)
    if not asked.dataset.golds():
        print(f"{asked.path} has no gold answers: nothing is scored")
        return None
    scores, report = evaluate(asked.dataset, reading)
    values = result_values(scores, report, asked.dataset)
    if setting.config.strip_josa == "never":
        report = _report_of_always(asked, reading)
        print("what --strip_josa=always would do:")
    write_changes(folder, report)
    print(report.format())
    print(f"{len(reading.predictions):,} questions answered in {seconds:.1f} s")
    write_results(folder, {"global_step": step, **values})
    data = ReportData(
        title=f"{os.path.basename(asked.path)}: answers of {os.path.abspath(folder)}",
        facts=_facts(setting, asked, step, seconds),
        dataset=asked.dataset,
        predictions=reading.predictions,
        josa=report,
        answers=reading.spans,
        scores=scores,
        metrics=read_metrics(os.path.join(folder, METRICS_NAME)),
        seeds=(),
    )
    write_report(os.path.join(folder, REPORT_NAME), data)
    return Outcome(values, data)


def _facts(setting: Setting, asked: Questions, step: int, seconds: float) -> list[tuple[str, str]]:
    """What a report says of the run."""
    config, model = setting.config, setting.model_config
    trained_on = setting.training.path if setting.training is not None else "not in this run"
    return [
        ("questions", asked.path),
        ("trained on", trained_on),
        ("begun from", config.init_checkpoint or "random weights"),
        ("updates", f"{step:,}"),
        ("model", f"{model.num_hidden_layers} layers, hidden size {model.hidden_size}"),
        ("vocabulary", f"{len(setting.tokenizer.vocab):,} pieces, {config.vocab_file}"),
        ("windows", f"{config.max_seq_length} pieces, {config.doc_stride} apart"),
        ("strip_josa", config.strip_josa),
        ("answered in", f"{seconds:.1f} s"),
    ]


def _report_of_always(asked: Questions, reading: Reading) -> JosaReport:
    starts = {p.qas_id: reading.spans[p.qas_id][0] for p in reading.predictions}
    stripped = strip_answers(asked.dataset, reading.chosen, starts, JosaStripper())
    return make_josa_report(asked.dataset.golds(), reading.chosen, stripped)


def summarize(folder: str, seeds: Sequence[int], outcomes: Sequence[Outcome]) -> None:
    """Writes mean and deviation over seeds, and a report of the first with the scores of all.

    Args:
        folder: to write to.
        seeds: of the runs.
        outcomes: of each.
    """
    results = [outcome.values for outcome in outcomes]
    rows: list[list[object]] = []
    values: dict[str, Any] = {"num_seeds": len(results)}
    for name in (name for name in results[0] if not name.endswith("total")):
        numbers = [result[name] for result in results]
        mean, deviation = statistics.mean(numbers), statistics.stdev(numbers)
        values[f"{name}_mean"], values[f"{name}_stdev"] = mean, deviation
        rows.append([name, mean, deviation, min(numbers), max(numbers)])
    write_json(os.path.join(folder, SEEDS_NAME), {"seeds": list(seeds), "results": results})
    scores = [
        (seed, result["exact_match"], result["f1"])
        for seed, result in zip(seeds, results, strict=True)
    ]
    first = outcomes[0].report
    facts = [*first.facts, ("answers below", f"of seed {seeds[0]}")]
    write_report(
        os.path.join(folder, REPORT_NAME),
        dataclasses.replace(first, facts=facts, seeds=scores),
    )
    print(f"\n{format_table(rows, [f'{len(results)} seeds', 'mean', 'stdev', 'min', 'max'])}\n")
    write_results(folder, values)
