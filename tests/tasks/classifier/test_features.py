"""Examples to pieces, targets and weights."""

import numpy as np
import pytest

from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.features import class_features
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "나무", "##는", "크", "##다", "숲"]
LABELS = ("가", "나", "다")
EXAMPLES = [
    Example("1", "나무는 크다", label="나"),
    Example("2", "숲", label="가"),
    Example("3", "", label="다"),
    Example("4", "숲 숲 숲 숲 숲 숲", label="나"),
    Example("5", "숲"),
]


@pytest.fixture(scope="module")
def tiny() -> Tokenizer:
    return Tokenizer(Vocabulary(PIECES), TokenizerConfig(tokenizer_type="wordpiece"))


def test_class_features_literal_values(tiny: Tokenizer) -> None:
    found = class_features(EXAMPLES, tiny, 7, LABELS)
    assert found.lengths.tolist() == [6, 3, 2, 7, 3]
    assert found.sentences.num_cut == 1
    assert found.targets.tolist() == [1, 0, 2, 1, 0] and found.targets.dtype == np.int32
    assert found.weights.tolist() == [1] * 5 and found.weights.dtype == np.float32
    batch = found.gather(np.array([3, 0, 2], np.int32), 8, (0, 2, 3))
    assert {name: array.tolist() for name, array in batch.items()} == {
        "input_ids": [
            [2, 9, 9, 9, 9, 9, 3, 0], [2, 5, 6, 7, 8, 3, 0, 0], [2, 3, 0, 0, 0, 0, 0, 0],
        ],
        "input_mask": [[1] * 7 + [0], [1] * 6 + [0] * 2, [1] * 2 + [0] * 6],
        "segment_ids": [[0] * 8] * 3,
        "targets": [1, 1, 2],
        "label_weights": [1, 1, 1],
    }  # fmt: skip


def test_class_features_pairs_have_segments_and_lose_of_the_longer(tiny: Tokenizer) -> None:
    pairs = [
        Example("1", "나무는", "숲"),
        Example("2", "숲 숲 숲 숲", "숲"),
        Example("3", "숲", ""),
    ]
    found = class_features(pairs, tiny, 6, ())
    batch = found.gather(np.arange(3, dtype=np.int32), 6, (0, 2, 3))
    assert batch["input_ids"].tolist() == [
        [2, 5, 6, 3, 9, 3], [2, 9, 9, 3, 9, 3], [2, 9, 3, 0, 0, 0],
    ]  # fmt: skip
    assert batch["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 1]] * 2 + [[0] * 6]
    assert found.sentences.num_cut == 1


def test_class_features_weights_are_those_of_the_label(tiny: Tokenizer) -> None:
    found = class_features(EXAMPLES, tiny, 7, LABELS, [0.5, 2.0, 3.0])
    assert found.weights.tolist() == [2, 0.5, 3, 2, 0.5]
    assert found.weights.dtype == np.float32


def test_class_features_scores_are_floats_of_weight_1(tiny: Tokenizer) -> None:
    examples = [Example("1", "숲", score=2.5), Example("2", "숲", score=0.0), Example("3", "숲")]
    found = class_features(examples, tiny, 7, ())
    assert found.targets.tolist() == [2.5, 0, 0] and found.targets.dtype == np.float32
    assert found.weights.tolist() == [1, 1, 1]


def test_class_features_nothing_is_empty(tiny: Tokenizer) -> None:
    found = class_features([], tiny, 7, LABELS)
    assert found.lengths.shape == found.targets.shape == found.weights.shape == (0,)


def test_class_features_unknown_label_is_an_error(tiny: Tokenizer) -> None:
    with pytest.raises(KeyError):
        class_features(EXAMPLES, tiny, 7, ("가", "나"))
