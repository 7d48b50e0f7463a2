"""Flags of run_classifier."""

from __future__ import annotations

from dataclasses import dataclass

from bert_ko.flags import flag
from bert_ko.tasks.classifier.forms import FORMS, Kind, TaskForm, TaskName, table_form
from bert_ko.tasks.settings import LabelFlags


@dataclass(frozen=True)
class ClassifierFlags(LabelFlags):
    """The task, its columns and its labels."""

    remembered = (
        "max_seq_length",
        "task_name",
        "task_type",
        "text_column",
        "text_pair_column",
        "label_column",
    )

    task_name: TaskName = flag(
        help="nsmc: film reviews; ynat: topics of headlines; korsts: similarity of sentences, from "
        "0 to 5; paws: paraphrases; tsv: any table with named columns (.tsv, .csv, .jsonl, .json)."
    )
    task_type: Kind = flag(
        "classification", help="With --task_name=tsv: classes, or a number (regression)."
    )
    text_column: str = flag("text", help="With --task_name=tsv: column of the text.")
    text_pair_column: str | None = flag(
        None, help="With --task_name=tsv: column of the second text of a pair."
    )
    label_column: str = flag("label", help="With --task_name=tsv: column of the label or number.")
    id_column: str | None = flag(
        None,
        help="With --task_name=tsv: column of the id. Default: the line.",
        affects_output=False,
    )
    class_weights: str = flag(
        "none",
        help="How much an example of a class weighs in the loss: none; balanced, the rarer the "
        "more; or 긍정=2,부정=0.5, each other class 1.",
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
        super().__post_init__()
        if self.task_name == "tsv":
            _ = self.form
        else:
            columns = ("task_type", "text_column", "text_pair_column", "label_column", "id_column")
            for name in columns:
                if getattr(self, name) != getattr(type(self), name):
                    raise ValueError(
                        f"--{name} is for --task_name=tsv; the columns of {self.task_name} are "
                        "known."
                    )
        if self.class_weights != "none" and self.is_regression:
            raise ValueError("--class_weights: a regression has no classes.")

    @property
    def form(self) -> TaskForm:
        """What the task's files look like."""
        if self.task_name != "tsv":
            return FORMS[self.task_name]
        return table_form(
            self.task_type,
            self.text_column,
            self.text_pair_column,
            self.label_column,
            self.id_column,
        )

    @property
    def is_regression(self) -> bool:
        """Whether numbers are predicted."""
        return self.form.kind == "regression"
