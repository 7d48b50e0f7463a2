"""run_squad: a KorQuAD reader, trained, asked and scored."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bert_ko import files
from bert_ko.flags import run_command, to_json
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import span_specs
from bert_ko.progress import warn
from bert_ko.tasks.fine_tuning import FineTuner, Head, Predict, Task
from bert_ko.tasks.squad.batches import WindowBatches, steps_per_epoch
from bert_ko.tasks.squad.changes import to_json as to_text
from bert_ko.tasks.squad.evaluation import Outcome, answer_and_score, summarize
from bert_ko.tasks.squad.oracle import consult_oracle
from bert_ko.tasks.squad.outputs import result_values
from bert_ko.tasks.squad.preparation import (
    Questions,
    Setting,
    batch_lengths,
    describe_questions,
    file_identity,
    prepare,
    read_questions,
)
from bert_ko.tasks.squad.reader import evaluate, read
from bert_ko.tasks.squad.settings import SquadFlags
from bert_ko.tasks.squad.trial import try_reader
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.checkpoints import list_checkpoints
from bert_ko.training.handshake import compare_vocab_size, copy_vocabulary
from bert_ko.training.runs import Run, read_model_config, refuse_other_run, write_run

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


def run(config: RunSquadConfig) -> None:
    """Reads the questions, trains, answers and scores."""
    model_config = read_model_config(config.bert_config_file)
    tokenizer = load_tokenizer(config.vocab_file, config)
    compare_vocab_size(
        len(tokenizer.vocab),
        "the vocabulary",
        config.vocab_file,
        model_config,
        config.bert_config_file,
    )
    _refuse_long_windows(config, model_config)
    files.require_writable_folder(config.output_dir)
    with files.lock(os.path.join(config.output_dir, ".lock")):
        if config.oracle:
            _consult_oracle(config, tokenizer)
            return
        _refuse_no_weights(config)
        setting = prepare(config, _COMMAND, model_config, tokenizer)
        tuner = FineTuner(
            config,
            _task(setting),
            config.predict_batch_size if setting.asked or config.is_trial else None,
        )
        found = [_run_seed(setting, tuner, seed) for seed in config.seeds]
        outcomes = [outcome for outcome in found if outcome is not None]
        if len(outcomes) > 1:
            summarize(config.output_dir, config.seeds, outcomes)
        if config.is_trial:
            try_reader(setting, tuner.predict)


def _refuse_long_windows(config: RunSquadConfig, model_config: BertConfig) -> None:
    if config.max_seq_length > model_config.max_position_embeddings:
        raise ValueError(
            f"--max_seq_length={config.max_seq_length}, but the model has "
            f"{model_config.max_position_embeddings} positions (max_position_embeddings in "
            f"{config.bert_config_file}); lower the flag."
        )


def _refuse_no_weights(config: RunSquadConfig) -> None:
    if config.do_train or config.init_checkpoint:
        return
    for seed in config.seeds:
        folder = config.folder(seed)
        if not (list_checkpoints(folder) or list_checkpoints(folder, "best")):
            raise ValueError(
                f"no checkpoint in {folder}; give --do_train, or --init_checkpoint with a reader."
            )


def _consult_oracle(config: RunSquadConfig, tokenizer: Tokenizer) -> None:
    path = config.predict_file or config.train_file
    assert path is not None
    questions = read_questions(config, path, tokenizer, config.output_dir)
    describe_questions(config, _COMMAND, questions)
    report = consult_oracle(questions.dataset, questions.features)
    lines = "".join(to_text(record) + "\n" for record in report.unreachable())
    files.write_atomic(os.path.join(config.output_dir, "unreachable.jsonl"), lines)
    print(report.format())


def _task(setting: Setting) -> Task:
    config, training, asked = setting.config, setting.training, setting.asked
    source, steps = None, 0
    if config.do_train and training is not None:
        features, left_out = training.trainable()
        if not len(features.window_counts):
            raise ValueError(f"{training.path} has no question to train on.")
        if left_out:
            warn(_COMMAND, f"{training.path}: {left_out:,} questions are not trained on")
        plan = dataclasses.replace(
            setting.reader.plan,
            batch_size=config.train_batch_size,
            lengths=batch_lengths(config, features),
        )
        steps = steps_per_epoch(len(features.window_counts), plan.batch_size)
        qas_ids = training.qas_ids

        def source(seed: int, position: dict[str, Any] | None) -> WindowBatches:
            return WindowBatches(features, dataclasses.replace(plan, seed=seed), qas_ids, position)

    return Task(
        specs=span_specs(setting.model_config),
        load_head=_load_head,
        source=source,
        steps_per_epoch=steps,
        evaluate=partial(_metrics, setting, asked) if asked is not None else None,
        main_metric="f1",
    )


def _load_head() -> Head:
    from bert_ko.tasks.squad.head import SPANS, span_loss, span_outputs

    return Head(span_loss, span_outputs, SPANS)


def _metrics(setting: Setting, asked: Questions, predict: Predict) -> Metrics:
    """While it is trained."""
    reading = read(asked.dataset, asked.features, predict, setting.reader)
    scores, report = evaluate(asked.dataset, reading)
    return result_values(scores, report, asked.dataset)


def _run_seed(setting: Setting, tuner: FineTuner, seed: int) -> Outcome | None:
    """Returns what came out, where something was scored."""
    config, tokenizer = setting.config, setting.tokenizer
    folder = config.folder(seed)
    os.makedirs(folder, exist_ok=True)
    if config.num_seeds > 1:
        print(f"\nseed {seed}", flush=True)
    identity: dict[str, Any] = {
        **to_json(config),
        "bert_config_file": setting.model_config.to_dict(),
        "random_seed": seed,
    }
    if setting.training is not None:
        identity["train_file"] = file_identity(setting.training.path)
    if config.eval_every_steps is not None and setting.asked is not None:
        identity["predict_file"] = file_identity(setting.asked.path)  # it decides what is best
    task_run = Run(
        _COMMAND,
        folder,
        setting.model_config,
        config.bert_config_file,
        identity,
        tokenizer.fingerprint,
        "the questions are cut with",
    )
    for kind in ("checkpoint", "best"):
        refuse_other_run(task_run, config.do_train, kind)
    if config.do_train:
        copy_vocabulary(tokenizer, config.vocab_file, folder)
        write_run(task_run, dataclasses.asdict(config))
    step = tuner.run(task_run, seed)
    if not config.do_predict or setting.asked is None:
        return None
    return answer_and_score(setting, setting.asked, tuner.predict, folder, step)


def main() -> int:
    """Runs the command."""
    return run_command(RunSquadConfig, run)
