"""The command from end to end: with a model of numpy what it accepts and refuses, and what it
writes; then in processes of their own with TensorFlow and JAX, killed and started again.
"""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from bert_ko import create_pretraining_data, files, run_pretraining
from bert_ko.create_pretraining_data import CreatePretrainingDataConfig
from bert_ko.flags import run_command
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import Arrays, initial_parameters, pretraining_specs
from bert_ko.run_pretraining import RunPretrainingConfig, run
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.checkpoints import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from bert_ko.training.loop import TrainingLoop
from bert_ko.training.metrics import read_metrics
from bert_ko.training.objective import Objective

REPOSITORY = Path(__file__).parents[1]
SAMPLE_CORPUS = REPOSITORY / "samples" / "corpus.txt"
MODEL = {
    "vocab_size": 1500, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64,
}  # fmt: skip
GOOGLES_KEYS = [
    "global_step", "loss", "masked_lm_accuracy", "masked_lm_loss", "next_sentence_accuracy",
    "next_sentence_loss",
]  # fmt: skip
TIMES = ("tokens_per_second", "seconds")
LENGTHS = ("--max_seq_length=32", "--max_predictions_per_seq=5")


class Data(NamedTuple):
    """Shards of the sample corpus of several kinds, and the model's config."""

    dynamic: str  # four shards
    static: str  # two
    lines: str  # without next sentences
    longer: str  # 64 pieces
    config: str

    @property
    def train(self) -> str:
        return f"{self.dynamic}/a-0000[0-2]*"

    @property
    def held_out(self) -> str:
        return f"{self.dynamic}/a-00003*"


def prepare(output: Path, vocab: str, *flags: str) -> str:
    argv = (
        f"--input_file={SAMPLE_CORPUS}", f"--output_file={output}", f"--vocab_file={vocab}",
        "--num_workers=1", *LENGTHS, *flags,
    )  # fmt: skip
    assert run_command(CreatePretrainingDataConfig, create_pretraining_data.run, argv) == 0
    return str(output.parent)


