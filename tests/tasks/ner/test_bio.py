"""Tags and entities: what is mended, what tags mean, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.ner.bio import (
    Entity,
    entities,
    label_list,
    repair_bio,
    tagged_text,
)
from tests.small_data import from_entities

any_tags = st.lists(st.sampled_from(["O", "B-PS", "I-PS", "B-LC", "I-LC"]), max_size=12)


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def slow_entities(tags: list[str], strict: bool) -> list[Entity]:
    """Every span that begins where an entity may begin and can't be longer."""
    found = []
    for i, tag in enumerate(tags):
        before = tags[i - 1] if i else "O"
        is_begin = tag[0] == "B" or (tag[0] == "I" and before[1:] != tag[1:] and not strict)
        if is_begin:
            end = i + 1
            while end < len(tags) and tags[end] == "I" + tag[1:]:
                end += 1
            found.append(Entity(tag[2:], i, end))
    return found


def test_label_list_types_are_sorted_and_both_tags_stand_there() -> None:
    assert label_list(["PS", "DT", "PS"]) == ("O", "B-DT", "I-DT", "B-PS", "I-PS")
    assert label_list([]) == ("O",)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PS I-PS O B-PS", "B-PS I-PS O B-PS"),
        ("I-PS I-PS O", "B-PS I-PS O"),
        ("O I-PS I-PS", "O B-PS I-PS"),
        ("B-PS I-LC I-LC", "B-PS B-LC I-LC"),
        ("B-PS I-LC I-PS", "B-PS B-LC B-PS"),
        ("I-PS B-PS I-PS", "B-PS B-PS I-PS"),  # IOB1: two neighbours
        ("B-WORK-X I-WORK-Y", "B-WORK-X B-WORK-Y"),
        ("", ""),
    ],
)
def test_repair_bio_gives_literal_tags(tags: str, expected: str) -> None:
    assert repair_bio(words(tags)) == words(expected)


@given(any_tags)
def test_repair_bio_keeps_the_entities_and_is_done_once(tags: list[str]) -> None:
    repaired = repair_bio(tags)
    assert entities(repaired) == entities(tags) == entities(repaired, strict=True)
    assert repair_bio(repaired) == repaired


@pytest.mark.parametrize(
    ("tags", "loose", "strict"),
    [
        ("O O", [], []),
        ("B-PS I-PS O", [("PS", 0, 2)], [("PS", 0, 2)]),
        ("B-PS B-PS", [("PS", 0, 1), ("PS", 1, 2)], [("PS", 0, 1), ("PS", 1, 2)]),
        ("O I-PS I-PS", [("PS", 1, 3)], []),
        ("B-PS I-LC I-LC I-PS", [("PS", 0, 1), ("LC", 1, 3), ("PS", 3, 4)], [("PS", 0, 1)]),
        ("I-PS B-PS", [("PS", 0, 1), ("PS", 1, 2)], [("PS", 1, 2)]),
        ("B-A-B I-A-B", [("A-B", 0, 2)], [("A-B", 0, 2)]),
        ("", [], []),
    ],
)
def test_entities_gives_literal_spans(
    tags: str, loose: list[tuple[str, int, int]], strict: list[tuple[str, int, int]]
) -> None:
    assert entities(words(tags)) == loose
    assert entities(words(tags), strict=True) == strict


@given(any_tags, st.booleans())
def test_entities_equals_slow_search(tags: list[str], strict: bool) -> None:
    assert entities(tags, strict) == slow_entities(tags, strict)


@given(any_tags)
def test_entities_equals_seqeval(tags: list[str]) -> None:
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    scheme = pytest.importorskip("seqeval.scheme")
    loose = [(kind, first, last + 1) for kind, first, last in labeling.get_entities(tags)]
    assert entities(tags) == loose
    strict = scheme.Tokens(tags, scheme.IOB2).entities
    assert entities(tags, strict=True) == [(e.tag, e.start, e.end) for e in strict]


@given(any_tags)
def test_entities_as_tags_are_the_repaired_tags(tags: list[str]) -> None:
    assert from_entities(reversed(entities(tags)), len(tags)) == repair_bio(tags)


def test_tagged_text_is_as_klue_writes_it() -> None:
    text = "민수와 영희는 부산에 갔다."
    spans = [Entity("LC", 8, 10), Entity("PS", 0, 2), Entity("PS", 4, 6)]
    assert tagged_text(text, spans) == "<민수:PS>와 <영희:PS>는 <부산:LC>에 갔다."
    assert tagged_text("서울", [Entity("LC", 0, 2)]) == "<서울:LC>"
    assert tagged_text("가<나:다>", []) == "가<나:다>"  # KLUE has no escapes
