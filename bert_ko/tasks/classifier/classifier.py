"""A trained classifier: texts to classes or scores.

Legend: N texts, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from bert_ko.modeling.heads import CLASS_WEIGHTS, ClassHead, Head, ScoreHead
from bert_ko.tasks.batches import BatchPlan, predictions
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.features import ClassFeatures, Floats, class_features
from bert_ko.tasks.labelling import Labeller
from bert_ko.tasks.sentences import TextOrPair
from bert_ko.tasks.word_networks import trained_network
from bert_ko.training.labels import Labels, made_up_label
from bert_ko.training.model_files import TrainedModel


@dataclass(frozen=True)
class Classification:
    """The likeliest class of a text, and the probabilities of all, in the order of the labels."""

    label: str
    probability: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class Score:
    """The score of a text."""

    score: float


class Classifier(Labeller):
    """Gives texts and pairs of texts their class, or a score."""

    kind = "classifier"
    variable = CLASS_WEIGHTS

    @classmethod
    def find_head(cls, model: TrainedModel) -> tuple[Labels, Head]:
        """The classes, under transformers' names where nobody named them; none for scores."""
        arrays, labels = model.source.arrays, model.source.labels
        if labels is None and CLASS_WEIGHTS in arrays and (count := len(arrays[CLASS_WEIGHTS])) > 1:
            labels = tuple(map(made_up_label, range(count)))
        network = trained_network(model.config, model.remembered, model.source.path)
        if not labels:
            return (), ScoreHead(network=network)
        return labels, ClassHead(len(labels), network=network)

    @overload
    def classify(self, texts: TextOrPair) -> Classification | Score: ...
    @overload
    def classify(
        self, texts: list[str] | list[tuple[str, str]]
    ) -> list[Classification | Score]: ...

    def classify(self, texts: Any) -> Any:
        """Classifies a text, or each of several.

        Args:
            texts: a text, a pair of texts as a tuple, or a list of either.

        Returns:
            A Classification, or a Score from a model for scores; for a list, a list of them.
        """
        if isinstance(texts, (str, tuple)):
            return self._classify([texts])[0]
        return self._classify(texts)

    def _classify(self, texts: Sequence[TextOrPair]) -> list[Classification | Score]:
        pairs = [(text, None) if isinstance(text, str) else text for text in texts]
        examples = [Example(str(i), *pair) for i, pair in enumerate(pairs)]
        return [self._said(row) for row in self.compute(self.cut(examples))]

    def cut(self, examples: Sequence[Example]) -> ClassFeatures:
        """Cuts texts without labels into pieces."""
        return class_features(examples, self._tokenizer, self.max_seq_length, self.labels)

    def compute(
        self, features: ClassFeatures, plan: BatchPlan | None = None, label: str | None = None
    ) -> Floats:
        """Predicts probabilities, float32 [N, K], or scores [N, 1].

        Args:
            features: of N texts.
            plan: how they are put into batches; None for texts of unknown lengths.
            label: of a progress line; None shows none.
        """
        found = np.zeros((len(features.lengths), max(1, len(self.labels))), np.float32)
        plan = plan or self._plan
        for rows, outputs in predictions(features, self._predict, plan, label, "texts"):
            (values,) = outputs.values()
            found[rows] = values.reshape(len(rows), found.shape[1])
        return found

    def _said(self, row: Floats) -> Classification | Score:
        if not self.labels:
            return Score(float(row[0]))
        best = int(row.argmax())
        probabilities = dict(zip(self.labels, map(float, row), strict=True))
        return Classification(self.labels[best], float(row[best]), probabilities)

    def records(self, examples: Sequence[Example], found: Floats) -> list[dict[str, Any]]:
        """Predictions as values for JSON, with the gold label or score where it is known.

        Args:
            examples: N.
            found: see ``compute``.
        """
        records = []
        for example, row in zip(examples, found, strict=True):
            record: dict[str, Any] = {"id": example.example_id, "text": example.text_a}
            if example.text_b is not None:
                record["text_pair"] = example.text_b
            gold = example.label if self.labels else example.score
            if gold is not None:
                record["gold"] = gold
            said = self._said(row)
            if isinstance(said, Score):
                record["score"] = round(said.score, 6)
            else:
                record["label"] = said.label
                record["probability"] = round(said.probability, 6)
                record["probabilities"] = {k: round(v, 6) for k, v in said.probabilities.items()}
            records.append(record)
        return records


def format_said(said: Classification | Score) -> str:
    """One line: the score, or the three likeliest classes."""
    if isinstance(said, Score):
        return f"→ {said.score:.3f}"
    ranked = sorted(said.probabilities.items(), key=lambda item: -item[1])
    return "→ " + ", ".join(f"{label} {probability:.3f}" for label, probability in ranked[:3])
