"""Kinds of errors of predicted entities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.ner.bio import Entity, entities
from bert_ko.tasks.ner.report import Error, find_errors
from bert_ko.tasks.ner.scores import score

PS = Entity("PS", 2, 5)


@pytest.mark.parametrize(
    ("predicted", "kind"),
    [
        (Entity("LC", 2, 5), "type"),
        (Entity("PS", 2, 4), "boundary"),
        (Entity("PS", 4, 9), "boundary"),
        (Entity("LC", 0, 3), "both"),
    ],
)
def test_find_errors_two_that_overlap_are_one_error(predicted: Entity, kind: str) -> None:
    assert find_errors([PS], [predicted]) == [Error(kind, PS, predicted)]  # type: ignore[arg-type]


def test_find_errors_right_entities_are_none() -> None:
    assert find_errors([PS], [PS]) == []
    assert find_errors([], []) == []


def test_find_errors_entities_that_only_touch_are_two_errors() -> None:
    after = Entity("PS", 5, 7)
    assert find_errors([PS], [after]) == [Error("missed", PS, None), Error("spurious", None, after)]
    assert find_errors([after], [PS]) == [Error("spurious", None, PS), Error("missed", after, None)]


def test_find_errors_split_entity_is_paired_with_its_longest_part() -> None:
    gold, first, second = Entity("OG", 0, 9), Entity("OG", 0, 3), Entity("OG", 4, 9)
    assert find_errors([gold], [first, second]) == [
        Error("spurious", None, first),
        Error("boundary", gold, second),
    ]


def test_find_errors_own_type_comes_before_a_longer_overlap() -> None:
    gold, other, same = Entity("OG", 0, 9), Entity("LC", 0, 6), Entity("OG", 7, 9)
    assert Error("boundary", gold, same) in find_errors([gold], [other, same])


def test_error_type_is_that_of_the_gold() -> None:
    assert Error("type", PS, Entity("LC", 2, 5)).type == "PS"
    assert Error("missed", PS, None).type == "PS"
    assert Error("spurious", None, PS).type == "PS"


@given(st.data())
def test_find_errors_every_entity_is_right_or_in_one_error(data: st.DataObject) -> None:
    tag = st.sampled_from(["O", "B-PS", "I-PS", "B-LC", "I-LC"])
    tags = st.lists(tag, min_size=12, max_size=12)
    gold_tags, predicted_tags = data.draw(tags), data.draw(tags)
    golds, predicted = entities(gold_tags), entities(predicted_tags)
    errors = find_errors(golds, predicted)
    right = set(golds) & set(predicted)
    assert sorted([*right, *(e.gold for e in errors if e.gold)]) == sorted(golds)
    assert sorted([*right, *(e.predicted for e in errors if e.predicted)]) == sorted(predicted)
    scores = score([gold_tags], [predicted_tags], [])
    assert sum(found.correct for found in scores.by_type.values()) == len(right)
