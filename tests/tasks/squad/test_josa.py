import unicodedata

import pytest

from bert_ko.tasks.squad.examples import Span
from bert_ko.tasks.squad.josa import JosaStripper, ending_key
from bert_ko.tasks.squad.josa_rules import Stripped


@pytest.fixture(scope="module")
def stripper() -> JosaStripper:
    return JosaStripper()


def cut(stripper: JosaStripper, context: str, answer: str, start: int | None = None) -> Stripped:
    """Strips an answer at its only place in the context, or at another."""
    if start is None:
        assert context.count(answer) == 1
        start = context.index(answer)
    end = start + len(answer)
    stripped = stripper.strip(stripper.analyze(context), Span(answer, start, end))
    span = stripped.span
    assert span.text == context[span.start : span.end]
    assert start <= span.start < span.end <= end
    return stripped


@pytest.mark.parametrize(
    ("context", "answer", "wanted"),
    [
        ("그 배는 이순신의 지휘를 받았다.", "이순신의", "이순신"),
        ("그날 밤 이순신의 배가 떠났다.", "이순신의", "이순신"),
        ("우리는 서울에서 만났다.", "서울에서", "서울"),
        ("편지는 부산에서도 왔다.", "부산에서도", "부산"),
        ("이 탑을 세운 사람은 김유신이다.", "김유신이다.", "김유신"),
        ("그가 다닌 곳은 도서관이었다.", "도서관이었다", "도서관"),
        ("이 산의 이름은 설악산입니다.", "설악산입니다.", "설악산"),
        ("한라산이라는 이름은 오래되었다.", "한라산이라는", "한라산"),
        ("그해는 가뭄때문에 흉년이었다.", "가뭄때문에", "가뭄"),
        ("그는 학교를 졸업하고 취직하였다.", "졸업하고", "졸업"),
        ("길이는 20미터가량 된다.", "20미터가량", "20미터"),
        # Brackets and quotes:
        ("그들은 봉래산(蓬萊山)에 올랐다.", "봉래산(蓬萊山)에", "봉래산"),
        ("그들은 봉래산(蓬萊山)에 올랐다.", "봉래산(蓬萊山", "봉래산"),
        ("그는 『나무의 노래』를 썼다.", "『나무의 노래』를", "나무의 노래"),
        ("그는 “푸른 바다”라고 불렀다.", "“푸른 바다”라고", "푸른 바다"),
        ("높이는 30미터이다.[3] 그리고 넓다.", "30미터이다.[3]", "30미터"),
        # A bracket inside quotes, once a particle was cut; alone it stays.
        ("그는 ‘느티나무(櫸)’를 심었다.", "‘느티나무(櫸)’를", "느티나무"),
        # What precedes a title without a blank.
        ("그는 장편《긴 강》으로 이름을 얻었다.", "장편《긴 강》으로", "《긴 강》"),
        # The end of a sentence before the answer.
        ("새 책을 냈다.《긴 강》은 그 다음이다.", "냈다.《긴 강》은", "《긴 강》"),
        ("그는 흰 구름이 떠 있다고 했다.", "흰 구름이", "흰 구름"),
    ],
)
def test_strip_josa_endings_and_brackets_are_cut(
    stripper: JosaStripper, context: str, answer: str, wanted: str
) -> None:
    assert cut(stripper, context, answer).span.text == wanted


@pytest.mark.parametrize(
    ("context", "answer"),
    [
        ("어제 경복궁 앞에서 만났다.", "경복궁"),
        # Names and fused nodes:
        ("여름에는 인도 북부를 여행했다.", "인도"),
        ("배를 타고 독도 근처까지 갔다.", "독도"),
        ("우리는 종로 거리를 걸었다.", "종로"),
        ("다음 도시는 하노이 그리고 방콕이다.", "하노이"),
        ("가수 이승만 씨가 노래했다.", "이승만"),
        ("그는 치과 의사가 되었다.", "치과"),
        ("그는 법학과 학생이었다.", "법학과"),
        ("상자는 누가 가져갔는지 모른다.", "누가"),
        ("나는 그건 모른다고 말했다.", "그건"),
        ("그들은 봉래산(蓬萊山)에 올랐다.", "봉래산(蓬萊山)"),
        ("그는 ‘느티나무(櫸)’ 곁에 섰다.", "‘느티나무(櫸)’"),
        # Inside quotes:
        ("그는 《흰 구름이》를 읽었다.", "흰 구름이"),
        ('그는 "흰 구름이"라는 시를 읽었다.', "흰 구름이"),
        # Nothing would be left:
        *((f"이것은 {answer} 그렇다.", answer) for answer in ("는", "이다.", "(", "’", "  ")),
    ],
)
def test_strip_names_and_what_is_whole_stay(
    stripper: JosaStripper, context: str, answer: str
) -> None:
    start = context.rindex(answer)
    span = Span(answer, start, start + len(answer))
    assert cut(stripper, context, answer, start) == Stripped(span, "", "")


def test_strip_context_shows_what_belongs_to_a_name(stripper: JosaStripper) -> None:
    context = "가파도는 작은 섬이다. 가파도의 보리밭은 넓다. 배가 가파도 쪽으로 간다."
    assert cut(stripper, context, "가파도", context.rindex("가파도")).span.text == "가파도"
    context = "마칸지의 집에 손님이 왔다. 마칸지가 웃었다. 손님은 마칸지와 함께 떠났다."
    assert cut(stripper, context, "마칸지와").span.text == "마칸지"


@pytest.mark.parametrize(
    "mark", ["\u200e", "  ", "\t", "\u00a0", "\ufeff"], ids=["lrm", "blanks", "tab", "nbsp", "bom"]
)
def test_strip_dirty_context_same_answer(stripper: JosaStripper, mark: str) -> None:
    context = f"{mark}그 배는{mark} 이순신의 지휘를{mark} 받았다."
    assert cut(stripper, context, "이순신의").span.text == "이순신"


def test_strip_decomposed_context_is_cut_in_its_own_characters(stripper: JosaStripper) -> None:
    context, answer, wanted = (
        unicodedata.normalize("NFD", text)
        for text in ("그 배는 이순신의 지휘를 받았다.", "이순신의", "이순신")
    )
    assert cut(stripper, context, answer).span.text == wanted


def test_strip_word_of_a_user_dictionary_stays_whole(
    stripper: JosaStripper, user_dictionary: str
) -> None:
    context, name = "책방 하늘가람의 앞에서 만났다.", "하늘가람의"
    assert cut(stripper, context, name).span.text == "하늘가람"
    own = JosaStripper([user_dictionary])
    assert cut(own, context, name).span.text == name
    assert cut(own, f"{context} 하늘가람의의 문", "하늘가람의의").span.text == name


def test_ending_key_is_the_same_for_decomposed_text() -> None:
    for removed in ("은.", unicodedata.normalize("NFD", "은.")):
        assert ending_key(Stripped(Span("가", 0, 1), removed, "josa")) == "josa 은"
