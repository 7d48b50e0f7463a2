"""The life of a run, the same for every command that trains: what it writes, how it is resumed,
evaluated, repeated and refused; with a model of numpy, and at the end with TensorFlow and JAX.
"""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko import files
from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.heads import PretrainingHead, SpanHead, model_specs
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.checkpoints import load_checkpoint, save_checkpoint
from bert_ko.training.loop import TrainingLoop
from tests.fakes import (
    REPOSITORY,
    SECRET,
    Command,
    Ended,
    FakeBackend,
    FakeProgram,
    checkpoints,
    contents,
    last,
    metrics,
    read_json,
    results,
    row_keys,
    serving,
    stop_when,
    unpack,
    weights,
    written,
)
from tests.small_data import CONFIG, MODEL, Trainable, save_weights, write_config

COMMANDS = ["pretraining", "squad", "classifier", "ner"]
FINE_TUNED = pytest.mark.parametrize("trainable", COMMANDS[1:], indirect=True)
GIVE_THE_SAME = (
    "Give the same flags to resume, or choose another --output_dir, with this one as "
    "--init_checkpoint to start from its weights."
)


@pytest.fixture(scope="module", params=COMMANDS)
def trainable(request: pytest.FixtureRequest) -> Trainable:
    found: Trainable = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def finished(finish: Callable[[Trainable], Path], trainable: Trainable) -> Path:
    """A run that was trained and asked; not to be changed."""
    return finish(trainable)


@pytest.fixture
def train(trainable: Trainable, backend: FakeBackend) -> Command:
    """Trains, with a model of numpy."""
    return trainable.command.having(**trainable.train)


@pytest.fixture
def ask(trainable: Trainable, backend: FakeBackend) -> Command:
    """Evaluates and predicts."""
    return trainable.command.having(**trainable.ask)


@pytest.fixture
def watch(trainable: Trainable, train: Command) -> Command:
    """Trains, and evaluates every 5 updates and at the end."""
    return train.having(**trainable.ask).having(**trainable.watch)


def step_of(folder: Path) -> int:
    return int(last(folder).name[-8:])


def forget(folder: Path, after: int) -> None:
    """Removes the checkpoints of later updates, as if the run had been killed."""
    for name in checkpoints(folder):
        if int(name[-8:]) > after:
            shutil.rmtree(folder / name)


def assert_refused_early(ended: Ended, message: str, backend: FakeBackend) -> None:
    """Before anything is loaded."""
    assert ended.error == message
    assert backend.configs == []


# What a run leaves


@pytest.mark.slow
def test_run_writes_what_later_commands_need(
    trainable: Trainable, train: Command, tmp_path: Path, vocab_folder: str
) -> None:
    printed = train.succeed(output_dir=tmp_path, **trainable.ask).out
    labels = ["labels.json"] if trainable.labels else []
    assert {*written(tmp_path)} - {*checkpoints(tmp_path)} == {
        ".lock", "bert_config.json", "eval_results.txt", "metrics.jsonl", "run.json", "tensorboard",
        "tokenizer_config.json", "vocab.txt", *trainable.written, *labels, "report.html",
    }  # fmt: skip
    steps = step_of(tmp_path)
    kept = sorted({*range(3, steps, 3), steps})[-5:]
    assert checkpoints(tmp_path) == [f"checkpoint-{step:08d}" for step in kept]
    specs = model_specs(CONFIG, trainable.head)
    parameters = load_checkpoint(str(last(tmp_path))).parameters
    assert {name: array.shape for name, array in parameters.items()} == {
        name: spec.shape for name, spec in specs.items()
    }
    text = (tmp_path / "eval_results.txt").read_text()
    assert text in printed and f"global_step = {steps}\n" in text
    assert list(results(tmp_path)) == sorted(results(tmp_path))
    assert trainable.metric in results(tmp_path)
    assert BertConfig(**read_json(tmp_path / "bert_config.json")) == CONFIG
    assert load_tokenizer(str(tmp_path)).fingerprint == load_tokenizer(vocab_folder).fingerprint
    about = read_json(tmp_path / "run.json")
    assert about["flags"]["learning_rate"] == 5e-5
    assert about["flags"]["save_checkpoints_steps"] == 3
    trained = [record for record in metrics(tmp_path) if "loss" in record]
    assert [record["step"] for record in trained] == list(range(1, steps + 1))
    assert trained[0]["learning_rate"] == 0 < trained[-1]["learning_rate"] < 5e-5
    header, command, *said = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert re.match(r"# \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S+ bert_ko \d", header)
    assert f" --output_dir={tmp_path} " in f"{command} "
    assert any(line.endswith(f" all {steps} steps are done") for line in said)
    train.succeed(output_dir=tmp_path, **trainable.ask)
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").count("\n# ") == 3  # appended to


@pytest.mark.slow
def test_run_is_repeated_from_its_run_json(
    trainable: Trainable, train: Command, tmp_path: Path
) -> None:
    train.succeed(output_dir=tmp_path / "first")
    again = Command(trainable.command.name).having(config=tmp_path / "first" / "run.json")
    again.succeed(output_dir=tmp_path / "second")
    assert weights(tmp_path / "second") == weights(tmp_path / "first")
    flags = [read_json(tmp_path / name / "run.json")["flags"] for name in ("first", "second")]
    changed = {name for name, value in flags[0].items() if value != flags[1][name]}
    assert changed == {"output_dir"}


