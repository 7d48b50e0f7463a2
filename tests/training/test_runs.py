"""A run's folder: what is found there, what is refused, and what it begins with."""

import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bert_ko.messages import program_name
from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.heads import model_specs
from bert_ko.modeling.parameters import ParameterSpec, initial_parameters
from bert_ko.training.checkpoints import Checkpoint, read_model_config, save_checkpoint
from bert_ko.training.labels import write_labels
from bert_ko.training.optimization import OptimizerConfig
from bert_ko.training.runs import (
    Beginning,
    Run,
    check_batch_size,
    check_resumable,
    new_parameters,
    refuse_other_run,
    trained_parameters,
    write_run,
)

WARNING = f"{program_name()}: warning:"

CONFIG = BertConfig(
    vocab_size=50, hidden_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8,
    max_position_embeddings=8,
)  # fmt: skip
IDENTITY = {"learning_rate": 0.5, "random_seed": 3, "bert_config_file": CONFIG.to_dict()}
SLOTS = ("adam_m", "adam_v")
SPECS = {"a": ParameterSpec((2, 3), "normal"), "b": ParameterSpec((3,), "ones")}
ENCODER = initial_parameters(model_specs(CONFIG), 0.02, 0)  # beside what is looked at


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def make_run(folder: Path | str = "out", **changes: Any) -> Run:
    made_with = "the shards were made with"
    run = Run(str(folder), CONFIG, "model.json", IDENTITY, "0123", made_with)
    return run._replace(**changes)


def other_model(**changes: Any) -> dict[str, Any]:
    """The fields of a run that another model changes."""
    config = dataclasses.replace(CONFIG, **changes)
    identity = {**IDENTITY, "bert_config_file": config.to_dict()}
    return {"model_config": config, "identity": identity}


def save(run: Run, step: int, kind: Any = "checkpoint", **state: Any) -> str:
    arrays = {"a": np.full((2, 3), step, np.float32), "b": np.full(3, -step, np.float32)}
    slots = {f"{name}/adam_m": array + 1 for name, array in arrays.items()}
    values = {**run.state, "step": step, **state}
    checkpoint = Checkpoint({**ENCODER, **arrays}, slots, values)
    return save_checkpoint(run.folder, step, checkpoint, run.model_config, keep=0, kind=kind)


def refusal(run: Run, is_training: bool = True) -> str:
    with pytest.raises(ValueError) as error:
        refuse_other_run(run, is_training)
    return str(error.value)


ADVICE = (
    " Give the same flags to resume, or choose another --output_dir, with this one as "
    "--init_checkpoint to start from its weights."
)


# Checkpoints of a run


def test_refuse_other_run_empty_folder_and_the_same_run_pass(tmp_path: Path) -> None:
    for is_training in (True, False):
        refuse_other_run(make_run(tmp_path / "nowhere"), is_training)
    save(make_run(tmp_path), 4)
    for is_training in (True, False):
        refuse_other_run(make_run(tmp_path), is_training)


