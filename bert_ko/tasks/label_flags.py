"""Flags of the commands that label texts: run_classifier and run_ner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bert_ko.flags import flag
from bert_ko.tasks.batches import BatchPlan, Ints
from bert_ko.tasks.fine_tuning import FineTuningFlags
from bert_ko.tasks.lengths import batch_lengths
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.checkpoints import list_checkpoints
from bert_ko.training.labels import LABELS_NAME, Labels, labels_beside, read_labels

_DRAW = 12345  # seed of which examples are drawn


@dataclass(frozen=True)
class LabelFlags(FineTuningFlags):
    """Files, batches, and what is to be done with them."""

    data_dir: str | None = flag(
        None,
        help="Folder of the task's files, under the names they are published with.",
        affects_output=False,
    )
    train_file: str | None = flag(
        None, help="To train on. Default: as found in --data_dir.", affects_output=False
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
    input_file: str | None = flag(
        None,
        help="Plain texts to try a model on, one a line; - is standard input. What it says is "
        "printed as JSON lines.",
        affects_output=False,
    )
    interactive: bool = flag(
        False, help="Try a model: type a text, and see its labels.", affects_output=False
    )
    do_eval: bool = flag(False, help="Evaluate.", affects_output=False)
    do_predict: bool = flag(False, help="Predict.", affects_output=False)
    max_seq_length: int = flag(128, help="Pieces of a text with its special tokens.", at_least=3)
    eval_batch_size: int = flag(
        8, help="Texts of a batch of evaluation.", affects_output=False, at_least=1
    )
    predict_batch_size: int = flag(
        8, help="Texts of a batch of prediction.", affects_output=False, at_least=1
    )
    max_train_examples: int | None = flag(
        None,
        help="Train on so many examples, the same ones for every seed. Default: all.",
        at_least=1,
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
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
        if self.is_trial and self.num_seeds > 1:
            raise ValueError(
                "--interactive and --input_file try one model; give its seed-N folder as "
                "--output_dir, and no --num_seeds."
            )

    @property
    def is_trial(self) -> bool:
        """Whether a model is tried on texts that stand in no dataset."""
        return self.interactive or self.input_file is not None

    @property
    def evaluates(self) -> bool:
        """Whether labels are compared, at the end or while it is trained."""
        return self.do_eval or (self.do_train and self.eval_every_steps is not None)

    @property
    def batch_sizes(self) -> list[str]:
        """The flags of the batches that are predicted."""
        found = ["eval_batch_size"] if self.evaluates else []
        return [*found, "predict_batch_size"] if self.do_predict or self.is_trial else found

    def plan(self, tokenizer: Tokenizer, batch_size: int, lengths: Ints | None = None) -> BatchPlan:
        """How texts are put into batches.

        Args:
            tokenizer: of the model.
            batch_size: texts of a batch.
            lengths: pieces of all texts; None where they are not known yet.
        """
        return BatchPlan(
            batch_size,
            tokenizer.vocab.special_ids,
            batch_lengths(self.max_seq_length, self.length_buckets, lengths),
        )


def draw_examples(config: LabelFlags, count: int) -> npt.NDArray[np.int64]:
    """Which examples are trained on, ascending.

    Args:
        config: flags.
        count: of the examples that there are.
    """
    wanted = config.max_train_examples
    if wanted is None or wanted >= count:
        return np.arange(count)
    rng = np.random.default_rng([_DRAW, count])
    return np.sort(rng.permutation(count)[:wanted])


def stored_labels(config: LabelFlags) -> Labels | None:
    """The labels that stand beside the weights to predict with; None where there are none."""
    place = weights_place(config)
    # The labels of a folder whose training has not come to a checkpoint belong to no weights.
    return labels_beside(place) if place == config.init_checkpoint else read_labels(place)


def weights_place(config: LabelFlags) -> str:
    """Where the weights to predict with stand: the folder of the run, or --init_checkpoint."""
    folder = config.folder(config.random_seed)
    has_weights = bool(list_checkpoints(folder) or list_checkpoints(folder, "best"))
    return folder if has_weights or config.init_checkpoint is None else config.init_checkpoint


def no_labels_error(config: LabelFlags) -> ValueError:
    """What to say where the labels of a model are not known."""
    return ValueError(
        f"no {LABELS_NAME} beside {weights_place(config)}; give the --train_file that the model "
        "was trained on, for its labels."
    )
