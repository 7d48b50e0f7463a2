"""What a tagger says of sentences, what it is worth, and what is written down of both."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bert_ko import files
from bert_ko.tasks.batches import BatchPlan, predictions
from bert_ko.tasks.command import Outcome, report_outcome, run_facts
from bert_ko.tasks.fine_tuning import Predict
from bert_ko.tasks.ner.bio import Entity, entities, tagged_text
from bert_ko.tasks.ner.examples import Sentence
from bert_ko.tasks.ner.features import TagFeatures, Tagged, tag_sentences
from bert_ko.tasks.ner.preparation import Setting, Texts
from bert_ko.tasks.ner.report import ReportData, render_report
from bert_ko.tasks.ner.scores import Scores, format_types, score, score_values
from bert_ko.tasks.shown import to_json
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.runs import write_results

EVALUATED_NAME = "eval_predictions"
PREDICTED_NAME = "test_predictions"


def tag(
    setting: Setting,
    sentences: Sequence[Sentence],
    features: TagFeatures,
    predict: Predict,
    plan: BatchPlan,
    label: str | None = None,
) -> list[Tagged]:
    """What a model says of sentences.

    Args:
        setting: of the command.
        sentences: whose tags are not looked at.
        features: of the same.
        predict: the model.
        plan: how stretches are put into batches.
        label: of a progress line; None shows none.
    """
    stretches = features.stretches
    tag_ids = np.zeros(stretches.num_pieces, np.int32)
    probabilities = np.ones(stretches.num_pieces, np.float32)
    for rows, found in predictions(features, predict, plan, label, "stretches"):
        for row, ids, chances in zip(rows, found["tag_ids"], found["probabilities"], strict=True):
            first = stretches.sentence_offsets[row] + 1  # behind [CLS]
            count = stretches.lengths[row] - 2
            tag_ids[first : first + count] = ids[:count]
            probabilities[first : first + count] = chances[:count]
    return tag_sentences(sentences, features, tag_ids, probabilities, setting.labels)


def result_values(scores: Scores) -> dict[str, float]:
    """The numbers of eval_results.txt, in percent."""
    return {**score_values(scores), "total": float(scores.num_sentences)}


def evaluate(setting: Setting, texts: Texts, predict: Predict) -> dict[str, float]:
    """The numbers of eval_results.txt, while it is trained."""
    plan = setting.plan(setting.config.eval_batch_size, texts.features)
    found = tag(setting, texts.dataset.sentences, texts.features, predict, plan)
    return result_values(_score(setting, texts, found))


def _score(setting: Setting, texts: Texts, found: Sequence[Tagged]) -> Scores:
    golds = [sentence.tags for sentence in texts.dataset.sentences]
    labels = dict.fromkeys([*setting.labels, *texts.dataset.labels])
    return score(golds, [tagged.tags for tagged in found], list(labels))


def evaluate_and_report(
    setting: Setting, texts: Texts, predict: Predict, folder: str, step: int
) -> Outcome:
    """Evaluates, and writes scores, predictions and the report.

    Args:
        setting: of the command.
        texts: with tags.
        predict: the model.
        folder: to write to.
        step: updates that the model has seen.
    """
    sentences, config = texts.dataset.sentences, setting.config
    start = time.perf_counter()
    plan = setting.plan(config.eval_batch_size, texts.features)
    found = tag(setting, sentences, texts.features, predict, plan, "evaluating")
    seconds = time.perf_counter() - start
    scores = _score(setting, texts, found)
    values = result_values(scores)
    write_tagged(os.path.join(folder, EVALUATED_NAME), sentences, found)
    print(format_types(scores))
    print(f"{len(sentences):,} sentences in {seconds:.1f} s")
    write_results(folder, {"global_step": step, **values})
    trained_on = setting.training.dataset.path if setting.training is not None else None
    data = ReportData(
        title=f"{os.path.basename(texts.dataset.path)}: entities of {os.path.abspath(folder)}",
        facts=[
            ("sentences", texts.dataset.path),
            *run_facts(config, setting.parts, trained_on, step, seconds),
            ("CRF", "yes" if config.use_crf else "no"),
        ],
        dataset=texts.dataset,
        predictions=[tagged.tags for tagged in found],
        scores=scores,
        metrics=read_metrics(os.path.join(folder, METRICS_NAME)),
        seeds=(),
    )
    return report_outcome(folder, values, data, render_report, "sentences")


def predict_and_write(setting: Setting, texts: Texts, predict: Predict, folder: str) -> None:
    """Writes test_predictions.txt and test_predictions.jsonl.

    Args:
        setting: of the command.
        texts: whose tags are not looked at.
        predict: the model.
        folder: to write to.
    """
    untagged = [replace(sentence, tags=()) for sentence in texts.dataset.sentences]
    plan = setting.plan(setting.config.predict_batch_size, texts.features)
    found = tag(setting, untagged, texts.features, predict, plan, "predicting")
    path = os.path.join(folder, PREDICTED_NAME)
    write_tagged(path, untagged, found)
    print(f"{len(found):,} sentences predicted: {path}.jsonl, {path}.txt")


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
    files.write_atomic(f"{path}.jsonl", "".join(to_json(r) + "\n" for r in records))


def _on_one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


def record(sentence: Sentence, tagged: Tagged) -> dict[str, Any]:
    """What was said of a sentence, as values for JSON.

    Args:
        sentence: with its tags, where these are known.
        tagged: of the same.

    Returns:
        id, text, tagged (the text with entities in KLUE's form), entities with the characters of
        each and its least probability, tags of all units, and gold entities where they are known.
    """
    found = []
    for kind, first, last in entities(tagged.tags):
        start, end = sentence.starts[first], sentence.ends[last - 1]
        probability = round(float(tagged.confidences[first:last].min()), 6)
        found.append(
            {**_entity(sentence.text, Entity(kind, start, end)), "probability": probability}
        )
    values = {
        "id": sentence.sentence_id,
        "text": sentence.text,
        "tagged": tagged_text(sentence.text, sentence.spans(tagged.tags)),
        "entities": found,
        "tags": list(tagged.tags),
    }
    if sentence.tags:
        values["gold"] = [_entity(sentence.text, span) for span in sentence.spans(sentence.tags)]
    return values


def _entity(text: str, entity: Entity) -> dict[str, Any]:
    kind, start, end = entity
    return {"type": kind, "text": text[start:end], "start": start, "end": end}
