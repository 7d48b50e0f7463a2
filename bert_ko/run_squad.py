"""run_squad: a KorQuAD reader, trained, asked and scored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bert_ko import files
from bert_ko.flags import run_command
from bert_ko.modeling.parameters import span_specs
from bert_ko.notification import Ending, notified
from bert_ko.progress import warn
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
from bert_ko.tasks.shown import to_json as to_text
from bert_ko.tasks.squad.evaluation import answer_and_score
from bert_ko.tasks.squad.features import Features
from bert_ko.tasks.squad.oracle import consult_oracle
from bert_ko.tasks.squad.outputs import result_values
from bert_ko.tasks.squad.preparation import (
    Questions,
    Setting,
    describe_questions,
    prepare,
    read_questions,
)
from bert_ko.tasks.squad.settings import SquadFlags
from bert_ko.tasks.squad.trial import try_reader

if TYPE_CHECKING:
    from bert_ko.tokenization.tokenizer import Tokenizer
    from bert_ko.training.objective import Metrics

_COMMAND = "run_squad"


@dataclass(frozen=True)
class RunSquadConfig(SquadFlags):
    """Fine-tunes BERT on KorQuAD or SQuAD, answers questions, and scores the answers.

    Answers are slices of the contexts, character for character. Killed, training goes on where its
    last checkpoint stands when the same command is run again.
    """


def run(config: RunSquadConfig) -> Ending:
    """Reads the questions, trains, answers and scores; returns the main score."""
    parts = open_parts(config, config.max_seq_length)
    with files.lock(os.path.join(config.output_dir, ".lock")):
        if config.oracle:
            return _consult_oracle(config, parts.tokenizer)
        refuse_no_weights(config, "a reader")
        setting = prepare(config, _COMMAND, parts.model_config, parts.tokenizer)
        return run_job(_COMMAND, config, parts, _job(setting), "the questions are cut with")


def _consult_oracle(config: RunSquadConfig, tokenizer: Tokenizer) -> Ending:
    path = config.predict_file or config.train_file
    assert path is not None
    questions = read_questions(config, path, tokenizer, config.output_dir)
    describe_questions(config, _COMMAND, questions)
    report = consult_oracle(questions.dataset, questions.features)
    lines = "".join(to_text(record) + "\n" for record in report.unreachable())
    files.write_atomic(os.path.join(config.output_dir, "unreachable.jsonl"), lines)
    print(report.format())
    return Ending()


def _job(setting: Setting) -> Job:
    config, training, asked = setting.config, setting.training, setting.asked
    identity = {}
    if training is not None:
        identity["train_file"] = file_identity(training.path)
    if config.eval_every_steps is not None and asked is not None:
        identity["predict_file"] = file_identity(asked.path)  # it decides what is best
    return Job(
        task=_task(setting),
        identity=identity,
        batch_sizes=["predict_batch_size"] if asked is not None or config.is_trial else [],
        finish=partial(_finish, setting),
        attempt=partial(try_reader, setting) if config.is_trial else None,
    )


def _finish(setting: Setting, predict: Predict, folder: str, step: int) -> Outcome | None:
    if not setting.config.do_predict or setting.asked is None:
        return None
    return answer_and_score(setting, setting.asked, predict, folder, step)


def _task(setting: Setting) -> Task:
    config, training, asked = setting.config, setting.training, setting.asked
    source, steps = None, 0
    if config.do_train and training is not None:
        features, left_out = training.trainable()
        if not len(features.window_counts):
            raise ValueError(f"{training.path} has no question to train on.")
        if left_out:
            warn(_COMMAND, f"{training.path}: {left_out:,} questions are not trained on")
        plan = setting.plan(config.train_batch_size, features)
        steps = steps_per_epoch(len(features.lengths), plan.batch_size)
        source = batch_source(features, plan, partial(_describe, features, training.qas_ids))

    return Task(
        specs=span_specs(setting.model_config),
        load_head=_load_head,
        source=source,
        steps_per_epoch=steps,
        evaluate=partial(_metrics, setting, asked) if asked is not None else None,
        main_metric="f1",
    )


def _describe(features: Features, qas_ids: Sequence[str], windows: Ints) -> str:
    names = ", ".join(qas_ids[question] for question in features.window_questions[windows])
    return f"windows of the questions {names}"


def _load_head() -> Head:
    from bert_ko.tasks.squad.head import SPANS, span_loss, span_outputs

    return Head(span_loss, span_outputs, SPANS)


def _metrics(setting: Setting, asked: Questions, predict: Predict) -> Metrics:
    """While it is trained."""
    reading = setting.reader(predict, asked.features).read(asked.dataset, asked.features)
    return result_values(reading.report(asked.dataset.golds()), asked.dataset)


def main() -> int:
    """Runs the command."""
    return run_command(RunSquadConfig, notified(_COMMAND, run))