@pytest.mark.parametrize("kind", ["checkpoint", "best"])
def test_refuse_other_run_names_all_differences(kind: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = save(run, 4, kind=kind)
    other = run._replace(identity={**IDENTITY, "learning_rate": 0.25, "random_seed": 4})
    assert refusal(other) == (
        f"{path} belongs to a different run: --learning_rate was 0.5, now 0.25; --random_seed was "
        f"3, now 4.{ADVICE}"
    )
    refuse_other_run(other, is_training=False)  # they decide no answer


def test_refuse_other_run_begun_before_a_flag_asks_for_what_it_did(tmp_path: Path) -> None:
    path = save(make_run(tmp_path), 4)
    before = {"overflow": "cut", "learning_rate": 0.25}  # the recorded rate counts
    run = make_run(tmp_path, identity={**IDENTITY, "overflow": "cut"}, before=before)
    refuse_other_run(run, is_training=True)
    assert refusal(run._replace(identity={**IDENTITY, "overflow": "carry"})) == (
        f"{path} belongs to a different run: --overflow was 'cut', now 'carry'.{ADVICE}"
    )


def test_refuse_other_run_of_another_model(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = save(run, 4)
    other = run._replace(**other_model(hidden_size=16))
    assert refusal(other) == (
        f"{path} belongs to a different run: --bert_config_file: hidden_size was 8, now 16.{ADVICE}"
    )
    message = (
        f"--bert_config_file: model.json is not the configuration that {path} was trained with "
        "(hidden_size was 8, now 16); leave the flag out."
    )
    assert refusal(other, is_training=False) == message
    # What convert_checkpoint writes has no identity, but a configuration.
    save(run, 4, identity=None)
    assert refusal(other, is_training=False) == message
    refuse_other_run(run, is_training=False)
    assert refusal(run) == f"{path} belongs to a different run: it was not trained here.{ADVICE}"


@pytest.mark.parametrize(
    "name", ["hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range"]
)
def test_refuse_other_run_dropout_matters_to_training_alone(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    save(run, 4)
    other = run._replace(**other_model(**{name: 0.5}))
    assert f"--bert_config_file: {name} was 0." in refusal(other)
    refuse_other_run(other, is_training=False)


def test_refuse_other_run_of_another_tokenizer(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = save(run, 4)
    other = run._replace(fingerprint="4567")
    assert refusal(other) == (
        f"{path} belongs to a different run: the shards were made with another tokenizer.{ADVICE}"
    )
    assert refusal(other, is_training=False) == (
        f"{path} was trained with another tokenizer than the shards were made with; its pieces "
        "would mean other words. Prepare the data with its vocabulary."
    )


@pytest.mark.parametrize(("saved", "asked"), [(None, "0123"), ("0123", None), (None, None)])
def test_refuse_other_run_unknown_tokenizer_is_accepted(
    saved: str | None, asked: str | None, tmp_path: Path
) -> None:
    run = make_run(tmp_path, fingerprint=saved)
    save(run, 4)
    refuse_other_run(run._replace(fingerprint=asked), True)


# Weights to predict with


def resumable(folder: Path) -> Checkpoint:
    state = {
        "step": 4, "position": None, "seconds": 1.0, "sums": {}, "steps_in_sums": 0,
    }  # fmt: skip
    arrays = initial_parameters(SPECS, 0.02, 0)
    slots = {f"{n}/{slot}": array for n, array in arrays.items() for slot in SLOTS}
    return Checkpoint(arrays, slots, state, str(folder / "checkpoint-00000004"))


def test_check_resumable_whole_checkpoint_passes(tmp_path: Path) -> None:
    check_resumable(resumable(tmp_path), SPECS, OptimizerConfig(), {})


def test_check_resumable_needs_no_slots_of_what_is_frozen(tmp_path: Path) -> None:
    checkpoint = resumable(tmp_path)
    for slot in SLOTS:
        del checkpoint.slots[f"b/{slot}"]
    check_resumable(checkpoint, SPECS, OptimizerConfig(frozen=("b",)), {})
    with pytest.raises(ValueError, match="b/adam_m is missing"):
        check_resumable(checkpoint, SPECS, OptimizerConfig(), {})


def test_check_resumable_without_what_is_carried_is_refused(tmp_path: Path) -> None:
    checkpoint = resumable(tmp_path)
    checkpoint.slots["carried/cell"] = np.zeros((4, 2), np.float32)
    check_resumable(checkpoint, SPECS, OptimizerConfig(), {"carried/cell": (4, 2)})
    with pytest.raises(
        ValueError, match=r"carried/cell has shape \[4, 2\], and must have \[8, 2\]"
    ):
        check_resumable(checkpoint, SPECS, OptimizerConfig(), {"carried/cell": (8, 2)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.parameters.pop("a"), "model.safetensors was edited or damaged: a is missing."),
        (lambda c: c.parameters.update(b=np.ones((3, 3), "f")),
         "model.safetensors was edited or damaged: b has shape [3, 3], and must have [3]."),
        (lambda c: c.slots.pop("b/adam_v"),
         "optimizer.safetensors was edited or damaged: b/adam_v is missing."),
        (lambda c: c.slots.update({"a/adam_m": np.ones(2, "f")}),
         "optimizer.safetensors was edited or damaged: a/adam_m has shape [2], and must have "
         "[2, 3]."),
        (lambda c: c.state.pop("position"), "state.json: position is missing."),
        (lambda c: c.state.pop("steps_in_sums"), "state.json: steps_in_sums is missing."),
    ],
)  # fmt: skip
def test_check_resumable_what_is_missing_is_named(
    change: Any, message: str, tmp_path: Path
) -> None:
    checkpoint = resumable(tmp_path)
    change(checkpoint)
    with pytest.raises(ValueError) as error:
        check_resumable(checkpoint, SPECS, OptimizerConfig(), {})
    path = checkpoint.path
    assert str(error.value) == f"{path}/{message} Delete the folder {path} to start again."


def test_trained_parameters_part_of_an_encoder_is_damaged(tmp_path: Path) -> None:
    run, name = make_run(tmp_path), "bert/embeddings/word_embeddings"
    path = str(tmp_path / "checkpoint-00000004")
    arrays = {n: array for n, array in ENCODER.items() if n != name}
    with pytest.raises(ValueError) as error:
        trained_parameters(run, model_specs(CONFIG), Checkpoint(arrays, {}, {}, path))
    assert str(error.value) == (
        f"{path}/model.safetensors was edited or damaged: {name} is missing. Delete the folder "
        f"{path} to start again."
    )


def test_refuse_other_run_state_without_fingerprint_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = save(run, 4)
    Path(path, "state.json").write_text(json.dumps({"format": 1, "step": 4, "identity": IDENTITY}))
    for is_training in (True, False):
        assert refusal(run, is_training) == (
            f"{path}/state.json: tokenizer_fingerprint is missing. Delete the folder {path} to "
            "start again."
        )


def test_trained_parameters_are_those_of_the_task() -> None:
    arrays = {"w": np.ones((2, 4), np.float32), "more": np.zeros(1, np.float32)}
    specs = {"w": ParameterSpec((2, 4), "zeros")}
    assert list(trained_parameters(make_run(), specs, Checkpoint(arrays, {}, {}))) == ["w"]


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (
            {"w": (3, 4)},
            "out was trained for another task: w must have shape [3, 4], and there is shape "
            "[2, 4].",
        ),
        (
            {"b": (3,)},
            "out was trained for another task: b must have shape [3], and there is no such "
            "variable.",
        ),
        (
            {"w": (2, 4), "output_bias": (2,)},
            "out was trained with cls/tags/crf/transitions, which would not be used; give "
            "--use_crf.",
        ),
        (
            {"w": (2, 4), "cls/tags/crf/transitions": (2,)},
            "out was trained with output_bias, which would not be used; it is for another task.",
        ),
    ],
)
def test_trained_parameters_of_another_task_are_refused(
    specs: dict[str, tuple[int, ...]], message: str
) -> None:
    heads = {name: np.zeros(2, np.float32) for name in ("output_bias", "cls/tags/crf/transitions")}
    checkpoint = Checkpoint({"w": np.zeros((2, 4), np.float32), **heads}, {}, {})
    with pytest.raises(ValueError) as error:
        trained_parameters(
            make_run(), {n: ParameterSpec(s, "zeros") for n, s in specs.items()}, checkpoint
        )
    assert str(error.value) == message


# Weights to begin with


def begin(run: Run, specs: Any, path: str | None = None, seed: int = 5, **given: Any) -> Beginning:
    flags = {"do_train": True, "max_seq_length": 1, "untrained_positions": "extend"}
    labels = given.pop("labels", None)
    config: Any = SimpleNamespace(init_checkpoint=path, **{**flags, **given})
    return new_parameters(run, specs, config, seed, labels)


def test_new_parameters_are_random_by_seed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    found = begin(run, SPECS).arrays
    wanted = initial_parameters(SPECS, 0.02, 5)
    assert all(found[name].tobytes() == wanted[name].tobytes() for name in SPECS)
    assert found["a"].tolist() != begin(run, SPECS, seed=6).arrays["a"].tolist()


def test_new_parameters_of_a_checkpoint_replace_the_random_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_run(tmp_path / "source")
    os.mkdir(source.folder)
    save(source, 4)
    specs = {**SPECS, "new": ParameterSpec((2,), "zeros")}
    found = begin(make_run(tmp_path / "run"), specs, source.folder).arrays
    assert {name: array.tolist() for name, array in found.items()} == {
        "a": [[4] * 3] * 2, "b": [-4] * 3, "new": [0, 0],
    }  # fmt: skip
    printed = capsys.readouterr()
    assert f"{source.folder}/checkpoint-00000004" in printed.err
    assert WARNING not in printed.err and printed.out == ""


def test_new_parameters_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = save(run, 4)
    with pytest.raises(ValueError) as error:
        begin(run._replace(fingerprint="4567"), SPECS, run.folder)
    assert str(error.value) == (
        f"--init_checkpoint: {path} was trained with another tokenizer than the shards were made "
        "with; its pieces would mean other words. Prepare the data with its vocabulary."
    )
    assert begin(run._replace(fingerprint=None), SPECS, run.folder).arrays["a"][0, 0] == 4


def test_new_parameters_other_configuration_warns_training_and_is_refused_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path)
    path = save(run, 4)
    other = run._replace(**other_model(hidden_act="gelu_erf", hidden_dropout_prob=0.5))
    begin(other, SPECS, run.folder)
    difference = "hidden_act was 'gelu', now 'gelu_erf'"
    assert capsys.readouterr().err.endswith(
        f"{WARNING} {path} was trained with another configuration than model.json: {difference}\n"
    )
    with pytest.raises(ValueError) as error:
        begin(other, SPECS, run.folder, do_train=False)
    message = (
        f"--bert_config_file: model.json is not the configuration that {path} was trained with "
        f"({difference}); leave the flag out."
    )
    assert str(error.value) == message


