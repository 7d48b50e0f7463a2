"""Flags of run_squad: defaults of Google's run_squad.py, and rules."""

from typing import Any

import pytest

from bert_ko.flags import FlagError, output_flags, parse
from bert_ko.tasks.squad.features import WindowConfig
from bert_ko.tasks.squad.predictions import PredictionConfig
from bert_ko.tasks.squad.settings import SquadFlags

REQUIRED: dict[str, Any] = {"vocab_file": "v", "bert_config_file": "c", "output_dir": "o"}


def make(**flags: Any) -> SquadFlags:
    """By default flags that predict."""
    return SquadFlags(**{**REQUIRED, "do_predict": True, "predict_file": "dev.json", **flags})


def test_squad_flags_configs_have_every_flag() -> None:
    flags = make(
        max_seq_length=100, doc_stride=10, max_query_length=20, n_best_size=3,
        max_answer_length=4, version_2_with_negative=True, null_score_diff_threshold=-1.5,
    )  # fmt: skip
    assert flags.window_config == WindowConfig(100, 10, 20)
    assert flags.prediction_config == PredictionConfig(3, 4, True, -1.5)
    flags = SquadFlags(**REQUIRED, input_file="i")
    assert (flags.window_config, flags.prediction_config) == (WindowConfig(), PredictionConfig())


@pytest.mark.parametrize(
    ("flags", "is_trial"),
    [
        ({"do_train": True, "train_file": "t"}, False),
        ({"do_predict": True, "predict_file": "p"}, False),
        ({"input_file": "i"}, True),
        ({"interactive": True}, True),
        ({"oracle": True, "train_file": "t"}, False),
        ({"oracle": True, "predict_file": "p"}, False),
    ],
)
def test_squad_flags_any_one_thing_to_do_is_enough(flags: dict[str, Any], is_trial: bool) -> None:
    assert SquadFlags(**REQUIRED, **flags).is_trial == is_trial


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "give --do_train, --do_predict, --interactive, --input_file or --oracle."),
        (
            {"train_file": "t", "predict_file": "p"},
            "give --do_train, --do_predict, --interactive, --input_file or --oracle.",
        ),
        ({"do_train": True, "predict_file": "p"}, "--do_train needs --train_file."),
        ({"do_predict": True, "train_file": "t"}, "--do_predict needs --predict_file."),
        ({"oracle": True}, "--oracle needs --predict_file or --train_file."),
        (
            {"do_train": True, "train_file": "t", "eval_every_steps": 10},
            "--eval_every_steps needs --predict_file.",
        ),
        (
            {"do_predict": True, "predict_file": "p", "input_file": "i", "num_seeds": 2},
            "--interactive and --input_file try one model; give its seed-N folder as "
            "--output_dir, and no --num_seeds.",
        ),
        (
            {"interactive": True, "max_seq_length": 67},
            "--max_seq_length=67 leaves no room for a context beside a question of "
            "--max_query_length=64 and 3 special tokens.",
        ),
        *(
            ({"oracle": True, name: value}, f"--{name} must be at least 1, got {value}.")
            for name in (
                "predict_batch_size", "n_best_size", "max_answer_length", "doc_stride",
                "max_query_length",
            )
            for value in (0, -3)
        ),
    ],
)  # fmt: skip
def test_squad_flags_what_is_missing_or_out_of_range_is_named(
    flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        SquadFlags(**REQUIRED, **flags)
    assert str(error.value) == message


def test_squad_flags_unknown_way_to_strip_is_refused() -> None:
    arguments = [f"--{name}={value}" for name, value in REQUIRED.items()]
    with pytest.raises(FlagError, match="--strip_josa must be one of auto, always, never"):
        parse(SquadFlags, [*arguments, "--interactive", "--strip_josa=often"])


def test_squad_flags_identity_is_what_decides_the_weights() -> None:
    names = set(output_flags(make()))
    assert {"max_seq_length", "doc_stride", "max_query_length", "version_2_with_negative"} <= names
    assert not names & {
        "train_file", "predict_file", "input_file", "interactive", "oracle", "do_predict",
        "do_train", "predict_batch_size", "n_best_size", "max_answer_length", "strip_josa",
        "null_score_diff_threshold", "verbose_logging", "output_dir", "num_seeds",
    }  # fmt: skip
