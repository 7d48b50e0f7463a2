"""report.html of build_vocab: syllables, cuts, [UNK] and where, and what a browser shows."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.build_vocab import BuildVocabConfig
from bert_ko.data.corpus import read_chunks
from bert_ko.data.words import VocabularyReport, covered_syllables, find_texts, measure_vocabulary
from bert_ko.engines import open_engine
from bert_ko.page_flags import Language
from bert_ko.page_writing import write_page
from bert_ko.pages.vocabulary import Run, render_pieces, render_words, unknown_words
from bert_ko.report.languages import Texts
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary
from bert_ko.tokenization.word_vocabulary import SENTENCE_MARKS, WordVocabulary
from tests.pages import check_page

Parse = Callable[[str], Any]
LANGUAGES: tuple[Language, ...] = ("en", "ko")
NASTY = "<b>뷁</b>"
LINES = ["책을 읽는다.", f"{NASTY} 책에 뷁이 있다.", "", "책방에 간다."]


def make_tokenizer() -> Tokenizer:
    pieces = ("책", "##방", "##에", "을", "##을", "읽", "##는다", "힣", "가", "##가", ".", "##.")
    return Tokenizer(Vocabulary((*SPECIAL_TOKENS, *pieces)), TokenizerConfig(), source="v")


def measure(path: Path) -> VocabularyReport:
    config = BuildVocabConfig(input_file=(str(path),), output_dir="v", num_workers=1)
    with open_engine(config) as engine:
        return measure_vocabulary(read_chunks([str(path)], config), config, make_tokenizer, engine)


@pytest.fixture
def report(tmp_path: Path) -> VocabularyReport:
    path = tmp_path / "글.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return measure(path)


def test_measure_vocabulary_counts_cuts_and_finds_what_is_unknown(report: VocabularyReport) -> None:
    vocab = make_tokenizer().vocab
    assert report.piece_counts.sum() == report.pieces
    assert report.piece_counts[vocab["책"]] == 3 and report.piece_counts[vocab["힣"]] == 0
    assert report.piece_counts[vocab.unk_id] == report.unknown > 0
    assert report.morpheme_pieces.sum() == report.morphemes
    assert report.eojeol_pieces @ np.arange(1, 9) == report.pieces
    assert report.eojeol_pieces.sum() == report.eojeols == 8
    found = report.unknown_texts["뷁"]
    assert (found.times, Path(found.file).name, found.line) == (2, "글.txt", 2)
    assert found.before.endswith("<b>") and found.after.startswith("</b> 책")


def test_measure_vocabulary_without_text_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("", encoding="utf-8")
    report = measure(tmp_path / "a.txt")
    assert (report.pieces, report.piece_counts.sum(), report.unknown_texts) == (0, 0, {})
    assert "Nothing of this text is [UNK]." in render(report)


def test_covered_syllables_are_whole_or_half() -> None:
    found = covered_syllables(make_tokenizer())
    syllables = {chr(0xAC00 + i): int(n) for i, n in enumerate(found.pieces) if n}
    assert syllables == {
        "책": 1, "방": 1, "에": 1, "을": 2, "읽": 1, "힣": 1, "가": 2,
    }  # fmt: skip
    assert found.missing_modern == 11_172 - 7
    assert len(found.missing_common) == 2_350 - 6 and "가" not in found.missing_common


def run_of(language: Language = "en") -> Run:
    facts, flags = [("corpus", "a.txt")], [("--vocab_size", "17")]
    return Run("/home/me/<v>", facts, flags, Texts(language))


def render(report: VocabularyReport, language: Language = "en") -> str:
    tokenizer = make_tokenizer()
    return render_pieces(
        run_of(language), tokenizer, report, covered_syllables(tokenizer), [f"{NASTY}GPU"]
    )


def squares(root: Any, kind: str) -> int:
    paths = [path.attributes["d"] for path in root.all("path", kind)]
    return sum(map(int, re.findall(r"h(\d+)v", " ".join(paths))))


def test_page_of_pieces_has_all_syllables_and_places(
    report: VocabularyReport, parse: Parse
) -> None:
    root = parse(render(report))
    assert root.all("h1")[0].text == "<v>: the vocabulary"
    assert [squares(root, kind) for kind in ("full", "half", "empty")] == [2, 5, 11_165]
    assert len(root.all("svg")) == 19
    assert root.by_id("unknown").all("mark")[0].text in report.unknown_texts
    assert "글.txt:2 · 2 times" in root.by_id("unknown").text
    captions = [figure.text for figure in root.by_id("cuts").all("figcaption")]
    assert captions == ["Pieces of a morpheme", "Pieces of an eojeol"]
    tables = [table.all("td")[0].text for table in root.by_id("pieces").all("table")]
    assert tables == ["2", "1"]  # characters of the longest, uses of the rarest
    assert len(render(report)) < 100_000


@pytest.mark.slow
def test_page_of_pieces_is_readable_everywhere_and_says_what_is_pointed_at(
    report: VocabularyReport, browser: Any
) -> None:
    page, korean = (render(report, language) for language in LANGUAGES)
    check_page(browser, page, korean, ["GPU", "UNK", "corpus", "txt", NASTY, "<b>"])
    script = """
      const map = document.querySelectorAll(".maps svg")[0];
      const box = map.getBoundingClientRect();
      const [clientX, clientY] = [box.left + 1, box.top + 1];
      map.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY }));
    """
    shown = browser.show(page, script=script).by_id("pointed").text
    assert shown == "가 has pieces at the start of a word and inside one"


@pytest.mark.slow
def test_page_of_words_is_readable_everywhere_and_has_places(
    tmp_path: Path, browser: Any, parse: Parse
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    vocabulary = WordVocabulary((*SENTENCE_MARKS, "책", ".", "없는말"), "morpheme")
    counts = Counter({"책": 3, ".": 3, "뷁": 2, "읽": 1, "는다": 1, NASTY: 1})
    wanted = unknown_words(vocabulary, counts)
    assert wanted == ["뷁", NASTY, "는다", "읽"]
    config = BuildVocabConfig(input_file=(str(path),), output_dir="v")
    places = find_texts([str(path)], config, wanted)
    assert places["는다"] == (str(path), 1) and places["뷁"] == (str(path), 2)
    assert find_texts([str(tmp_path / "pipe")], config, wanted) == {}
    page, korean = (
        render_words(run_of(language), vocabulary, vocabulary.measure(counts), counts, places)
        for language in LANGUAGES
    )
    check_page(browser, page, korean, ["UNK", "corpus", "txt", NASTY])
    (table,) = parse(page).by_id("unknown").all("table")
    rows = [[cell.text for cell in tr if cell.tag in ("th", "td")] for tr in table.all("tr")]
    assert rows[1] == ["뷁", "a.txt:2", "2"]


def test_write_page_that_fails_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write_page(str(tmp_path), lambda: "<b>가") == f"{tmp_path}/report.html"
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "<b>가"
    for folder, make in ((tmp_path, lambda: str(1 / 0)), (tmp_path / "none", lambda: "")):
        assert write_page(str(folder), make) is None
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        assert f"warning: {folder}/report.html was not written (" in line
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "<b>가"
