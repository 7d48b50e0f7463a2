"""run_squad: a KorQuAD reader, trained, asked and scored."""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from bert_ko import files
from bert_ko.data.manifest import write_json
from bert_ko.flags import run_command, to_json
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import span_specs
from bert_ko.progress import format_table, warn
from bert_ko.tasks.fine_tuning import FineTuner, Head, Predict, Task
from bert_ko.tasks.squad.batches import BatchPlan, WindowBatches, steps_per_epoch
from bert_ko.tasks.squad.changes import to_json as to_text
from bert_ko.tasks.squad.josa import JosaStripper
from bert_ko.tasks.squad.josa_report import JosaReport, strip_answers
from bert_ko.tasks.squad.oracle import consult_oracle
from bert_ko.tasks.squad.outputs import (
    result_values,
    write_changes,
    write_predictions,
    write_problems,
)
from bert_ko.tasks.squad.pairs import Pair, converse, read_pairs, to_dataset
from bert_ko.tasks.squad.preparation import (
    Questions,
    choose_stripper,
    describe_questions,
    file_identity,
    read_questions,
)
from bert_ko.tasks.squad.reader import ReaderSettings, Reading, ask, evaluate, read
from bert_ko.tasks.squad.settings import SquadFlags
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.checkpoints import list_checkpoints
from bert_ko.training.handshake import compare_vocab_size, copy_vocabulary
from bert_ko.training.runs import Run, read_model_config, write_results, write_run

if TYPE_CHECKING:
    from bert_ko.tokenization.tokenizer import Tokenizer
    from bert_ko.training.objective import Metrics

_COMMAND = "run_squad"
_SEEDS_NAME = "seeds.json"


@dataclass(frozen=True)
class RunSquadConfig(SquadFlags):
    """Fine-tunes BERT on KorQuAD or SQuAD, answers questions, and scores the answers.

    Answers are slices of the contexts, character for character. Killed, training goes on where its
    last checkpoint stands when the same command is run again.
    """


class _Setting(NamedTuple):
    """What a command line has led to, before anything is computed."""

    config: RunSquadConfig
    model_config: BertConfig
    tokenizer: Tokenizer
    training: Questions | None
    asked: Questions | None
    reader: ReaderSettings


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
        setting = _prepare(config, model_config, tokenizer)
        tuner = FineTuner(
            config,
            _task(setting),
            config.predict_batch_size if setting.asked or config.is_trial else None,
        )
        results = [_run_seed(setting, tuner, seed) for seed in config.seeds]
        if config.num_seeds > 1 and config.do_predict:
            _summarize(config, [values for values in results if values])
        if config.is_trial:
            _try(setting, tuner.predict)


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


def _prepare(config: RunSquadConfig, model_config: BertConfig, tokenizer: Tokenizer) -> _Setting:
    """Reads and cuts the files that the command needs."""

    def questions(path: str | None, is_needed: bool) -> Questions | None:
        if path is None or not is_needed:
            return None
        return read_questions(config, path, tokenizer, config.output_dir)

    evaluates = config.do_predict or (config.do_train and config.eval_every_steps is not None)
    answers = evaluates or config.is_trial
    learns = answers and config.strip_josa == "auto"
    training = questions(config.train_file, config.do_train or learns)
    asked = questions(config.predict_file, evaluates)
    found = [part for part in (training, asked) if part is not None]
    for part in found:
        describe_questions(config, _COMMAND, part)
    write_problems(config.output_dir, {part.path: part.dataset for part in found})
    vocab = tokenizer.vocab
    reader = ReaderSettings(
        tokenizer,
        config.window_config,
        BatchPlan(
            config.predict_batch_size,
            (vocab.pad_id, vocab.cls_id, vocab.sep_id),
            config.max_seq_length,
            config.length_buckets,
        ),
        config.prediction_config,
        choose_stripper(config, _COMMAND, training) if answers else None,
    )
    return _Setting(config, model_config, tokenizer, training, asked, reader)


def _task(setting: _Setting) -> Task:
    config, training, asked = setting.config, setting.training, setting.asked
    source, steps = None, 0
    if config.do_train and training is not None:
        features, left_out = training.trainable()
        if not len(features.window_counts):
            raise ValueError(f"{training.path} has no question to train on.")
        if left_out:
            warn(_COMMAND, f"{training.path}: {left_out:,} questions are not trained on")
        plan = dataclasses.replace(setting.reader.plan, batch_size=config.train_batch_size)
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


