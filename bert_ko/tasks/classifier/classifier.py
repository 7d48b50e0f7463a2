"""A trained classifier: texts to classes or scores.

Legend: N texts, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from bert_ko.modeling.heads import CLASS_WEIGHTS, ClassHead, ScoreHead
from bert_ko.tasks.batches import BatchPlan, predictions
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.features import ClassFeatures, Floats, class_features
from bert_ko.tasks.loading import BATCH_SIZE, Loadable, find_length, place
from bert_ko.tasks.sentences import TextOrPair
from bert_ko.tasks.settings import LabelFlags
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.backend import Predict
from bert_ko.training.labels import Labels, made_up_label
from bert_ko.training.model_files import TrainedModel


@dataclass(frozen=True)
class Classification:
    """What is said of a text.

    Attributes:
        label: the likeliest class.
        probability: of it.
        probabilities: of all classes, in the order of the labels.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class Score:
    """What is said of a text by a model for scores."""

    score: float


class Classifier(Loadable):
    """Gives texts and pairs of texts their class, or a score."""

    kind = "classifier"
    variable = CLASS_WEIGHTS

    def __init__(
        self,
        tokenizer: Tokenizer,
        labels: Labels,
        max_seq_length: int,
        plan: BatchPlan,
        predict: Predict,
    ):
        """Joins the parts; ``bert_ko.load`` makes them.

        Args:
            tokenizer: of the model.
            labels: names of the classes; none for scores.
            max_seq_length: pieces of a text or pair; what is longer is cut.
            plan: how texts of unknown lengths are put into batches.
            predict: input_ids, input_mask, segment_ids int32 [B, L] to the head's outputs.
        """
        self.labels, self.max_seq_length = labels, max_seq_length
        self._tokenizer, self._plan, self._predict = tokenizer, plan, predict

    @classmethod
    def from_model(
        cls,
        model: TrainedModel,
        *,
        max_seq_length: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> Classifier:
        """Places an opened model on devices.

        Args:
            model: open.
            max_seq_length: pieces of a text or pair; None for what it was trained with.
            batch_size: texts that are computed together.

        Raises:
            ValueError: the model is no classifier, or has fewer positions.
        """
        length = find_length(model, max_seq_length, LabelFlags.max_seq_length)
        labels = _labels(model)
        head = ClassHead(len(labels)) if labels else ScoreHead()
        predict, plan = place(model, head, length, batch_size)
        return cls(model.tokenizer, labels, length, plan, predict)

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
            A Classification, or a Score of a model for scores; of a list a list.
        """
        if isinstance(texts, (str, tuple)):
            return self._classify([texts])[0]
        return self._classify(texts)

    def _classify(self, texts: Sequence[TextOrPair]) -> list[Classification | Score]:
        pairs = [(text, None) if isinstance(text, str) else text for text in texts]
        examples = [Example(str(i), *pair) for i, pair in enumerate(pairs)]
        return [self.say(row) for row in self.compute(self.cut(examples))]

    def cut(self, examples: Sequence[Example]) -> ClassFeatures:
        """Cuts texts into pieces, whose labels are not looked at."""
        texts = [example._replace(label=None, score=None) for example in examples]
        return class_features(texts, self._tokenizer, self.max_seq_length, self.labels)

    def compute(
        self, features: ClassFeatures, plan: BatchPlan | None = None, label: str | None = None
    ) -> Floats:
        """What the model says of texts.

        Args:
            features: of the texts.
            plan: how they are put into batches; None for lengths that were not known before.
            label: of a progress line; None shows none.

        Returns:
            Probabilities, float32 [N, K]; scores, [N, 1].
        """
        found = np.zeros((len(features.lengths), max(1, len(self.labels))), np.float32)
        plan = plan or self._plan
        for rows, outputs in predictions(features, self._predict, plan, label, "texts"):
            (values,) = outputs.values()
            found[rows] = values.reshape(len(rows), found.shape[1])
        return found

    def say(self, row: Floats) -> Classification | Score:
        """A row of ``compute`` in words."""
        if not self.labels:
            return Score(float(row[0]))
        best = int(row.argmax())
        probabilities = dict(zip(self.labels, map(float, row), strict=True))
        return Classification(self.labels[best], float(row[best]), probabilities)

    def records(self, examples: Sequence[Example], found: Floats) -> Iterator[dict[str, Any]]:
        """What was said of examples, as values for JSON.

        Args:
            examples: with their labels or scores, where these are known.
            found: see ``compute``.
        """
        for example, row in zip(examples, found, strict=True):
            record: dict[str, Any] = {"id": example.example_id, "text": example.text_a}
            if example.text_b is not None:
                record["text_pair"] = example.text_b
            gold = example.label if self.labels else example.score
            if gold is not None:
                record["gold"] = gold
            yield {**record, **_as_json(self.say(row))}


def _labels(model: TrainedModel) -> Labels:
    """Of the classes, under transformers' names where nobody has named them; none for scores."""
    if model.source.labels is not None or CLASS_WEIGHTS not in model.source.arrays:
        return model.source.labels or ()
    count = len(model.source.arrays[CLASS_WEIGHTS])
    return tuple(map(made_up_label, range(count))) if count > 1 else ()


def _as_json(said: Classification | Score) -> dict[str, Any]:
    if isinstance(said, Score):
        return {"score": round(said.score, 6)}
    return {
        "label": said.label,
        "probability": round(said.probability, 6),
        "probabilities": {label: round(p, 6) for label, p in said.probabilities.items()},
    }


def format_said(said: Classification | Score) -> str:
    """One line for people: the score, or the three likeliest classes."""
    if isinstance(said, Score):
        return f"→ {said.score:.3f}"
    ranked = sorted(said.probabilities.items(), key=lambda item: -item[1])
    return "→ " + ", ".join(f"{label} {probability:.3f}" for label, probability in ranked[:3])
