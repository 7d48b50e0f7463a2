"""Where answers stand: near an offset, in another unit, in another form."""

import unicodedata
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.squad.examples import Span
from bert_ko.tasks.squad.places import (
    CHARACTERS,
    UNITS,
    Offset,
    choose_unit,
    common_form,
    find_answer,
    form_difference,
    locate,
)

UNITS_BY_NAME = {unit.name: unit for unit in UNITS}
COUNTS: list[tuple[str, Callable[[str], int]]] = [
    ("composed characters (NFC)", lambda text: len(unicodedata.normalize("NFC", text))),
    ("decomposed characters (NFD)", lambda text: len(unicodedata.normalize("NFD", text))),
    ("UTF-16 units", lambda text: len(text.encode("utf-16-le")) // 2),
    ("CP949 bytes", lambda text: len(text.encode("cp949", "replace"))),
    ("UTF-8 bytes", lambda text: len(text.encode())),
    ("characters with CR LF as one", lambda text: len(text) - text.count("\r\n")),
    ("characters with each line end as CR LF", lambda text: len(text) + text.count("\n")),
]
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


@given(mixed, st.integers(0, 40), st.sampled_from(COUNTS))
def test_position_is_the_last_character_that_an_offset_reaches(
    context: str, offset: int, unit: tuple[str, Callable[[str], int]]
) -> None:
    name, count = unit
    found = UNITS_BY_NAME[name].at(context, offset)
    reached = [end for end in range(len(context) + 1) if count(context[:end]) <= offset]
    assert found == reached[-1]
    assert UNITS_BY_NAME[name].at(context, -1) == -1


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
    in_place = [Offset(context, "나무", place) for place in (4, 4, 11)]
    assert choose_unit(in_place, in_bytes) is CHARACTERS
    nowhere = [Offset(context, "나무", place) for place in (6, 13, 14)]
    assert choose_unit([], [*in_bytes, *nowhere]) is CHARACTERS


def test_choose_unit_offsets_of_single_blanks_are_recognised() -> None:
    context = "\ufeff나무와  나무\u200b 사이에 \n나무가 있다"
    single = "나무와 나무 사이에 나무가 있다"
    answers = [Offset(context, "나무", place) for place in (0, 4, 11)]
    unit = choose_unit([], answers)
    assert unit.name == "visible characters and single blanks"
    for _, text, start in answers:
        place = unit.at(context, start)
        assert context[place : place + 2] == single[start : start + 2] == text
    assert unit.at(context, 99) == len(context)


def test_form_difference_tells_composition_from_the_rest() -> None:
    assert "NFC against NFD" in form_difference("가", unicodedata.normalize("NFD", "가"))
    assert "white space" in form_difference("가 나", "가\u00a0나")
