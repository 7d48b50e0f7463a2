"""Examples to pieces, with labels or scores.

Legend: N examples, B batch, L length of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.heads import HostBatch
from bert_ko.tasks.batches import Ints
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.sentences import AnyTokenizer, Sentences, encode_texts

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClassFeatures:
    """Examples as the model gets them.

    Attributes:
        texts: the N examples.
        sentences: their pieces.
        targets: [N], the number of the label, int32, or the score, float32; 0 where unknown.
        weights: float32 [N], of each in the loss.
    """

    texts: Sequence[Example]
    sentences: Sentences
    targets: Ints | Floats
    weights: Floats

    @property
    def lengths(self) -> Ints:
        """int32 [N], pieces of each example."""
        return self.sentences.lengths

    def gather(self, rows: Ints, length: int, special_ids: tuple[int, int, int]) -> HostBatch:
        """The inputs of examples, their targets and label_weights [B]; see ``batches.Examples``."""
        return {
            **self.sentences.gather(rows, length, special_ids),
            "targets": self.targets[rows],
            "label_weights": self.weights[rows],
        }

    def with_layers(self, keep: Callable[[Sentences], Sentences]) -> Self:
        """The same with the layers of a biLM, which are ``kept`` of their pieces."""
        return replace(self, sentences=keep(self.sentences))

    def describe(self, rows: Ints) -> str:
        """Names examples by their numbers, for a message."""
        return f"the examples {', '.join(self.texts[row].example_id for row in rows)}"


def class_features(
    examples: Sequence[Example],
    tokenizer: AnyTokenizer,
    max_seq_length: int,
    labels: Sequence[str],
    label_weights: Sequence[float] = (),
) -> ClassFeatures:
    """Cuts examples into pieces.

    Args:
        examples: with labels, scores or neither.
        tokenizer: of the model.
        max_seq_length: pieces of a text or pair; what is longer is cut.
        labels: names of the classes; none for scores.
        label_weights: of an example of each class in the loss; none for 1.

    Raises:
        KeyError: an example's label is not among the labels.
    """
    texts = ((example.text_a, example.text_b) for example in examples)
    sentences = encode_texts(texts, tokenizer, max_seq_length)
    weights = np.ones(len(examples), np.float32)
    if not labels:
        scores = np.array([example.score or 0.0 for example in examples], np.float32)
        return ClassFeatures(examples, sentences, scores, weights)
    numbers = {label: i for i, label in enumerate(labels)}
    found = [0 if example.label is None else numbers[example.label] for example in examples]
    targets = np.array(found, np.int32)
    if label_weights:
        weights = np.array(label_weights, np.float32)[targets]
    return ClassFeatures(examples, sentences, targets, weights)
