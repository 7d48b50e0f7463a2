"""Tests of the sentence splitter: worked examples, properties, and inputs made to be slow."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.data.sentences import MAX_QUOTED_CHARS, sentence_spans, split_sentences

SAMPLE_CORPUS = Path(__file__).parents[2] / "samples" / "corpus.txt"

# Each expected sentence list is joined by single spaces to make the text.
SPLIT_AT_SPACES = {
    "plain": ["비가 왔다.", "우산이 없었다.", "그래서 뛰었다."],
    "question_exclamation": ["어디 가?", "집에 가!", "그래."],
    "runs_of_marks": ["정말이야?!", "믿을 수 없어...", "나도 그래…", "그렇군!!!"],
    "fullwidth_marks": ["갈까？", "가자！", "좋다。", "끝."],
    "quote_then_sentence": ["“어서 오세요.”", "주인이 웃었다."],
    "straight_quote_then_sentence": ['"어서 오세요."', "주인이 웃었다."],
    "bracket_after_mark": ["문을 닫았다.)", "불도 껐다."],
    "bracket_sentence": ["문을 닫았다.", "(불은 켜 두었다.)", "그리고 나갔다."],
    "spaced_mark": ["문을 닫았다 .", "불도 껐다 ."],
    "spaced_marks": ["잊을 수 없다. . .", "그날의 바다를."],
    "faces": ["너무 좋아요! ㅋㅋㅋ", "또 살게요. ^^", "추천해요! 😊"],
    "lone_marks_first": ["... 그런데 말이야.", "들었어?"],
    "number_with_unit": ["값은 1,000원.", "세금은 3.5%.", "끝."],
    "english": ["I like tea.", "You like GPU.", "We agree."],
    "sentence_after_address": ["주소는 example.co.kr.", "메일은 a.b@c.kr.", "파일은 a.txt."],
    "list_numbers": ["끝났다.", "1. 서론을 쓴다.", "2) 본론을 쓴다.", "3). 결론을 쓴다."],
}

# Each stays one sentence.
KEPT_WHOLE = {
    "decimal": "원주율은 3.14 정도라고 한다.",
    "version": "버전 1.2.3 파일과 2.0. 파일을 받았다.",
    "date": "2019. 8. 15. 오후에 만났다.",
    "short_date": "2019.8.15. 오후에 만났다.",
    "list_number": "1. 서론",
    "numbered_article": "제3. 벌칙은 따로 둔다",
    "ordinal": "첫째. 서두르지 않는다",
    "list_letter": "가. 목적 나. 방법 다. 결과",
    "list_jamo": "ㄱ. 목적 ㄴ. 방법",
    "roman_number": "IV. 결론",
    "bracketed_list_letter": "(가. 목적) 부분을 보라",
    "initials": "J. R. R. 솔내라는 작가가 썼다.",
    "title": "Dr. Kim과 Mr. Lee가 왔다.",
    "country": "U.S. 정부가 밝혔다.",
    "degree": "Ph.D. 과정에 들어갔다.",
    "for_example": "과일, e.g. 사과를 샀다.",
    "versus": "사과 vs. 배를 놓고 다투었다.",
    "number_word": "오늘은 No. 3 선수가 뛴다.",
    "address": "https://example.co.kr/a.html?b=c 에서 보라.",
    "file_name": "설정은 a.txt에 쓴다.",
    "mail": "글은 a.b@example.co.kr로 보내라.",
    "hangul_address": "www.좋아요.한국에서 보라.",
    "nouns_with_periods": "바다.산.강 가운데 수요.공급을 고르라.",
    "quote": "그는 “가자. 늦었다.”라고 말했다.",
    "straight_quote": '그는 "가자. 늦었다."라고 말했다.',
    "single_quote": "그는 ‘가자. 늦었다.’고 생각했다.",
    "straight_single_quote": "그는 '가자. 늦었다.'고 생각했다.",
    "corner_brackets": "그는 「가자. 늦었다.」 및 『왜? 어디로?』 두 편을 썼다.",
    "title_marks": "그는 《누구? 나야.》 를 읽었다.",
    "round_brackets": "그는 (정말! 아주!) 좋아했다.",
    "square_brackets": "그는 [문을 연다. 웃는다.] 앞으로 나왔다.",
    "nested_marks": "그는 “나는 (왜? 몰라.) ‘응. 그래.’ 했다. 끝.” 하고 말했다.",
    "apostrophe_in_quote": "그는 ‘I don’t. You do. Yes.’ 했다.",
    "spaced_quotative": "그는 “늦었다.” 라고 말했다.",
    "spaced_quotative_of_list": "그는 “개.”, “고양이.” 등 여러 말을 했다.",
    "quotative_without_quotes": "왜 그랬을까? 라는 생각이 들었다.",
    "quotative_right_after": "벌써 갔다.고 들었다.",
    "ellipsis_then_particle": "나무... 는 말이 없다.",
    "ellipsis_then_lower_case": "그는 well… maybe later 하고 말했다.",
    "ellipsis_inside": "나는...글쎄 잘 모르겠다.",
    "no_end_marks": "안녕하세요 반갑습니다 다음에 봐요",
    "only_marks": "... !!! ???",
}


@pytest.mark.parametrize("sentences", SPLIT_AT_SPACES.values(), ids=SPLIT_AT_SPACES.keys())
def test_split_sentences_worked_example_is_split(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


@pytest.mark.parametrize("sentence", KEPT_WHOLE.values(), ids=KEPT_WHOLE.keys())
def test_split_sentences_worked_example_is_kept_whole(sentence: str) -> None:
    assert split_sentences(sentence) == [sentence]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("문을 열었습니다.그리고 나갔습니다.", ["문을 열었습니다.", "그리고 나갔습니다."]),
        ("좋아요.다음에 봐요.", ["좋아요.", "다음에 봐요."]),
        ("어떻습니까?저는 좋습니다!정말요.", ["어떻습니까?", "저는 좋습니다!", "정말요."]),
        ("와 주십시오...기다리겠습니다.", ["와 주십시오...", "기다리겠습니다."]),
        ("확인했음.이상 없음.", ["확인했음.", "이상 없음."]),
    ],
)
def test_split_sentences_final_ending_without_space_is_split(
    text: str, sentences: list[str]
) -> None:
    assert split_sentences(text) == sentences


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_split_sentences_line_break_always_ends(line_break: str) -> None:
    text = f"(제목{line_break}{line_break} 1. 첫 줄) “가자{line_break}끝.”"
    assert split_sentences(text) == ["(제목", "1. 첫 줄) “가자", "끝.”"]


def test_split_sentences_unclosed_quote_is_ignored() -> None:
    text = "그는 “가자. 늦었다. (정말이다. 뛰자."
    assert split_sentences(text) == ["그는 “가자.", "늦었다.", "(정말이다.", "뛰자."]


@pytest.mark.parametrize(("opening", "closing"), ["“”", "()", '""', "''", "《》"])
def test_split_sentences_quote_at_and_past_the_cap_is_kept_and_ignored(
    opening: str, closing: str
) -> None:
    inside = "가자. " + "나" * (MAX_QUOTED_CHARS - 5)
    assert len(split_sentences(f"{opening}{inside}{closing}")) == 1
    assert len(split_sentences(f"{opening}{inside}나{closing}")) == 2


def test_split_sentences_inch_mark_and_sad_face_open_nothing() -> None:
    text = '27" 화면이다. :( 무겁다. 30" 화면도 있다. 좋다 :) 끝.'
    assert split_sentences(text) == [
        '27" 화면이다.',
        ":( 무겁다.",
        '30" 화면도 있다.',
        "좋다 :) 끝.",
    ]


def test_split_sentences_no_break_and_ideographic_spaces_end_and_are_stripped() -> None:
    assert split_sentences("\u3000비가 왔다.\u00a0바람도 불었다.\u3000") == [
        "비가 왔다.",
        "바람도 불었다.",
    ]


@pytest.mark.parametrize("text", ["", " ", "\n\n", " \u3000\t\r\n"])
def test_split_sentences_blank_text_gives_none(text: str) -> None:
    assert split_sentences(text) == []


def test_sentence_spans_worked_example_gives_offsets() -> None:
    assert sentence_spans("  비가 왔다.  “응.”\n끝 ") == [(2, 8), (10, 14), (15, 16)]


def test_split_sentences_sample_corpus_keeps_each_line() -> None:
    lines = [line for line in SAMPLE_CORPUS.read_text("utf-8").split("\n") if line]
    assert [split_sentences(line) for line in lines] == [[line] for line in lines]


def test_split_sentences_sample_documents_on_one_line_give_back_the_lines() -> None:
    text = SAMPLE_CORPUS.read_text("utf-8").strip()
    documents = [document.split("\n") for document in text.split("\n\n")]
    # The review has lines that end in a face only, where no rule splits.
    marked = [lines for lines in documents if all(line[-1] in ".?!”" for line in lines)]
    assert len(marked) == len(documents) - 1
    for lines in marked:
        assert split_sentences(" ".join(lines)) == lines


# Mostly what the rules look at, so that they meet.
PIECES = st.sampled_from(
    [
        *"가나다요까.!?…。\"'“”‘’()[]《》「」 ㅋ^~:1aU\n",
        "...",
        "했습니다.",
        "라고",
        "는 ",
        "No. ",
        "8. ",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join))


@given(TEXTS)
def test_sentence_spans_any_text_ascend_and_cover_every_non_space(text: str) -> None:
    cursor = 0
    for start, end in sentence_spans(text):
        assert cursor <= start < end <= len(text)
        assert text[cursor:start].strip() == ""
        assert text[start:end] == text[start:end].strip()
        assert len(text[start:end].splitlines()) == 1
        cursor = end
    assert text[cursor:].strip() == ""


@given(TEXTS)
def test_split_sentences_any_text_is_idempotent(text: str) -> None:
    sentences = split_sentences(text)
    assert [split_sentences(sentence) for sentence in sentences] == [[s] for s in sentences]
    assert split_sentences("\n".join(sentences)) == sentences


@given(TEXTS, TEXTS)
def test_split_sentences_lines_are_independent(first: str, second: str) -> None:
    assert split_sentences(f"{first}\n{second}") == split_sentences(first) + split_sentences(second)


@given(st.lists(st.integers(0xD800, 0xDFFF).map(chr) | st.characters()).map("".join))
def test_split_sentences_lone_surrogates_do_not_raise(text: str) -> None:
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("(" * 100_000, 1),
        ("“" * 100_000, 1),
        ('"' * 100_000, 1),
        ("(" * 50_000 + ")" * 50_000, 1),
        ("." * 100_000, 1),
        ("." * 100_000 + "a", 1),
        (". " * 50_000, 1),
        ("! " * 50_000 + "가", 1),
        (".)" * 50_000 + "가", 1),
        ("가. " + "(.) " * 25_000, 1),
        ("갔다 " + "(.) " * 25_000 + "가", 1),
        ("(. " * 30_000 + ") " * 5_000, 1),
        ("." + " " * 100_000 + "가", 1),
        ("!" + "ㅋ" * 100_000 + "가", 1),
        ("'a " * 33_000, 1),
        ("갔다. " * 25_000, 25_000),
        ("갔다." * 33_000, 33_000),
        ("나무.가" * 25_000, 1),
        ("1. " * 33_000, 1),
        (".\n" * 50_000, 50_000),
    ],
    ids=lambda value: None if isinstance(value, int) else f"{value[:8]!a}",
)
def test_sentence_spans_long_pathological_text_gives_count(text: str, count: int) -> None:
    assert len(sentence_spans(text)) == count