@pytest.mark.slow
def test_run_begins_with_new_weights_by_the_seed(
    trainable: Trainable, train: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    for output, seed in (("a", 1), ("b", 1), ("c", 2)):
        train.succeed(output_dir=tmp_path / output, random_seed=seed)
    wanted = initial_parameters(model_specs(CONFIG, trainable.head), 0.02, 1)
    first, _, third = (program.given[0] for program in backend.programs)
    assert first.keys() == wanted.keys()
    assert all(np.array_equal(first[name], array) for name, array in wanted.items())
    assert any(not np.array_equal(first[name], third[name]) for name in wanted)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


@pytest.mark.slow
def test_run_model_of_another_config_in_the_folder_stays(
    train: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    config = Path(write_config(tmp_path / "bert_config.json", hidden_size=768))
    assert_refused_early(
        train(output_dir=tmp_path),
        f"{config} belongs to a different model and would be overwritten; choose another "
        "--output_dir.",
        backend,
    )
    assert read_json(config)["hidden_size"] == 768
    write_config(config)  # the run's own
    train.succeed(output_dir=tmp_path, bert_config_file=config)
    assert read_json(config) == MODEL


@pytest.mark.slow
def test_run_hours_over_stop_it_and_more_hours_resume_it(
    train: Command, finished: Path, tmp_path: Path
) -> None:
    printed = train.succeed(output_dir=tmp_path, max_hours=1e-9).err
    assert re.search(r"--max_hours reached at step \d+; raise it to resume\n", printed)
    train.succeed(output_dir=tmp_path, max_hours=1)
    assert weights(tmp_path) == weights(finished)


# Resuming


@pytest.mark.slow
def test_run_resumes_from_the_last_checkpoint(
    trainable: Trainable, train: Command, backend: FakeBackend, folder: Path, finished: Path
) -> None:
    left = folder / ".checkpoint-00000012.tmp"
    shutil.copytree(last(folder), left)
    (left / "optimizer.safetensors").write_bytes(b"half")
    kept = int(checkpoints(folder)[0][-8:])
    forget(folder, after=kept)
    for name in ("eval_results.txt", *trainable.written):
        (folder / name).unlink()
    # Neither what a kill has left, nor what is not the run's, is in the way.
    (folder / "checkpoint-00000099").mkdir()
    (folder / "논문.txt").write_text("내 논문")
    printed = train.succeed(output_dir=folder, **trainable.ask).err
    assert f"resuming from step {kept}\n" in printed
    (program,) = backend.programs
    assert len(program.restored[0]) == 2 * len(model_specs(CONFIG, trainable.head))
    assert len(program.batches) == step_of(finished) - kept
    assert (folder / "논문.txt").read_text() == "내 논문" and not left.exists()
    assert metrics(folder) == metrics(finished) and weights(folder) == weights(finished)
    for name in ("eval_results.txt", *trainable.written):
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.slow
@FINE_TUNED
def test_run_packed_has_the_updates_of_the_unpacked_one(
    trainable: Trainable, train: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    printed = train.succeed(output_dir=tmp_path / "packed", pack=True, **trainable.ask).err
    assert re.search(r"^packed: \d+\.\d% padding in place of \d+\.\d%$", printed, re.MULTILINE)
    train.succeed(output_dir=tmp_path / "alone", length_buckets=False, **trainable.ask)
    packed, alone = (program.batches for program in backend.programs)
    assert sum(len(batch["input_ids"]) for batch in packed) < 4 * len(packed)
    for batch, other in zip(packed, alone, strict=True):
        assert sorted(row_keys(unpack(batch))) == sorted(set(row_keys(other)))
    found, wanted = (metrics(tmp_path / name) for name in ("packed", "alone"))
    assert [record["loss"] for record in found] == [record["loss"] for record in wanted]
    last_step = step_of(tmp_path / "packed")
    forget(tmp_path / "packed", after=last_step - 1)
    before = metrics(tmp_path / "packed")
    train.succeed(output_dir=tmp_path / "packed", pack=True)
    assert step_of(tmp_path / "packed") == last_step and metrics(tmp_path / "packed") == before


CHANGES = {
    "learning_rate": 1e-3, "train_batch_size": 12, "gradient_accumulation_steps": 2,
    "random_seed": 1, "weight_decay": 0, "clip_norm": 0, "optimizer": "lamb",
    "learning_rate_schedule": "constant", "precision": "bfloat16", "attention": "plain",
    "init_checkpoint": "/nowhere", "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0.5,
}  # fmt: skip
FINE_TUNING_CHANGES = {
    "num_train_epochs": 4, "warmup_proportion": 0.2, "layer_decay": 0.9, "length_buckets": False,
    "max_seq_length": 30, "pack": True,
}  # fmt: skip


@pytest.mark.slow
def test_run_changed_flag_is_an_error_that_names_it(
    trainable: Trainable, train: Command, folder: Path
) -> None:
    before = contents(folder)
    changes = {**CHANGES, **trainable.changes}
    if "train_file" in trainable.train:
        changes |= FINE_TUNING_CHANGES
    for name, value in changes.items():
        message = train(output_dir=folder, **{name: value}).error
        assert message.startswith(f"{last(folder)} belongs to a different run: "), message
        differences = message.removesuffix(f" {GIVE_THE_SAME}").partition(": ")[2]
        assert re.fullmatch(rf"--{name} (was \S+, now \S+|had 0 items, now 1)\.", differences)
    assert contents(folder) == before


def test_run_changed_data_or_model_is_an_error_that_names_them(
    trainable: Trainable, train: Command, folder: Path, tmp_path: Path
) -> None:
    before = contents(folder)
    flag = trainable.file_flag
    data = str(trainable.train[flag])
    if flag == "input_file":
        other, wanted = data.replace("[0-2]", "[0-1]"), "--input_file had 3 items, now 2."
    else:
        (tmp_path / "other").mkdir()
        other = str(tmp_path / "other" / Path(data).name)
        Path(other).write_text(Path(data).read_text("utf-8").replace("은 ", "도 "), "utf-8")
        wanted = f"--{flag} had '"
    message = train(output_dir=folder, **{flag: other}).error
    assert f"{last(folder)} belongs to a different run: {wanted}" in message
    config = write_config(tmp_path / "c.json", hidden_size=32, hidden_dropout_prob=0)
    assert train(output_dir=folder, bert_config_file=config).error == (
        f"{last(folder)} belongs to a different run: --bert_config_file: hidden_dropout_prob was "
        f"0.1, now 0, hidden_size was 16, now 32. {GIVE_THE_SAME}"
    )
    assert contents(folder) == before


@pytest.mark.slow
def test_run_what_changes_no_weight_may_change(
    trainable: Trainable, train: Command, folder: Path, finished: Path, tmp_path: Path
) -> None:
    forget(folder, after=step_of(folder) - 1)
    flag = trainable.file_flag
    moved = tmp_path / "moved"
    source = Path(trainable.train[flag]).parent
    shutil.copytree(source, moved)
    train.succeed(
        output_dir=folder, save_checkpoints_steps=1, keep_checkpoint_max=2, log_every_steps=2,
        iterations_per_loop=1, max_hours=100, num_devices=1, num_tpu_cores=1,
        bert_config_file=write_config(tmp_path / "same.json", initializer_range=0.02),
        **{flag: str(trainable.train[flag]).replace(str(source), str(moved))},
    )  # fmt: skip
    assert len(checkpoints(folder)) == 2
    assert weights(folder) == weights(finished)


# What a checkpoint of commit 4948121 has: keys of its state, and of its identity.
FORMER_STATE = {
    "format", "identity", "tokenizer_fingerprint", "step", "position", "seconds", "sums",
    "steps_in_sums", "computed_with", "metrics",
}  # fmt: skip
FORMER_IDENTITY = {
    "bert_config_file", "input_file", "train_file", "eval_file", "predict_file", "extra_train_file",
    "josa_file", "attention", "clip_norm", "gradient_accumulation_steps", "init_checkpoint",
    "learning_rate", "learning_rate_schedule", "max_seq_length", "optimizer", "precision",
    "random_seed", "train_batch_size", "weight_decay", "do_whole_word_mask", "masked_lm_prob",
    "max_ngram_size", "max_predictions_per_seq", "num_train_steps", "num_warmup_steps",
    "replace_unit", "shuffle_buffer_size", "whole_word_unit", "doc_stride", "eval_every_steps",
    "input_encoding", "layer_decay", "length_buckets", "max_query_length", "num_train_epochs",
    "version_2_with_negative", "warmup_proportion", "class_weights", "label_column",
    "max_train_examples", "task_name", "task_type", "text_column", "text_pair_column",
    "crf_learning_rate_multiple", "use_crf",
}  # fmt: skip


@pytest.mark.slow
def test_run_begun_before_newer_flags_resumes(
    trainable: Trainable, train: Command, folder: Path, finished: Path
) -> None:
    forget(folder, after=step_of(folder) - 1)
    path = last(folder)
    found = load_checkpoint(str(path))
    state = {key: value for key, value in found.state.items() if key in FORMER_STATE}
    state["identity"] = {k: v for k, v in state["identity"].items() if k in FORMER_IDENTITY}
    former = found._replace(state=state)
    save_checkpoint(str(folder), state["step"], former, BertConfig(**MODEL), keep=0)
    train.succeed(output_dir=folder)
    assert weights(folder) == weights(finished)


@pytest.mark.slow
def test_run_of_another_version_or_damaged_says_what_to_do(train: Command, folder: Path) -> None:
    path, before = last(folder), checkpoints(folder)[-2]
    state = (path / "state.json").read_text()
    newer = {**json.loads(state), "format": 99}
    del newer["crc32c"], newer["bert_config_crc32c"]
    (path / "state.json").write_text(json.dumps(newer))
    assert train(output_dir=folder).error == (
        f"{path} was written by another version; choose another --output_dir."
    )
    (path / "state.json").write_text(state)
    model = path / "model.safetensors"
    model.write_bytes(model.read_bytes()[:1000])
    message = train(output_dir=folder).error
    assert message.startswith(f"{model} is damaged or not a safetensors file (")
    assert message.endswith(f"). Delete the folder {path} to resume from {folder}/{before}.")
    shutil.rmtree(path)
    train.succeed(output_dir=folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position": {"zz": 1}}, r"position: '\w+' is (missing|unknown)\."),
        ({"tokenizer_fingerprint": None}, r"tokenizer_fingerprint is missing\."),
    ],
)
def test_run_edited_state_says_what_is_wrong_and_to_delete_its_folder(
    changes: dict[str, Any], message: str, train: Command, folder: Path
) -> None:
    forget(folder, 8)
    path = last(folder)
    state = {**json.loads((path / "state.json").read_text()), **changes}
    kept = {name: value for name, value in state.items() if value is not None or name == "position"}
    del kept["crc32c"], kept["bert_config_crc32c"]  # as older versions wrote it
    (path / "state.json").write_text(json.dumps(kept))
    assert re.fullmatch(
        rf"{path}/state\.json: {message} Delete the folder {path} to (resume from {folder}/\S+|"
        r"start again)\.",
        train(output_dir=folder).error,
    )


@pytest.mark.slow
def test_run_that_is_done_does_only_what_is_asked(
    trainable: Trainable, train: Command, backend: FakeBackend, folder: Path
) -> None:
    before, steps = contents(folder), step_of(folder)
    printed = train.succeed(output_dir=folder).err
    assert f"all {steps} steps are done; nothing else is asked for" in printed.splitlines()
    assert backend.configs == [] and contents(folder) == before
    for name in ("eval_results.txt", *trainable.written):
        (folder / name).unlink()
    train.succeed(output_dir=folder, **trainable.ask)
    assert backend.programs[0].batches == [] and contents(folder) == before


def test_run_meanwhile_is_refused(train: Command, folder: Path) -> None:
    with files.lock(str(folder / ".lock")):
        message = train(output_dir=folder).error
    assert message == f"another run is writing here ({folder}); wait for it or stop it."
    train.succeed(output_dir=folder)


# Evaluating while training


@pytest.mark.slow
def test_run_watched_writes_what_it_has_seen_and_changes_no_weight(
    trainable: Trainable, watch: Command, finished: Path, tmp_path: Path
) -> None:
    watch.succeed(output_dir=tmp_path)
    steps = step_of(tmp_path)
    seen = [r["step"] for r in metrics(tmp_path) if f"eval_{trainable.metric}" in r]
    at_end = [] if isinstance(trainable.head, PretrainingHead) else [steps]
    assert seen == [*range(5, steps, 5), *at_end]
    assert weights(tmp_path) == weights(finished)


@pytest.mark.slow
@FINE_TUNED
def test_run_keeps_the_best_and_uses_it(
    trainable: Trainable, watch: Command, ask: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    backend.is_good = lambda steps, seed: steps in (5, 10)  # of equals the first is kept
    watch.succeed(output_dir=tmp_path)
    metric, steps = trainable.metric, step_of(tmp_path)
    scores = {r["step"]: r[f"eval_{metric}"] for r in metrics(tmp_path) if f"eval_{metric}" in r}
    assert [step for step, score in scores.items() if score == 100] == [5, 10]
    assert max(scores) == steps
    assert checkpoints(tmp_path, "best") == ["best-00000005"]
    assert sorted(os.listdir(tmp_path / "best-00000005")) == [
        "bert_config.json", "model.safetensors", "state.json"
    ]  # fmt: skip
    best = load_checkpoint(str(tmp_path / "best-00000005"), with_slots=False)
    assert best.state["step"] == 5 and best.state["metrics"][metric] == 100
    assert results(tmp_path)[metric] == 100 and results(tmp_path)["global_step"] == 5
    # Whoever asks the run later gets the same.
    before = contents(tmp_path)
    ask.succeed(output_dir=tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.slow
@FINE_TUNED
def test_run_killed_resumes_with_the_best_so_far(
    watch: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    backend.is_good = lambda steps, seed: steps == 5
    whole = tmp_path / "whole"
    watch.succeed(output_dir=whole, keep_checkpoint_max=0)
    for kept in (3, 6):  # before the best, and after it
        folder = Path(shutil.copytree(whole, tmp_path / f"run-{kept}"))
        forget(folder, after=kept)
        watch.succeed(output_dir=folder)
        assert metrics(folder) == metrics(whole) and weights(folder) == weights(whole)
        assert results(folder) == results(whole)
    # Killed before its first checkpoint, it has the best weights alone.
    forget(whole, after=0)
    assert watch(output_dir=whole, learning_rate=1e-3).error == (
        f"{whole}/best-00000005 belongs to a different run: --learning_rate was 5e-05, now 0.001. "
        f"{GIVE_THE_SAME}"
    )
    watch.succeed(output_dir=whole)
    assert results(whole)["global_step"] == 5


@pytest.mark.slow
@FINE_TUNED
def test_run_watched_on_other_data_is_another_run(
    trainable: Trainable, watch: Command, tmp_path: Path
) -> None:
    watch.succeed(output_dir=tmp_path / "run")
    (flag,) = (name for name in trainable.watch if name.endswith("file"))
    other = shutil.copy(trainable.train["train_file"], tmp_path / "other.x")
    other = shutil.move(other, (tmp_path / "other").with_suffix(Path(trainable.watch[flag]).suffix))
    message = watch(output_dir=tmp_path / "run", **{flag: other}).error
    assert f"belongs to a different run: --{flag} had 'data." in message


# Several seeds


@pytest.mark.slow
@FINE_TUNED
def test_run_seeds_are_runs_of_their_own(
    trainable: Trainable, train: Command, ask: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    backend.is_good = lambda steps, seed: seed != 6
    run, metric = tmp_path / "run", trainable.metric
    ended = train.succeed(output_dir=run, random_seed=5, num_seeds=2, **trainable.ask)
    assert "\nseed 5\n" in ended.err and "\nseed 6\n" in ended.err and "2 seeds" in ended.out
    (program,) = backend.programs  # compiled once
    assert program.seeds == [5, 6]
    assert written(run) == [
        ".lock", "eval_results.txt", "report.html", "seed-5", "seed-6", "seeds.json",
    ]  # fmt: skip
    values = [results(run / f"seed-{seed}") for seed in (5, 6)]
    scores = [value[metric] for value in values]
    assert scores[0] == 100 > scores[1]
    assert read_json(run / "seeds.json") == {
        "seeds": [5, 6],
        "results": [{k: v for k, v in value.items() if k != "global_step"} for value in values],
    }
    summary = results(run)
    assert summary["num_seeds"] == 2 and not {"total_mean", "global_step"} & summary.keys()
    assert summary[f"{metric}_mean"] == pytest.approx(np.mean(scores))
    assert summary[f"{metric}_stdev"] == pytest.approx(np.std(scores, ddof=1))
    assert "of the first seed" in (run / "report.html").read_text("utf-8")
    # Each is what a run with this seed alone is, and a model by itself.
    train.succeed(output_dir=tmp_path / "alone", random_seed=6)
    assert weights(tmp_path / "alone") == weights(run / "seed-6")
    before = contents(run)
    ask.succeed(output_dir=run, random_seed=5, num_seeds=2)
    Command(trainable.command.name).succeed(output_dir=run / "seed-5", **trainable.ask)
    (run / "seed-5" / ".lock").unlink()
    assert contents(run) == before


@pytest.mark.slow
@FINE_TUNED
def test_run_seeds_resume_and_more_are_added(
    trainable: Trainable, train: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    seeds = train.having(output_dir=tmp_path, random_seed=5, **trainable.ask)
    seeds.succeed(num_seeds=2)
    seeds.succeed(num_seeds=3)
    second = backend.programs[1]
    assert len(second.restored) == 2  # two were finished
    assert len(second.batches) == step_of(tmp_path / "seed-5")
    assert read_json(tmp_path / "seeds.json")["seeds"] == [5, 6, 7]


# A model that is trained already


def test_run_asked_alone_reads_only_what_it_needs(
    trainable: Trainable, ask: Command, backend: FakeBackend, folder: Path
) -> None:
    # Neither the training data, nor the slots, nor flags of training.
    (last(folder) / "optimizer.safetensors").unlink()
    before = contents(folder)
    for name in ("eval_results.txt", *trainable.written):
        (folder / name).unlink()
    ask.succeed(
        output_dir=folder, learning_rate=1, train_batch_size=64, clip_norm=7,
        **{trainable.file_flag: f"{folder}/gone"},
    )  # fmt: skip
    assert contents(folder) == before
    (program,) = backend.programs
    assert program.optimizer is None


@pytest.mark.slow
def test_run_trained_model_needs_no_further_flags(
    trainable: Trainable, backend: FakeBackend, folder: Path, tmp_path: Path
) -> None:
    command = Command(trainable.command.name)
    if isinstance(trainable.head, PretrainingHead):  # a file and lengths of shards
        names = ("input_file", "max_seq_length", "max_predictions_per_seq")
        command = command.having(**{name: trainable.command.flags[name] for name in names})
    before = contents(folder)
    for name in ("eval_results.txt", *trainable.written):
        (folder / name).unlink()
    command = command.having(**trainable.ask)
    if trainable.command.name == "run_squad":
        command = command.having(strip_josa="never")
    command.succeed(output_dir=folder)
    assert contents(folder) == before
    command.succeed(output_dir=tmp_path / "new", init_checkpoint=folder)
    for name in trainable.written:
        assert (tmp_path / "new" / name).read_bytes() == before[name], name


@pytest.mark.slow
def test_run_asked_alone_of_another_model_is_refused(
    ask: Command, folder: Path, tmp_path: Path, vocab_folder: str, wordpiece_folder: str
) -> None:
    other = write_config(tmp_path / "other.json", hidden_act="relu")
    message = ask(output_dir=folder, bert_config_file=other).error
    assert message.startswith(f"--bert_config_file: {other} is not the configuration that ")
    assert message.endswith(" (hidden_act was 'gelu', now 'relu'); leave the flag out.")
    message = ask(output_dir=folder, vocab_file=wordpiece_folder).error
    assert message.startswith(f"--vocab_file: {wordpiece_folder} is not the vocabulary beside the ")
    without_dropout = write_config(tmp_path / "dropout.json", hidden_dropout_prob=0)
    ask.succeed(output_dir=folder, bert_config_file=without_dropout)


def test_run_asked_alone_without_weights_makes_no_folder(
    ask: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    assert_refused_early(
        ask(output_dir=tmp_path / "new"),
        f"no checkpoint in {tmp_path}/new; give --do_train, or --init_checkpoint with a trained "
        "model.",
        backend,
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", ["", "/{last}", "/{last}/model.safetensors"])
def test_run_asked_alone_of_an_init_checkpoint(
    place: str, trainable: Trainable, ask: Command, folder: Path, tmp_path: Path
) -> None:
    source = f"{folder}{place.format(last=last(folder).name)}"
    ended = ask.succeed(output_dir=tmp_path / "new", init_checkpoint=source)
    count = len(model_specs(CONFIG, trainable.head))
    assert f"{count} variables loaded, 0 new, 0 not used" in ended.err
    assert results(tmp_path / "new") == {**results(folder), "global_step": 0}
    for name in trainable.written:
        assert (tmp_path / "new" / name).read_bytes() == (folder / name).read_bytes(), name
    assert written(tmp_path / "new") == sorted(
        [".lock", "eval_results.txt", "report.html", *trainable.written]
    )


@pytest.mark.slow
def test_run_training_begins_with_an_init_checkpoint(
    train: Command, backend: FakeBackend, folder: Path, tmp_path: Path
) -> None:
    second = train.having(
        output_dir=tmp_path / "second", init_checkpoint=folder, untrained_positions="keep"
    )
    assert "variables loaded, 0 new, 0 not used" in second.succeed().err
    trained = load_checkpoint(str(last(folder))).parameters
    given = backend.programs[0].given[0]
    assert all(np.array_equal(given[name], array) for name, array in trained.items())
    first = metrics(tmp_path / "second")[0]
    assert (first["step"], first["learning_rate"]) == (1, 0)  # its own warm-up
    # It is not read again.
    shutil.rmtree(last(tmp_path / "second"))
    shutil.move(folder, tmp_path / "gone")
    assert "variables loaded" not in second.succeed().err


@pytest.mark.slow
def test_run_init_checkpoint_of_another_model_is_refused(
    trainable: Trainable, train: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    head, labels = trainable.head, trainable.labels
    save_weights(tmp_path / "tokenizer", head, labels, "0123456789abcdef")
    save_weights(tmp_path / "size", head, labels, vocab_size=32000)
    save_weights(tmp_path / "act", head, labels, hidden_act="gelu_erf")
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    config = trainable.command.flags["bert_config_file"]
    for name, message in (
        ("tokenizer", "tokenizer/checkpoint-00000007 was trained with another tokenizer than "),
        ("size", "word_embeddings has shape [32000, 16] in "),
        ("size", f"but [1500, 16] by {config}; likely vocab_size: the checkpoint has 32,000 "),
        ("pytorch_model.bin", "is a pickle, which can run any code"),
        ("nowhere", f"nothing at {tmp_path}/nowhere"),
    ):
        found = train(output_dir=tmp_path / "run", init_checkpoint=tmp_path / name).error
        assert message in found
    assert backend.configs == [] and not (tmp_path / "run" / "run.json").exists()
    ended = train.succeed(output_dir=tmp_path / "run", init_checkpoint=tmp_path / "act")
    assert ended.warnings == [
        f"{tmp_path}/act/checkpoint-00000007 was trained with another configuration than "
        f"{config}: hidden_act was 'gelu_erf', now 'gelu'"
    ]


@pytest.mark.slow
def test_run_init_checkpoint_without_the_head_serves_for_training_alone(
    trainable: Trainable, train: Command, ask: Command, tmp_path: Path
) -> None:
    is_pretraining = isinstance(trainable.head, PretrainingHead)
    save_weights(
        tmp_path / "other", SpanHead() if is_pretraining else PretrainingHead(), trainable.labels
    )
    message = ask(output_dir=tmp_path / "run", init_checkpoint=tmp_path / "other").error
    assert message.startswith(f"--init_checkpoint: {tmp_path}/other/checkpoint-00000007 lacks ")
    assert message.endswith("; it was not trained for this task. Give --do_train.")
    printed = train.succeed(output_dir=tmp_path / "run", init_checkpoint=tmp_path / "other").err
    assert re.search(r" [1-9]\d* new, ", printed)


# What is refused


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"train_batch_size": 0}, "--train_batch_size must be at least 1, got 0."),
        ({"gradient_accumulation_steps": 0},
         "--gradient_accumulation_steps must be at least 1, got 0."),
        ({"train_batch_size": 8, "gradient_accumulation_steps": 3},
         "--train_batch_size=8 must be a multiple of --gradient_accumulation_steps=3."),
        ({"learning_rate": -1}, "--learning_rate must be in [0, 3.4e38], got -1.0."),
        ({"eval_every_steps": 0, "eval_input_file": None},
         "--eval_every_steps must be above 0, got 0."),
        ({"num_devices": 0}, "--num_devices must be at least 1, got 0."),
        ({"random_seed": 1 << 31}, "--random_seed must be in [0, 2**31), got 2147483648."),
        ({"output_dir": None}, "--output_dir: this must be given, got nothing; see --help."),
        ({"train_batch_sise": 8}, "unknown flag --train_batch_sise; did you mean "
         "--train_batch_size?"),
        ({"max_seq_length": 65}, "--max_seq_length=65, but the model has 64 positions "
         "(max_position_embeddings in {config}); lower it."),
        ({"bert_config_file": "/nowhere"}, "/nowhere: No such file or directory"),
        ({"vocab_file": "/nowhere"}, "no such file: /nowhere"),
    ],
)  # fmt: skip
def test_run_bad_flag_is_named_and_nothing_is_written(
    flags: dict[str, Any], message: str, trainable: Trainable, train: Command,
    backend: FakeBackend, tmp_path: Path,
) -> None:  # fmt: skip
    wanted = message.format(config=trainable.command.flags["bert_config_file"])
    ended = train(**{"output_dir": tmp_path / "run", **flags})
    assert wanted in ended.error
    assert backend.configs == [] and os.listdir(tmp_path) == []


FILES = ("train_file", "eval_file", "predict_file")


def test_run_missing_or_empty_file_is_named(
    trainable: Trainable, train: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    flags = {**trainable.ask, **trainable.train}
    empty = tmp_path / "empty.tsv"
    empty.touch()
    for name in (name for name in flags if name.endswith("file")):
        run = train.having(**{**flags, "output_dir": tmp_path / "run"})
        assert "/nowhere.tsv" in run(**{name: "/nowhere.tsv"}).error
        if name in FILES:
            assert str(empty) in run(**{name: empty}).error
    assert backend.configs == [] and not (tmp_path / "run" / "run.json").exists()


def test_run_model_that_does_not_fit_the_vocabulary_is_refused(
    train: Command, backend: FakeBackend, vocab_folder: str, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "c.json", vocab_size=1499)
    assert_refused_early(
        train(output_dir=tmp_path / "run", bert_config_file=config),
        f"vocab_size is 1,499 in {config}, but 1,500 in the vocabulary ({vocab_folder}); set "
        "vocab_size in the config to that.",
        backend,
    )
    config = write_config(tmp_path / "c.json", hidden_sise=3)
    message = train(output_dir=tmp_path / "run", bert_config_file=config).error
    assert "unknown keys hidden_sise" in message
    assert not (tmp_path / "run").exists()


def test_run_batch_that_devices_can_not_share_is_refused(
    trainable: Trainable, train: Command, ask: Command, backend: FakeBackend, folder: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    backend.num_devices = 3
    assert train(output_dir=tmp_path / "new", train_batch_size=4).error == (
        "--train_batch_size=4 must be a multiple of the 3 devices."
    )
    parts = {"train_batch_size": 6, "gradient_accumulation_steps": 6}
    assert train(output_dir=tmp_path / "new", **parts).error == (
        "--train_batch_size=6 must be a multiple of 18: 6 parts on 3 devices."
    )
    flag = "eval_batch_size" if "do_eval" in trainable.ask else "predict_batch_size"
    assert ask(output_dir=folder).error == f"--{flag}=8 must be a multiple of the 3 devices."


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_help_answers_without_a_framework(name: str) -> None:
    command = f"run_{name}"
    code = (
        f"import sys; sys.argv = ['x', '--helpfull']\nfrom bert_ko.{command} import main\nmain()\n"
        "print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    lines = done.stdout.splitlines()
    assert f"bert_ko.{command}" in lines
    assert not {"tensorflow", "keras", "jax", "torch", "transformers"} & set(lines)
    for flag in ("bert_config_file", "init_checkpoint", "precision", "eval_every_steps"):
        assert any(line.startswith((f"  --{flag} (", f"  --{flag}, ")) for line in lines)


# The notice of its end


@pytest.fixture
def told(train: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Runs the command; returns its exit status and what the webhook was told of it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def run(output: Path, **flags: Any) -> tuple[int, str]:
        ended = train(**{"output_dir": output, "notify_url": webhook.url, **flags})
        assert SECRET not in ended.out + ended.err
        for name, content in contents(output).items():
            assert b"Secret" not in content and b"notify_url" not in content, name
        (text,) = webhook.texts
        webhook.received.clear()
        return ended.status, re.sub(r"after \d+ s", "after N s", text)

    with serving() as webhook:
        yield run


Told = Callable[..., tuple[int, str]]


@pytest.mark.slow
def test_notice_of_a_run_has_its_score_or_its_error(
    told: Told, trainable: Trainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = f"{trainable.command.name} (base): "
    assert told(tmp_path / "base") == (0, f"{begin}finished after N s")
    assert told(tmp_path / "base") == (0, f"{begin}finished after N s")  # nothing is left to do
    status, text = told(tmp_path / "base", **trainable.ask)
    score = f"{results(tmp_path / 'base')[trainable.metric]:.4g}"
    assert (status, text) == (0, f"{begin}finished after N s; {trainable.metric} {score}")
    assert told(tmp_path / "base", do_train=False, **trainable.ask) == (0, text)
    assert told(tmp_path / "other/base", **trainable.watch) == (0, text)
    missing = f"{tmp_path}/없다"
    status, text = told(tmp_path / "base", bert_config_file=missing)
    assert (status, text) == (1, f"{begin}failed after N s: {missing}: No such file or directory")

    def explode(self: FakeProgram, *args: Any) -> Any:
        return lambda: {"objective": float("nan"), "gradient_norm": 1.0}

    monkeypatch.setattr(FakeProgram, "train_step", explode)
    status, text = told(tmp_path / "new")
    assert status == 1 and "failed after N s: step 1: the loss is nan and the norm" in text


@pytest.mark.slow
def test_notice_of_a_run_whose_hours_are_over_has_its_step(
    told: Told, trainable: Trainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingLoop, "_are_hours_over", lambda loop: loop._step() >= 5)
    status, text = told(tmp_path / "base")
    assert status == 0
    assert re.search(r"stopped by --max_hours at step 5 of \d+ after N s$", text)
    _, text = told(tmp_path / "base", do_train=False, **trainable.ask)
    assert f"{trainable.command.name} (base): finished after N s; {trainable.metric}" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "how"),
    [(signal.SIGTERM, 143, "stopped by SIGTERM"), (signal.SIGINT, 130, "interrupted")],
)
def test_notice_of_a_run_that_was_stopped_has_its_step(
    number: int, status: int, how: str, told: Told, tmp_path: Path, finished: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    train_step = FakeProgram.train_step

    def stop_at_6(self: FakeProgram, step: int, *args: Any) -> Any:
        if step == 5:
            os.kill(os.getpid(), number)
        return train_step(self, step, *args)

    monkeypatch.setattr(FakeProgram, "train_step", stop_at_6)
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    found = told(tmp_path / "base")
    assert found[0] == status
    assert f"(base): {how} at step 6 of {step_of(finished)} after N s" in found[1]
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert last(tmp_path / "base").name == "checkpoint-00000006"
    assert told(tmp_path / "base")[0] == 0  # the same command resumes
    assert weights(tmp_path / "base") == weights(finished)


@pytest.mark.slow
def test_notice_that_nobody_takes_changes_nothing(
    train: Command, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bert_ko.notification._PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ended = train.succeed(output_dir=tmp_path, notify_url=f"http://127.0.0.1:1/{SECRET}")
    assert weights(tmp_path) == weights(finished)
    assert "the webhook did not accept the notification: Connection" in ended.warnings[0]
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert SECRET not in ended.err + ended.out + log and " --notify_url=..." in log


# With TensorFlow and JAX, in processes of their own


def has_records(output: Path, count: int) -> bool:
    """Whether the run has come so far."""
    path = output / "metrics.jsonl"
    return path.exists() and path.read_bytes().count(b"\n") >= count


def is_saving(output: Path) -> bool:
    """Whether a checkpoint that is not the first is being written."""
    return has_records(output, 10) and any(n.startswith(".checkpoint") for n in os.listdir(output))


STOPS: dict[str, tuple[Callable[[Path], bool], signal.Signals, int]] = {
    "killed before a checkpoint": (lambda output: has_records(output, 3), signal.SIGKILL, -9),
    "stopped": (lambda output: has_records(output, 12), signal.SIGTERM, 143),
    "killed while saving": (is_saving, signal.SIGKILL, -9),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainable", "backend_name", "stops"),
    [
        # The session is one for all tasks: each stop, each backend, records and examples.
        ("pretraining", "tensorflow", ["killed before a checkpoint", "killed while saving"]),
        ("squad", "jax", ["stopped"]),
        ("ner", "jax", ["killed while saving"]),
    ],
    indirect=["trainable"],
)
def test_run_killed_or_stopped_resumes_bit_exactly(
    trainable: Trainable, backend_name: str, stops: list[str], tmp_path: Path
) -> None:
    whole, output = tmp_path / "whole", tmp_path / "run"
    # 7 and 8 do not divide each other, nor the updates.
    command = trainable.command.having(
        **{
            **trainable.watch, **trainable.train, **trainable.ask, **trainable.more_training,
            "precision": "float32", "learning_rate": 1e-3, "gradient_accumulation_steps": 2,
            "save_checkpoints_steps": 7, "eval_every_steps": 8, "keep_checkpoint_max": 2,
            "learning_rate_schedule": "wsd", "decay_proportion": 0.5, "hidden_dropout_prob": 0.2,
            "attention_probs_dropout_prob": 0.05, "remat": True, "pack": True,
        }
    )  # fmt: skip
    command.finish(output_dir=whole, backend=backend_name)
    for name in stops:
        is_reached, number, status = STOPS[name]
        process = command.start(output_dir=output, backend=backend_name)
        assert stop_when(process, functools.partial(is_reached, output), number) == status
        assert not (output / "eval_results.txt").exists()
    printed = command.finish(output_dir=output, backend=backend_name)
    assert "Traceback" not in printed
    starts = re.findall(r"resuming from step (\d+)\n", printed)
    assert starts
    for step in re.findall(r"stopped at step (\d+); run the same command to resume", printed):
        assert step in starts
    assert metrics(output) == metrics(whole)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (last(output) / name).read_bytes() == (last(whole) / name).read_bytes()
    for name in ("eval_results.txt", *trainable.written):
        assert (output / name).read_bytes() == (whole / name).read_bytes(), name
    assert written(output) == written(whole)
