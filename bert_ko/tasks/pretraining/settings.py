"""Flags of run_pretraining."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from bert_ko.data.settings import MAX_LENGTH
from bert_ko.flags import Flags, flag
from bert_ko.page_flags import LANGUAGE_HELP, Language
from bert_ko.training.settings import TrainFlags


@dataclass(frozen=True)
class MaskingFlags(Flags):
    """How shards of --masking=dynamic are masked for training; None: as they were prepared."""

    group = "Masking"

    masked_lm_prob: float | None = flag(
        None,
        help="Share of the pieces to mask in training, in (0, 1). Evaluation masks 0.15 always. "
        "Default: as the shards were prepared.",
        above=0,
        below=1,
    )
    do_whole_word_mask: bool | None = flag(
        None,
        help="Mask all pieces of a word together in training; evaluation masks as the shards were "
        "prepared. Default: as the shards were prepared.",
    )
    whole_word_unit: Literal["morpheme", "eojeol"] | None = flag(
        None, help="What a word is. Default: as the shards were prepared."
    )
    max_ngram_size: int | None = flag(
        None,
        help="Longest run of words masked together. Default: as the shards were prepared.",
        at_least=1,
        at_most=MAX_LENGTH,
    )
    replace_unit: Literal["piece", "word"] | None = flag(
        None, help="What the 80/10/10 % are drawn for. Default: as the shards were prepared."
    )

    @property
    def given_masking(self) -> dict[str, Any]:
        """The flags that the user has given, by name."""
        names = [field.name for field in dataclasses.fields(MaskingFlags)]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


_OF_MASKED_LM = (
    "max_seq_length", "max_predictions_per_seq", "pack", "remat",
    *(field.name for field in dataclasses.fields(MaskingFlags)),
)  # fmt: skip


@dataclass(frozen=True)
class PretrainingFlags(MaskingFlags, TrainFlags):
    """Shards, steps and evaluation of pre-training."""

    group = "Pre-training"

    warmup_flag = "--num_warmup_steps"

    input_file: tuple[str, ...] = flag(help="Shards: files, globs, folders.", affects_output=False)
    vocab_file: str | None = flag(
        None,
        main=True,
        help="The vocabulary, to be checked against the shards and copied to --output_dir.",
        affects_output=False,
    )
    max_seq_length: int = flag(
        128, main=True, help="Pieces of a sequence, as in the shards.", at_least=1
    )
    max_predictions_per_seq: int = flag(
        20,
        help="Masked pieces of a sequence at most; --masked_lm_prob times --max_seq_length should "
        "fit. Evaluation of unmasked shards has room for 0.15.",
        at_least=1,
        at_most=MAX_LENGTH,
    )
    do_eval: bool = flag(
        False,
        main=True,
        help="Evaluate the last checkpoint, on --eval_input_file or else on --input_file.",
        affects_output=False,
    )
    eval_batch_size: int = flag(
        8, help="Sequences of a batch of evaluation.", affects_output=False, at_least=1
    )
    num_train_steps: int = flag(100_000, main=True, help="Updates.", at_least=1)
    num_warmup_steps: int = flag(
        10_000, main=True, help="Updates with a rising learning rate.", at_least=0
    )
    eval_input_file: tuple[str, ...] = flag(
        (), main=True, help="Held-out shards for evaluation.", affects_output=False
    )
    eval_every_steps: int | None = flag(
        None,
        help="Evaluate on --eval_input_file every this many updates.",
        affects_output=False,
        above=0,
    )
    max_eval_steps: int = flag(
        100, help="Batches of an evaluation at most.", affects_output=False, at_least=1
    )
    pack: bool = flag(
        False,
        help="Let several sequences share a row, without seeing each other, in place of padding; "
        "--train_batch_size counts rows then.",
    )
    shuffle_buffer_size: int = flag(
        16384,
        help="Sequences that are shuffled together; 0 keeps the order of the shards.",
        at_least=0,
    )
    report_language: Language = flag("en", help=LANGUAGE_HELP, affects_output=False)

    unroll_steps: int | None = flag(
        None,
        help="Of a bidirectional language model: words of a window, over which its loss is "
        "propagated back; its states go on from window to window. Default: 20.",
        at_least=1,
        at_most=MAX_LENGTH,
    )
    softmax_samples: int | None = flag(
        None,
        help="Of a bidirectional language model: words that are drawn for the softmax of training, "
        "the same for a whole batch; 0, or as many as there are, scores all, as evaluation always "
        "does. Default: 8192.",
        at_least=0,
        at_most=1 << 24,
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: flags that contradict each other."""
        super().__post_init__()
        if not (self.do_train or self.do_eval):
            raise ValueError("give --do_train, --do_eval or both.")
        if self.eval_every_steps is not None and not self.eval_input_file:
            raise ValueError("--eval_every_steps needs --eval_input_file.")
        if self.vocab_file is None and self.given_settings:
            raise ValueError(f"--{next(iter(self.given_settings))} needs --vocab_file.")

    def refuse_words(self, model_type: str) -> None:
        """Refuses, by a ValueError, what only a language model of words has."""
        for name in ("unroll_steps", "softmax_samples"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"--{name} has no effect with a model of model_type {model_type}; leave it out."
                )

    def refuse_masking(self, model: str) -> None:
        """Refuses, by a ValueError, what a model of words does not have."""
        for field in dataclasses.fields(PretrainingFlags):
            value = getattr(self, field.name)
            if field.name in _OF_MASKED_LM and value != field.default:
                advice = "give --unroll_steps" if field.name == "max_seq_length" else "leave it out"
                raise ValueError(f"--{field.name} has no effect with {model}; {advice}.")

    @property
    def evaluates(self) -> bool:
        """Whether shards are evaluated, at the end or while the model is trained."""
        return self.do_eval or self.eval_every_steps is not None

    def num_updates(self, steps_per_epoch: int) -> tuple[int, int]:
        """See TrainFlags."""
        return self.num_train_steps, self.num_warmup_steps
