"""The rules that cut josa and endings off the tail of an answer, with the whole context in view.

A particle (josa), copula or ending follows a Korean answer without white space, so that a reader
that answers in eojeols, or whose last piece is one too many, is wrong by a syllable or two. MeCab
has seen the whole context; only the tail of the answer's last eojeol is looked at.

A node of MeCab is cut inside only where the same context shows what is before the particle as a
word of its own, as a foreign name that MeCab has taken apart; pronouns such as 누가 never.

The rules were developed on half of the articles of korquad/train.json; see docs/korquad.md.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from operator import attrgetter
from typing import NamedTuple

from bert_ko.tasks.squad.examples import Span
from bert_ko.tokenization.morphemes import Morpheme

_SENTENCE_END = re.compile(r"(?<=[가-힣]다)\.")
_RUN = re.compile(r"[^\W_]+")
_OPENING = dict(zip(")）]}〉》」』”’】>", "(（[{〈《「『“‘【<", strict=True))
_CLOSING = {opening: closing for closing, opening in _OPENING.items()}
_ROUND = ")）"
_QUOTES = dict(zip("《〈「『“‘<\"'", "》〉」』”’>\"'", strict=True))
_STRAIGHT_QUOTES = "'\""
_PUNCTUATION = frozenset(".,!?;:·…、。~-–—")
_SIGNS = frozenset("%℃°\"'")  # after which a particle may stand, besides letters and brackets

_OBJECT_JOSA = ("을", "를")  # MeCab takes parts of foreign names for other forms
_NO_JOSA = frozenset(("랑", "요", "링", "야"))
# First syllables of the copula, alone or fused with an ending: 이다, 인, 라는, 였다, 입니다 …
_COPULA_STARTS = frozenset("이다인라였며일임입예여란자고든던에랄")
_AFTER_VOWELS = frozenset("다라며였란")
_AFFIX_VERBS = ("하", "한", "할", "해", "했", "되", "된", "될", "돼", "됐", "시키", "시킨", "당하")
# Cut after a particle was: what is left is the answer more often than not.
_NOUNS_AFTER_JOSA = frozenset(
    ("만/NNB", "때문/NNB", "편/NNB", "측/NNB", "안/NNG", "씨/NNB", "들/XSN")
)
# Cut also at the very end.
_NOUNS = frozenset(
    ("때문/NNB", "정도/NNG", "가량/NNG", "짜리/XSN", "동안/NNG", "간/NNG", "때/NNG", "씩/XSN")
)
# Particles as strings, the longest first, for nodes in which MeCab sees none.
_JOSA = (
    "에서는", "이라는", "으로는", "이라고", "라는", "에서", "으로", "에게", "이다", "라고",
    "은", "는", "이", "가", "을", "를", "와", "과", "의", "도", "로", "에", "인", "라", "다",
)  # fmt: skip
_CASES = ("에서", "으로", "은", "는", "이", "가", "을", "를", "의", "에", "와", "과", "로", "도")
_AFTER_WORDS = (*_CASES, "이라는", "라는", "에게", "만", "인")
# They end names too (가파도, 편이), so that the context may say that they belong to one.
_ENDS_OF_NAMES = frozenset("이가은는을를도의요인면다라로")


class Analysis(NamedTuple):
    """A context and its morphemes, ascending, with offsets in characters of the context."""

    context: str
    morphemes: list[Morpheme]
    words: Counter[str]  # runs of letters and digits, with whatever particle hangs on them


class Stripped(NamedTuple):
    """An answer after stripping."""

    span: Span  # what is left
    removed: str  # what was cut off at the end; "" if nothing was
    # Of the first cut that was more than punctuation; "" if nothing was cut: josa, copula, verb,
    # bracket, noun, name, quote.
    rule: str


def strip_tail(analysis: Analysis, span: Span) -> Stripped:
    """Cuts the tail of an answer; something is always left."""
    around = (
        analysis.context[span.start - 1 : span.start],
        analysis.context[span.end : span.end + 1],
    )
    if around[0] and around[1] == _QUOTES.get(around[0]):
        return Stripped(span, "", "")  # a particle would follow the quotes, as in 《비》는
    tail = _Tail(analysis, span)
    while tail.cut_once():
        pass
    return tail.result()


class _Tail:
    """The answer while it is cut."""

    def __init__(self, analysis: Analysis, span: Span):
        self._text, self._morphemes, self._words = analysis
        self._given = span
        self._start, self._end = span.start, span.end
        self._rule = ""
        self._has_lost_punctuation = False
        # Something after the answer was seen, so that the answer is wider than it should be.
        self._is_wide = False

    def result(self) -> Stripped:
        text = self._text
        self._cut_sentence_before()
        if self._is_wide:
            self._cut_bracket_in_quotes()
            self._cut_word_before_title()
        self._cut_left()
        start, end = self._start, self._end
        span = Span(text[start:end], start, end)
        # The scorer drops punctuation anyway.
        is_punctuation_alone = self._has_lost_punctuation and not self._rule
        is_nothing_left = not any(character.isalnum() for character in span.text)
        if is_nothing_left or is_punctuation_alone or span == self._given:
            return Stripped(self._given, "", "")
        return Stripped(span, text[end : self._given.end], self._rule or "quote")

    def cut_once(self) -> bool:
        """Cuts one thing; False if there is nothing more to cut."""
        end = self._end
        self._trim_punctuation()
        if self._end <= self._start:
            return False
        return (
            self._cut_closing()
            or self._cut_morphemes()
            or self._cut_open_bracket()
            or self._cut_name_josa()
            or self._end < end
        )

    def _cut_to(self, end: int, rule: str) -> bool:
        self._end = end
        self._rule = self._rule or rule
        self._is_wide = True
        return True

    def _trim_punctuation(self) -> None:
        text = self._text
        while self._end > self._start and (
            text[self._end - 1].isspace() or text[self._end - 1] in _PUNCTUATION
        ):
            self._end -= 1
            self._has_lost_punctuation = True
            self._is_wide = self._is_wide or text[self._end] in ".,"

    def _cut_closing(self) -> bool:
        """A bracket with its content after a word, or a bracket or quote without its other half."""
        text, start, end = self._text, self._start, self._end
        last = text[end - 1]
        opening = _matching(text, start, end) if last in _OPENING else None
        is_odd_quote = last in _STRAIGHT_QUOTES and text[start:end].count(last) % 2 == 1
        if last in _CLOSING or is_odd_quote or (last in _OPENING and opening is None):
            self._end -= 1
            self._has_lost_punctuation = True
            return True
        if opening is None or opening == start or text[opening - 1].isspace():
            return False
        is_footnote = last == "]" and text[opening + 1 : end - 1].isdigit()
        is_gloss = last in _ROUND and self._is_wide and text[opening - 1] not in _CLOSING
        return (is_footnote or is_gloss) and self._cut_to(opening, "bracket")

    def _cut_open_bracket(self) -> bool:
        """What follows an open bracket in the last eojeol: 봉래산(蓬萊山."""
        text, depth = self._text, 0
        for place in range(self._end - 1, self._start, -1):
            if text[place].isspace():
                break
            if text[place] in _CLOSING and not depth:
                return text[place] in "(（[" and self._cut_to(place, "bracket")
            depth += (text[place] in _OPENING) - (text[place] in _CLOSING)
        return False

    def _place(self) -> int:
        """The number of the first morpheme that does not end before the answer does."""
        return bisect_left(self._morphemes, self._end, key=attrgetter("end"))

    def _is_joined(self, place: int) -> bool:
        """Whether a morpheme inside the answer follows another one without a blank."""
        start = self._morphemes[place].start
        return place > 0 and self._morphemes[place - 1].end == start > self._start

    def _cut_morphemes(self) -> bool:
        place = self._place()
        if place == len(self._morphemes):
            return False
        node = self._morphemes[place]
        if node.end != self._end or not self._is_joined(place):
            return False
        tags = node.pos.split("+")
        before = self._text[node.start - 1]
        if before in _OPENING or before in _STRAIGHT_QUOTES:
            # Whatever MeCab says after a quote or bracket: '…'이 as a determiner.
            if node.surface in _JOSA or tags[0].startswith("J"):
                return self._cut_to(node.start, "josa")
        elif not (before.isalnum() or before in _SIGNS):
            return False
        word = self._word()
        may_be_name = node.surface in _ENDS_OF_NAMES and len(word) > len(node.surface)
        if may_be_name and self._evidence_of_name(word, node.surface) > 0:
            return False
        if node.pos in ("MM", "NR") and node.surface == "이" and _agrees("이", before):
            return self._cut_to(node.start, "josa")  # no determiner hangs on a word
        if tags[0].startswith("J"):
            return _is_josa(node, before) and self._cut_to(node.start, "josa")
        if tags[0] == "VCP":
            return _is_copula(node.surface, tags, before) and self._cut_to(node.start, "copula")
        if tags[0].startswith("E"):
            return self._cut_endings(place)
        if tags[0] in ("XSV", "XSA") and len(tags) > 1:
            return self._cut_verb(place, place, tags)
        key = f"{node.surface}/{tags[0]}"
        is_noun = key in _NOUNS or (self._is_wide and key in _NOUNS_AFTER_JOSA)
        return is_noun and self._cut_to(node.start, "noun")

    def _cut_endings(self, place: int) -> bool:
        """Endings with the copula or the 하다, 되다 that they belong to: 이/VCP 었/EP 다/EF."""
        first = place
        while self._morphemes[first].pos[0] in "EJ" and self._is_joined(first):
            first -= 1
        stem, ending = self._morphemes[first], self._morphemes[place]
        tag = stem.pos.split("+")[0]
        is_joined = self._is_joined(first)
        if tag == "VCP" and is_joined:
            return self._cut_to(stem.start, "copula")
        if tag in ("XSV", "XSA") and is_joined:
            return self._cut_verb(first, place, [tag])
        if tag in ("VV", "VA", "VX") and first == place - 1 and ending.surface in ("는", "은"):
            # A verb that hangs on a noun is the end of a name: 매캔/NNP 지/VV 는/ETM.
            is_name = is_joined and self._morphemes[first - 1].pos[:2] in ("NN", "SL", "SN")
            agrees = _agrees(ending.surface, self._text[ending.start - 1])
            return is_name and agrees and self._cut_to(ending.start, "josa")
        return False

    def _cut_verb(self, first: int, last: int, tags: list[str]) -> bool:
        """The 하다 or 되다 of a noun; a whole sentence is answered with its verb."""
        morphemes = self._morphemes
        if morphemes[last].pos.endswith("EF") and any(
            m.start >= self._start and m.pos.startswith("J") for m in morphemes[:first]
        ):
            return False
        # Not the nominal form: 기발함.
        is_plain = all(tag in ("XSV", "XSA") or (tag[0] == "E" and tag != "ETN") for tag in tags)
        is_affix = is_plain and morphemes[first].surface.startswith(_AFFIX_VERBS)
        return is_affix and self._cut_to(morphemes[first].start, "verb")

    def _word(self) -> str:
        """The letters and digits at the tail."""
        words = _RUN.findall(self._text, self._start, self._end)
        return words[-1] if words and self._text[self._end - 1].isalnum() else ""

    def _evidence_of_name(self, word: str, josa: str) -> int:
        """Words of the context that have the josa in the name (가파도의), less those without it."""
        own = _RUN.match(self._text, self._end - len(word))  # it may end behind the answer
        others = tuple(other for other in ("", *_AFTER_WORDS) if other != josa)
        counts = [
            sum(
                count - (own is not None and other == own.group())
                for other, count in self._words.items()
                if other.startswith(bare)
                and (particle := other[len(bare) :]) in particles
                and _agrees(particle, bare[-1])
            )
            for bare, particles in ((word, _CASES), (word[: -len(josa)], others))
        ]
        return counts[0] - counts[1]

    def _cut_name_josa(self) -> bool:
        """A particle that MeCab has not seen, where the context has the word without it."""
        place = self._place()
        if self._rule or place == len(self._morphemes):
            return False
        word, node = self._word(), self._morphemes[place]
        if node.pos.startswith(("NP", "SN", "J")):
            return False
        for josa in _JOSA:
            bare = word.removesuffix(josa)
            if len(bare) < 2 or bare == word or not _agrees(josa, bare[-1]):
                continue
            if josa == "를" and node.end == self._end:  # no noun ends in it
                return self._cut_to(self._end - 1, "name")
            left = self._end - len(josa) - node.start  # syllables of the node before the particle
            is_inside = node.start > self._end - len(word)
            is_torn = node.end == self._end and 0 < left < 2 and is_inside
            if node.pos.startswith(("NN", "XS", "MM")) and not is_torn:
                return False
            is_shown = self._evidence_of_name(word, josa) < 0
            return is_shown and self._cut_to(self._end - len(josa), "name")
        return False

    def _cut_bracket_in_quotes(self) -> None:
        """A bracket at the end of quotes around the whole, with its content: ‘비(雨)’ is 비."""
        text, start, end = self._text, self._start, self._end
        if end - start < 4 or _QUOTES.get(text[start]) != text[end - 1]:
            return
        opening = _matching(text, start, end - 1) if text[end - 2] in _ROUND else None
        if opening is not None and opening > start + 1 and text[opening - 1].isalnum():
            self._start = start + 1
            self._cut_to(opening, "bracket")

    def _cut_sentence_before(self) -> None:
        """The end of a sentence that the answer follows without a blank: 했다.《비》 is 《비》."""
        found = _SENTENCE_END.search(self._text, self._start, self._end - 1)
        if found and not self._text[found.end()].isspace():
            self._start = found.end()

    def _cut_word_before_title(self) -> None:
        """What precedes a title without a blank: 장편《비》 is 비."""
        text, end = self._text, self._end
        if end - self._start < 3 or text[end - 1] not in "》〉":
            return
        opening = _matching(text, self._start, end)
        if opening is not None and opening > self._start and text[opening - 1].isalnum():
            self._start = opening

    def _cut_left(self) -> None:
        """Blanks, an opening bracket without its other half, and quotes around the whole."""
        text, end = self._text, self._end
        self._start = end - len(text[self._start : end].lstrip())
        for place in range(self._start, end):
            if text[place].isspace():
                break
            if text[place] in _CLOSING and _CLOSING[text[place]] not in text[place:end]:
                self._start = place + 1
        inside = text[self._start : self._end]
        is_quoted = len(inside) > 2 and inside[0] in "“「『" and inside[-1] == _CLOSING[inside[0]]
        if is_quoted and inside.count(inside[0]) == 1:
            self._start, self._end = self._start + 1, self._end - 1


def _matching(text: str, start: int, end: int) -> int | None:
    """The opening bracket of the closing one before ``end``."""
    closing, depth = text[end - 1], 0
    for place in range(end - 1, start - 1, -1):
        depth += (text[place] == closing) - (text[place] == _OPENING[closing])
        if not depth:
            return place
    return None


def _agrees(josa: str, before: str) -> bool:
    """Whether a particle may follow this character; letters and digits take all."""
    if not "가" <= before <= "힣":
        return True
    final = (ord(before) - 0xAC00) % 28  # batchim: 0 none, 8 ㄹ
    if josa.startswith("으로"):
        return final not in (0, 8)
    if josa.startswith("로"):
        return final in (0, 8)
    if josa in ("은", "을", "이") or josa.startswith(("과", "이나")):
        return final != 0
    if josa in ("는", "가", "를", "라", "다", "라는", "라고") or josa.startswith("와"):
        return final == 0
    return True


def _is_josa(node: Morpheme, before: str) -> bool:
    if node.surface in _NO_JOSA or not _agrees(node.surface, before):
        return False
    if node.surface == "과" and before == "학":  # 법학과: the name of a department
        return False
    return not node.pos.startswith("JKO") or node.surface in _OBJECT_JOSA


def _is_copula(surface: str, tags: list[str], before: str) -> bool:
    is_whole = all(tag == "VCP" or tag[0] in "EJ" for tag in tags)
    agrees = surface[0] not in _AFTER_VOWELS or _agrees("는", before)
    return is_whole and surface[0] in _COPULA_STARTS and agrees


def find_words(context: str) -> Counter[str]:
    """The words of an ``Analysis``."""
    return Counter(_RUN.findall(context))
