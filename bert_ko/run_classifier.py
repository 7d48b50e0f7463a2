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
from bert_ko.tasks.batches import Ints
from bert_ko.tasks.classifier.evaluation import evaluate, evaluate_and_report, predict_and_write
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.preparation import Setting, prepare
from bert_ko.tasks.classifier.settings import ClassifierFlags
from bert_ko.tasks.classifier.trial import try_classifier
from bert_ko.tasks.command import Job, file_identity, open_parts, refuse_no_weights, run_job
from bert_ko.tasks.fine_tuning import Head
from bert_ko.tasks.label_job import Actions, LabelModel, Training, label_job


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
        setting = prepare(config, parts)
        return run_job(config, parts, _job(setting), "the texts are cut with")


def _job(setting: Setting) -> Job:
    config, training, evaluated = setting.config, setting.training, setting.evaluated
    predicted = setting.predicted
    model = LabelModel(
        specs=class_specs(setting.parts.model_config, setting.num_outputs),
        load_head=partial(_load_head, config.is_regression),
        labels=setting.labels,
        main_metric="pearson" if config.is_regression else "macro_f1",
    )
    actions = Actions(
        evaluate=partial(evaluate, setting, evaluated) if evaluated else None,
        report=partial(evaluate_and_report, setting, evaluated) if evaluated else None,
        write=partial(predict_and_write, setting, predicted) if predicted else None,
        attempt=partial(try_classifier, setting),
    )
    paths = {"train_file": training, "eval_file": evaluated}
    files = {name: file_identity(texts.path) for name, texts in paths.items() if texts}
    return label_job(config, model, _training(setting), actions, files)


def _training(setting: Setting) -> Training | None:
    if setting.training is None:
        return None
    _, examples, features = setting.training
    plan = setting.plan(setting.config.train_batch_size, features)
    return Training(features, plan, partial(_describe, examples))


def _describe(examples: Sequence[Example], rows: Ints) -> str:
    return f"the examples {', '.join(examples[row].example_id for row in rows)}"


def _load_head(is_regression: bool) -> Head:
    if is_regression:
        from bert_ko.tasks.classifier.head import SCORES, score_loss, score_outputs

        return Head(score_loss, score_outputs, SCORES)
    from bert_ko.tasks.classifier.head import CLASSES, class_loss, class_outputs

    return Head(class_loss, class_outputs, CLASSES)


def main() -> int:
    """Runs the command."""
    return run_command(RunClassifierConfig, notified(run))
