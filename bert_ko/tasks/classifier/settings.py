"""Flags of run_classifier, and the forms of the known tasks' files, FORMS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from bert_ko.flags import flag
from bert_ko.tasks.settings import LabelFlags, Split

TaskName = Literal["nsmc", "ynat", "korsts", "paws", "tsv"]
Kind = Literal["classification", "regression"]

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class TaskForm:
    """The columns and the files of a task; of several columns, the first found is read.

    Attributes:
        kind: whether the label is the name of a class or a number.
        text_a: columns of the text, or of the first text of a pair; as all columns, also paths of
            members of objects, "labels.label".
        label: columns of the label.
        text_b: columns of the second text; none for single texts.
        example_id: columns of the id; without one the place in the file is the id.
        needs_id: whether the file must have one of them.
        files: names to look for in the data folder, in this order.
        label_files: for a label column of numbers, the JSON file in the data folder that names
            them: {"0": "name", ...}. Without that file the numbers are the labels.
        score_range: least and greatest score of a regression; None for any.
        threshold: a regression's score from which a pair counts as alike, for binary_f1.
        placeholder: stands for a missing text; examples with it are left out.
    """

    kind: Kind
    text_a: tuple[str, ...]
    label: tuple[str, ...]
    text_b: tuple[str, ...] = ()
    example_id: tuple[str, ...] = ()
    needs_id: bool = False
    files: Mapping[Split, tuple[str, ...]] = field(default_factory=dict)
    label_files: Mapping[str, str] = field(default_factory=dict)
    score_range: tuple[float, float] | None = None
    threshold: float | None = None
    placeholder: str | None = None

    @property
    def is_pair(self) -> bool:
        """Whether an example has two texts."""
        return bool(self.text_b)


def table_form(
    kind: Kind = "classification",
    text_column: str = "text",
    text_pair_column: str | None = None,
    label_column: str = "label",
    id_column: str | None = None,
) -> TaskForm:
    """Returns the form of the user's own table (the task tsv); see TaskForm."""
    extensions = ("tsv", "csv", "jsonl", "json", "txt")
    return TaskForm(
        kind,
        text_a=(text_column,),
        text_b=() if text_pair_column is None else (text_pair_column,),
        label=(label_column,),
        example_id=() if id_column is None else (id_column,),
        needs_id=id_column is not None,
        files={split: tuple(f"{split}.{name}" for name in extensions) for split in SPLITS},
    )


FORMS: Mapping[TaskName, TaskForm] = {
    # Source: https://github.com/e9t/nsmc; its one test file serves as dev, too.
    "nsmc": TaskForm(
        "classification",
        example_id=("id",),
        text_a=("document",),
        label=("label",),
        files={
            "train": ("ratings_train.txt",),
            "dev": ("ratings_dev.txt", "ratings_test.txt"),
            "test": ("ratings_test.txt", "ratings_dev.txt"),
        },
    ),
    # Source: https://github.com/KLUE-benchmark/KLUE for the JSON; the CSV is what contests use.
    "ynat": TaskForm(
        "classification",
        example_id=("guid", "index"),
        text_a=("title",),
        # The annotators' label comes before the one that the news site gave.
        label=("label", "topic", "predefined_news_category", "topic_idx"),
        files={
            split: (f"{split}.csv", f"ynat-v1.1_{split}.json", f"ynat-v1_{split}.json")
            for split in SPLITS
        },
        label_files={"topic_idx": "topic_dict.json"},
    ),
    # Source: https://github.com/kakaobrain/kor-nlu-datasets. Its column id counts within one
    # genre, filename and year: it is no id of an example. The JSON is that of
    # https://github.com/KLUE-benchmark/KLUE.
    "korsts": TaskForm(
        "regression",
        example_id=("guid",),
        text_a=("sentence1",),
        text_b=("sentence2",),
        label=("score", "labels.label"),
        files={
            split: (f"sts-{split}.tsv", f"klue-sts-v1.1_{split}.json", f"klue-sts-v1_{split}.json")
            for split in SPLITS
        },
        score_range=(0.0, 5.0),
        threshold=3.0,  # KLUE's
    ),
    # Source: https://github.com/google-research-datasets/paws, issue 15 for the placeholder.
    "paws": TaskForm(
        "classification",
        example_id=("id",),
        text_a=("sentence1",),
        text_b=("sentence2",),
        label=("label",),
        files={
            "train": ("translated_train.tsv",),
            "dev": ("dev_2k.tsv",),
            "test": ("test_2k.tsv",),
        },
        placeholder="NS",
    ),
    "tsv": table_form(),
}


@dataclass(frozen=True)
class ClassifierFlags(LabelFlags):
    """The task, its columns and its labels."""

    group = "Tables and classes"

    remembered = (
        *LabelFlags.remembered, "task_name", "task_type", "text_column", "text_pair_column",
        "label_column",
    )  # fmt: skip

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
    label_column: str = flag(
        "label",
        help="With --task_name=tsv: column of the label or number. In JSON, a dot names a member "
        "of an object, as in labels.label; so do the other columns.",
    )
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
        if self.task_name != "tsv":
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
        columns = (self.text_column, self.text_pair_column, self.label_column, self.id_column)
        return table_form(self.task_type, *columns)

    @property
    def is_regression(self) -> bool:
        """Whether numbers are predicted."""
        return self.form.kind == "regression"
