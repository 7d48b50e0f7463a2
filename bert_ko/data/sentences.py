"""Splits Korean text into sentences by rules, with character offsets.

A regular expression finds the few places where a sentence may end (runs of end marks); only these
are looked at, each within a bounded window, so the work grows linearly with the text.
"""

import re
from collections.abc import Iterator

# An opening mark that is not closed within this many characters protects nothing.
MAX_QUOTED_CHARS = 300

# How far back the rules look for the word before an end mark.
_WINDOW_CHARS = 24

_BRACKETS = dict(zip(")]}）》〉】」』", "([{（《〈【「『", strict=True))
_CLOSING = {**_BRACKETS, "”": "“", "’": "‘"}

# The line breaks of str.splitlines.
_LINE = re.compile(r"[^\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")

# End marks (also with spaces between: "끝 . . ."), closing marks, and the faces that belong to the
# sentence before ("좋아요! ㅋㅋ ^^"). What must follow is not a part of the expression: a failure
# would be tried again at every mark of a long run.
_END = re.compile(
    r"([.!?…。！？]+(?: +[.!?…]+(?!\S))*)"
    r"""(["'”’)\]}）》〉】」』]*)"""
    r"(?:[ ㅋㅎㅠㅜ^;~♡♥❤\ufe0f\u200d\U0001f300-\U0001faff]+(?!\S))?"
)

# A sentence has a letter or a digit; faces of single jamo ("ㅋㅋ") do not count.
_WORD = re.compile(r"[^\W_ㄱ-ㅣ]")
_NON_SPACE = re.compile(r"\S")

# Quotes and brackets, without the faces ":)" and ";(" and without apostrophes ("don't").
_MARK = re.compile(
    r"(?<![:;])[()]"
    r"|[\[\]{}（）《》〈〉【】「」『』“”‘\"]"
    r"|(?<![A-Za-z0-9])['’]|['’](?![A-Za-z0-9])"
)
# Straight quotes open and close alike; inches, minutes and a quote at a word's end cannot open.
_STRAIGHT_OPENING = {
    '"': re.compile(r'(?<!\d)"(?=\S)|(?<!\S)"'),
    "'": re.compile(r"(?<!\w)'(?=\S)"),
}

# Words after which a single period does not end a sentence.
_PERIOD_INSIDE = re.compile(
    r"""[(\[{（<“‘"'「『《〈【*#~-]*"""
    r"(?:제?\d{1,4}|\d{1,3}\)|\d+(?:[.-]\d+)+"  # list numbers, dates, versions
    r"|[가나다라마바사아자차카타파하ㄱ-ㅎ]|[첫둘셋넷]째|[①-⑳Ⅰ-Ⅻ]|[IVX]{1,4}"  # list letters
    r"|[A-Za-z]|(?:[A-Za-z][a-z]?\.)+[A-Za-z]"  # initials, U.S., e.g., Ph.D.
    r"|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Mt|Rev|Gen|Sen|Gov|Col|Capt|Inc|Ltd|Co|Corp"
    r"|vs|cf|al|approx|ca|est|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)"
)
_NUMBERED_WORD = re.compile(r"[(\[]?(?:No|Nos|no|Vol|vol|Fig|fig|Eq|Ch|Sec|Art|p|pp|Ver|ver|Rev)")
_NUMBER_NEXT = re.compile(r"\s*\d")

# Final endings after which a new sentence may follow without a space ("했습니다.그리고"). Nouns
# that look like one and stand in lists joined by periods ("바다.산") are left out.
_FINAL_ENDING = re.compile(
    r"(?:[가-힣](?<!바)(?<!캐나)(?<!우간)(?<!르완)다|[가-힣](?<![수개주중])요|[가-힣][죠까]"
    r"|[시하]오|[했었았였겠있없]음|구나|잖아|거든)\Z"
)
_ADDRESS = re.compile(r"://|www\.|@")

# What continues the sentence after an end mark: "갔다." 라고, 뭐? 라는.
_GOES_ON = re.compile(r"\s*(?:이?라(?:고|는|며|면서|던)|(?:이?라|란|고|며|면서|는|은|을|를)(?!\S))")
_GOES_ON_AFTER_CLOSING = re.compile(
    r"\s*(?:(?:하고|하며|하는|하던|등|등의|및|와|과)(?!\S)|했|하였)"
)
_GOES_ON_AFTER_ELLIPSIS = re.compile(r"\s*(?:[a-z]|(?:의|과|도|에서|에게|부터|까지|처럼)(?!\S))")
_ELLIPSIS = re.compile(r"\.{2,}|[.…]*…[.…]*")


