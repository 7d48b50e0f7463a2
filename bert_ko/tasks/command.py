"""What the commands that fine-tune have in common: from flags to the scores of every seed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from bert_ko import files
from bert_ko.flags import output_flags
from bert_ko.json_files import write_json
from bert_ko.modeling.config import BertConfig
from bert_ko.notification import Ending
from bert_ko.progress import format_table
from bert_ko.tasks.fine_tuning import FineTuner, FineTuningFlags, Predict, Task
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.checkpoints import list_checkpoints
from bert_ko.training.handshake import compare_vocab_size, copy_vocabulary
from bert_ko.training.runs import (
    Run,
    read_model_config,
    refuse_other_run,
    write_results,
    write_run,
)

SEEDS_NAME = "seeds.json"
REPORT_NAME = "report.html"

SeedScores = Sequence[tuple[int, Mapping[str, float]]]
Reported = TypeVar("Reported", bound=Any)


class Parts(NamedTuple):
    """What stands before the data is read.

    Attributes:
        model_config: of the model.
        tokenizer: of the model.
    """

    model_config: BertConfig
    tokenizer: Tokenizer


class Outcome(NamedTuple):
    """Of a seed.

    Attributes:
        values: the numbers of eval_results.txt.
        write_report: writes the report to a path, with the scores of all seeds; None for none.
    """

    values: dict[str, float]
    write_report: Callable[[str, SeedScores], None] | None = None


class Job(NamedTuple):
    """What a command line asks for, once its files are read.

    Attributes:
        task: to be trained.
        identity: what must stay the same for a run to go on, beside the flags that affect the
            output: by flag, see ``file_identity``.
        batch_sizes: flags of the batches to predict with.
        finish: predicts and scores with a trained model: (predict, folder, updates) to what came
            out, or None where nothing was scored.
        begin: writes into the folder of a run, before it is trained, what belongs to the weights.
        attempt: tries the model of the only seed on texts that stand in no dataset, if asked to.
    """

    task: Task
    identity: Mapping[str, Any]
    batch_sizes: Sequence[str]
    finish: Callable[[Predict, str, int], Outcome | None]
    begin: Callable[[str], None] | None = None
    attempt: Callable[[Predict], None] | None = None


def open_parts(config: FineTuningFlags, max_seq_length: int) -> Parts:
    """Reads the model's configuration and its vocabulary, and compares them.

    Args:
        config: flags.
        max_seq_length: of the examples.

    Raises:
        FileNotFoundError: one of them is not there.
        ValueError: they do not fit together.
    """
    model_config = read_model_config(config.bert_config_file)
    tokenizer = load_tokenizer(config.vocab_file, config)
    compare_vocab_size(
        len(tokenizer.vocab),
        "the vocabulary",
        config.vocab_file,
        model_config,
        config.bert_config_file,
    )
    if max_seq_length > model_config.max_position_embeddings:
        raise ValueError(
            f"--max_seq_length={max_seq_length}, but the model has "
            f"{model_config.max_position_embeddings} positions (max_position_embeddings in "
            f"{config.bert_config_file}); lower the flag."
        )
    files.require_writable_folder(config.output_dir)
    return Parts(model_config, tokenizer)


def refuse_no_weights(config: FineTuningFlags, noun: str) -> None:
    """Before anything is read or written for nothing.

    Args:
        config: flags.
        noun: what the checkpoint must hold: "a reader".

    Raises:
        ValueError: nothing is trained, and there is nothing to predict with.
    """
    if config.do_train or config.init_checkpoint:
        return
    for seed in config.seeds:
        folder = config.folder(seed)
        if not (list_checkpoints(folder) or list_checkpoints(folder, "best")):
            raise ValueError(
                f"no checkpoint in {folder}; give --do_train, or --init_checkpoint with {noun}."
            )


def run_job(config: FineTuningFlags, parts: Parts, job: Job, tokenized: str) -> Ending:
    """Trains, predicts and scores, once for each seed.

    Args:
        config: flags.
        parts: configuration and tokenizer.
        job: what is to be done.
        tokenized: what the tokenizer was applied to, for messages: "the texts are cut with".

    Returns:
        The main score, or its mean over the seeds, and how far the last of them was trained.
    """
    sizes = {name: getattr(config, name) for name in job.batch_sizes}
    tuner = FineTuner(config, job.task, sizes)
    outcomes: list[Outcome] = []
    for seed in config.seeds:
        if config.num_seeds > 1:
            print(f"\nseed {seed}", flush=True)
        run = _run_of(config, parts, job, tokenized, seed)
        outcome = _run_seed(config, parts.tokenizer, job, tuner, run, seed)
        if outcome is not None:
            outcomes.append(outcome)
    if job.attempt is not None:
        job.attempt(tuner.predict)
    scores = [outcome.values[job.task.main_metric] for outcome in outcomes]
    if len(outcomes) > 1:
        summarize(config.output_dir, config.seeds, outcomes)
    return Ending(
        {job.task.main_metric: statistics.mean(scores)} if scores else {},
        tuner.steps_trained,
        tuner.num_train_steps if config.do_train else 0,
    )


def _run_of(config: FineTuningFlags, parts: Parts, job: Job, tokenized: str, seed: int) -> Run:
    identity = {
        **output_flags(config),
        "bert_config_file": parts.model_config.to_dict(),
        "random_seed": seed,
        **job.identity,
    }
    return Run(
        config.folder(seed),
        parts.model_config,
        config.bert_config_file,
        identity,
        parts.tokenizer.fingerprint,
        tokenized,
    )


def _run_seed(
    config: FineTuningFlags, tokenizer: Tokenizer, job: Job, tuner: FineTuner, run: Run, seed: int
) -> Outcome | None:
    os.makedirs(run.folder, exist_ok=True)
    for kind in ("checkpoint", "best"):
        refuse_other_run(run, config.do_train, kind)
    if config.do_train:
        copy_vocabulary(tokenizer, run.folder)
        write_run(run, dataclasses.asdict(config))
        if job.begin is not None:
            job.begin(run.folder)
    step = tuner.run(run, seed)
    return job.finish(tuner.predict, run.folder, step)


def summarize(folder: str, seeds: Sequence[int], outcomes: Sequence[Outcome]) -> None:
    """Writes mean and deviation over seeds, and a report of the first with the scores of all.

    Args:
        folder: to write to.
        seeds: of the runs.
        outcomes: of each, at least two.
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
    scores = list(zip(seeds, results, strict=True))
    if outcomes[0].write_report is not None:
        outcomes[0].write_report(os.path.join(folder, REPORT_NAME), scores)
    print(f"\n{format_table(rows, [f'{len(results)} seeds', 'mean', 'stdev', 'min', 'max'])}\n")
    write_results(folder, values)


