"""Flags of the commands that fine-tune: what all of them share, and what those with labels add."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from bert_ko.flags import flag
from bert_ko.page_flags import LANGUAGE_HELP, Language
from bert_ko.tasks.word_networks import ElmoFlags
from bert_ko.text_lines import EncodingFlags
from bert_ko.training.labels import LABELS_NAME, Labels, labels_beside
from bert_ko.training.model_files import remembered_flags, weight_places
from bert_ko.training.optimization import OptimizerConfig
from bert_ko.training.settings import TrainFlags

Split = Literal["train", "dev", "test"]
_DRAW = 12345  # seed of which examples are drawn


@dataclass(frozen=True)
class FineTuneFlags(EncodingFlags, TrainFlags):
    """Flags of every command that fine-tunes."""

    group = "Fine-tuning"

    warmup_flag = "--warmup_proportion"
    needs_tokenizer = True
    # Flags whose default is the value that a trained model was trained with.
    remembered: ClassVar[tuple[str, ...]] = ("max_seq_length",)

    vocab_file: str | None = flag(
        None,
        help="The vocabulary: vocab.txt, a SentencePiece .model, the folder of either with its "
        "tokenizer_config.json, or ko-mecab-32k, which comes with bert_ko. Default: as found in "
        "--output_dir, or beside --init_checkpoint.",
        affects_output=False,
    )
    train_file: str | None = flag(None, main=True, help="To train on.", affects_output=False)
    predict_file: str | None = flag(None, main=True, help="To predict for.", affects_output=False)
    input_file: str | None = flag(
        None,
        main=True,
        help="Plain texts to try a model on, one a line; - is standard input. Its answers are "
        "printed as JSON lines.",
        affects_output=False,
    )
    interactive: bool = flag(
        False, main=True, help="Try a model: type a text, and see its answer.", affects_output=False
    )
    do_predict: bool = flag(False, main=True, help="Predict.", affects_output=False)
    predict_batch_size: int = flag(
        8, help="Examples of a batch of prediction.", affects_output=False, at_least=1
    )
    num_train_epochs: float = flag(
        3.0, main=True, help="Passes over the training data.", above=0, below=1e6
    )
    warmup_proportion: float = flag(
        0.1,
        help="Share of the updates with a rising learning rate, in [0, 1].",
        at_least=0,
        at_most=1,
    )
    layer_decay: float = flag(
        1.0,
        help="A layer's learning rate as a share of that of the layer above it, in (0, 1].",
        above=0,
        at_most=1,
    )
    length_buckets: bool = flag(
        True,
        help="Batches of about equally long examples, padded to one of 8 lengths; else all are "
        "padded to --max_seq_length.",
    )
    pack: bool = flag(
        False,
        help="Train with several examples in a row of --max_seq_length pieces, which do not see "
        "each other, in place of padding; the updates are those of --nolength_buckets.",
    )
    eval_every_steps: int | None = flag(
        None,
        help="Evaluate every this many updates, and at the end; the best weights are kept and "
        "used.",
        above=0,
    )
    num_seeds: int = flag(
        1,
        help="Train this many times, with seeds from --random_seed on, into seed-N folders; the "
        "mean and the deviation are reported.",
        affects_output=False,
        at_least=1,
    )
    report_language: Language = flag("en", help=LANGUAGE_HELP, affects_output=False)

    def __post_init__(self) -> None:
        """Raises: ValueError: flags that do not fit together."""
        super().__post_init__()
        if self.random_seed + self.num_seeds > 1 << 31:
            raise ValueError("--random_seed and --num_seeds: the last seed must be below 2**31.")
        if self.is_trial and self.num_seeds > 1:
            raise ValueError(
                "--interactive and --input_file try one model; give its seed-N folder as "
                "--output_dir, and no --num_seeds."
            )

    @classmethod
    def find_values(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """See Flags: a trained model's flags are those that it was trained with."""
        if given.get("do_train") or given.get("oracle") or "output_dir" not in given:
            return {}
        names = ("output_dir", "random_seed", "num_seeds")
        folder = _run_folder(*(given.get(name, getattr(cls, name, "")) for name in names))
        known = remembered_flags(weight_places(folder, given.get("init_checkpoint"))[0])
        return {name: known[name] for name in cls.remembered if name in known}

    @property
    def seeds(self) -> Sequence[int]:
        """Of the runs."""
        return range(self.random_seed, self.random_seed + self.num_seeds)

    def folder(self, seed: int) -> str:
        """Where the run of a seed is stored."""
        return _run_folder(self.local_dir, seed, self.num_seeds)

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of the best evaluation are kept, and used in the end."""
        return self.eval_every_steps is not None

    @property
    def is_trial(self) -> bool:
        """Whether a model is tried on texts without labels."""
        return self.interactive or self.input_file is not None

    @property
    def evaluates_in_training(self) -> bool:
        """Whether held-out data are needed during training."""
        return self.do_train and self.eval_every_steps is not None

    def optimizer_config(self, steps_per_epoch: int, num_hidden_layers: int) -> OptimizerConfig:
        """See TrainFlags."""
        config = super().optimizer_config(steps_per_epoch, num_hidden_layers)
        return dataclasses.replace(config, layer_decay=self.layer_decay)

    def num_updates(self, steps_per_epoch: int) -> tuple[int, int]:
        """See TrainFlags."""
        num_train_steps = max(1, int(steps_per_epoch * self.num_train_epochs))
        return num_train_steps, int(num_train_steps * self.warmup_proportion)


def _run_folder(output_dir: str, seed: int, num_seeds: int) -> str:
    return output_dir if num_seeds == 1 else os.path.join(output_dir, f"seed-{seed}")


@dataclass(frozen=True)
class LabelFlags(ElmoFlags, FineTuneFlags):
    """Flags of the commands that label texts: run_classifier and run_ner."""

    group = "Labelled texts"

    reads_words = True
    remembered = ("max_seq_length", *ElmoFlags.of_network)

    data_dir: str | None = flag(
        None,
        main=True,
        help="Folder of the task's files, under the names they are published with.",
        affects_output=False,
    )
    train_file: str | None = flag(
        None, main=True, help="To train on. Default: as found in --data_dir.", affects_output=False
    )
    eval_file: str | None = flag(
        None,
        help="To evaluate on. Default: the development file found in --data_dir.",
        affects_output=False,
    )
    predict_file: str | None = flag(
        None,
        help="To predict for. Default: the test file found in --data_dir.",
        affects_output=False,
    )
    do_eval: bool = flag(False, main=True, help="Evaluate.", affects_output=False)
    max_seq_length: int = flag(
        128, main=True, help="Pieces of a text with its special tokens, or words.", at_least=3
    )
    eval_batch_size: int = flag(
        8, help="Texts of a batch of evaluation.", affects_output=False, at_least=1
    )
    max_train_examples: int | None = flag(
        None,
        help="Train on this many examples, the same ones for every seed. Default: all.",
        at_least=1,
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: flags that do not fit together."""
        super().__post_init__()
        if not (self.do_train or self.do_eval or self.do_predict or self.is_trial):
            raise ValueError(
                "give --do_train, --do_eval, --do_predict, --input_file or --interactive."
            )
        for action, file in (
            ("do_train", "train_file"), ("do_eval", "eval_file"), ("do_predict", "predict_file"),
            ("eval_every_steps", "eval_file"),
        ):  # fmt: skip
            if getattr(self, action) and getattr(self, file) is None and self.data_dir is None:
                raise ValueError(f"--{action} needs --{file}, or --data_dir.")

    @property
    def evaluates(self) -> bool:
        """Whether labels are compared, at the end or during training."""
        return self.do_eval or self.evaluates_in_training


def draw_examples(config: LabelFlags, count: int) -> npt.NDArray[np.int64]:
    """Which of ``count`` examples are trained on, int64, ascending."""
    wanted = config.max_train_examples
    if wanted is None or wanted >= count:
        return np.arange(count)
    rng = np.random.default_rng([_DRAW, count])
    return np.sort(rng.permutation(count)[:wanted])


def stored_labels(config: LabelFlags) -> Labels | None:
    """The labels beside the weights to predict with; None if they are missing."""
    return labels_beside(weights_place(config))


def weights_place(config: FineTuneFlags) -> str:
    """The place of the weights to predict with: the folder of the run, or --init_checkpoint."""
    return weight_places(config.folder(config.random_seed), config.init_checkpoint)[0]


def no_labels_error(config: LabelFlags) -> ValueError:
    """The error of a model whose labels are unknown."""
    return ValueError(
        f"no {LABELS_NAME} beside {weights_place(config)}; give the --train_file that the model "
        "was trained on, for its labels."
    )
