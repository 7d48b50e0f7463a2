"""Scores of tags: literal cases, a slow reference, seqeval and sklearn."""

import random
from fractions import Fraction
from typing import Any

import pytest

from bert_ko.tasks.ner.bio import label_list
from bert_ko.tasks.ner.scores import Scores, TypeScore, score, score_values

LABELS = label_list(["LC", "OG", "PS"])
Tags = list[list[str]]


def split(*sentences: str) -> Tags:
    return [sentence.split() for sentence in sentences]


def noisy(seed: int) -> tuple[Tags, Tags]:
    """Random gold tags, ill-formed ones among them, and predictions like them."""
    rng = random.Random(seed)
    golds, predictions = [], []
    gold_tags = list(LABELS[: rng.choice([1, 3, 5, 7])])  # types may be missing on one side
    predicted_tags = list(LABELS[: rng.choice([1, 3, 5, 7])])
    error = rng.choice([0.0, 0.1, 0.5])
    for _ in range(rng.randint(1, 6)):
        gold = [rng.choice(gold_tags) for _ in range(rng.randint(0, 8))]
        golds.append(gold)
        predictions.append(
            [rng.choice(predicted_tags) if rng.random() < error else tag for tag in gold]
        )
    return golds, predictions


def test_score_small_case_gives_literal_values() -> None:
    golds = split("B-PS I-PS O B-LC", "B-PS O")
    predictions = split("B-PS I-PS O O", "B-PS I-PS")
    found = score(golds, predictions, ("O", "B-LC", "I-LC", "B-PS", "I-PS"))
    assert found == Scores(
        precision=50.0,
        recall=pytest.approx(100 / 3),
        f1=pytest.approx(40.0),
        macro_f1=pytest.approx(25.0),
        weighted_f1=pytest.approx(100 / 3),
        klue_entity_macro_f1=pytest.approx(25.0),
        # O 1 of 2 and 2, B-LC none of 1, I-LC nowhere, B-PS all, I-PS 1 of 1 and 2.
        klue_char_macro_f1=pytest.approx((50 + 0 + 100 + 100 + 200 / 3) / 5),
        accuracy=pytest.approx(400 / 6),
        by_type={
            "LC": TypeScore(0.0, 0.0, 0.0, support=1, predicted=0, correct=0),
            "PS": TypeScore(50.0, 50.0, 50.0, support=2, predicted=2, correct=1),
        },
        support=3,
        predicted=2,
        num_sentences=2,
        num_units=6,
    )
    assert score_values(found) == {
        name: getattr(found, name) for name in (
            "precision", "recall", "f1", "macro_f1", "weighted_f1", "klue_entity_macro_f1",
            "klue_char_macro_f1", "accuracy",
        )
    }  # fmt: skip


def test_score_entity_that_begins_with_i_counts_unless_strict() -> None:
    found = score(split("B-PS I-PS O"), split("I-PS I-PS O"), LABELS)
    assert (found.f1, found.macro_f1) == (100.0, 100.0)
    assert found.klue_entity_macro_f1 == 0.0
    assert found.by_type["PS"] == TypeScore(100.0, 100.0, 100.0, 1, 1, 1)


def test_score_entity_does_not_reach_over_sentences() -> None:
    found = score(split("B-PS", "B-PS"), split("B-PS", "I-PS"), LABELS)
    assert found.f1 == 100.0  # the I tag begins the second one
    # Found, missing: one of one and two, as if the I tag were not there.
    assert found.klue_entity_macro_f1 == pytest.approx(200 / 3)


def test_score_same_place_in_other_sentence_is_not_found() -> None:
    assert score(split("B-PS O", "O O"), split("O O", "B-PS O"), LABELS).f1 == 0.0


def test_score_other_type_or_border_is_not_found() -> None:
    golds = split("B-PS I-PS O", "B-LC O O")
    found = score(golds, split("B-PS O O", "B-OG O O"), LABELS)
    assert (found.precision, found.recall, found.f1) == (0.0, 0.0, 0.0)
    assert list(found.by_type) == ["LC", "OG", "PS"]


def test_score_without_entities_is_0_but_for_the_units() -> None:
    found = score(split("O O"), split("O O"), LABELS)
    assert (found.f1, found.macro_f1, found.weighted_f1) == (0.0, 0.0, 0.0)
    assert found.klue_entity_macro_f1 == 0.0
    assert (found.klue_char_macro_f1, found.accuracy) == (100.0, 100.0)


