"""What the commands that fine-tune have in common."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import ParameterSpec
from bert_ko.notification import Ending
from bert_ko.tasks import command
from bert_ko.tasks.command import (
    Job,
    Outcome,
    Parts,
    file_identity,
    open_parts,
    refuse_no_weights,
    run_facts,
    run_job,
    summarize,
)
from bert_ko.tasks.fine_tuning import FineTuningFlags, Task
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import load_tokenizer, write_folder
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary
from bert_ko.training.checkpoints import Checkpoint, save_checkpoint
from bert_ko.training.runs import Run, refuse_other_task

PIECES = (*SPECIAL_TOKENS, "가", "나")
MODEL = BertConfig(vocab_size=7, hidden_size=4, num_hidden_layers=3, num_attention_heads=2)
PARTS = Parts(MODEL, Tokenizer(Vocabulary(PIECES), TokenizerConfig(), fingerprint="0123"))
Captured = pytest.CaptureFixture[str]


def flags(folder: Path, **values: Any) -> FineTuningFlags:
    known: dict[str, Any] = {
        "vocab_file": str(folder / "vocab"), "bert_config_file": str(folder / "c.json"),
        "output_dir": str(folder / "run"), "random_seed": 5,
    }  # fmt: skip
    return FineTuningFlags(**{**known, **values})


def outcome(scores: dict[str, float], log: list[Any]) -> Outcome:
    return Outcome(scores, lambda path, seeds: log.append((path, seeds)))


# Configuration and vocabulary


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with both."""
    write_folder(str(tmp_path / "vocab"), list(PIECES), TokenizerConfig())
    values = {**MODEL.to_dict(), "max_position_embeddings": 20}
    (tmp_path / "c.json").write_text(json.dumps(values))
    return tmp_path


def test_open_parts_reads_both(written: Path) -> None:
    found = open_parts(flags(written), 20)
    assert found.model_config.max_position_embeddings == 20
    assert found.tokenizer.fingerprint == load_tokenizer(str(written / "vocab")).fingerprint
    assert not any((written / "run").glob("*"))


def test_open_parts_texts_longer_than_the_model_are_refused(written: Path) -> None:
    with pytest.raises(ValueError) as error:
        open_parts(flags(written), 21)
    assert str(error.value) == (
        "--max_seq_length=21, but the model has 20 positions (max_position_embeddings in "
        f"{written}/c.json); lower the flag."
    )


def test_open_parts_other_vocabulary_is_refused(written: Path) -> None:
    (written / "c.json").write_text(json.dumps({**MODEL.to_dict(), "vocab_size": 6}))
    with pytest.raises(ValueError) as error:
        open_parts(flags(written), 20)
    assert str(error.value) == (
        f"vocab_size is 6 in {written}/c.json, but 7 in the vocabulary ({written}/vocab); set "
        "vocab_size in the config to that."
    )


def test_open_parts_file_in_the_place_of_the_folder_is_refused(written: Path) -> None:
    (written / "run").touch()
    with pytest.raises(ValueError) as error:
        open_parts(flags(written), 20)
    assert str(error.value) == (
        f"{written}/run must be a folder, but it or a part of it is a file."
    )


def test_refuse_no_weights_needs_them_for_every_seed(tmp_path: Path) -> None:
    refuse_no_weights(flags(tmp_path, do_train=True), "a reader")
    refuse_no_weights(flags(tmp_path, init_checkpoint="x"), "a reader")
    two = flags(tmp_path, num_seeds=2)
    for config, folder in ((flags(tmp_path), "run"), (two, "run/seed-5")):
        with pytest.raises(ValueError) as error:
            refuse_no_weights(config, "a reader")
        assert str(error.value) == (
            f"no checkpoint in {tmp_path}/{folder}; give --do_train, or --init_checkpoint with a "
            "reader."
        )
    for name in ("seed-5/checkpoint-00000001", "seed-6/best-00000001"):
        (tmp_path / "run" / name).mkdir(parents=True)
        with pytest.raises(ValueError):
            refuse_no_weights(two, "a reader")
        (tmp_path / "run" / name / "state.json").write_text("{}")
    refuse_no_weights(two, "a reader")


