"""Flags of run_squad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bert_ko.flags import flag
from bert_ko.tasks.settings import FineTuneFlags
from bert_ko.tasks.squad.features import WindowConfig
from bert_ko.tasks.squad.predictions import PredictionConfig

StripJosa = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class SquadFlags(FineTuneFlags):
    """Data, windows and answers."""

    group = "Questions and answers"

    remembered = ("max_seq_length", "doc_stride", "max_query_length", "version_2_with_negative")

    train_file: str | None = flag(
        None,
        main=True,
        help="Questions to train on, in SQuAD's form (KorQuAD 1.0, KLUE-MRC, SQuAD 1.1 and 2.0).",
        affects_output=False,
    )
    predict_file: str | None = flag(
        None, main=True, help="Questions to answer, in the same form.", affects_output=False
    )
    input_file: str | None = flag(
        None,
        main=True,
        help="Questions with contexts to try a reader on: lines of QUESTION tab CONTEXT, or JSON "
        "lines with question and context; the answers are printed as JSON lines.",
        affects_output=False,
    )
    interactive: bool = flag(
        False,
        main=True,
        help="Try a reader: type a context, then questions on it; an empty line ends the context.",
        affects_output=False,
    )
    oracle: bool = flag(
        False,
        help="No model: print the best score that the vocabulary's pieces can reach on "
        "--predict_file (or --train_file), and the answers that they cannot.",
        affects_output=False,
    )
    do_predict: bool = flag(
        False, main=True, help="Answer --predict_file, and score the answers.", affects_output=False
    )
    max_seq_length: int = flag(
        384, main=True, help="Pieces of a window: question, context and 3 special tokens."
    )
    doc_stride: int = flag(128, help="Pieces between the beginnings of two windows.", at_least=1)
    max_query_length: int = flag(64, help="Pieces of a question; the rest is cut off.", at_least=1)
    predict_batch_size: int = flag(
        8, help="Windows of a batch of prediction.", affects_output=False, at_least=1
    )
    n_best_size: int = flag(
        20, help="Answers to keep for a question.", affects_output=False, at_least=1
    )
    max_answer_length: int = flag(
        30, help="Pieces of an answer at most.", affects_output=False, at_least=1
    )
    strip_josa: StripJosa = flag(
        "auto",
        help="Cut josa, copulas and endings off the answers: auto where it helps on the answers "
        "of --train_file.",
        affects_output=False,
    )
    version_2_with_negative: bool = flag(
        False, help="Some questions have no answer (KLUE-MRC, SQuAD 2.0)."
    )
    null_score_diff_threshold: float = flag(
        0.0,
        help="Give no answer where its score is better than the best answer's by more than this.",
        affects_output=False,
    )
    verbose_logging: bool = flag(
        False, help="Print everything that is wrong with the data.", affects_output=False
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
        super().__post_init__()
        _ = self.window_config  # which checks that its lengths fit together
        if self.oracle:
            if self.predict_file is None and self.train_file is None:
                raise ValueError("--oracle needs --predict_file or --train_file.")
            return
        if not (self.do_train or self.do_predict or self.is_trial):
            raise ValueError(
                "give --do_train, --do_predict, --interactive, --input_file or --oracle."
            )
        if self.do_train and self.train_file is None:
            raise ValueError("--do_train needs --train_file.")
        if self.do_predict and self.predict_file is None:
            raise ValueError("--do_predict needs --predict_file.")
        if self.eval_every_steps is not None and self.predict_file is None:
            raise ValueError("--eval_every_steps needs --predict_file.")

    @property
    def window_config(self) -> WindowConfig:
        """How contexts are cut."""
        return WindowConfig(self.max_seq_length, self.doc_stride, self.max_query_length)

    @property
    def prediction_config(self) -> PredictionConfig:
        """How answers are chosen."""
        return PredictionConfig(
            self.n_best_size,
            self.max_answer_length,
            self.version_2_with_negative,
            self.null_score_diff_threshold,
        )
