"""report.html of build_vocab: what a vocabulary covers, and how it cuts a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.words import MOST_PIECES, Place, SyllableReport, UnknownText, VocabularyReport
from bert_ko.report.blocks import (
    Bars,
    Block,
    Headline,
    Items,
    Map,
    MarkedTexts,
    Note,
    Row,
    Section,
    Table,
    bars,
    number,
    text,
)
from bert_ko.report.facts import base_name, made_facts
from bert_ko.report.languages import Texts
from bert_ko.report.page import Page, Pairs, render_page, run_section
from bert_ko.report.rendering import read
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import BLANK
from bert_ko.tokenization.word_vocabulary import SENTENCE_MARKS, UNKNOWN, Coverage, WordVocabulary

_INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS, _FINALS = 21, 28
_KINDS = ("empty", "half", "full")  # squares of syllables by their pieces
_MOST_PIECES, _MOST_WORDS, _MOST_TEXTS = 20, 20, 20  # that are listed


class Run(NamedTuple):
    """What both pages say of the run."""

    folder: str  # of the vocabulary
    facts: Pairs  # of the text, in the page's language
    flags: Pairs
    t: Texts

    def sections(self, *facts: tuple[str, str]) -> list[Section]:
        """Returns the section of the run, whose facts these are, too."""
        return [run_section(self.t, [*facts, *self.facts, *made_facts(self.t)], self.flags)]

    @property
    def title(self) -> str:
        """Of the page."""
        return self.t("{folder}: the vocabulary", folder=base_name(self.folder))


def render_pieces(
    run: Run,
    tokenizer: Tokenizer,
    report: VocabularyReport,
    syllables: SyllableReport,
    unreachable: Sequence[str],
) -> str:
    """Returns the page of a vocabulary of pieces.

    Args:
        run: what it was.
        tokenizer: of the vocabulary.
        report: on a text.
        syllables: that it covers.
        unreachable: pieces that no text can have.
    """
    t = run.t
    sections = [
        Section("scores", t("Coverage"), [Headline(_headline(t, tokenizer, report))]),
        Section("syllables", t("Hangul syllables"), _syllable_blocks(t, syllables)),
        Section("cuts", t("Pieces of words"), _cut_blocks(t, report)),
        Section("unknown", "[UNK]", _unknown_blocks(t, report.unknown_texts)),
        Section("pieces", t("Pieces"), _piece_blocks(t, tokenizer, report, unreachable)),
        *run.sections((t("fingerprint"), tokenizer.fingerprint)),
    ]
    data = {"syllables": "".join(map(str, syllables.pieces.tolist()))}
    return render_page(Page(run.title, sections, data), script=read("pages/vocabulary.js"), t=t)


def _headline(
    t: Texts, tokenizer: Tokenizer, report: VocabularyReport
) -> list[tuple[str, str, str]]:
    pieces, on_text = report.pieces, t("on this text")
    return [
        (t("Pieces in the vocabulary"), f"{len(tokenizer.vocab):,}", ""),
        (t("[UNK] among pieces"), f"{report.unknown / max(1, pieces):.3%}", on_text),
        (t("Pieces per eojeol"), f"{pieces / max(1, report.eojeols):.3f}", on_text),
        (t("Pieces per morpheme"), f"{pieces / max(1, report.morphemes):.3f}", on_text),
        (
            t("Morphemes that are one piece"),
            f"{report.whole_morphemes / max(1, report.morphemes):.1%}",
            on_text,
        ),
    ]


def _syllable_blocks(t: Texts, syllables: SyllableReport) -> list[Block]:
    covered = {
        name: f"{np.count_nonzero(syllables.pieces == state):,}"
        for state, name in enumerate(_KINDS)
    }
    legend = {
        "full": t("pieces at the start of a word and inside one: {count}", count=covered["full"]),
        "half": t("only one of them: {count}", count=covered["half"]),
        "empty": t("none: {count}", count=covered["empty"]),
    }
    parts = [
        (initial, _FINALS, _VOWELS, _paths(rows))
        for initial, rows in zip(
            _INITIALS, syllables.pieces.reshape(-1, _VOWELS, _FINALS), strict=True
        )
    ]
    caption = t(
        "The 11,172 syllables by initial consonant: a row for each vowel, a column for each final"
    )
    missing = syllables.missing_common
    said = t("All 2,350 syllables of KS X 1001 have a piece.")
    if missing:
        said = t(
            "{count} of the 2,350 syllables of KS X 1001 have none: {syllables}",
            count=f"{len(missing):,}",
            syllables=" ".join(missing[:200]) + (" …" if len(missing) > 200 else ""),
        )
    return [Map(caption, parts, legend), Note(said)]


def _paths(rows: npt.NDArray[np.int8]) -> dict[str, str]:
    """Squares as paths of SVG by class; neighbours of a row with the same class are one."""
    paths = dict.fromkeys(_KINDS, "")
    for y, row in enumerate(rows.tolist()):
        x = 0
        for state, group in groupby(row):
            width = len(list(group))
            paths[_KINDS[state]] += f"M{x} {y}h{width}v1h-{width}z"
            x += width
    return paths


def _cut_blocks(t: Texts, report: VocabularyReport) -> list[Block]:
    return [
        _size_bars(t("Pieces of a morpheme"), report.morpheme_pieces),
        _size_bars(t("Pieces of an eojeol"), report.eojeol_pieces),
    ]


def _size_bars(caption: str, counts: npt.NDArray[np.int64]) -> Bars:
    names = [*map(str, range(1, MOST_PIECES)), f"{MOST_PIECES}+"]
    return bars(caption, dict(zip(names, counts.tolist(), strict=True)))


def _unknown_blocks(t: Texts, texts: Mapping[str, UnknownText]) -> list[Block]:
    if not texts:
        return [Note(t("Nothing of this text is [UNK]."))]
    first = sorted(texts.items(), key=lambda one: -one[1].times)[:_MOST_TEXTS]
    rows = [
        (
            [(found.before, ""), (unknown, "answer"), (found.after, "")],
            f"{_place(found.file, found.line)} · {t('{count} times', count=f'{found.times:,}')}",
        )
        for unknown, found in first
    ]
    said = t("What was [UNK] most often in the lines that were looked at, and where it came first")
    return [Note(said), MarkedTexts(rows)]


def _place(file: str, line: int | None) -> str:
    return base_name(file) if line is None else f"{base_name(file)}:{line}"


def _piece_blocks(
    t: Texts, tokenizer: Tokenizer, report: VocabularyReport, unreachable: Sequence[str]
) -> list[Block]:
    vocab = tokenizer.vocab
    counts = np.resize(report.piece_counts, len(vocab))  # all 0 without text
    ordinary = np.array(sorted(vocab.ordinary_ids), np.int64)
    used = ordinary[counts[ordinary] > 0]
    rarest = used[np.argsort(counts[used], kind="stable")][:_MOST_PIECES].tolist()
    longest = sorted(ordinary.tolist(), key=lambda i: -len(_surface(vocab.pieces[i])))
    lengths = [
        (text(vocab.pieces[i]), number(len(_surface(vocab.pieces[i])), ",d"))
        for i in longest[:_MOST_PIECES]
    ]
    uses = [(text(vocab.pieces[i]), number(int(counts[i]), ",d")) for i in rarest]
    never = len(ordinary) - len(used)
    said = [t("{count} pieces do not occur in this text.", count=f"{never:,}")]
    if unreachable:
        some = " ".join(unreachable[:_MOST_PIECES])
        found = {"count": f"{len(unreachable):,}", "pieces": some}
        said.append(t("{count} pieces can occur in no text: {pieces}", **found))
    tables = [
        Table(t("Longest pieces"), [t("Piece"), t("Characters")], lengths),
        Table(t("Rarest pieces of this text"), [t("Piece"), t("Uses")], uses),
    ]
    return [Items(said), *(table for table in tables if table.rows)]


def _surface(piece: str) -> str:
    return piece.removeprefix("##").removeprefix(BLANK)


def render_words(
    run: Run,
    vocabulary: WordVocabulary,
    coverage: Coverage,
    counts: Mapping[str, int],
    places: Mapping[str, Place],
) -> str:
    """Returns the page of a vocabulary of whole words.

    Args:
        run: what it was.
        vocabulary: the words.
        coverage: of the text.
        counts: words of the text.
        places: file and line of unknown words, as far as they were looked for.
    """
    t, first = run.t, len(SENTENCE_MARKS)
    unit = vocabulary.unit
    headline = [
        (t("Words in the vocabulary"), f"{len(vocabulary.words):,}", t(f"{unit}s")),
        (t("{mark} among words", mark=UNKNOWN), f"{coverage.unknown_share:.3%}", t("on this text")),
        (t("Words"), f"{coverage.words:,}", t("on this text")),
        (t("Distinct"), f"{coverage.distinct_words:,}", t("on this text")),
    ]
    known = list(vocabulary.words[first : first + _MOST_WORDS])
    known += [word for word in vocabulary.words[-_MOST_WORDS:] if word not in known]
    frequent: list[Row] = [
        (text(word), number(counts.get(word, 0), ",d")) for word in known[:_MOST_WORDS]
    ]
    last: list[Row] = [
        (text(word), number(counts.get(word, 0), ",d")) for word in known[_MOST_WORDS:]
    ]
    missing: list[Row] = [
        (text(word), _place(*places[word]) if word in places else "–", number(counts[word], ",d"))
        for word in unknown_words(vocabulary, counts)
    ]
    tables = [
        Table(t("First words of the vocabulary"), [t("Word"), t("Uses")], frequent),
        Table(t("Last words of the vocabulary"), [t("Word"), t("Uses")], last),
    ]
    unknown = Table(t("Most frequent unknown words"), [t("Word"), t("Where"), t("Uses")], missing)
    sections = [
        Section("scores", t("Coverage"), [Headline(headline)]),
        Section("words", t("Words"), [table for table in tables if table.rows]),
        Section("unknown", UNKNOWN, [unknown] if missing else [Note(t("Every word is known."))]),
        *run.sections((t("fingerprint"), vocabulary.fingerprint)),
    ]
    return render_page(Page(run.title, sections), t=t)


def unknown_words(vocabulary: WordVocabulary, counts: Mapping[str, int]) -> list[str]:
    """Returns the most frequent words of a text that a vocabulary does not have."""
    ids = vocabulary.ids
    missing = ((-n, word) for word, n in counts.items() if word not in ids)
    return [word for _, word in sorted(missing)[:_MOST_WORDS]]