# Jobs, with a tuner that counts


class FakeTuner:
    """Every update adds 1; a seed's run is its number long."""

    def __init__(self, config: FineTuningFlags, task: Task, batch_sizes: Any):
        self.log.append(("tuner", batch_sizes))
        self.steps_trained, self.num_train_steps = 0, 100

    log: list[Any]

    def run(self, run: Run, seed: int) -> int:
        self.log.append(("run", run.folder, seed, sorted(os.listdir(run.folder))))
        self.steps_trained = seed
        return seed

    def predict(self, batch: Any) -> Any:
        return batch


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    FakeTuner.log = []
    monkeypatch.setattr(command, "FineTuner", FakeTuner)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return FakeTuner.log


def make_job(log: list[Any], **changes: Any) -> Job:
    def finish(predict: Any, folder: str, step: int) -> Outcome:
        log.append(("finish", folder, step))
        return outcome({"f1": 10.0 * step, "total": 3.0}, log)

    task = Task({}, lambda: None, None, 0, None, "f1")  # type: ignore[arg-type,return-value]
    job = Job(task, {"train_file": ["a.tsv", "00"]}, ["save_checkpoints_steps"], finish)
    return job._replace(**changes)


def test_run_job_trains_writes_and_scores(log: list[Any], written: Path, capsys: Captured) -> None:
    config = flags(written, do_train=True)
    begin = lambda folder: log.append(("begin", folder))  # noqa: E731
    attempt = lambda predict: log.append(("attempt", predict("x")))  # noqa: E731
    job = make_job(log, begin=begin, attempt=attempt)
    parts = open_parts(config, 20)
    ending = run_job(config, parts, job, "the texts are cut with")
    folder = f"{written}/run"
    assert log == [
        ("tuner", {"save_checkpoints_steps": 1000}),
        ("begin", folder),
        ("run", folder, 5,
         ["bert_config.json", "run.json", "tokenizer_config.json", "vocab.txt"]),
        ("finish", folder, 5),
        ("attempt", "x"),
    ]  # fmt: skip
    assert ending == Ending({"f1": 50.0}, 5, 100)
    assert "seed" not in capsys.readouterr().out
    identity = json.loads((written / "run" / "run.json").read_text())["identity"]
    assert identity["train_file"] == ["a.tsv", "00"] and identity["random_seed"] == 5
    assert identity["bert_config_file"]["num_hidden_layers"] == 3


def test_run_job_seeds_have_a_mean(log: list[Any], written: Path, capsys: Captured) -> None:
    config = flags(written, do_train=True, num_seeds=2)
    ending = run_job(config, open_parts(config, 20), make_job(log), "x")
    assert ending == Ending({"f1": 55.0}, 6, 100)
    assert [entry[0] for entry in log[:5]] == ["tuner", "run", "finish", "run", "finish"]
    for seed in (5, 6):
        path = written / "run" / f"seed-{seed}" / "run.json"
        assert json.loads(path.read_text())["identity"]["random_seed"] == seed
    out = capsys.readouterr().out
    assert out.startswith("\nseed 5\n\nseed 6\n\n2 seeds")
    assert json.loads((written / "run" / "seeds.json").read_text())["seeds"] == [5, 6]


def test_run_job_without_training_writes_nothing(log: list[Any], written: Path) -> None:
    config = flags(written)
    job = make_job(log, finish=lambda predict, folder, step: None)
    ending = run_job(config, open_parts(config, 20), job, "x")
    assert ending == Ending({}, 5, 0)
    assert os.listdir(written / "run") == []


