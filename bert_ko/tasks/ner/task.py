"""Named entities as a task: tags of characters or words, by the pieces that cover them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from bert_ko import files
from bert_ko.json_files import format_json
from bert_ko.modeling.heads import TAG_CRF, Metrics, TagHead
from bert_ko.tasks.batches import Ints
from bert_ko.tasks.fine_tuning import (
    FineTuneTask,
    TrainingData,
    file_identities,
    file_identity,
    reporter,
)
from bert_ko.tasks.ner.examples import Dataset, Sentence, plain_sentence, read_texts
from bert_ko.tasks.ner.features import TagFeatures, Tagged, tag_features
from bert_ko.tasks.ner.reading import (
    find_labels,
    read_split,
    read_training,
    refuse_other_crf,
    warn_of_other_tags,
)
from bert_ko.tasks.ner.report import ReportData, render_report
from bert_ko.tasks.ner.scores import Scores, format_types, score, score_values
from bert_ko.tasks.ner.settings import NerFlags
from bert_ko.tasks.ner.tagger import Tagger, record
from bert_ko.training.labels import Labels
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.model_files import ModelFiles
from bert_ko.training.session import Results, Trained

EVALUATED_NAME = "eval_predictions"
PREDICTED_NAME = "test_predictions"


class Texts(NamedTuple):
    """A file of sentences, cut into pieces."""

    dataset: Dataset
    features: TagFeatures

    def describe(self, rows: Ints) -> str:
        """Names the sentences of stretches by their numbers."""
        owners = self.features.owners[rows]
        return f"the sentences {', '.join(self.dataset.sentences[i].sentence_id for i in owners)}"


class NerTask(FineTuneTask):
    """Tags of named entities; see training.session.Task."""

    config: NerFlags
    labels: Labels
    main_metric = "f1"
    tokenized = "the sentences are cut with"

    def __init__(self, config: NerFlags, model: ModelFiles):
        """Reads and cuts the files that a command line needs.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is of another form, no tags are known, or the weights are another
                head's.
        """
        super().__init__(config, model)
        if not config.do_train:
            refuse_other_crf(config)
        train = read_training(config) if config.do_train else None
        evaluation = read_split(config, "dev") if config.evaluates else None
        test = read_split(config, "test") if config.do_predict else None
        self.labels = find_labels(config, train)
        self.head = TagHead(self.labels, config.use_crf)
        self.rate_multiples = ((TAG_CRF, config.crf_learning_rate_multiple),)
        warn_of_other_tags(evaluation, self.labels)
        if train is not None:
            texts = self._cut(train, self.labels)
            if not len(texts.features.lengths):
                raise ValueError(f"{train.path} has no sentence with pieces to train on.")
            self.training = TrainingData(train.path, texts.features, texts.describe)
        self._evaluated = self._cut(evaluation) if evaluation is not None else None
        self._predicted = self._cut(test) if test is not None else None
        decides = evaluation is not None and config.eval_every_steps is not None
        self.identity = {
            **file_identities(
                {
                    "train_file": train.path if train else None,
                    "eval_file": evaluation.path if evaluation and decides else None,
                }
            ),
            "extra_train_file": [file_identity(path) for path in config.extra_train_file],
        }

    @property
    def batch_sizes(self) -> Sequence[str]:
        """Flags of the batches that are predicted."""
        found = ["eval_batch_size"] if self.config.evaluates else []
        return [*found, *super().batch_sizes]

    @property
    def is_asked(self) -> bool:
        """Whether ``finish`` has anything to do."""
        config = self.config
        return config.do_eval or config.do_predict or config.is_trial

    def _cut(self, dataset: Dataset, labels: Labels = ()) -> Texts:
        length = self.config.max_seq_length
        return Texts(dataset, tag_features(dataset.sentences, self.tokenizer, length, labels))

    def _tagger(self, model: Trained) -> Tagger:
        config = self.config
        plan = self.plan(config.predict_batch_size, None)
        return Tagger(self.tokenizer, self.labels, config.max_seq_length, plan, model.predict)

    def _tag(
        self, tagger: Tagger, texts: Texts, batch_size: int, label: str | None = None
    ) -> list[Tagged]:
        plan = self.plan(batch_size, texts.features.lengths)
        return tagger.compute(texts.dataset.sentences, texts.features, plan, label)

    def evaluate(self, model: Trained) -> Metrics:
        """See Task."""
        assert self._evaluated is not None
        found = self._tag(self._tagger(model), self._evaluated, self.config.eval_batch_size)
        return _result_values(self._score(self._evaluated, found))

    def finish(self, model: Trained, folder: str, step: int) -> Results | None:
        """See Task."""
        config, tagger = self.config, self._tagger(model)
        if self._predicted is not None:
            self._predict_and_write(tagger, self._predicted, folder)
        results = None
        if config.do_eval and self._evaluated is not None:
            results = self._report(tagger, self._evaluated, folder, step)
        if config.input_file is not None:
            sentences = list(read_texts(config.input_file))
            for found in _records(tagger, sentences):
                print(format_json(found))
        if config.interactive:
            _converse(tagger, sys.stdin)
        return results

    def _score(self, texts: Texts, found: Sequence[Tagged]) -> Scores:
        golds = [sentence.tags for sentence in texts.dataset.sentences]
        labels = dict.fromkeys([*self.labels, *texts.dataset.labels])
        return score(golds, [tagged.tags for tagged in found], list(labels))

    def _report(self, tagger: Tagger, texts: Texts, folder: str, step: int) -> Results:
        """Evaluates, and writes predictions."""
        start = time.perf_counter()
        found = self._tag(tagger, texts, self.config.eval_batch_size, "evaluating")
        seconds = time.perf_counter() - start
        scores = self._score(texts, found)
        sentences = texts.dataset.sentences
        write_tagged(os.path.join(folder, EVALUATED_NAME), sentences, found)
        print(format_types(scores))
        print(f"{len(sentences):,} sentences in {seconds:.1f} s")
        data = ReportData(
            title=f"{os.path.basename(texts.dataset.path)}: entities of {os.path.abspath(folder)}",
            facts=[
                ("sentences", texts.dataset.path),
                *self.run_facts(step, seconds),
                ("CRF", "yes" if self.config.use_crf else "no"),
            ],
            dataset=texts.dataset,
            predictions=[tagged.tags for tagged in found],
            scores=scores,
            metrics=read_metrics(os.path.join(folder, METRICS_NAME)),
            seeds=(),
        )
        return Results(_result_values(scores), reporter(data, render_report, "sentences"))

    def _predict_and_write(self, tagger: Tagger, texts: Texts, folder: str) -> None:
        """Writes test_predictions.txt and test_predictions.jsonl."""
        found = self._tag(tagger, texts, self.config.predict_batch_size, "predicting")
        path = os.path.join(folder, PREDICTED_NAME)
        untagged = [replace(sentence, tags=()) for sentence in texts.dataset.sentences]
        write_tagged(path, untagged, found)
        print(f"{len(found):,} sentences predicted: {path}.jsonl, {path}.txt")


def _result_values(scores: Scores) -> dict[str, float]:
    """The numbers of eval_results.txt, in percent."""
    return {**score_values(scores), "total": float(scores.num_sentences)}


def write_tagged(path: str, sentences: Sequence[Sentence], found: Sequence[Tagged]) -> None:
    """Writes what a model says of sentences.

    Args:
        path: without extension: .txt gets a line for each sentence, its id, a tab and the tagged
            text; .jsonl the records.
        sentences: with their tags, where these are known.
        found: of each.
    """
    records = [record(s, t) for s, t in zip(sentences, found, strict=True)]
    lines = "".join(f"{r['id']}\t{_on_one_line(r['tagged'])}\n" for r in records)
    files.write_atomic(f"{path}.txt", lines)
    files.write_atomic(f"{path}.jsonl", "".join(format_json(r) + "\n" for r in records))


def _on_one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


def _records(tagger: Tagger, sentences: Sequence[Sentence]) -> list[dict[str, Any]]:
    found = tagger.compute(sentences, tagger.cut(sentences))
    return [record(s, t) for s, t in zip(sentences, found, strict=True)]


def _converse(tagger: Tagger, lines: Iterable[str]) -> None:
    """Prints the entities of what is typed."""
    print("type a sentence; Ctrl-D ends", flush=True)
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        if text.strip():
            (found,) = _records(tagger, [plain_sentence(text, number)])
            print(f"→ {found['tagged']}", flush=True)