@pytest.mark.parametrize("golds", [[], [[]]])
def test_score_without_units_is_0(golds: Tags) -> None:
    found = score(golds, golds, LABELS)
    assert set(score_values(found).values()) == {0.0}
    assert (found.num_sentences, found.num_units, found.by_type) == (len(golds), 0, {})


def test_score_tag_besides_the_labels_is_wrong_for_the_others() -> None:
    found = score(split("B-XX O"), split("O O"), ("O",))
    assert found.klue_char_macro_f1 == pytest.approx(200 / 3)
    assert list(found.by_type) == ["XX"]
    assert score(split("B-XX O"), split("B-XX O"), ()).klue_char_macro_f1 == 0.0


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([["O"]], r"tags must be predicted for 2 sentences, got 1\."),
        ([["O"], ["O"]], r"sentence 2 must have 2 predicted tags, got 1\."),
        ([["O"], ["O", "O", "O"]], r"sentence 2 must have 2 predicted tags, got 3\."),
    ],
)
def test_score_other_lengths_raise(predictions: Tags, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score([["O"], ["O", "O"]], predictions, LABELS)


@pytest.mark.parametrize("seed", range(30))
def test_score_label_macro_f1_equals_slow_count(seed: int) -> None:
    golds, predictions = noisy(seed)
    pairs = [
        pair
        for gold, prediction in zip(golds, predictions, strict=True)
        for pair in zip(gold, prediction, strict=True)
    ]
    total = Fraction(0)
    for label in LABELS:
        right = sum(gold == label == found for gold, found in pairs)
        wrong = sum(gold != found and label in (gold, found) for gold, found in pairs)
        total += Fraction(2 * right, 2 * right + wrong) if right or wrong else 1
    expected = float(100 * total / len(LABELS)) if pairs else 0.0
    assert score(golds, predictions, LABELS).klue_char_macro_f1 == pytest.approx(expected)


def test_score_equals_seqeval() -> None:
    metrics = pytest.importorskip("seqeval.metrics")
    scheme = pytest.importorskip("seqeval.scheme")
    strict = {"average": "macro", "mode": "strict", "scheme": scheme.IOB2, "zero_division": 0}
    for seed in range(120):
        golds, predictions = noisy(seed)
        found = score(golds, predictions, LABELS)
        if found.num_units:
            theirs = metrics.accuracy_score(golds, predictions)
            assert found.accuracy == pytest.approx(100 * theirs), seed
        if found.by_type:  # otherwise seqeval's means are NaN
            require_equal_report(found, metrics, golds, predictions)
        if any(tag[0] == "B" for tags in golds + predictions for tag in tags):
            theirs = metrics.f1_score(golds, predictions, **strict)
            assert found.klue_entity_macro_f1 == pytest.approx(100 * theirs), seed


def require_equal_report(found: Scores, metrics: Any, golds: Tags, predictions: Tags) -> None:
    report = metrics.classification_report(golds, predictions, output_dict=True, zero_division=0)
    micro, macro, weighted = (report.pop(f"{name} avg") for name in ("micro", "macro", "weighted"))
    keys = ("precision", "recall", "f1-score")
    assert list(report) == list(found.by_type)
    for name, theirs in report.items():
        one = found.by_type[name]
        assert one.support == theirs["support"]
        assert one[:3] == pytest.approx([100 * theirs[key] for key in keys])
    expected = [100 * micro[key] for key in keys]
    assert [found.precision, found.recall, found.f1] == pytest.approx(expected)
    assert found.macro_f1 == pytest.approx(100 * macro["f1-score"])
    assert found.weighted_f1 == pytest.approx(100 * weighted["f1-score"])
    assert found.support == micro["support"]


@pytest.mark.slow
@pytest.mark.parametrize("labels", [LABELS, LABELS[:4]])
def test_score_label_macro_f1_equals_sklearn(labels: tuple[str, ...]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(120):
        golds, predictions = noisy(seed)
        flat = [[tag for tags in side for tag in tags] for side in (golds, predictions)]
        if set(labels) & set(flat[0]):  # sklearn refuses the others
            theirs = metrics.f1_score(*flat, labels=list(labels), average="macro", zero_division=1)
            found = score(golds, predictions, labels)
            assert found.klue_char_macro_f1 == pytest.approx(100 * theirs), seed