def test_new_parameters_head_for_other_labels_is_reinitialised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_run(tmp_path)
    arrays = {"a": np.ones((2, 3), np.float32), "output_bias": np.full(3, 7, np.float32)}
    state = {**source.state, "step": 4}
    checkpoint = Checkpoint({**ENCODER, **arrays}, {}, state)
    path = save_checkpoint(source.folder, 4, checkpoint, CONFIG, keep=0)
    write_labels(source.folder, ("가", "나", "다"))
    specs = {"a": SPECS["a"], "output_bias": ParameterSpec((3,), "zeros")}
    found = begin(source, specs, source.folder, labels=("다", "나", "가")).arrays
    assert found["output_bias"].tolist() == [0, 0, 0]
    message = f"{path} was trained for other labels: the head is reinitialised"
    assert message in capsys.readouterr().err.splitlines()


# What a run writes down


def test_write_run_has_flags_identity_and_model(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write_run(run, {"learning_rate": 0.5, "output_dir": "여기"})
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == {
        "format": 1,
        "flags": {"learning_rate": 0.5, "output_dir": "여기"},
        "identity": IDENTITY,
    }
    assert read_model_config(str(tmp_path / "bert_config.json")) == CONFIG
    assert sorted(os.listdir(tmp_path)) == ["bert_config.json", "run.json"]


def test_write_run_again_replaces_another_run_alone(tmp_path: Path) -> None:
    write_run(make_run(tmp_path), {"log_every_steps": 10})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    write_run(make_run(tmp_path), {"log_every_steps": 20})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    run = make_run(tmp_path, **other_model(hidden_size=16))
    write_run(run, {"seed": 4})
    found = json.loads((tmp_path / "run.json").read_text())
    assert (found["flags"], found["identity"]) == ({"seed": 4}, run.identity)
    assert read_model_config(str(tmp_path / "bert_config.json")) == run.model_config


def test_write_run_same_model_of_the_user_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "bert_config.json"
    text = json.dumps(CONFIG.to_dict(), indent=8)
    path.write_text(text)
    write_run(make_run(tmp_path), {})
    assert path.read_text() == text
    assert (tmp_path / "run.json").exists()


# Devices and results


@pytest.mark.parametrize(
    ("size", "devices", "parts", "multiple"),
    [
        (8, 1, 1, None), (8, 4, 2, None), (7, 1, 7, None),
        (6, 4, 1, "the 4 devices"), (2, 4, 1, "the 4 devices"),
        (8, 4, 4, "16: 4 parts on 4 devices"), (8, 1, 3, "3: 3 parts on 1 devices"),
    ],
)  # fmt: skip
def test_check_batch_size_that_cannot_be_split_is_refused(
    size: int, devices: int, parts: int, multiple: str | None
) -> None:
    try:
        check_batch_size("batch_size", size, devices, parts)
        assert multiple is None
    except ValueError as error:
        assert str(error) == f"--batch_size={size} must be a multiple of {multiple}."
