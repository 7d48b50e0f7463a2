"""Where answers stand: near an offset, in another unit, in another form."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.squad.examples import Span
from bert_ko.tasks.squad.places import (
    CHARACTERS,
    UNITS,
    Offset,
    Unit,
    choose_unit,
    common_form,
    find_answer,
    form_difference,
    locate,
)

mixed = st.text(alphabet="가각ᄀ\u1161\u11a8a \u00a0\r\n\U0001f33e\u200b", max_size=12)


@given(
    st.text(alphabet="가나 ", max_size=12),
    st.text(alphabet="가나 ", max_size=3),
    st.integers(-3, 15),
)
def test_locate_equals_slow_search(context: str, text: str, near: int) -> None:
    expected = None
    for candidate in (text, text.strip()):
        starts = [i for i in range(len(context)) if context.startswith(candidate, i)]
        if candidate.strip() and starts and expected is None:
            start = min(starts, key=lambda i: (abs(i - near), i))
            expected = Span(candidate, start, start + len(candidate))
    assert locate(context, text, near) == expected


@given(mixed, st.integers(0, 40), st.sampled_from(UNITS))
def test_position_is_the_last_character_that_an_offset_reaches(
    context: str, offset: int, unit: Unit
) -> None:
    found = unit.position(context, offset)
    if unit is CHARACTERS:
        assert found == offset
        return
    reached = [end for end in range(len(context) + 1) if unit.count(context[:end]) <= offset]
    assert found == reached[-1]


@given(mixed, st.integers(0, 12))
def test_find_answer_whole_context_in_another_form_is_found(context: str, near: int) -> None:
    composed = unicodedata.normalize("NFC", context)
    for text in (
        context,
        composed,
        composed.replace(" ", "\u00a0"),
        composed.replace("\r\n", "\n"),
    ):
        found = find_answer(context, text, near)
        if common_form(text).text.strip():
            assert found is not None
            assert context[found.start : found.end] == found.text
            assert common_form(found.text).text.strip() == common_form(text).text.strip()


def test_choose_unit_needs_more_than_one_answer_and_heeds_those_in_place() -> None:
    context = "나무와 나무 사이에 나무가 있다"
    in_bytes = [Offset(context, "나무", len(context[:place].encode())) for place in (4, 11)]
    assert choose_unit([], in_bytes).name == "UTF-8 bytes"
    assert choose_unit([], in_bytes[:1]) is CHARACTERS
    assert choose_unit([], []) is CHARACTERS
    in_place = [Offset(context, "나무", place) for place in (4, 4, 11)]
    assert choose_unit(in_place, in_bytes) is CHARACTERS


def test_form_difference_tells_composition_from_the_rest() -> None:
    assert "NFC against NFD" in form_difference("가", unicodedata.normalize("NFD", "가"))
    assert "white space" in form_difference("가 나", "가\u00a0나")
