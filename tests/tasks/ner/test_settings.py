"""Flags of run_ner, and their rules; those of every command that labels texts stand elsewhere."""

from typing import Any

from bert_ko.flags import output_flags, parse
from bert_ko.tasks.ner.settings import NerFlags

REQUIRED: dict[str, Any] = {"vocab_file": "v", "bert_config_file": "c", "output_dir": "o"}
ARGUMENTS = [*(f"--{name}={value}" for name, value in REQUIRED.items()), "--interactive"]


def test_ner_flags_defaults() -> None:
    flags = parse(NerFlags, ARGUMENTS)
    assert (flags.file_format, flags.extra_train_file) == ("auto", ())
    assert (flags.use_crf, flags.crf_learning_rate_multiple) == (False, 100.0)
    assert (flags.max_seq_length, flags.train_batch_size, flags.eval_batch_size) == (128, 32, 8)


def test_ner_flags_are_read_from_a_command_line() -> None:
    flags = parse(
        NerFlags,
        [
            *ARGUMENTS, "--file_format=naver", "--extra_train_file=a,b", "--use_crf",
            "--crf_learning_rate_multiple=0",
        ],
    )  # fmt: skip
    assert (flags.file_format, flags.extra_train_file) == ("naver", ("a", "b"))
    assert (flags.use_crf, flags.crf_learning_rate_multiple) == (True, 0.0)


def test_ner_flags_identity_is_what_decides_the_weights() -> None:
    names = set(output_flags(NerFlags(**REQUIRED, interactive=True)))
    assert {
        "use_crf", "crf_learning_rate_multiple", "extra_train_file", "max_seq_length",
        "max_train_examples",
    } <= names  # fmt: skip
    assert not names & {
        "file_format", "data_dir", "train_file", "eval_file", "predict_file", "input_file",
        "interactive", "do_train", "do_eval", "do_predict", "output_dir", "num_seeds",
        "eval_batch_size", "predict_batch_size",
    }  # fmt: skip