@pytest.fixture(scope="session")
def data(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("pretraining")
    dynamic = "--masking=dynamic"
    return Data(
        prepare(folder / "dynamic/a@4", vocab_folder, dynamic, "--do_whole_word_mask"),
        prepare(folder / "static/a@2", vocab_folder, "--dupe_factor=2"),
        prepare(folder / "lines/a@1", vocab_folder, "--next_sentence=none", dynamic),
        prepare(folder / "longer/a@2", vocab_folder, dynamic, "--max_seq_length=64"),
        write_config(folder / "bert_config.json"),
    )


def write_config(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps({**MODEL, **changes}))
    return str(path)


def arguments(data: Data, output: Path | str, *flags: str) -> list[str]:
    """A run of 12 steps; a flag that is given again has its last value."""
    return [
        f"--bert_config_file={data.config}", f"--input_file={data.train}",
        f"--output_dir={output}", *LENGTHS, "--do_train", "--train_batch_size=8",
        "--num_train_steps=12", "--num_warmup_steps=2", "--save_checkpoints_steps=4",
        "--log_every_steps=1", "--shuffle_buffer_size=50", *flags,
    ]  # fmt: skip


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Its records without what the clock decides."""
    return [
        {name: value for name, value in record.items() if name not in TIMES}
        for record in read_metrics(str(folder / "metrics.jsonl"))
    ]


def results(folder: Path) -> dict[str, float]:
    lines = (folder / "eval_results.txt").read_text().splitlines()
    pairs = [line.split(" = ") for line in lines]
    return {name: float(value) for name, value in pairs}


def last(folder: Path) -> Path:
    return Path(list_checkpoints(str(folder))[-1])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# With a model of numpy: everything but the backend


class NumpyProgram:
    """Moves every weight a little with each batch."""

    def __init__(self, arrays: Arrays):
        self.arrays = {name: array.copy() for name, array in arrays.items()}
        self.restored: Arrays = {}

    def train_step(self, step: int, batch: Any, scalars: Any, hyper: Any) -> Any:
        sums = self.eval_step({k: v.reshape(-1, *v.shape[2:]) for k, v in batch.items()}, {})
        change = np.float32(sums["masked_lm_loss"]) * hyper["learning_rate"]
        for array in self.arrays.values():
            array += change
        return lambda: {**sums, "objective": 1.0, "gradient_norm": 1.0}

    def eval_step(self, batch: Any, scalars: Any) -> dict[str, float]:
        weights = {
            name: batch[f"{name}_weights"].astype(np.float64)
            for name in ("masked_lm", "next_sentence")
        }
        bias = float(self.arrays["cls/predictions/output_bias"][0])
        losses = batch["masked_lm_ids"] / 1500 + bias
        return {
            "masked_lm_loss": float((losses * weights["masked_lm"]).sum()),
            "next_sentence_loss": float(weights["next_sentence"].sum() / 2),
            **{f"{name}_weight": float(weight.sum()) for name, weight in weights.items()},
        }

    def parameters(self) -> Arrays:
        return self.arrays

    def slots(self) -> Arrays:
        return {f"{name}/adam_m": array for name, array in self.arrays.items()}

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        self.arrays = {name: array.copy() for name, array in parameters.items()}
        self.restored = dict(slots)


class NumpyBackend:
    """What load_backend returns."""

    name, description, precision = "numpy", "1 x numpy", "float32"

    def __init__(self, num_devices: int = 1):
        self.num_devices = num_devices
        self.programs: list[NumpyProgram] = []
        self.given: list[Arrays] = []

    def train_program(
        self, config: BertConfig, loss: Any, optimizer: Any, arrays: Arrays, seed: int
    ) -> NumpyProgram:
        self.given.append(dict(arrays))
        self.programs.append(NumpyProgram(arrays))
        return self.programs[-1]


def numpy_metrics(sums: Any) -> dict[str, float]:
    found = {}
    for name in ("masked_lm", "next_sentence"):
        found[f"{name}_loss"] = sums[f"{name}_loss"] / (sums[f"{name}_weight"] + 1e-5)
        found[f"{name}_accuracy"] = 0.5
    return {"loss": found["masked_lm_loss"] + found["next_sentence_loss"], **found}


def install(patch: pytest.MonkeyPatch) -> NumpyBackend:
    """Puts numpy in the place of TensorFlow and JAX; nothing imports Keras."""
    losses: Any = ModuleType("bert_ko.training.losses")
    losses.PRETRAINING = Objective(
        lambda batch: {"masked_lm_denominator": np.float32(1)}, numpy_metrics, (("loss", "loss"),)
    )
    losses.pretraining_loss = None
    patch.setitem(sys.modules, "bert_ko.training.losses", losses)
    patch.setattr(os, "fsync", lambda descriptor: None)
    found = NumpyBackend()
    patch.setattr(run_pretraining, "load_backend", lambda config: found)
    return found


def run_here(data: Data, output: Path | str, *flags: str) -> int:
    """Runs the command in this process; returns its exit status."""
    return run_command(RunPretrainingConfig, run, arguments(data, output, *flags))


def stop_at_8(data: Data, output: Path, *flags: str) -> None:
    """A run that was killed after the checkpoint of step 8 of 12."""
    assert run_here(data, output, *flags) == 0
    shutil.rmtree(output / "checkpoint-00000012")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> NumpyBackend:
    return install(monkeypatch)


Run = Callable[..., int]


@pytest.fixture
def train(backend: NumpyBackend, data: Data) -> Run:
    return functools.partial(run_here, data)


@pytest.fixture(scope="module")
def stopped(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after step 8, with an evaluation; to be copied."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        stop_at_8(data, folder)
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    """A copy of ``stopped``."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


@pytest.fixture
def refusal(
    train: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """The error of a run, which must come before TensorFlow is loaded."""

    def run_here(*args: Any) -> str:
        def load_backend(config: object) -> None:
            raise AssertionError("the backend is loaded before the error")

        with monkeypatch.context() as patch:
            patch.setattr(run_pretraining, "load_backend", load_backend)
            capsys.readouterr()
            assert train(*args) == 1
        (line,) = [x for x in capsys.readouterr().err.splitlines() if "error" in x]
        assert line.startswith("run_pretraining: error: ")
        return line.removeprefix("run_pretraining: error: ")

    return run_here


Refusal = Callable[..., str]


def test_run_writes_what_later_commands_need(
    train: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = (
        "--do_eval", f"--eval_input_file={data.held_out}", "--eval_every_steps=5",
        "--eval_batch_size=7",
    )  # fmt: skip
    assert train(tmp_path, *evaluation) == 0
    assert sorted(os.listdir(tmp_path)) == [
        ".lock", "bert_config.json", "checkpoint-00000004", "checkpoint-00000008",
        "checkpoint-00000012", "eval_results.txt", "metrics.jsonl", "run.json", "tensorboard",
    ]  # fmt: skip
    assert list(results(tmp_path)) == GOOGLES_KEYS
    text = (tmp_path / "eval_results.txt").read_text()
    assert text.startswith("global_step = 12\nloss = ") and text.endswith("\n")
    assert text in capsys.readouterr().out
    assert BertConfig.from_json((tmp_path / "bert_config.json").read_text(), "x") == BertConfig(
        **MODEL  # type: ignore[arg-type]
    )
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["flags"]["num_train_steps"] == 12
    assert about["flags"]["eval_input_file"] == [data.held_out]
    assert about["flags"]["weight_decay"] == 0.01
    found = metrics(tmp_path)
    assert [r["step"] for r in found if "eval_loss" in r] == [5, 10]
    assert [r["step"] for r in found if "loss" in r] == list(range(1, 13))
    evaluated = {name.removeprefix("eval_") for r in found for name in r if name[:5] == "eval_"}
    assert sorted(evaluated) == GOOGLES_KEYS[1:]


def test_run_begins_with_new_weights_by_the_seed(
    train: Run, backend: NumpyBackend, data: Data, tmp_path: Path
) -> None:
    for output, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert train(tmp_path / output, f"--random_seed={seed}") == 0
    wanted = initial_parameters(pretraining_specs(BertConfig(**MODEL)), 0.02, 1)  # type: ignore[arg-type]
    first, second, third = backend.given
    assert all(np.array_equal(first[name], array) for name, array in wanted.items())
    assert all(np.array_equal(second[name], array) for name, array in wanted.items())
    assert not np.array_equal(first["bert/pooler/dense/kernel"], third["bert/pooler/dense/kernel"])


@pytest.mark.parametrize("kind", ["dynamic", "static", "lines"])
def test_run_trains_on_every_kind_of_shards(
    kind: str, train: Run, data: Data, tmp_path: Path
) -> None:
    assert train(tmp_path, f"--input_file={getattr(data, kind)}") == 0
    losses = [record["next_sentence_loss"] for record in metrics(tmp_path)]
    assert losses == pytest.approx([0.0 if kind == "lines" else 0.5] * 12, rel=1e-5)


def test_run_held_out_shards_may_be_masked_already(train: Run, data: Data, tmp_path: Path) -> None:
    flags = ("--do_eval", f"--eval_input_file={data.static}", "--max_ngram_size=2")
    assert train(tmp_path, *flags) == 0


# Going on


def test_run_goes_on_from_the_last_checkpoint(
    train: Run, backend: NumpyBackend, folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert train(tmp_path / "whole") == 0
    stands = load_checkpoint(str(last(folder)))
    assert stands.state["step"] == 8
    assert train(folder) == 0
    assert "going on from step 8" in capsys.readouterr().out
    assert backend.programs[-1].restored.keys() == stands.slots.keys()
    assert metrics(folder) == metrics(tmp_path / "whole")
    name = "checkpoint-00000012/model.safetensors"
    assert contents(folder)[name] == contents(tmp_path / "whole")[name]


@pytest.mark.parametrize(
    "flag",
    [
        "--learning_rate=1e-3", "--train_batch_size=4", "--num_train_steps=13",
        "--num_warmup_steps=3", "--gradient_accumulation_steps=2", "--random_seed=1",
        "--max_ngram_size=3", "--masked_lm_prob=0.2", "--nodo_whole_word_mask",
        "--whole_word_unit=eojeol", "--replace_unit=word", "--weight_decay=0", "--clip_norm=0",
        "--optimizer=lamb", "--learning_rate_schedule=constant", "--max_predictions_per_seq=4",
        "--shuffle_buffer_size=51", "--precision=float32", "--attention=plain",
        "--init_checkpoint=/nowhere",
    ],
)  # fmt: skip
def test_run_changed_flag_is_an_error_that_names_it(
    flag: str, refusal: Refusal, folder: Path
) -> None:
    name = flag.partition("=")[0].replace("--nodo_", "--do_")
    before = contents(folder)
    assert re.fullmatch(
        rf"{folder}/checkpoint-00000008 is of another run: {name} was \S+, now \S+\. Give the "
        r"same flags to go on, or choose another --output_dir, with this one as "
        r"--init_checkpoint to begin from its weights\.",
        refusal(folder, flag),
    )
    assert contents(folder) == before


def test_run_changed_model_is_an_error_that_names_the_key(
    refusal: Refusal, folder: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "other.json", hidden_size=32, hidden_dropout_prob=0)
    message = refusal(folder, f"--bert_config_file={config}")
    assert (
        "is of another run: --bert_config_file: hidden_dropout_prob was 0.1, now 0, hidden_size "
        "was 16, now 32. Give"
    ) in message


def test_run_changed_shards_are_an_error_that_names_them(
    refusal: Refusal, data: Data, folder: Path, tmp_path: Path, wordpiece_folder: str
) -> None:
    message = refusal(folder, f"--input_file={data.dynamic}")
    assert "--input_file had 3 items, now 4." in message
    message = refusal(folder, f"--input_file={data.dynamic}/a-0000[1-3]*")
    assert "--input_file had ['a-00000-of-00004', " in message
    # Shards of other words that look the same from outside.
    changed = Path(shutil.copytree(data.dynamic, tmp_path / "changed"))
    manifest = json.loads((changed / "manifest.json").read_text())
    manifest["tokenizer_fingerprint"] = "0123456789abcdef"
    (changed / "manifest.json").write_text(json.dumps(manifest))
    message = refusal(folder, f"--input_file={changed}/a-0000[0-2]*")
    assert "is of another run: the shards were made with another tokenizer. Give" in message


def test_run_what_changes_no_weight_may_change(
    train: Run, data: Data, folder: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(data.dynamic, tmp_path / "moved")
    config = write_config(tmp_path / "same.json", initializer_range=0.02)
    assert train(tmp_path / "whole") == 0
    flags = (
        f"--input_file={moved}/a-00000*,{moved}/a-00001*,{moved}/a-00002*",
        f"--bert_config_file={config}", "--save_checkpoints_steps=1", "--max_hours=100",
        "--keep_checkpoint_max=2", "--log_every_steps=2", "--iterations_per_loop=1", "--do_eval",
        f"--eval_input_file={data.held_out}", "--eval_every_steps=3", "--eval_batch_size=3",
        "--max_eval_steps=2", "--num_devices=1", "--num_tpu_cores=1",
    )  # fmt: skip
    assert train(folder, *flags) == 0
    assert [path[-2:] for path in list_checkpoints(str(folder))] == ["11", "12"]
    name = "checkpoint-00000012/model.safetensors"
    assert contents(folder)[name] == contents(tmp_path / "whole")[name]


def test_run_other_format_is_an_error(refusal: Refusal, folder: Path) -> None:
    path = last(folder) / "state.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    assert refusal(folder) == (
        f"{folder}/checkpoint-00000008 was written by another version; choose another --output_dir."
    )


def test_run_leftovers_of_a_kill_are_removed_and_nothing_else(train: Run, folder: Path) -> None:
    left = folder / ".checkpoint-00000012.tmp"
    shutil.copytree(last(folder), left)
    (left / "optimizer.safetensors").write_bytes(b"half")
    incomplete = folder / "checkpoint-00000012"
    shutil.copytree(last(folder), incomplete)
    (incomplete / "state.json").unlink()
    (folder / ".run.json.4711.tmp").write_text("{")
    (folder / "논문.txt").write_text("내 논문")
    (folder / "checkpoint-00000004/notes.txt").write_text("x")
    (folder / "checkpoint-old").mkdir()
    assert train(folder, "--keep_checkpoint_max=1") == 0
    assert load_checkpoint(str(last(folder))).state["step"] == 12
    assert sorted(os.listdir(folder)) == [
        ".lock", "bert_config.json", "checkpoint-00000004", "checkpoint-00000012",
        "checkpoint-old", "metrics.jsonl", "run.json", "tensorboard", "논문.txt",
    ]  # fmt: skip
    assert os.listdir(folder / "checkpoint-00000004") == ["notes.txt"]


def test_run_damaged_checkpoint_says_what_to_delete(
    train: Run, refusal: Refusal, folder: Path
) -> None:
    path = last(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    message = refusal(folder)
    assert message.startswith(f"{path} is damaged or no safetensors file (")
    assert message.endswith(
        f"). Delete the folder {path.parent} to go on from {folder}/checkpoint-00000004."
    )
    shutil.rmtree(path.parent)
    assert train(folder) == 0


def test_run_second_run_meanwhile_is_refused(train: Run, refusal: Refusal, folder: Path) -> None:
    with files.lock(str(folder / ".lock")):
        message = refusal(folder)
    assert message == f"another run is writing here ({folder}); wait for it or stop it."
    assert train(folder) == 0


def test_run_finished_run_does_nothing_but_evaluate(
    train: Run, refusal: Refusal, folder: Path, data: Data, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert train(folder) == 0
    before = contents(folder)
    with monkeypatch.context() as patch:
        patch.setattr(run_pretraining, "load_backend", None)
        assert train(folder) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "all 12 steps are done; --do_eval evaluates them"
    )
    assert contents(folder) == before
    assert train(folder, "--do_eval", f"--eval_input_file={data.held_out}") == 0
    assert list(results(folder)) == GOOGLES_KEYS and results(folder)["global_step"] == 12
    assert {k: v for k, v in contents(folder).items() if k != "eval_results.txt"} == before


def test_run_time_over_stops_and_more_time_goes_on(
    train: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "--max_hours=1e-9") == 0
    assert "--max_hours are over at step" in capsys.readouterr().out
    assert train(tmp_path, "--max_hours=1") == 0
    assert last(tmp_path).name == "checkpoint-00000012"


# Evaluation alone


def evaluate(train: Run, output: Path, *flags: str) -> int:
    return train(output, "--nodo_train", "--do_eval", *flags)


def test_run_evaluation_alone_reads_only_what_it_needs(
    train: Run, data: Data, folder: Path, tmp_path: Path
) -> None:
    # Neither the training shards, nor the slots, nor flags of training.
    (last(folder) / "optimizer.safetensors").unlink()
    before = contents(folder)
    flags = (
        f"--input_file={tmp_path}/gone", f"--eval_input_file={data.held_out}",
        "--learning_rate=1", "--num_train_steps=5",
    )  # fmt: skip
    assert evaluate(train, folder, *flags) == 0
    assert results(folder)["global_step"] == 8
    assert {k: v for k, v in contents(folder).items() if k != "eval_results.txt"} == before


def test_run_evaluation_alone_takes_input_file_as_google_does(
    train: Run, data: Data, folder: Path
) -> None:
    assert evaluate(train, folder, f"--input_file={data.held_out}") == 0
    first = results(folder)
    assert evaluate(train, folder, f"--eval_input_file={data.held_out}") == 0
    assert results(folder) == first


def test_run_evaluation_keeps_the_order_of_the_shards(train: Run, data: Data, folder: Path) -> None:
    # Else the first batches would be others with each seed.
    found = []
    for seed in (1, 2):
        flags = (f"--input_file={data.static}", "--max_eval_steps=2", f"--random_seed={seed}")
        assert evaluate(train, folder, *flags) == 0
        found.append(results(folder))
    assert found[0] == found[1]


def test_run_evaluation_alone_of_another_model_is_refused(
    train: Run, refusal: Refusal, folder: Path, tmp_path: Path
) -> None:
    other = write_config(tmp_path / "other.json", hidden_act="relu")
    flags = ("--nodo_train", "--do_eval")
    message = refusal(folder, *flags, f"--bert_config_file={other}")
    assert "--bert_config_file: hidden_act was 'gelu', now 'relu'." in message
    without_dropout = write_config(tmp_path / "dropout.json", hidden_dropout_prob=0)
    assert evaluate(train, folder, f"--bert_config_file={without_dropout}") == 0


def test_run_evaluation_alone_without_weights_makes_no_folder(
    refusal: Refusal, tmp_path: Path
) -> None:
    assert refusal(tmp_path / "new", "--nodo_train", "--do_eval") == (
        f"--do_eval: no checkpoint in {tmp_path}/new; give --do_train or --init_checkpoint."
    )
    assert not (tmp_path / "new").exists()


def test_run_evaluation_alone_of_an_init_checkpoint(
    train: Run, backend: NumpyBackend, folder: Path, tmp_path: Path
) -> None:
    assert evaluate(train, folder) == 0
    assert evaluate(train, tmp_path / "new", f"--init_checkpoint={folder}") == 0
    assert results(tmp_path / "new") == {**results(folder), "global_step": 0}
    assert sorted(os.listdir(tmp_path / "new")) == [".lock", "eval_results.txt"]


# The vocabulary


def test_run_vocab_file_makes_the_folder_complete(
    train: Run, vocab_folder: str, tmp_path: Path
) -> None:
    for _ in range(2):
        assert train(tmp_path, f"--vocab_file={vocab_folder}") == 0
        copy = load_tokenizer(str(tmp_path))
        assert copy.fingerprint == load_tokenizer(vocab_folder).fingerprint
    state = load_checkpoint(str(last(tmp_path))).state
    assert state["tokenizer_fingerprint"] == copy.fingerprint


def test_run_vocab_file_that_does_not_fit_is_refused(
    train: Run, refusal: Refusal, data: Data, vocab_folder: str, wordpiece_folder: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    message = refusal(tmp_path / "new", f"--vocab_file={wordpiece_folder}")
    assert message == (
        f"--vocab_file={wordpiece_folder} is not the tokenizer that the shards were made with "
        f"({data.dynamic}/manifest.json); give the same vocabulary and the same tokenizer flags "
        "(--tokenizer_type, …), or make the shards again with these."
    )
    assert not (tmp_path / "new").exists()
    assert "no such file: /nowhere" in refusal(tmp_path / "new", "--vocab_file=/nowhere")
    assert train(tmp_path / "run") == 0
    (tmp_path / "run/vocab.txt").write_text("mine")
    assert "differs; delete that" in refusal(
        tmp_path / "run", f"--vocab_file={vocab_folder}", "--do_eval"
    )


def test_run_vocab_file_without_config_is_opened_with_the_tokenizer_flags(
    train: Run, refusal: Refusal, wordpiece_folder: str, tmp_path: Path
) -> None:
    (tmp_path / "vocab").mkdir()
    shutil.copy(f"{wordpiece_folder}/vocab.txt", tmp_path / "vocab")
    vocab, kind = f"{tmp_path}/vocab/vocab.txt", "--tokenizer_type=wordpiece"
    shards = prepare(tmp_path / "shards/a", vocab, kind, "--masking=dynamic")
    flags = (f"--input_file={shards}", f"--vocab_file={vocab}")
    assert "is not the tokenizer that the shards were made with" in refusal(
        tmp_path / "run", *flags
    )
    assert train(tmp_path / "run", *flags, kind) == 0
    copy = load_tokenizer(str(tmp_path / "run"))
    assert copy.fingerprint == load_tokenizer(wordpiece_folder).fingerprint
    # They are no part of what a run is: it goes on without them.
    shutil.rmtree(tmp_path / "run/checkpoint-00000012")
    assert train(tmp_path / "run", f"--input_file={shards}") == 0


def test_run_vocab_file_of_shards_without_manifest_is_checked_against_the_model(
    refusal: Refusal, data: Data, vocab_folder: str, tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    shutil.copy(f"{data.static}/a-00000-of-00002", tmp_path / "shards")
    config = write_config(tmp_path / "small.json", vocab_size=1000)
    message = refusal(
        tmp_path / "run", f"--input_file={tmp_path}/shards", f"--bert_config_file={config}",
        f"--vocab_file={vocab_folder}",
    )  # fmt: skip
    assert message == (
        f"vocab_size is 1,000 in {config}, but 1,500 in the vocabulary ({vocab_folder}); set "
        "vocab_size in the config to that."
    )


# What is refused


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_train_steps=0"], "--num_train_steps must be at least 1, got 0."),
        (["--train_batch_size=0"], "--train_batch_size must be at least 1, got 0."),
        (["--eval_batch_size=-1"], "--eval_batch_size must be at least 1, got -1."),
        (["--max_seq_length=0"], "--max_seq_length must be at least 1, got 0."),
        (["--max_eval_steps=0"], "--max_eval_steps must be at least 1, got 0."),
        (["--shuffle_buffer_size=-1"], "--shuffle_buffer_size must be at least 0, got -1."),
        (["--gradient_accumulation_steps=0"],
         "--gradient_accumulation_steps must be at least 1, got 0."),
        (["--gradient_accumulation_steps=3"],
         "--train_batch_size=8 must be a multiple of --gradient_accumulation_steps=3."),
        (["--num_warmup_steps=-1"], "--num_warmup_steps must be at least 0, got -1."),
        (["--learning_rate=-1"], "--learning_rate must be in [0, 3.4e38], got -1.0."),
        (["--nodo_train"], "give --do_train, --do_eval or both."),
        (["--eval_every_steps=0", "--eval_input_file=x"],
         "--eval_every_steps must be above 0, got 0."),
        (["--eval_every_steps=5"], "--eval_every_steps needs --eval_input_file."),
        (["--tokenizer_type=wordpiece"], "--tokenizer_type needs --vocab_file."),
        (["--output_dir=gs://bucket/run"],
         "--output_dir must be a local folder, got gs://bucket/run; copy it afterwards."),
        (["--num_devices=0"], "--num_devices must be at least 1, got 0."),
        (["--train_batch_sise=8"], "unknown flag --train_batch_sise; did you mean "
         "--train_batch_size?"),
        (["--input_file=/nowhere/*"], "no file matches '/nowhere/*'."),
        (["--bert_config_file=/nowhere"], "/nowhere: No such file or directory"),
    ],
)  # fmt: skip
def test_run_bad_flag_is_named(
    flags: list[str], message: str, refusal: Refusal, tmp_path: Path
) -> None:
    assert refusal(tmp_path / "run", *flags) == message


def test_run_unknown_key_of_the_model_is_named(refusal: Refusal, tmp_path: Path) -> None:
    config = write_config(tmp_path / "a.json", hidden_sise=3)
    assert "unknown keys hidden_sise" in refusal(tmp_path / "x", f"--bert_config_file={config}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_seq_length=64"], "--max_seq_length=64, but the shards were made with 32 ("),
        (["--input_file={data.static}", "--max_predictions_per_seq=20"],
         "--max_predictions_per_seq=20, but the shards were made with 5 ("),
        (["--input_file={data.static}", "--max_ngram_size=2"], "--max_ngram_size has no effect: "),
        (["--input_file={data.static},{data.dynamic}"],
         "the shards differ in masking: static in "),
        (["--do_eval", "--eval_input_file={data.longer}"],
         "--max_seq_length=32, but the shards were made with 64 ("),
        (["--do_eval", "--eval_input_file={data.dynamic}"],
         "--eval_input_file has shards that are trained on: {data.dynamic}/a-00000-of-00004, "),
    ],
)  # fmt: skip
def test_run_shards_that_do_not_fit_are_refused(
    flags: list[str], message: str, refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    found = refusal(tmp_path / "run", *(flag.format(data=data) for flag in flags))
    assert found.startswith(message.format(data=data))
    assert not (tmp_path / "run").exists()


def test_run_held_out_shards_of_another_vocabulary_are_refused(
    refusal: Refusal, wordpiece_folder: str, tmp_path: Path
) -> None:
    other = prepare(tmp_path / "other/a@1", wordpiece_folder)
    message = refusal(tmp_path / "run", "--do_eval", f"--eval_input_file={other}")
    assert message.startswith("the shards of --eval_input_file were made with another tokenizer")


def test_run_model_of_another_config_in_the_folder_stays(refusal: Refusal, tmp_path: Path) -> None:
    config = Path(write_config(tmp_path / "bert_config.json", hidden_size=768))
    assert refusal(tmp_path) == (
        f"{config} is of another model and would be written over; choose another --output_dir."
    )
    assert json.loads(config.read_text())["hidden_size"] == 768


def test_run_own_config_in_the_folder_stays_as_it_is(train: Run, tmp_path: Path) -> None:
    config = write_config(tmp_path / "bert_config.json")
    assert train(tmp_path, f"--bert_config_file={config}") == 0
    assert json.loads(Path(config).read_text()) == MODEL


def test_run_warnings_of_all_shards_are_printed_once(
    train: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    shutil.copy(f"{data.static}/a-00000-of-00002", shards)
    config = write_config(tmp_path / "a.json", vocab_size=1600)
    flags = ("--do_eval", f"--eval_input_file={shards}", f"--bert_config_file={config}")
    assert train(tmp_path / "run", *flags) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warnings == [
        f"run_pretraining: warning: {config} has vocab_size 1,600, the shards' vocabulary 1,500: "
        "the rest is never trained.",
        f"run_pretraining: warning: no manifest.json beside {shards}/a-00000-of-00002: it can't "
        "be checked that the shards were made with this vocabulary.",
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--train_batch_size=6"], "--train_batch_size=6 must be a multiple of the 4 devices."),
        (["--gradient_accumulation_steps=4"], "--train_batch_size=8 must be a multiple of 16: 4 "
         "parts on 4 devices."),
        (["--do_eval", "--eval_batch_size=6"], "--eval_batch_size=6 must be a multiple of the 4 "
         "devices."),
    ],
)  # fmt: skip
def test_run_batch_that_devices_can_not_share_is_refused(
    flags: list[str], message: str, train: Run, backend: NumpyBackend, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    backend.num_devices = 4
    assert train(tmp_path, *flags) == 1
    assert capsys.readouterr().err == f"run_pretraining: error: {message}\n"
    assert train(tmp_path / "without", "--eval_batch_size=6") == 0


# Damaged shards


def damage(path: Path, record: int) -> None:
    """Changes a byte in the body of a record."""
    data = bytearray(path.read_bytes())
    start = 0
    for _ in range(record):
        start += 16 + int.from_bytes(data[start : start + 8], "little")
    data[start + 40] ^= 255
    path.write_bytes(data)


def test_run_damaged_shard_names_the_record(
    train: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = Path(shutil.copytree(data.dynamic, tmp_path / "shards"))
    damage(shards / "a-00001-of-00004", 40)
    flags = (f"--input_file={shards}/a-0000[0-2]*", "--shuffle_buffer_size=0")
    assert train(tmp_path / "run", *flags) == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith(
            f"run_pretraining: error: {shards}/a-00001-of-00004: record 40: its checksum is wrong"
        )
    )


def test_run_shard_cut_off_is_named(
    train: Run, refusal: Refusal, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = Path(shutil.copytree(data.dynamic, tmp_path / "shards"))
    path = shards / "a-00001-of-00004"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-3])
    flag = f"--input_file={shards}/a-0000[0-2]*"
    assert f"{path} has {size - 3:,} bytes, but {shards}/manifest.json says {size:,}" in refusal(
        tmp_path / "run", flag
    )
    (shards / "manifest.json").unlink()  # then the record tells
    flags = (f"--input_file={data.static}/a-00000*", "--shuffle_buffer_size=0")
    static = tmp_path / "static"
    shutil.copy(f"{data.static}/a-00000-of-00002", static)
    static.write_bytes(static.read_bytes()[:-3])
    assert train(tmp_path / "run", *flags, f"--input_file={static}") == 1
    assert re.search(
        rf"error: {static}: record \d+: the file ends inside it", capsys.readouterr().err
    )


def test_run_google_shards_of_another_length_name_flag_and_record(
    train: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(f"{data.static}/a-00000-of-00002", tmp_path / "a")
    flags = (f"--input_file={tmp_path}/a", "--max_seq_length=64", "--shuffle_buffer_size=0")
    assert train(tmp_path / "run", *flags) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"run_pretraining: error: {tmp_path}/a: record 0: ")


# Where weights come from


def save_weights(folder: Path, fingerprint: str | None = None, **changes: Any) -> Arrays:
    """A checkpoint of another run, with numbers that are easily known again."""
    config = BertConfig(**{**MODEL, **changes})
    specs = pretraining_specs(config)
    arrays = {
        name: np.full(spec.shape, number, np.float32)
        for number, (name, spec) in enumerate(specs.items())
    }
    state = {"step": 1000, "tokenizer_fingerprint": fingerprint}
    folder.mkdir()
    save_checkpoint(str(folder), 1000, Checkpoint(arrays, {}, state), config, 0)
    return arrays


def test_run_init_checkpoint_lands_in_the_model(
    train: Run, backend: NumpyBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = save_weights(tmp_path / "first", num_hidden_layers=2)
    assert train(tmp_path / "run", f"--init_checkpoint={tmp_path}/first") == 0
    (given,) = backend.given
    assert given.keys() == pretraining_specs(BertConfig(**MODEL)).keys()  # type: ignore[arg-type]
    assert all(np.array_equal(array, arrays[name]) for name, array in given.items())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"{tmp_path}/first/checkpoint-00001000 (checkpoint of step 1,000): {len(given)} variables "
        "loaded, 0 new, 16 not used"
    )
    assert lines[1] == "  not used: bert/encoder/layer_1/attention/output/LayerNorm/beta"
    assert metrics(tmp_path / "run")[0]["step"] == 1
    # It is not read again.
    shutil.rmtree(last(tmp_path / "run"))
    shutil.rmtree(tmp_path / "first")
    assert train(tmp_path / "run", f"--init_checkpoint={tmp_path}/first") == 0
    assert "variables loaded" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 32000}, "bert/embeddings/word_embeddings has shape [32000, 16] in {path}, "
         "but [1500, 16] by {config}; likely vocab_size: the checkpoint has 32,000 pieces, the "
         "config 1,500. Use the bert_config.json of the checkpoint, or another checkpoint."),
        ({"max_position_embeddings": 32}, "likely max_position_embeddings: the checkpoint has 32, "
         "the config 64."),
    ],
)  # fmt: skip
def test_run_init_checkpoint_of_another_shape_is_refused(
    changes: Any, message: str, refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    save_weights(tmp_path / "first", **changes)
    wanted = message.format(path=f"{tmp_path}/first/checkpoint-00001000", config=data.config)
    found = refusal(tmp_path / "run", f"--init_checkpoint={tmp_path}/first")
    assert found.startswith("--init_checkpoint: ") and wanted in found
    assert os.listdir(tmp_path / "run") == [".lock"]


def test_run_init_checkpoint_of_another_tokenizer_is_refused(
    train: Run, refusal: Refusal, data: Data, vocab_folder: str, tmp_path: Path
) -> None:
    save_weights(tmp_path / "other", "0123456789abcdef")
    message = refusal(tmp_path / "run", f"--init_checkpoint={tmp_path}/other")
    assert message == (
        f"--init_checkpoint: {tmp_path}/other/checkpoint-00001000 was trained with another "
        "tokenizer than the shards were made with; its pieces would mean other words. Prepare the "
        "data with its vocabulary."
    )
    save_weights(tmp_path / "same", load_tokenizer(vocab_folder).fingerprint)
    assert train(tmp_path / "run", f"--init_checkpoint={tmp_path}/same") == 0


def test_run_init_checkpoint_of_another_activation_warns(
    train: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(tmp_path / "first", hidden_act="gelu_erf")
    assert train(tmp_path / "run", f"--init_checkpoint={tmp_path}/first") == 0
    assert (
        f"warning: {tmp_path}/first/checkpoint-00001000 was trained with hidden_act gelu_erf, "
        f"{data.config} says gelu."
    ) in capsys.readouterr().err


def test_run_init_checkpoint_that_can_not_be_read_is_refused(
    refusal: Refusal, tmp_path: Path
) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    for path, message in (
        (f"{tmp_path}/pytorch_model.bin", "is a pickle, which can run any code"),
        (f"{tmp_path}/nowhere", "nothing at"),
    ):
        assert message in refusal(tmp_path / "run", f"--init_checkpoint={path}")


def test_run_two_phases_share_an_output(
    train: Run, backend: NumpyBackend, data: Data, tmp_path: Path
) -> None:
    assert train(tmp_path / "short") == 0
    flags = (f"--init_checkpoint={tmp_path}/short", f"--input_file={data.longer}")
    assert train(tmp_path / "long", *flags, "--max_seq_length=64") == 0
    end = load_checkpoint(str(last(tmp_path / "short"))).parameters
    assert all(np.array_equal(backend.given[1][name], array) for name, array in end.items())
    found = metrics(tmp_path / "long")
    assert [r["step"] for r in found] == list(range(1, 13))
    assert found[0]["learning_rate"] == 0  # its own warm-up


# The notice of its end

SECRET = "T0Secret/B0Secret/x0Secret"


class Webhook(HTTPServer):
    """Keeps the notices."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _WebhookHandler)
        self.texts: list[str] = []
        self.flag = f"--notify_url=http://127.0.0.1:{self.server_port}/services/{SECRET}"


class _WebhookHandler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.texts.append(json.loads(body)["text"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def told(
    backend: NumpyBackend,
    data: Data,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """Runs the command; returns its exit status and what the webhook was told of it."""

    def run_here(output: Path, *flags: str) -> tuple[int, str]:
        argv = ["run_pretraining", *arguments(data, output, webhook.flag, *flags)]
        monkeypatch.setattr(sys, "argv", argv)
        try:
            code = run_pretraining.main()
        except SystemExit as stop:
            code = int(str(stop.code))
        assert SECRET not in "".join(capsys.readouterr())
        for name, content in contents(output).items():
            assert b"Secret" not in content and b"notify_url" not in content, name
        (text,) = webhook.texts
        webhook.texts.clear()
        return code, re.sub(r"after \d+ s", "after N s", text)

    return run_here


Told = Callable[..., tuple[int, str]]


def test_notice_of_a_run_that_has_finished_has_its_score(
    told: Told, data: Data, tmp_path: Path
) -> None:
    begin = "run_pretraining (base): finished after N s"
    evaluated = f"{begin}; masked_lm_accuracy 0.5"
    assert told(tmp_path / "base") == (0, begin)
    assert told(tmp_path / "base") == (0, begin)  # nothing is left to do
    assert told(tmp_path / "base", "--do_eval") == (0, evaluated)
    assert told(tmp_path / "base", "--nodo_train", "--do_eval") == (0, evaluated)
    flags = (f"--eval_input_file={data.held_out}", "--eval_every_steps=5")
    assert told(tmp_path / "other/base", *flags) == (0, evaluated)
    about = json.loads((tmp_path / "base/run.json").read_text())
    assert about["flags"]["save_checkpoints_steps"] == 4


def test_notice_of_a_run_whose_hours_are_over_has_its_step(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingLoop, "_is_late", lambda loop: loop._step() >= 5)
    assert told(tmp_path / "base", "--do_eval") == (
        0, "run_pretraining (base): stopped by --max_hours at step 5 of 12 after N s; "
        "masked_lm_accuracy 0.5",
    )  # fmt: skip
    _, text = told(tmp_path / "base", "--nodo_train", "--do_eval")
    assert text == "run_pretraining (base): finished after N s; masked_lm_accuracy 0.5"


def test_notice_of_a_run_that_has_failed_has_its_error(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = f"{tmp_path}/없다"
    code, text = told(tmp_path / "base", f"--input_file={missing}")
    assert code == 1
    assert text.startswith("run_pretraining (base): failed after N s: ") and missing in text

    def explode(self: NumpyProgram, *args: Any) -> Any:
        return lambda: {"objective": float("nan"), "gradient_norm": 1.0}

    monkeypatch.setattr(NumpyProgram, "train_step", explode)
    code, text = told(tmp_path / "base")
    assert code == 1 and "failed after N s: step 1: the loss is nan and the norm" in text


@pytest.mark.parametrize(
    ("number", "code", "how"),
    [(signal.SIGTERM, 143, "stopped by SIGTERM"), (signal.SIGINT, 130, "interrupted")],
)
def test_notice_of_a_run_that_was_stopped_has_its_step(
    number: int,
    code: int,
    how: str,
    told: Told,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train_step = NumpyProgram.train_step

    def stop_at_6(self: NumpyProgram, step: int, *args: Any) -> Any:
        if step == 5:
            os.kill(os.getpid(), number)
        return train_step(self, step, *args)

    monkeypatch.setattr(NumpyProgram, "train_step", stop_at_6)
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    found = told(tmp_path / "base")
    assert found == (code, f"run_pretraining (base): {how} at step 6 of 12 after N s")
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert last(tmp_path / "base").name == "checkpoint-00000006"
    assert told(tmp_path / "base")[0] == 0  # the same command goes on


def test_notice_that_nobody_takes_changes_nothing(
    backend: NumpyBackend,
    data: Data,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bert_ko.notification._PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = f"http://127.0.0.1:1/{SECRET}"
    argv = ["run_pretraining", *arguments(data, tmp_path, f"--notify_url={url}")]
    monkeypatch.setattr(sys, "argv", argv)
    assert run_pretraining.main() == 0
    assert last(tmp_path).name == "checkpoint-00000012"
    printed = capsys.readouterr()
    assert "warning: --notify_url: the webhook did not take the notice: Conn" in printed.err
    assert SECRET not in printed.err + printed.out


# The launcher


def modules_after(code: str) -> set[str]:
    """What a new process has loaded after it has run the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"],
        capture_output=True, text=True, cwd=REPOSITORY, check=True,
    )  # fmt: skip
    return set(done.stdout.splitlines())


def test_command_help_answers_without_a_framework() -> None:
    code = "sys.argv = ['x', '--help']\nfrom bert_ko.run_pretraining import main\nmain()"
    found = modules_after(code)
    assert not found & {"tensorflow", "keras", "jax", "torch"}
    for flag in ("bert_config_file", "init_checkpoint", "precision", "vocab_file"):
        assert any(line.startswith(f"  --{flag} (") for line in found)


def test_command_without_vocab_file_loads_no_tokenizer() -> None:
    assert not modules_after("import bert_ko.run_pretraining") & {"mecab", "_mecab"}


# With TensorFlow and JAX, in processes of their own


class Command:
    """Runs the command with a backend; JAX keeps what it has compiled for the next run."""

    def __init__(self, backend: str, data: Data, cache: Path):
        self.data = data
        self.environment = {
            **os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }  # fmt: skip
        self.backend = backend

    def start(self, output: Path, *flags: str, code: str = "") -> "subprocess.Popen[str]":
        """Begins a run; what it prints is appended to OUTPUT.log."""
        program = ["-c", code] if code else [str(REPOSITORY / "bin/run_pretraining")]
        with open(f"{output}.log", "a") as log:
            return subprocess.Popen(
                [sys.executable, *program, *arguments(self.data, output, *LONG, *flags)],
                stdout=log, stderr=log, text=True, env=self.environment, cwd=REPOSITORY,
            )  # fmt: skip

    def run(self, output: Path, *flags: str, code: str = "") -> str:
        """Runs to the end; returns all that the runs have printed."""
        process = self.start(output, *flags, code=code)
        assert process.wait(120) == 0, printed(output)
        return printed(output)


LONG = (
    "--num_train_steps=90", "--save_checkpoints_steps=7", "--keep_checkpoint_max=3",
    "--precision=float32", "--learning_rate=1e-2",
)  # fmt: skip


def printed(output: Path) -> str:
    return Path(f"{output}.log").read_text()


@pytest.fixture(scope="module")
def tensorflow(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command("tensorflow", data, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def jax(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command("jax", data, tmp_path_factory.mktemp("cache"))


def stop_when(process: "subprocess.Popen[str]", is_reached: Callable[[], bool], number: int) -> int:
    """Sends a signal in a state of the folder; returns the exit status."""
    deadline = time.monotonic() + 120
    while not is_reached():
        assert process.poll() is None, "the run has ended before"
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.0005)
    process.send_signal(number)
    return process.wait(60)


def has_records(output: Path, count: int) -> Callable[[], bool]:
    """Whether the run, not an earlier one, has come so far."""
    path = output / "metrics.jsonl"
    return lambda: path.exists() and path.read_bytes().count(b"\n") >= count


def is_saving(output: Path) -> Callable[[], bool]:
    def is_reached() -> bool:
        return output.exists() and any(name[0] == "." and "tmp" in name for name in names(output))

    return is_reached


def names(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith((".checkpoint", "checkpoint"))]


def assert_same_run(output: Path, undisturbed: Path) -> None:
    """Every record, weight and slot of the two, to the last bit."""
    assert metrics(output) == metrics(undisturbed)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (last(output) / name).read_bytes() == (last(undisturbed) / name).read_bytes()
    assert sorted(names(output)) == sorted(names(undisturbed))
    assert not [name for name in os.listdir(output) if name.endswith(".tmp")]


TENSORFLOW_FLAGS = ("--gradient_accumulation_steps=2", "--do_eval", "--eval_every_steps=32")


@pytest.fixture(scope="module")
def undisturbed(tensorflow: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 90 steps with TensorFlow, with evaluation."""
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    tensorflow.run(output, *TENSORFLOW_FLAGS, f"--eval_input_file={tensorflow.data.held_out}")
    return output


@pytest.mark.slow
def test_command_tensorflow_writes_records_and_results(undisturbed: Path) -> None:
    found = metrics(undisturbed)
    trained = [record for record in found if "loss" in record]
    assert [record["step"] for record in trained] == list(range(1, 91))
    assert list(trained[0]) == [
        "step", "loss", "masked_lm_loss", "masked_lm_accuracy", "next_sentence_loss",
        "next_sentence_accuracy", "gradient_norm", "learning_rate", "epoch",
    ]  # fmt: skip
    losses = [record["masked_lm_loss"] for record in trained]
    assert losses[0] == pytest.approx(np.log(1500), rel=0.02)
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.4  # it learns
    evaluated = [record for record in found if "eval_loss" in record]
    assert [record["step"] for record in evaluated] == [32, 64]
    assert list(results(undisturbed)) == GOOGLES_KEYS
    assert results(undisturbed)["global_step"] == 90
    assert results(undisturbed)["masked_lm_loss"] < evaluated[0]["eval_masked_lm_loss"]
    assert sorted(names(undisturbed)) == [
        "checkpoint-00000077", "checkpoint-00000084", "checkpoint-00000090",
    ]  # fmt: skip
    text = printed(undisturbed)
    assert re.search(
        r"training: 90/90 steps \(100 %\), loss [\d.]+, masked-LM accuracy [\d.e-]+, "
        r"[\d.kM]+ tokens/s, [\d.k]+ steps/s, ", text,
    )  # fmt: skip
    assert (undisturbed / "eval_results.txt").read_text() in text


@pytest.mark.slow
def test_command_tensorflow_killed_and_stopped_goes_on_to_the_same_bits(
    tensorflow: Command, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    flags = (*TENSORFLOW_FLAGS, f"--eval_input_file={tensorflow.data.held_out}")
    states = [
        (has_records(output, 3), signal.SIGKILL, -signal.SIGKILL),  # before the first checkpoint
        (has_records(output, 19), signal.SIGTERM, 143),
        (is_saving(output), signal.SIGKILL, -signal.SIGKILL),
        (has_records(output, 35), signal.SIGINT, 130),
    ]
    for is_reached, number, status in states:
        assert stop_when(tensorflow.start(output, *flags), is_reached, number) == status
        assert names(output) or number == signal.SIGKILL
    stops = re.findall(r"stopped at step (\d+); run the same command to go on", printed(output))
    assert "Traceback" not in printed(output)
    tensorflow.run(output, *flags)
    starts = re.findall(r"going on from step (\d+)", printed(output))
    assert len(stops) == 2 and set(stops) <= set(starts)
    assert_same_run(output, undisturbed)
    assert results(output) == results(undisturbed)


@pytest.fixture(scope="module")
def undisturbed_jax(jax: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    jax.run(output, code=JAX_ALONE)
    return output


# With JAX nothing imports TensorFlow, and torch has no place in either.
JAX_ALONE = """
import sys
from bert_ko.run_pretraining import main
code = main()
assert "jax" in sys.modules
assert not {"tensorflow", "torch"} & set(sys.modules)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(4, 25), (17, 33)])
def test_command_jax_killed_goes_on_to_the_same_bits(
    counts: tuple[int, ...], jax: Command, undisturbed_jax: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    for count in counts:
        process = jax.start(output)
        assert stop_when(process, has_records(output, count), signal.SIGKILL) == -signal.SIGKILL
    jax.run(output)
    assert "going on from step" in printed(output)
    assert_same_run(output, undisturbed_jax)


@pytest.mark.slow
def test_command_jax_killed_between_records_goes_on_to_the_same_bits(
    jax: Command, undisturbed_jax: Path, tmp_path: Path
) -> None:
    # 3 divides none of 7, 14 and 28.
    jax.run(tmp_path / "undisturbed", "--log_every_steps=3")
    output = tmp_path / "run"
    for count in (5, 10):
        process = jax.start(output, "--log_every_steps=3")
        assert stop_when(process, has_records(output, count), signal.SIGKILL) == -signal.SIGKILL
    jax.run(output, "--log_every_steps=3")
    assert_same_run(output, tmp_path / "undisturbed")
    assert [record["step"] for record in metrics(output)] == list(range(3, 91, 3))
    # How often is logged changes no weight.
    name = "model.safetensors"
    assert (last(output) / name).read_bytes() == (last(undisturbed_jax) / name).read_bytes()


# With TensorFlow in this process


@pytest.fixture
def real(data: Data, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command with TensorFlow; what is compiled once serves the next run, too."""
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    return lambda output, *flags: run_here(data, output, "--precision=float32", *flags)


@pytest.mark.slow
def test_command_evaluation_is_the_same_with_other_batches(
    real: Run, data: Data, undisturbed: Path
) -> None:
    found = []
    for batch_size in (8, 3, 100, 8):
        flags = ("--nodo_train", "--do_eval", f"--eval_input_file={data.held_out}")
        sizes = (f"--eval_batch_size={batch_size}", "--max_eval_steps=1000")
        assert real(undisturbed, *flags, *sizes) == 0
        found.append(results(undisturbed))
    assert found[0] == found[3]
    assert found[1] == pytest.approx(found[0], abs=1e-6)
    assert found[2] == pytest.approx(found[0], abs=1e-6)


@pytest.mark.slow
def test_command_second_phase_begins_where_the_first_ended(
    real: Run, data: Data, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (
        f"--input_file={data.longer}", "--max_seq_length=64", "--num_train_steps=3",
        f"--init_checkpoint={undisturbed}",
    )  # fmt: skip
    assert real(tmp_path / "run", *flags) == 0
    count = len(pretraining_specs(BertConfig(**MODEL)))  # type: ignore[arg-type]
    assert (
        f"{undisturbed}/checkpoint-00000090 (checkpoint of step 90): {count} variables loaded, "
        "0 new, 0 not used\n"
    ) in capsys.readouterr().out
    found = metrics(tmp_path / "run")
    assert [record["step"] for record in found] == [1, 2, 3]
    assert found[0]["masked_lm_loss"] < np.log(1500) - 0.4


@pytest.mark.slow
def test_command_loss_that_explodes_keeps_the_last_good_checkpoint(
    real: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--learning_rate=1e30", "--save_checkpoints_steps=1")
    assert real(tmp_path / "run", *flags) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    step = int(re.findall(r"error: step (\d+): ", line)[0])
    assert 2 <= step <= 4
    assert len(re.findall(rf"{data.dynamic}/a-0000[0-2]-of-00004: record \d+", line)) == 3
    kept = last(tmp_path / "run")
    assert int(kept.name[-8:]) == step - 1 and f"{kept} is kept" in line
    arrays = load_checkpoint(str(kept)).parameters
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert json.dumps(metrics(tmp_path / "run"), allow_nan=False)


@pytest.mark.slow
def test_command_weights_that_are_not_finite_stop_at_the_first_step(
    real: Run, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = load_checkpoint(str(last(undisturbed))).parameters
    arrays["bert/pooler/dense/kernel"][0, 0] = np.inf
    state = {"step": 1, "tokenizer_fingerprint": None}
    config = BertConfig(**MODEL)  # type: ignore[arg-type]
    path = save_checkpoint(str(tmp_path), 1, Checkpoint(arrays, {}, state), config, 0)
    assert real(tmp_path / "run", f"--init_checkpoint={path}") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"error: step 1: the loss is \S+ and the norm of the gradients nan\.", line)
    assert "there is no checkpoint before" in line
    assert list_checkpoints(str(tmp_path / "run")) == []


@pytest.mark.slow
def test_command_both_backends_have_the_same_losses(
    real: Run, jax: Command, undisturbed: Path, tmp_path: Path
) -> None:
    config = write_config(
        tmp_path / "a.json", hidden_dropout_prob=0, attention_probs_dropout_prob=0
    )
    flags = (
        f"--bert_config_file={config}", "--num_train_steps=10", "--save_checkpoints_steps=100",
        f"--init_checkpoint={undisturbed}", "--learning_rate=1e-3",
    )  # fmt: skip
    assert real(tmp_path / "tensorflow", *flags) == 0
    jax.run(tmp_path / "jax", *flags)
    ours, theirs = metrics(tmp_path / "tensorflow"), metrics(tmp_path / "jax")
    assert len(ours) == len(theirs) == 10
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert ours[0]["learning_rate"] == 0 and ours[9]["learning_rate"] > 0
