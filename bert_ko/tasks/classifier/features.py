"""Examples to pieces, with labels or scores.

Legend: N examples, B batch, L length of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.heads import HostBatch
from bert_ko.tasks.batches import Ints
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.sentences import Sentences, encode_texts
from bert_ko.tokenization.tokenizer import Tokenizer

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClassFeatures:
    """Examples as the model gets them.

    Attributes:
        sentences: their pieces.
        targets: [N], the number of the label, int32, or the score, float32; 0 where it is not
            known.
        weights: float32 [N], what each counts in the loss.
    """

    sentences: Sentences
    targets: Ints | Floats
    weights: Floats

    @property
    def lengths(self) -> Ints:
        """[N], pieces of each example."""
        return self.sentences.lengths

    def gather(self, rows: Ints, length: int, special_ids: tuple[int, int, int]) -> HostBatch:
        """The inputs of examples, their targets and label_weights; see ``batches.Examples``."""
        return {
            **self.sentences.gather(rows, length, special_ids),
            "targets": self.targets[rows],
            "label_weights": self.weights[rows],
        }


def class_features(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
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
        label_weights: what an example of each class weighs; none for 1.
    """
    texts = ((example.text_a, example.text_b) for example in examples)
    sentences = encode_texts(texts, tokenizer, max_seq_length)
    if not labels:
        scores = np.array([example.score or 0.0 for example in examples], np.float32)
        return ClassFeatures(sentences, scores, np.ones(len(examples), np.float32))
    targets = label_numbers(examples, labels)
    weights = np.array(label_weights or [1.0] * len(labels), np.float32)[targets]
    return ClassFeatures(sentences, targets, weights)


def label_numbers(examples: Sequence[Example], labels: Sequence[str]) -> Ints:
    """Places of the examples' labels in the list, [N]; 0 for those without."""
    places = {label: i for i, label in enumerate(labels)}
    return np.array(
        [0 if example.label is None else places[example.label] for example in examples], np.int32
    )
