"""Flags of the commands that label texts, which examples they draw, and whose labels they take."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.flags import output_flags, parse
from bert_ko.tasks.label_flags import (
    LabelFlags,
    draw_examples,
    no_labels_error,
    stored_labels,
    weights_place,
)
from bert_ko.training.labels import write_labels

REQUIRED: dict[str, Any] = {"vocab_file": "v", "bert_config_file": "c", "output_dir": "o"}


def make(**flags: Any) -> LabelFlags:
    """By default flags that try a model."""
    return LabelFlags(**{**REQUIRED, "input_file": "-", **flags})


def refusal(**flags: Any) -> str:
    with pytest.raises(ValueError) as error:
        LabelFlags(**{**REQUIRED, **flags})
    return str(error.value)


def test_label_flags_defaults_are_googles() -> None:
    arguments = [f"--{name}={value}" for name, value in REQUIRED.items()]
    flags = parse(LabelFlags, [*arguments, "--do_train", "--data_dir=d"])
    assert (flags.max_seq_length, flags.train_batch_size) == (128, 32)
    assert (flags.eval_batch_size, flags.predict_batch_size) == (8, 8)
    assert (flags.do_train, flags.do_eval, flags.do_predict) == (True, False, False)
    assert (flags.learning_rate, flags.num_train_epochs) == (5e-5, 3.0)
    assert flags.max_train_examples is None


@pytest.mark.parametrize(
    ("flags", "is_trial", "evaluates", "batch_sizes"),
    [
        ({"do_train": True}, False, False, []),
        ({"do_eval": True}, False, True, ["eval_batch_size"]),
        ({"do_predict": True}, False, False, ["predict_batch_size"]),
        ({"do_train": True, "eval_every_steps": 5}, False, True, ["eval_batch_size"]),
        # Nothing is trained, so that nothing is evaluated on the way.
        ({"do_predict": True, "eval_every_steps": 5}, False, False, ["predict_batch_size"]),
        ({"input_file": "-"}, True, False, ["predict_batch_size"]),
        ({"interactive": True}, True, False, ["predict_batch_size"]),
        (
            {"do_train": True, "do_eval": True, "do_predict": True, "interactive": True},
            True, True, ["eval_batch_size", "predict_batch_size"],
        ),
    ],
)  # fmt: skip
def test_label_flags_say_what_is_done(
    flags: dict[str, Any], is_trial: bool, evaluates: bool, batch_sizes: list[str]
) -> None:
    found = LabelFlags(**REQUIRED, data_dir="d", **flags)
    assert (found.is_trial, found.evaluates) == (is_trial, evaluates)
    assert found.batch_sizes == batch_sizes


@pytest.mark.parametrize(
    ("action", "file"),
    [
        ({"do_train": True}, "train_file"),
        ({"do_eval": True}, "eval_file"),
        ({"do_predict": True}, "predict_file"),
        ({"interactive": True, "eval_every_steps": 5}, "eval_file"),
    ],
)
def test_label_flags_each_action_needs_its_file_or_a_folder(
    action: dict[str, Any], file: str
) -> None:
    name = list(action)[-1]
    message = f"--{name} needs --{file}, or --data_dir."
    assert refusal(**action) == message
    for other in {"train_file", "eval_file", "predict_file"} - {file}:
        assert refusal(**action, **{other: "x"}) == message
    LabelFlags(**REQUIRED, **action, **{file: "x"})
    LabelFlags(**REQUIRED, **action, data_dir="d")


@pytest.mark.parametrize("trial", [{"interactive": True}, {"input_file": "-"}])
def test_label_flags_one_model_alone_is_tried(trial: dict[str, Any]) -> None:
    assert refusal(**trial, num_seeds=2) == (
        "--interactive and --input_file try one model; give its seed-N folder as --output_dir, "
        "and no --num_seeds."
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "give --do_train, --do_eval, --do_predict, --input_file or --interactive."),
        (
            {"data_dir": "d", "train_file": "t"},
            "give --do_train, --do_eval, --do_predict, --input_file or --interactive.",
        ),
        ({"max_seq_length": 2}, "--max_seq_length must be at least 3, got 2."),
        ({"eval_batch_size": 0}, "--eval_batch_size must be at least 1, got 0."),
        ({"predict_batch_size": -1}, "--predict_batch_size must be at least 1, got -1."),
        ({"max_train_examples": 0}, "--max_train_examples must be at least 1, got 0."),
        # Of what every task has:
        ({"num_seeds": 0}, "--num_seeds must be at least 1, got 0."),
        ({"layer_decay": 0.0}, "--layer_decay must be in (0, 1], got 0.0."),
    ],
)
def test_label_flags_out_of_range_name_the_flag(flags: dict[str, Any], message: str) -> None:
    assert refusal(**flags) == message


def test_label_flags_at_the_border_are_accepted() -> None:
    flags = {"max_seq_length": 3, "eval_batch_size": 1, "max_train_examples": 1}
    found = make(**flags)
    assert {name: getattr(found, name) for name in flags} == flags


def test_label_flags_identity_is_what_decides_the_weights() -> None:
    names = set(output_flags(make()))
    assert {"max_seq_length", "max_train_examples", "random_seed"} <= names
    assert not names & {
        "data_dir", "train_file", "eval_file", "predict_file", "input_file", "interactive",
        "do_train", "do_eval", "do_predict", "eval_batch_size", "predict_batch_size",
    }  # fmt: skip


# Examples


def test_draw_examples_all_are_taken_in_order() -> None:
    for wanted in (None, 5, 6):
        assert draw_examples(make(max_train_examples=wanted), 5).tolist() == [0, 1, 2, 3, 4]
    assert draw_examples(make(), 0).tolist() == []


def test_draw_examples_are_drawn_once_each_and_the_same_for_every_seed() -> None:
    rows = draw_examples(make(max_train_examples=40), 100)
    assert len(set(rows.tolist())) == 40
    assert (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < 100
    assert rows.tolist() != list(range(40))
    other = draw_examples(make(max_train_examples=40, random_seed=7), 100)
    assert other.tolist() == rows.tolist()


def test_draw_examples_come_from_everywhere() -> None:
    drawn = draw_examples(make(max_train_examples=4000), 10_000)
    # A tenth of them has 400 in the mean, with a deviation of 15.
    counts = np.histogram(drawn, bins=10, range=(0, 10_000))[0]
    assert counts.min() >= 325 and counts.max() <= 475


# Labels


def checkpoint(folder: Path, name: str = "checkpoint-00000007") -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "state.json").write_text("{}")


@pytest.mark.parametrize("name", ["checkpoint-00000007", "best-00000007"])
def test_stored_labels_stand_where_the_weights_do(name: str, tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    for folder, label in ((run, "가"), (other, "나")):
        folder.mkdir()
        write_labels(str(folder), [label])
    alone = make(output_dir=str(run))
    both = make(output_dir=str(run), init_checkpoint=str(other))
    assert (weights_place(alone), stored_labels(alone)) == (str(run), ("가",))
    # The run has not come to a checkpoint: the weights will be the other's.
    assert (weights_place(both), stored_labels(both)) == (str(other), ("나",))
    checkpoint(run, name)
    assert (weights_place(both), stored_labels(both)) == (str(run), ("가",))
    (run / "labels.json").unlink()
    assert stored_labels(both) is stored_labels(alone) is None


def test_stored_labels_of_seeds_are_those_of_the_first(tmp_path: Path) -> None:
    checkpoint(tmp_path / "seed-5")
    write_labels(str(tmp_path / "seed-5"), ["가"])
    flags = {"output_dir": str(tmp_path), "random_seed": 5, "input_file": None}
    two = make(do_predict=True, data_dir="d", num_seeds=2, **flags)
    assert stored_labels(two) == ("가",)


def test_stored_labels_nothing_there_is_none(tmp_path: Path) -> None:
    flags = make(output_dir=str(tmp_path / "run"), init_checkpoint=str(tmp_path / "x.ckpt"))
    assert stored_labels(flags) is None
    assert str(no_labels_error(flags)) == (
        f"no labels.json beside {tmp_path}/x.ckpt; give the --train_file that the model was "
        "trained on, for its labels."
    )
