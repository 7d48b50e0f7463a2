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
from bert_ko.tasks.batches import Ints
from bert_ko.tasks.command import Job, file_identity, open_parts, refuse_no_weights, run_job
from bert_ko.tasks.fine_tuning import Head
from bert_ko.tasks.label_job import Actions, LabelModel, Training, label_job
from bert_ko.tasks.ner.evaluation import evaluate, evaluate_and_report, predict_and_write
from bert_ko.tasks.ner.examples import Sentence
from bert_ko.tasks.ner.preparation import Setting, prepare
from bert_ko.tasks.ner.settings import NerFlags
from bert_ko.tasks.ner.trial import try_tagger


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
        setting = prepare(config, parts)
        return run_job(config, parts, _job(setting), "the sentences are cut with")


def _job(setting: Setting) -> Job:
    config, training, evaluated = setting.config, setting.training, setting.evaluated
    predicted = setting.predicted
    model = LabelModel(
        specs=tag_specs(setting.parts.model_config, len(setting.labels), config.use_crf),
        load_head=partial(_load_head, setting.labels, config.use_crf),
        labels=setting.labels,
        main_metric="f1",
        rate_multiples=((TAG_CRF, config.crf_learning_rate_multiple),),
    )
    actions = Actions(
        evaluate=partial(evaluate, setting, evaluated) if evaluated else None,
        report=partial(evaluate_and_report, setting, evaluated) if evaluated else None,
        write=partial(predict_and_write, setting, predicted) if predicted else None,
        attempt=partial(try_tagger, setting),
    )
    paths = {"train_file": training, "eval_file": evaluated}
    files: dict[str, object] = {
        name: file_identity(texts.dataset.path) for name, texts in paths.items() if texts
    }
    files["extra_train_file"] = [file_identity(path) for path in config.extra_train_file]
    return label_job(config, model, _training(setting), actions, files)


def _training(setting: Setting) -> Training | None:
    if setting.training is None:
        return None
    dataset, features = setting.training
    plan = setting.plan(setting.config.train_batch_size, features)
    return Training(features, plan, partial(_describe, dataset.sentences, features.owners))


def _describe(sentences: Sequence[Sentence], owners: Ints, rows: Ints) -> str:
    return f"the sentences {', '.join(sentences[owner].sentence_id for owner in owners[rows])}"


def _load_head(labels: Sequence[str], use_crf: bool) -> Head:
    from bert_ko.tasks.ner.head import load_head

    return load_head(labels, use_crf)


def main() -> int:
    """Runs the command."""
    return run_command(RunNerConfig, notified(run))
