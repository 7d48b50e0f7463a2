"""What a classifier says of texts, from a function that predicts by the pieces."""

import json
from typing import Any

import numpy as np
import pytest

from bert_ko.tasks.batches import BatchPlan
from bert_ko.tasks.classifier.classifier import Classification, Classifier, Score
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "가", "나", "다"]
TINY = Tokenizer(Vocabulary(PIECES), TokenizerConfig(tokenizer_type="wordpiece"))
LABELS = ("하나", "둘", "셋")
CHANCES = {5: [0.75, 0.125, 0.125], 6: [0.25, 0.5, 0.25], 7: [0, 0.25, 0.75], 3: [0.25, 0.25, 0.5]}


class Recorder:
    """Says the chances of the first piece, and remembers the batches."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, batch: Any) -> Any:
        self.shapes.append(batch["input_ids"].shape)
        return {"probabilities": np.array([CHANCES[i[1]] for i in batch["input_ids"]], np.float32)}


def count_second_text(batch: Any) -> Any:
    """The score of a pair: the pieces of its second text."""
    return {"scores": batch["segment_ids"].sum(axis=1)[:, None].astype(np.float32)}


def make_classifier(predict: Any, labels: Any = LABELS, batch_size: int = 4) -> Classifier:
    plan = BatchPlan(batch_size, TINY.vocab.special_ids, (64, 128, 200))
    return Classifier(TINY, labels, 200, plan, predict)


def said(label: str, piece: int) -> Classification:
    chances = CHANCES[piece]
    return Classification(label, max(chances), dict(zip(LABELS, chances, strict=True)))


@pytest.mark.parametrize("batch_size", [1, 3, 9])
def test_classify_a_list_is_classified_as_each_text_is(batch_size: int) -> None:
    recorder = Recorder()
    classifier = make_classifier(recorder, batch_size=batch_size)
    texts = ["가 나", "나 " * 90, "", "다", "나 " * 500]
    found = classifier.classify(texts)
    assert found == [said("하나", 5), said("둘", 6), said("셋", 3), said("셋", 7), said("둘", 6)]
    assert found == [classifier.classify(text) for text in texts]
    assert {rows for rows, _ in recorder.shapes} == {batch_size}
    assert {length for _, length in recorder.shapes} == {64, 128, 200}
    assert classifier.classify([]) == []


def test_classify_pairs_and_scores() -> None:
    classifier = make_classifier(count_second_text, labels=())
    pairs = [("가", "나"), ("나 나", "가 나 다"), ("가", "")]
    assert classifier.classify(pairs) == [Score(2), Score(4), Score(0)]
    assert classifier.classify(("가", "나")) == Score(2)
    assert classifier.classify("가") == Score(0)


def test_records_have_the_gold_label_where_it_is_known() -> None:
    classifier = make_classifier(Recorder())
    examples = [Example("a", "가 \ud800", "나", label="셋"), Example("b", "다")]
    first, second = classifier.records(examples, classifier.compute(classifier.cut(examples)))
    assert first == {
        "id": "a", "text": "가 \ud800", "text_pair": "나", "gold": "셋", "label": "하나",
        "probability": 0.75, "probabilities": {"하나": 0.75, "둘": 0.125, "셋": 0.125},
    }  # fmt: skip
    assert json.dumps(second).count("gold") == 0


def test_records_labels_may_have_any_name() -> None:
    found = np.array([[0.0000004, 0.3, 0.7]], np.float32)
    classifier = make_classifier(Recorder(), ("id", "label", "둘"))
    (record,) = classifier.records([Example("a", "")], found)
    assert record == {
        "id": "a", "text": "", "label": "둘", "probability": 0.7,
        "probabilities": {"id": 0.0, "label": 0.3, "둘": 0.7},
    }  # fmt: skip
