"""Every page stands in English and in Korean, with the same sections, commands and figures."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
READMES = [ROOT / "README.md", *ROOT.glob("recipes/*/README.md")]
PAGES = sorted({*READMES, *(ROOT / "docs").glob("*.md")} - {*(ROOT / "docs").glob("*.ko.md")})
PAIRS = {str(page.relative_to(ROOT)): (page, page.with_suffix(".ko.md")) for page in PAGES}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s+)# .*")
_LINK = re.compile(r"\]\(([^)\s#:]*)(?:#([^)\s]+))?\)")
_NAME = re.compile(r"(?:--)?[A-Za-z]\w*_\w+|--\w+")
_FIGURE = re.compile(r"[*\d.,%/±×+−–-][*\d.,%/±×+−– -]*")


def test_every_page_has_a_korean_twin() -> None:
    assert [name for name, (_, korean) in PAIRS.items() if not korean.exists()] == []


def commands(page: Path) -> list[tuple[str, str]]:
    """Language and lines of each block of code, without the comments, which are translated."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [(language, _COMMENT.sub("", code)) for language, code in found]


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[tuple[str, str]]:
    """The marks and the text of each heading."""
    return re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)


def tables(page: Path) -> list[list[str]]:
    """The cells of each table's row, those that are words as "word"."""
    rows = re.findall(r"^\|(.+)\|$", prose(page), re.MULTILINE)
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows]
    return [
        [cell if _FIGURE.fullmatch(cell) else bool(cell) * "word" for cell in row] for row in cells
    ]


def names(page: Path) -> set[str]:
    """The flags, commands, keys and variables that a page speaks of."""
    spans = re.findall(r"`([^`]+)`", prose(page))
    return {name for span in spans for name in _NAME.findall(span) if name.isascii()}


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page in links."""
    texts = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text) for _, text in headings(page))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


@pytest.mark.parametrize("name", PAIRS)
def test_korean_page_has_the_same_sections_and_commands(name: str) -> None:
    english, korean = PAIRS[name]
    assert [marks for marks, _ in headings(korean)] == [marks for marks, _ in headings(english)]
    assert commands(korean) == commands(english)


@pytest.mark.parametrize("name", PAIRS)
def test_korean_page_has_the_same_tables(name: str) -> None:
    english, korean = PAIRS[name]
    for translated, row in zip(tables(korean), tables(english), strict=True):
        assert translated == row


@pytest.mark.parametrize("name", PAIRS)
def test_korean_page_speaks_of_the_same_flags_and_keys(name: str) -> None:
    english, korean = PAIRS[name]
    assert names(korean) == names(english)


@pytest.mark.parametrize("name", PAIRS)
def test_links_of_pages_lead_somewhere_and_stay_in_their_language(name: str) -> None:
    pair = PAIRS[name]
    for language, page in enumerate(pair):
        twin, foreign = pair[1 - language], {pair[1 - language] for pair in PAIRS.values()}
        assert f"]({twin.name})" in prose(page)
        for path, anchor in _LINK.findall(prose(page)):
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {path}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {path}#{anchor}"
            assert target == twin or target not in foreign, f"{page.name}: {path}"