def _metrics(setting: _Setting, asked: Questions, predict: Predict) -> Metrics:
    """While it is trained."""
    reading = read(asked.dataset, asked.features, predict, setting.reader)
    scores, report = evaluate(asked.dataset, reading)
    return result_values(scores, report, asked.dataset)


def _run_seed(setting: _Setting, tuner: FineTuner, seed: int) -> dict[str, float] | None:
    """Returns the scores, where there are some."""
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
    task_run = Run(
        _COMMAND,
        folder,
        setting.model_config,
        config.bert_config_file,
        identity,
        tokenizer.fingerprint,
        "--vocab_file, the questions are cut with,",
    )
    if config.do_train:
        copy_vocabulary(tokenizer, config.vocab_file, folder)
        write_run(task_run, dataclasses.asdict(config))
    step = tuner.run(task_run, seed)
    if not config.do_predict or setting.asked is None:
        return None
    return _answer(setting, setting.asked, tuner.predict, folder, step)


def _answer(
    setting: _Setting, asked: Questions, predict: Predict, folder: str, step: int
) -> dict[str, float] | None:
    """Answers the questions, and writes answers, scores and report."""
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
    return values


def _report_of_always(asked: Questions, reading: Reading) -> JosaReport:
    from bert_ko.tasks.squad.josa_report import make_josa_report

    starts = {p.qas_id: reading.spans[p.qas_id][0] for p in reading.predictions}
    stripped = strip_answers(asked.dataset, reading.chosen, starts, JosaStripper())
    return make_josa_report(asked.dataset.golds(), reading.chosen, stripped)


def _summarize(config: RunSquadConfig, results: list[dict[str, float]]) -> None:
    """Mean and deviation over the seeds."""
    if not results:
        return
    names = [name for name in results[0] if not name.endswith("total")]
    rows: list[list[object]] = []
    values: dict[str, Any] = {"num_seeds": len(results)}
    for name in names:
        numbers = [result[name] for result in results]
        deviation = statistics.stdev(numbers) if len(numbers) > 1 else 0.0
        values[f"{name}_mean"], values[f"{name}_stdev"] = statistics.mean(numbers), deviation
        rows.append([name, statistics.mean(numbers), deviation, min(numbers), max(numbers)])
    write_json(
        os.path.join(config.output_dir, _SEEDS_NAME),
        {"seeds": list(config.seeds), "results": results},
    )
    print(f"\n{format_table(rows, [f'{len(results)} seeds', 'mean', 'stdev', 'min', 'max'])}\n")
    write_results(config.output_dir, values)


def _try(setting: _Setting, predict: Predict) -> None:
    """Answers questions that stand in no dataset."""
    config = setting.config
    if config.input_file is not None:
        pairs = read_pairs(config.input_file)
        for pair, record in zip(pairs, _records(setting, predict, pairs), strict=True):
            print(to_text({"id": pair.qas_id, "question": pair.question, **record}))
    if config.interactive:
        print("a context, then questions on it; an empty line before the next context", flush=True)
        for pair in converse(sys.stdin):
            (record,) = _records(setting, predict, [pair])
            print(_format_record(record), flush=True)


def _records(setting: _Setting, predict: Predict, pairs: list[Pair]) -> Iterable[dict[str, Any]]:
    reading = ask(to_dataset(pairs), predict, setting.reader)
    for prediction in reading.predictions:
        start, end = reading.spans[prediction.qas_id]
        yield {
            "answer": reading.stripped.texts[prediction.qas_id],
            "answer_start": start,
            "answer_end": end,
            "probability": prediction.best(setting.reader.answers).probability,
            "others": [
                {"text": c.text, "probability": c.probability} for c in prediction.candidates[1:4]
            ],
        }


def _format_record(record: dict[str, Any]) -> str:
    others = ", ".join(f"{c['text']} {c['probability']:.2f}" for c in record["others"])
    place = f"{record['answer_start']}:{record['answer_end']}"
    answer = record["answer"] or "(no answer)"
    return f"→ {answer}  ({record['probability']:.2f}, characters {place}; else {others})"


def main() -> int:
    """Runs the command."""
    return run_command(RunSquadConfig, run)