def report_outcome(
    folder: str,
    values: dict[str, float],
    data: Reported,
    render: Callable[[Reported], str],
    noun: str,
) -> Outcome:
    """Writes the report of a seed.

    Args:
        folder: of the run.
        values: the numbers of eval_results.txt.
        data: what the report shows, with the fields facts and seeds.
        render: makes the page.
        noun: what the report lists: "questions".
    """
    files.write_atomic(os.path.join(folder, REPORT_NAME), render(data))
    facts = [*data.facts, (f"{noun} below", "of the first seed")]

    def write_report(path: str, seeds: SeedScores) -> None:
        files.write_atomic(path, render(dataclasses.replace(data, facts=facts, seeds=seeds)))

    return Outcome(values, write_report)


def run_facts(
    config: FineTuningFlags, parts: Parts, trained_on: str | None, step: int, seconds: float
) -> list[tuple[str, str]]:
    """What every report says of the run.

    Args:
        config: flags.
        parts: the model's configuration and its tokenizer.
        trained_on: the file; None where nothing was trained.
        step: updates that the model has seen.
        seconds: that the predictions took.
    """
    model = parts.model_config
    begun = "random weights" if config.do_train else "see run.json of the run"
    return [
        ("trained on", trained_on or "not in this run"),
        ("begun from", config.init_checkpoint or begun),
        ("updates", f"{step:,}"),
        ("model", f"{model.num_hidden_layers} layers, hidden size {model.hidden_size}"),
        ("vocabulary", f"{len(parts.tokenizer.vocab):,} pieces, {config.vocab_file}"),
        ("predicted in", f"{seconds:.1f} s"),
    ]


def file_identity(path: str) -> list[str]:
    """What tells a file of examples from another: its name and its content."""
    with files.open_binary(path) as stream:
        digest = hashlib.sha256(stream.read())
    return [os.path.basename(path), digest.hexdigest()[:16]]