@pytest.mark.parametrize("kind", ["checkpoint", "best"])
def test_run_job_other_run_is_refused_before_anything_is_written(
    kind: Any, log: list[Any], written: Path
) -> None:
    config = flags(written, do_train=True)
    parts = open_parts(config, 20)
    identity = {"bert_config_file": parts.model_config.to_dict(), "train_file": ["b.tsv", "11"]}
    state = {"format": 1, "step": 3, "identity": identity, "tokenizer_fingerprint": None}
    checkpoint = Checkpoint({"w": np.zeros(1, np.float32)}, {}, state)
    folder = str(written / "run")
    save_checkpoint(folder, 3, checkpoint, parts.model_config, 0, kind)
    with pytest.raises(ValueError) as error:
        run_job(config, parts, make_job(log), "x")
    assert str(error.value).startswith(f"{folder}/{kind}-00000003 is of another run: ")
    assert "--train_file had 'b.tsv', now 'a.tsv'" in str(error.value)
    assert os.listdir(folder) == [f"{kind}-00000003"]


# Seeds


def test_summarize_literal_files(tmp_path: Path, capsys: Captured) -> None:
    log: list[Any] = []
    found = [
        outcome({"f1": 80.0, "loss": 0.5, "total": 3.0}, log),
        outcome({"f1": 90.0, "loss": 0.25, "total": 3.0}, []),
    ]
    summarize(str(tmp_path), [5, 6], found)
    assert (tmp_path / "eval_results.txt").read_text() == (
        "f1_mean = 85.0\nf1_stdev = 7.0710678118654755\nloss_mean = 0.375\n"
        "loss_stdev = 0.1767766952966369\nnum_seeds = 2\n"
    )
    assert json.loads((tmp_path / "seeds.json").read_text()) == {
        "seeds": [5, 6],
        "results": [
            {"f1": 80.0, "loss": 0.5, "total": 3.0}, {"f1": 90.0, "loss": 0.25, "total": 3.0},
        ],
    }  # fmt: skip
    seeds = [(5, found[0].values), (6, found[1].values)]
    assert log == [(f"{tmp_path}/report.html", seeds)]
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["2", "seeds", "mean", "stdev", "min", "max"]
    assert table[3].split() == ["f1", "85.00", "7.07", "80.00", "90.00"]


# Reports and files


def test_run_facts_say_where_the_weights_are_from(tmp_path: Path) -> None:
    def facts(trained_on: str | None, **values: Any) -> dict[str, str]:
        config = flags(tmp_path, **values)
        return dict(run_facts(config, PARTS, trained_on, 1234, 5.678))

    assert facts("a.tsv", do_train=True) == {
        "trained on": "a.tsv",
        "begun from": "random weights",
        "updates": "1,234",
        "model": "3 layers, hidden size 4",
        "vocabulary": f"7 pieces, {tmp_path}/vocab",
        "predicted in": "5.7 s",
    }
    assert facts("a.tsv", do_train=True, init_checkpoint="m")["begun from"] == "m"
    found = facts(None)
    assert found["trained on"] == "not in this run"
    assert found["begun from"] == "see run.json of the run"
    assert facts(None, init_checkpoint="m")["begun from"] == "m"


def test_file_identity_is_name_and_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "train.tsv", tmp_path / "a" / "train.tsv"):
        path.write_bytes(b"text\n")
        digest = hashlib.sha256(b"text\n").hexdigest()[:16]
        assert file_identity(str(path)) == ["train.tsv", digest]
    path.write_bytes(b"text\r\n")
    assert file_identity(str(path)) != ["train.tsv", digest]
    with pytest.raises(FileNotFoundError):
        file_identity(str(tmp_path / "nowhere"))


def test_refuse_other_task_names_what_is_missing_or_larger() -> None:
    run = Run("out", MODEL, "c", {}, None, "x")
    arrays = {"w": np.zeros((2, 4), np.float32), "more": np.zeros(1, np.float32)}
    checkpoint = Checkpoint(arrays, {}, {})
    refuse_other_task(run, {"w": ParameterSpec((2, 4), "zeros")}, checkpoint)
    for name, shape, found in (
        ("w", (3, 4), "shape [2, 4]"),
        ("w", (2,), "shape [2, 4]"),
        ("b", (3,), "no such variable"),
    ):
        with pytest.raises(ValueError) as error:
            refuse_other_task(run, {name: ParameterSpec(shape, "zeros")}, checkpoint)
        assert str(error.value) == (
            f"out was trained for another task: {name} must have shape {list(shape)}, and there is "
            f"{found}."
        )
