"""What tasks on labelled examples share: batches, identity, and the facts of their reports."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from bert_ko import files
from bert_ko.closing import command_line
from bert_ko.data.share import Share
from bert_ko.messages import program_name, say
from bert_ko.modeling.encoder import refuse_packing
from bert_ko.report.blocks import Section
from bert_ko.report.curves import Figure, metric_curves
from bert_ko.report.facts import base_name, described_file, given_flags, made_facts
from bert_ko.report.languages import Texts
from bert_ko.report.page import Pairs, run_section
from bert_ko.tasks.batches import (
    BatchPlan,
    ExampleBatches,
    Examples,
    Ints,
    batch_lengths,
    steps_per_epoch,
)
from bert_ko.tasks.packed_batches import PackedBatches
from bert_ko.tasks.settings import FineTuneFlags
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.word_tokenizer import WordTokenizer
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.model_files import ModelFiles
from bert_ko.training.results import SeedScores
from bert_ko.training.task import Task

Reported = TypeVar("Reported", bound=Any)
Report = Callable[[SeedScores], str]


class TrainingData(NamedTuple):
    """What is trained on."""

    path: str  # the file
    examples: Examples  # of the file, cut into pieces
    describe: Callable[[Ints], str]  # by their numbers, for messages: "the questions a, b, c"


@dataclass(frozen=True)
class ReportData:
    """What every report shows.

    Attributes:
        title: of the page.
        facts: of the run, in order: name and value.
        flags: that are not at their defaults, with their values.
        runs: records of metrics.jsonl of each run, whose seeds differ.
        seeds: (seed, scores) of these runs, if there are several.
        t: the page's language.
    """

    title: str
    facts: Pairs
    flags: Pairs
    runs: Sequence[Sequence[Mapping[str, Any]]]
    seeds: SeedScores
    t: Texts

    def run_section(self, score_names: Pairs) -> Section:
        """What the run was, with the scores of all seeds by key and label."""
        return run_section(self.t, self.facts, self.flags, self.seeds, score_names)

    def curves(
        self, figures: Mapping[str, Mapping[str, str]], fractions: Collection[str] = ()
    ) -> list[Figure]:
        """See metric_curves."""
        return metric_curves(self.t, self.runs, figures, fractions)


class FineTuneTask(Task):
    """Base class of tasks that fine-tune on examples.

    A subclass reads its files in its constructor, and sets ``head``, ``identity`` (see
    ``file_identity``) and ``training``; it adds ``evaluate`` and ``finish``.
    """

    tokenized = "the texts are cut with"
    training: TrainingData | None = None

    def __init__(self, config: FineTuneFlags, model: ModelFiles):
        """Raises: ValueError: --pack with an encoder that can't."""
        if config.pack and config.do_train:
            refuse_packing(model.config)
        self.config, self.model, self.any_tokenizer = config, model, model.any_tokenizer
        self.fingerprint = self.any_tokenizer.fingerprint
        self.identity = {}

    @property
    def tokenizer(self) -> Tokenizer:
        """That of a task on pieces alone."""
        return self.model.tokenizer

    @property
    def batch_sizes(self) -> Sequence[str]:
        """See Task; those of predictions, to which a subclass adds its own."""
        config = self.config
        return ["predict_batch_size"] if config.do_predict or config.is_trial else []

    def next_command(self) -> str | None:
        """See Task: to try the model, unless that was just done."""
        if self.config.interactive:
            return None
        folder = self.config.output_dir
        if self.config.num_seeds > 1:
            folder = files.join(folder, f"seed-{self.config.random_seed}")
        return command_line(program_name(), "--interactive", f"--output_dir={folder}")

    @property
    def is_asked(self) -> bool:
        """See Task."""
        return bool(self.batch_sizes)

    @property
    def steps_per_epoch(self) -> int:
        """See Task."""
        if self.training is None or not self.config.do_train:
            return 0
        return steps_per_epoch(len(self.training.examples.lengths), self.config.train_batch_size)

    def plan(self, batch_size: int, lengths: Ints | None) -> BatchPlan:
        """How examples are batched whose pieces are int32 [N]; None where they are unknown."""
        config = self.config
        padded = batch_lengths(config.max_seq_length, config.length_buckets, lengths)
        return BatchPlan(batch_size, self.any_tokenizer.vocab.special_ids, padded)

    def train_batches(
        self, seed: int, position: dict[str, Any] | None, share: Share
    ) -> ExampleBatches:
        """See Task."""
        assert self.training is not None
        config, examples, describe = self.config, self.training.examples, self.training.describe
        plan = self.plan(config.train_batch_size, examples.lengths)
        plan = dataclasses.replace(plan, seed=seed)
        if not config.pack:
            return ExampleBatches(examples, plan, describe, position, share)
        plan = dataclasses.replace(plan, lengths=(config.max_seq_length,))
        packed = PackedBatches(examples, plan, describe, position, share)
        padding = 1 - float(examples.lengths.mean()) / config.max_seq_length
        say(f"packed: {packed.padding:.1%} padding in place of {padding:.1%}")
        return packed

    def shared_report(
        self, what: str, path: str, found: str, folder: str, step: int, seconds: float
    ) -> dict[str, Any]:
        """The fields of ReportData, but for the scores of several seeds.

        Args:
            what: was predicted for, in English: "questions".
            path: its file.
            found: what is predicted, in English: "answers".
            folder: of the run.
            step: of the weights.
            seconds: that prediction took.
        """
        t = Texts(self.config.report_language)
        title = t(
            f"{{file}}: {found} of {{folder}}", file=base_name(path), folder=base_name(folder)
        )
        return {
            "title": title,
            "facts": [(t(what), described_file(path)), *self._run_facts(t, folder, step, seconds)],
            "flags": given_flags(self.config),
            "runs": [read_metrics(os.path.join(folder, METRICS_NAME))],
            "seeds": (),
            "t": t,
        }

    def _run_facts(self, t: Texts, folder: str, step: int, seconds: float) -> list[tuple[str, str]]:
        config, model, tokenizer = self.config, self.model.config, self.any_tokenizer
        known = len(
            tokenizer.vocabulary.words if isinstance(tokenizer, WordTokenizer) else tokenizer.vocab
        )
        noun = "{count} words, {file}" if self.model.words is not None else "{count} pieces, {file}"
        begun = t("random weights") if config.do_train else t("see run.json of the run")
        if config.init_checkpoint is not None:
            begun = base_name(config.init_checkpoint)
        trained = self.training.path if self.training else None
        seed = next((seed for seed in config.seeds if config.folder(seed) == folder), None)
        size = {"layers": model.num_hidden_layers, "size": model.hidden_size}
        return [
            (t("trained on"), described_file(trained) if trained else t("not in this run")),
            (t("begun from"), begun),
            (t("updates"), f"{step:,}"),
            (t("seed"), str(config.random_seed if seed is None else seed)),
            (t("model"), t("{layers} layers, hidden size {size}", **size)),
            (t("vocabulary"), t(noun, count=f"{known:,}", file=base_name(tokenizer.source))),
            (t("predicted in"), f"{seconds:.1f} s"),
            *made_facts(t),
        ]

    def reporter(self, data: Reported, render: Callable[[Reported], str], noun: str) -> Report:
        """Makes ``Results.report``.

        Args:
            data: a ReportData.
            render: makes the page of it.
            noun: what the page lists, in English: "questions".
        """

        def report(seeds: SeedScores) -> str:
            if not seeds:
                return render(data)
            t, config = data.t, self.config
            note = (t(f"{noun} below"), t("of the first seed"))
            runs = [
                read_metrics(os.path.join(config.folder(seed), METRICS_NAME)) for seed, _ in seeds
            ]
            return render(
                dataclasses.replace(data, facts=[*data.facts, note], runs=runs, seeds=seeds)
            )

        return report


def file_identity(path: str) -> list[str]:
    """What tells a file of examples from another: its name and its content."""
    with files.open_binary(path) as stream:
        digest = hashlib.sha256(stream.read())
    return [os.path.basename(path), digest.hexdigest()[:16]]


def file_identities(paths: Mapping[str, str | None]) -> dict[str, list[str]]:
    """The same of several files, by flag; without those that are None."""
    return {name: file_identity(path) for name, path in paths.items() if path is not None}
