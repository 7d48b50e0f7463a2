"""Flags of the commands that fine-tune, which examples they draw, and what a model remembers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.flags import FlagError, output_flags, parse
from bert_ko.modeling.bert import BertConfig
from bert_ko.tasks.ner.settings import NerFlags
from bert_ko.tasks.settings import (
    FineTuneFlags,
    LabelFlags,
    draw_examples,
    no_labels_error,
    stored_labels,
    weights_place,
)
from bert_ko.tasks.word_networks import ElmoFlags
from bert_ko.training.checkpoints import Checkpoint, save_checkpoint
from bert_ko.training.labels import write_labels


def make(**flags: Any) -> LabelFlags:
    """By default flags that try a model."""
    return LabelFlags(**{"output_dir": "o", "input_file": "-", **flags})


def refusal(**flags: Any) -> str:
    with pytest.raises(ValueError) as error:
        LabelFlags(output_dir="o", **flags)
    return str(error.value)


def test_label_flags_defaults_are_googles() -> None:
    flags = parse(LabelFlags, ["--output_dir=o", "--do_train", "--data_dir=d"])
    assert (flags.max_seq_length, flags.train_batch_size, flags.num_train_epochs) == (128, 32, 3.0)
    assert (flags.eval_batch_size, flags.predict_batch_size) == (8, 8)
    assert (flags.do_eval, flags.do_predict, flags.init_checkpoint) == (False, False, None)
    assert (flags.warmup_proportion, flags.learning_rate) == (0.1, 5e-5)
    assert (flags.layer_decay, flags.gradient_accumulation_steps) == (1.0, 1)
    assert (flags.eval_every_steps, flags.max_train_examples) == (None, None)


@pytest.mark.parametrize(
    ("flags", "is_trial", "evaluates"),
    [
        ({"do_train": True}, False, False),
        ({"do_eval": True}, False, True),
        ({"do_train": True, "eval_every_steps": 5}, False, True),
        # Nothing is trained, so that nothing is evaluated on the way.
        ({"do_predict": True, "eval_every_steps": 5}, False, False),
        ({"input_file": "-"}, True, False),
        ({"do_eval": True, "interactive": True}, True, True),
    ],
)
def test_label_flags_say_what_is_done(
    flags: dict[str, Any], is_trial: bool, evaluates: bool
) -> None:
    found = LabelFlags(output_dir="o", data_dir="d", **flags)
    assert (found.is_trial, found.evaluates) == (is_trial, evaluates)


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
    LabelFlags(output_dir="o", **action, **{file: "x"})
    LabelFlags(output_dir="o", **action, data_dir="d")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "give --do_train, --do_eval, --do_predict, --input_file or --interactive."),
        (
            {"interactive": True, "num_seeds": 2},
            "--interactive and --input_file try one model; give its seed-N folder as --output_dir, "
            "and no --num_seeds.",
        ),
        ({"max_seq_length": 2}, "--max_seq_length must be at least 3, got 2."),
        ({"eval_batch_size": 0}, "--eval_batch_size must be at least 1, got 0."),
        ({"max_train_examples": 0}, "--max_train_examples must be at least 1, got 0."),
        ({"num_seeds": 0}, "--num_seeds must be at least 1, got 0."),
        ({"num_train_epochs": 0.0}, "--num_train_epochs must be in (0, 1e6), got 0.0."),
        ({"warmup_proportion": 1.01}, "--warmup_proportion must be in [0, 1], got 1.01."),
        ({"layer_decay": 0.0}, "--layer_decay must be in (0, 1], got 0.0."),
        (
            {"random_seed": (1 << 31) - 2, "num_seeds": 3},
            "--random_seed and --num_seeds: the last seed must be below 2**31.",
        ),
    ],
)
def test_label_flags_out_of_range_name_the_flag(flags: dict[str, Any], message: str) -> None:
    assert refusal(**flags) == message


def test_label_flags_at_the_border_are_accepted() -> None:
    make(
        max_seq_length=3, eval_batch_size=1, max_train_examples=1, warmup_proportion=1.0,
        num_train_epochs=0.01, gradient_accumulation_steps=32,
    )  # fmt: skip
    make(input_file=None, do_eval=True, data_dir="d", random_seed=(1 << 31) - 3, num_seeds=3)


def test_label_flags_identity_is_what_decides_the_weights() -> None:
    assert set(output_flags(make())) == {
        "init_checkpoint", "max_seq_length", "max_train_examples", "random_seed",
        "train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "length_buckets",
        "warmup_proportion", "layer_decay", "eval_every_steps", "learning_rate", "optimizer",
        "learning_rate_schedule", "weight_decay", "clip_norm", "precision", "attention",
        "input_encoding", "decay_proportion", "hidden_dropout_prob", "attention_probs_dropout_prob",
        "pack", "untrained_positions", "initial_accumulator", *ElmoFlags.of_network, "elmo_tune",
        "elmo_network_dropout",
    }  # fmt: skip


def test_fine_tune_flags_seeds_have_folders() -> None:
    one = make(random_seed=7)
    assert (list(one.seeds), one.folder(7)) == ([7], "o")
    three = make(input_file=None, do_eval=True, data_dir="d", random_seed=7, num_seeds=3)
    assert list(three.seeds) == [7, 8, 9]
    assert [three.folder(seed) for seed in three.seeds] == ["o/seed-7", "o/seed-8", "o/seed-9"]


def test_fine_tune_flags_updates_and_warm_up_are_whole() -> None:
    flags = make(num_train_epochs=2.0, warmup_proportion=0.35, layer_decay=0.9)
    assert flags.num_updates(5) == (10, 3)
    assert make(num_train_epochs=0.01).num_updates(7) == (1, 0)
    config = flags.optimizer_config(5, 12)
    assert (config.num_train_steps, config.num_warmup_steps) == (10, 3)
    assert (config.layer_decay, config.num_hidden_layers) == (0.9, 12)


# What a trained model remembers


@dataclass(frozen=True)
class Flags(NerFlags):
    """Of a command."""


def train(folder: Path, **identity: Any) -> str:
    """Leaves a checkpoint of a run with these flags."""
    config = BertConfig(vocab_size=7)
    state = {"step": 7, "identity": identity}
    checkpoint = Checkpoint({"w": np.zeros(1, np.float32)}, {}, state)
    save_checkpoint(str(folder), 7, checkpoint, config, 0)
    return str(folder)


def parsed(*arguments: str) -> tuple[int, bool]:
    found = parse(Flags, ["--input_file=-", *arguments])
    return found.max_seq_length, found.use_crf


def test_find_values_a_trained_model_says_what_it_is_used_with(tmp_path: Path) -> None:
    remembered = {"max_seq_length": 96, "use_crf": True, "train_batch_size": 7}
    run = train(tmp_path / "run", **remembered)
    place, weights = f"--output_dir={run}", f"--init_checkpoint={run}"
    assert parsed(place) == (96, True)
    assert parsed(place, "--max_seq_length=64", "--nouse_crf") == (64, False)  # given flags win
    new = f"--output_dir={tmp_path}/new"
    for path in (weights, f"{weights}/checkpoint-00000007", f"{weights}/model.safetensors"):
        assert parsed(new, path) == (96, True)
    assert parsed(new, f"--init_checkpoint={tmp_path}/bert_model.ckpt") == (128, False)
    # Its own weights come before those that it began with; training begins with the defaults.
    other = train(tmp_path / "other", max_seq_length=32)
    assert parsed(f"--output_dir={other}", weights) == (32, False)
    assert parsed(place, "--do_train", "--train_file=t") == (128, False)
    with pytest.raises(FlagError, match=r"^--output_dir: this must be given"):
        parsed()


def test_find_values_of_seeds_are_those_of_the_first(tmp_path: Path) -> None:
    train(tmp_path / "seed-5", max_seq_length=96)
    arguments = ["--do_eval", "--data_dir=d", f"--output_dir={tmp_path}", "--num_seeds=2"]
    assert parse(Flags, [*arguments, "--random_seed=5"]).max_seq_length == 96


def test_find_values_names_are_flags_of_the_command() -> None:
    for flags in (FineTuneFlags, *FineTuneFlags.__subclasses__(), *LabelFlags.__subclasses__()):
        known = set(flags.__dataclass_fields__) | {"max_seq_length"}
        assert set(flags.remembered) <= known


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


def test_stored_labels_stand_where_the_weights_do(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    for folder, label in ((run, "가"), (other, "나")):
        folder.mkdir()
        write_labels(str(folder), [label])
    alone = make(output_dir=str(run))
    both = make(output_dir=str(run), init_checkpoint=str(other))
    assert (weights_place(alone), stored_labels(alone)) == (str(run), ("가",))
    # The run has not come to a checkpoint: the weights will be the other's.
    assert (weights_place(both), stored_labels(both)) == (str(other), ("나",))
    train(run)
    assert (weights_place(both), stored_labels(both)) == (str(run), ("가",))
    (run / "labels.json").unlink()
    assert stored_labels(both) is stored_labels(alone) is None


def test_stored_labels_of_seeds_are_those_of_the_first(tmp_path: Path) -> None:
    train(tmp_path / "seed-5")
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
