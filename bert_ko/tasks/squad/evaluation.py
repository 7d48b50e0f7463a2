"""What a reader is worth: answers, scores, josa and report."""

from __future__ import annotations

import os
import time

from bert_ko.tasks.command import Outcome, Parts, report_outcome, run_facts
from bert_ko.tasks.fine_tuning import Predict
from bert_ko.tasks.squad.html_report import ReportData, render_report
from bert_ko.tasks.squad.josa import JosaStripper
from bert_ko.tasks.squad.josa_report import strip_answers
from bert_ko.tasks.squad.outputs import result_values, write_changes, write_predictions
from bert_ko.tasks.squad.preparation import Questions, Setting
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.runs import write_results


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
    reader = setting.reader(predict, asked.features)
    reading = reader.read(asked.dataset, asked.features, "answering")
    seconds = time.perf_counter() - start
    write_predictions(folder, reading, setting.config.version_2_with_negative)
    golds = asked.dataset.golds()
    if not golds:
        print(f"{asked.path} has no gold answers: nothing is scored")
        return None
    report = reading.report(golds)
    scores, values = report.stripped, result_values(report, asked.dataset)
    if setting.config.strip_josa == "never":
        stripper = JosaStripper(setting.tokenizer.user_dictionaries)
        shortened = strip_answers(asked.dataset, reading.chosen, stripper)
        report = reading._replace(shortened=shortened).report(golds, scores)
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
        answers=reading.answers,
        scores=scores,
        metrics=read_metrics(os.path.join(folder, METRICS_NAME)),
        seeds=(),
    )
    return report_outcome(folder, values, data, render_report, "answers")


def _facts(setting: Setting, asked: Questions, step: int, seconds: float) -> list[tuple[str, str]]:
    """What a report says of the run."""
    config = setting.config
    parts = Parts(setting.model_config, setting.tokenizer)
    trained_on = setting.training.path if setting.training is not None else None
    return [
        ("questions", asked.path),
        *run_facts(config, parts, trained_on, step, seconds),
        ("windows", f"{config.max_seq_length} pieces, {config.doc_stride} apart"),
        ("strip_josa", config.strip_josa),
    ]
