"""What a classifier says of texts, what it is worth, and what is written down of both.

Legend: N examples, K classes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.report.confusion import confusion_svg
from bert_ko.tasks.batches import BatchPlan, predictions
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.features import ClassFeatures, Floats
from bert_ko.tasks.classifier.preparation import Setting, Texts
from bert_ko.tasks.classifier.report import ReportData, render_report
from bert_ko.tasks.classifier.scores import (
    ClassScores,
    RegressionScores,
    format_classes,
    score_classes,
    score_values,
)
from bert_ko.tasks.command import Outcome, report_outcome, run_facts
from bert_ko.tasks.fine_tuning import Predict
from bert_ko.tasks.shown import to_json
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.runs import write_results

CONFUSION_NAME = "confusion_matrix.svg"
EVALUATED_NAME = "eval_predictions.jsonl"
RESULTS_NAME = "test_results.tsv"
PREDICTED_NAME = "test_predictions.jsonl"
_LEAST = 1e-30  # of a probability whose logarithm is taken


def classify(
    features: ClassFeatures,
    predict: Predict,
    plan: BatchPlan,
    num_outputs: int,
    label: str | None = None,
) -> Floats:
    """What a model says of examples.

    Args:
        features: of the examples.
        predict: the model.
        plan: how examples are put into batches.
        num_outputs: K, or 1 for scores.
        label: of a progress line; None shows none.

    Returns:
        Probabilities, float32 [N, K]; scores, [N, 1].
    """
    found = np.zeros((len(features.lengths), num_outputs), np.float32)
    for rows, outputs in predictions(features, predict, plan, label, "texts"):
        (values,) = outputs.values()
        found[rows] = values.reshape(len(rows), num_outputs)
    return found


def score(setting: Setting, texts: Texts, found: Floats) -> ClassScores | RegressionScores:
    """Compares what a model says with the labels or scores of examples.

    Args:
        setting: of the command.
        texts: with labels or scores.
        found: see ``classify``.
    """
    targets = texts.features.targets
    if setting.config.is_regression:
        return score_values(targets.astype(np.float32), found[:, 0])
    return score_classes(targets.astype(np.int32), found.argmax(axis=1), setting.labels)


def result_values(
    setting: Setting, texts: Texts, found: Floats, scores: ClassScores | RegressionScores
) -> dict[str, float]:
    """The numbers of eval_results.txt: scores, in percent, and the mean loss."""
    values = {**scores.summary(), "total": float(len(found))}
    if setting.config.is_regression:
        return values
    chosen = np.take_along_axis(found, texts.features.targets[:, None].astype(np.int64), axis=1)
    return {**values, "loss": float(-np.log(np.maximum(chosen, _LEAST)).mean())}


def evaluate(setting: Setting, texts: Texts, predict: Predict) -> dict[str, float]:
    """The numbers of eval_results.txt, while it is trained."""
    plan = setting.plan(setting.config.eval_batch_size, texts.features)
    found = classify(texts.features, predict, plan, setting.num_outputs)
    return result_values(setting, texts, found, score(setting, texts, found))


def evaluate_and_report(
    setting: Setting, texts: Texts, predict: Predict, folder: str, step: int
) -> Outcome:
    """Evaluates, and writes scores, predictions, the confusion matrix and the report.

    Args:
        setting: of the command.
        texts: with labels or scores.
        predict: the model.
        folder: to write to.
        step: updates that the model has seen.
    """
    start = time.perf_counter()
    plan = setting.plan(setting.config.eval_batch_size, texts.features)
    found = classify(texts.features, predict, plan, setting.num_outputs, "evaluating")
    seconds = time.perf_counter() - start
    scores = score(setting, texts, found)
    values = result_values(setting, texts, found, scores)
    _write_lines(os.path.join(folder, EVALUATED_NAME), records(texts.examples, found, setting))
    if isinstance(scores, ClassScores):
        picture = confusion_svg(scores.confusion, setting.labels)
        files.write_atomic(os.path.join(folder, CONFUSION_NAME), picture)
        print(format_classes(scores))
    print(f"{len(found):,} texts in {seconds:.1f} s")
    write_results(folder, {"global_step": step, **values})
    config = setting.config
    trained_on = setting.training.path if setting.training is not None else None
    facts = [("task", config.task_name), ("texts", texts.path)]
    data = ReportData(
        title=f"{os.path.basename(texts.path)}: labels of {os.path.abspath(folder)}",
        facts=[*facts, *run_facts(config, setting.parts, trained_on, step, seconds)],
        examples=texts.examples,
        labels=setting.labels,
        golds=texts.features.targets,
        predictions=found[:, 0] if config.is_regression else found,
        scores=scores,
        metrics=read_metrics(os.path.join(folder, METRICS_NAME)),
        seeds=(),
    )
    return report_outcome(folder, values, data, render_report, "texts")


def predict_and_write(setting: Setting, texts: Texts, predict: Predict, folder: str) -> None:
    """Writes test_results.tsv and test_predictions.jsonl.

    Args:
        setting: of the command.
        texts: whose labels are not looked at.
        predict: the model.
        folder: to write to.

    Source: run_classifier.py of google-research/bert for test_results.tsv: a line for each text,
        in the order of the file, with the probabilities of the classes in the order of the labels.
        Differs: for a regression it has the score.
    """
    plan = setting.plan(setting.config.predict_batch_size, texts.features)
    found = classify(texts.features, predict, plan, setting.num_outputs, "predicting")
    lines = "".join("\t".join(map(str, row)) + "\n" for row in found.tolist())
    files.write_atomic(os.path.join(folder, RESULTS_NAME), lines)
    _write_lines(os.path.join(folder, PREDICTED_NAME), records(texts.examples, found, setting))
    print(f"{len(found):,} texts predicted: {os.path.join(folder, RESULTS_NAME)}")


def records(
    examples: Sequence[Example], found: npt.NDArray[np.float32], setting: Setting
) -> Iterator[dict[str, Any]]:
    """What was said of examples, as values for JSON.

    Args:
        examples: with their labels, where these are known.
        found: see ``classify``.
        setting: of the command.
    """
    for example, row in zip(examples, found, strict=True):
        record: dict[str, Any] = {"id": example.example_id, "text": example.text_a}
        if example.text_b is not None:
            record["text_pair"] = example.text_b
        gold = example.score if setting.config.is_regression else example.label
        if gold is not None:
            record["gold"] = gold
        yield {**record, **_said(row, setting)}


def _said(row: npt.NDArray[np.float32], setting: Setting) -> dict[str, Any]:
    if setting.config.is_regression:
        return {"score": round(float(row[0]), 6)}
    best = int(row.argmax())
    probabilities = dict(zip(setting.labels, (round(float(p), 6) for p in row), strict=True))
    return {
        "label": setting.labels[best],
        "probability": probabilities[setting.labels[best]],
        "probabilities": probabilities,
    }


def _write_lines(path: str, values: Iterator[dict[str, Any]]) -> None:
    files.write_atomic(path, "".join(to_json(value) + "\n" for value in values))
