"""run_ner: named entities, tagged by character or by word, trained and evaluated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bert_ko import files
from bert_ko.flags import run_command
from bert_ko.modeling.parameters import TAG_CRF, tag_specs
from bert_ko.notification import Ending, notified
from bert_ko.tasks.batches import Ints, batch_source, steps_per_epoch
from bert_ko.tasks.command import (
    Job,
    Outcome,
    file_identity,
    open_parts,
    refuse_no_weights,
    run_job,
)
from bert_ko.tasks.fine_tuning import Head, Predict, Task
from bert_ko.tasks.ner.evaluation import evaluate, evaluate_and_report, predict_and_write
from bert_ko.tasks.ner.examples import Sentence
from bert_ko.tasks.ner.preparation import Setting, prepare
from bert_ko.tasks.ner.settings import NerFlags
from bert_ko.tasks.ner.trial import try_tagger
from bert_ko.training.labels import write_labels

_COMMAND = "run_ner"


@dataclass(frozen=True)
class RunNerConfig(NerFlags):
    """Fine-tunes BERT to tag named entities, and reports entity F1 and KLUE's character F1.

    Tags are those of the characters or words of the files, whatever the pieces are. Killed,
    training goes on where its last checkpoint stands when the same command is run again.
    """


def run(config: RunNerConfig) -> Ending:
    """Reads the sentences, trains, evaluates and predicts; returns the main score."""
    parts = open_parts(config, config.max_seq_length)
    with files.lock(os.path.join(config.output_dir, ".lock")):
        refuse_no_weights(config, "a tagger")
        setting = prepare(config, _COMMAND, parts)
        return run_job(_COMMAND, config, parts, _job(setting), "the sentences are cut with")


def _job(setting: Setting) -> Job:
    config, training, evaluated = setting.config, setting.training, setting.evaluated
    identity: dict[str, object] = {}
    if training is not None:
        identity["train_file"] = file_identity(training.dataset.path)
        identity["extra_train_file"] = [file_identity(path) for path in config.extra_train_file]
    if config.eval_every_steps is not None and evaluated is not None:
        identity["eval_file"] = file_identity(evaluated.dataset.path)  # it decides what is best
    return Job(
        task=_task(setting),
        identity=identity,
        batch_sizes=config.batch_sizes,
        finish=partial(_finish, setting),
        begin=partial(write_labels, labels=setting.labels),
        attempt=partial(try_tagger, setting) if config.is_trial else None,
    )


def _task(setting: Setting) -> Task:
    config, training, evaluated = setting.config, setting.training, setting.evaluated
    source, steps = None, 0
    if training is not None:
        features = training.features
        plan = setting.plan(config.train_batch_size, features)
        describe = partial(_describe, training.dataset.sentences, features.owners)
        source = batch_source(features, plan, describe)
        steps = steps_per_epoch(len(features.lengths), plan.batch_size)
    return Task(
        specs=tag_specs(setting.parts.model_config, len(setting.labels), config.use_crf),
        load_head=partial(_load_head, setting.labels, config.use_crf),
        source=source,
        steps_per_epoch=steps,
        evaluate=partial(evaluate, setting, evaluated) if evaluated is not None else None,
        main_metric="f1",
        labels=setting.labels,
        rate_multiples=((TAG_CRF, config.crf_learning_rate_multiple),),
    )


def _describe(sentences: Sequence[Sentence], owners: Ints, rows: Ints) -> str:
    names = ", ".join(sentences[owner].sentence_id for owner in owners[rows])
    return f"the sentences {names}"


def _load_head(labels: Sequence[str], use_crf: bool) -> Head:
    from bert_ko.tasks.ner.head import load_head

    return load_head(labels, use_crf)


def _finish(setting: Setting, predict: Predict, folder: str, step: int) -> Outcome | None:
    if setting.config.do_predict and setting.predicted is not None:
        predict_and_write(setting, setting.predicted, predict, folder)
    if setting.config.do_eval and setting.evaluated is not None:
        return evaluate_and_report(setting, setting.evaluated, predict, folder, step)
    return None


def main() -> int:
    """Runs the command."""
    return run_command(RunNerConfig, notified(_COMMAND, run))