def split_sentences(text: str) -> list[str]:
    """Splits a text into its sentences, without white space at their ends; none is empty.

    Differs: the splitters of kss and of Kiwi look at morphemes; this one knows marks and a handful
        of endings, and so leaves sentences without end marks together.
    """
    return [text[start:end] for start, end in sentence_spans(text)]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Finds the sentences of a text as ascending ``(start, end)`` character offsets.

    A sentence ends at a line break, and at end marks (with the closing marks after them) before
    white space. It does not end inside quotes or brackets, nor after list numbers, dates, initials
    and abbreviations. The spans do not overlap and cover every character that is not white space;
    none has white space at its ends.
    """
    spans = []
    for match in _LINE.finditer(text):
        line = match.group()
        start = 0
        for end in (*_line_ends(line), len(line)):
            piece = line[start:end]
            if not piece.isspace():
                left = match.start() + start + len(piece) - len(piece.lstrip())
                spans.append((left, match.start() + start + len(piece.rstrip())))
            start = end
    return spans


def _line_ends(line: str) -> Iterator[int]:
    """Yields where sentences end inside a line, without the end of the line itself.

    Every piece between two ends has a letter or a digit: faces and lone marks stay with a sentence.
    """
    if not _END.search(line):
        return
    last_word = _WORD.search(line[::-1])
    words_end = len(line) - last_word.start() if last_word else 0
    quoted = _quoted_spans(line)
    q = 0
    start = looked = 0
    for match in _END.finditer(line):
        if match.end() >= words_end:
            return
        closed = match.end(2)
        while q < len(quoted) and quoted[q][1] <= closed:
            q += 1
        if q < len(quoted) and quoted[q][0] < closed:
            continue
        just_closed = quoted[q - 1][0] if q and quoted[q - 1][1] == closed else None
        if not _is_end(line, start, match) or _is_aside(line, start, just_closed):
            continue
        # Looking on from the last place, not from the start, keeps "! ! ! !" linear.
        if not _WORD.search(line, looked, match.end()):
            looked = match.end()
            continue
        yield match.end()
        start = looked = match.end()


def _quoted_spans(line: str) -> list[tuple[int, int]]:
    """Finds quotes and brackets with their marks, as ascending spans that do not overlap.

    Spans inside or across others are merged with them.
    """
    opened: dict[str, list[int]] = {}
    found = []
    for match in _MARK.finditer(line):
        mark, position = match.group(), match.start()
        straight = _STRAIGHT_OPENING.get(mark)
        positions = opened.setdefault(_CLOSING.get(mark, mark), [])
        if straight and positions and position - positions[-1] > MAX_QUOTED_CHARS:
            positions.clear()
        if mark in _CLOSING or (straight and positions):
            # The last mark that was opened: an earlier one is further away still.
            if positions and position - positions[-1] <= MAX_QUOTED_CHARS:
                found.append((positions.pop(), position + 1))
        elif not straight or straight.match(line, position):
            positions.append(position)
    merged: list[tuple[int, int]] = []
    for first, end in sorted(found):
        if merged and first < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return merged


def _is_aside(line: str, start: int, opening: int | None) -> bool:
    """Whether brackets that close at the end mark, as in "(정말?)", are a part of the sentence.

    The sentence begins at ``start``; ``opening`` is where such quotes or brackets opened, if any.
    """
    if opening is None or line[opening] not in _BRACKETS.values():
        return False
    return bool(_NON_SPACE.search(line, start, opening))


def _is_end(line: str, start: int, match: re.Match[str]) -> bool:
    """Whether the end marks of a match end the sentence that begins at ``start``."""
    marks, closing = match.groups()
    end = match.end()
    # Within the sentence, so that a sentence split off is judged as it was in its line.
    before = line[max(start, match.start() - _WINDOW_CHARS) : match.start()]
    if _GOES_ON.match(line, end):
        return False
    if not line[end].isspace():
        return not closing and _is_end_without_space(before, line[end])
    if closing:
        return not _GOES_ON_AFTER_CLOSING.match(line, end)
    if marks == ".":
        word = _last_word(before)
        is_number = _NUMBERED_WORD.fullmatch(word) and _NUMBER_NEXT.match(line, end)
        return not is_number and not _PERIOD_INSIDE.fullmatch(word)
    return not (_ELLIPSIS.fullmatch(marks) and _GOES_ON_AFTER_ELLIPSIS.match(line, end))


def _is_end_without_space(before: str, following: str) -> bool:
    """Whether end marks right before a character, without a space, end a sentence."""
    if not "가" <= following <= "힣" or not _FINAL_ENDING.search(before[-6:]):
        return False
    return not _ADDRESS.search(_last_word(before))


def _last_word(before: str) -> str:
    """Returns what follows the last white space: "그는 Mr" -> "Mr", "그는 " -> ""."""
    return "" if not before or before[-1].isspace() else before.split()[-1]
