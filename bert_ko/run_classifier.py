"""run_classifier: classes and scores of texts and of pairs of texts, trained and evaluated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bert_ko import files
from bert_ko.flags import run_command
from bert_ko.modeling.parameters import class_specs
from bert_ko.notification import Ending, notified
from bert_ko.tasks.batches import Ints, batch_source, steps_per_epoch
from bert_ko.tasks.classifier.evaluation import evaluate, evaluate_and_report, predict_and_write
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.preparation import Setting, prepare
from bert_ko.tasks.classifier.settings import ClassifierFlags
from bert_ko.tasks.classifier.trial import try_classifier
from bert_ko.tasks.command import (
    Job,
    Outcome,
    file_identity,
    open_parts,
    refuse_no_weights,
    run_job,
)
from bert_ko.tasks.fine_tuning import Head, Predict, Task
from bert_ko.training.labels import write_labels

_COMMAND = "run_classifier"


@dataclass(frozen=True)
class RunClassifierConfig(ClassifierFlags):
    """Fine-tunes BERT to classify texts or pairs of texts, or to give them a score.

    Killed, training goes on where its last checkpoint stands when the same command is run again.
    """


def run(config: RunClassifierConfig) -> Ending:
    """Reads the texts, trains, evaluates and predicts; returns the main score."""
    parts = open_parts(config, config.max_seq_length)
    with files.lock(os.path.join(config.output_dir, ".lock")):
        refuse_no_weights(config, "a classifier")
        setting = prepare(config, _COMMAND, parts)
        return run_job(_COMMAND, config, parts, _job(setting), "the texts are cut with")


def _job(setting: Setting) -> Job:
    config, training, evaluated = setting.config, setting.training, setting.evaluated
    identity = {}
    if training is not None:
        identity["train_file"] = file_identity(training.path)
    if config.eval_every_steps is not None and evaluated is not None:
        identity["eval_file"] = file_identity(evaluated.path)  # it decides what is best
    return Job(
        task=_task(setting),
        identity=identity,
        batch_sizes=config.batch_sizes,
        finish=partial(_finish, setting),
        begin=partial(write_labels, labels=setting.labels),
        attempt=partial(try_classifier, setting) if config.is_trial else None,
    )


def _task(setting: Setting) -> Task:
    config, training, evaluated = setting.config, setting.training, setting.evaluated
    source, steps = None, 0
    if training is not None:
        plan = setting.plan(config.train_batch_size, training.features)
        source = batch_source(training.features, plan, partial(_describe, training.examples))
        steps = steps_per_epoch(len(training.examples), plan.batch_size)
    return Task(
        specs=class_specs(setting.parts.model_config, setting.num_outputs),
        load_head=partial(_load_head, config.is_regression),
        source=source,
        steps_per_epoch=steps,
        evaluate=partial(evaluate, setting, evaluated) if evaluated is not None else None,
        main_metric="pearson" if config.is_regression else "macro_f1",
        labels=setting.labels,
    )


def _describe(examples: Sequence[Example], rows: Ints) -> str:
    return f"the examples {', '.join(examples[row].example_id for row in rows)}"


def _load_head(is_regression: bool) -> Head:
    from bert_ko.tasks.classifier import head

    if is_regression:
        return Head(head.score_loss, head.score_outputs, head.SCORES)
    return Head(head.class_loss, head.class_outputs, head.CLASSES)


def _finish(setting: Setting, predict: Predict, folder: str, step: int) -> Outcome | None:
    if setting.config.do_predict and setting.predicted is not None:
        predict_and_write(setting, setting.predicted, predict, folder)
    if setting.config.do_eval and setting.evaluated is not None:
        return evaluate_and_report(setting, setting.evaluated, predict, folder, step)
    return None


def main() -> int:
    """Runs the command."""
    return run_command(RunClassifierConfig, notified(_COMMAND, run))
