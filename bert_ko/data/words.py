"""Counts the words of a corpus, and measures how a vocabulary cuts it into pieces."""

from __future__ import annotations

import functools
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.data.corpus import Chunk, CorpusFlags, estimated_sizes, read_chunks
from bert_ko.data.documents import Cleaner, Notes, read_documents
from bert_ko.data.plans import corpus_chunks
from bert_ko.engines import Engine
from bert_ko.progress import Progress
from bert_ko.tokenization.encoder import EOJEOL_START, ID_MASK, MORPHEME_START, LineEncoder
from bert_ko.tokenization.normalization import lower_keeping_length
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary_training import Word
from bert_ko.tokenization.word_splitting import WordSplitter

T = TypeVar("T")
Place = tuple[str, int | None]  # file, and line from 1; None for the rows of a table

MOST_PIECES = 8  # of a word that are told apart
_MOST_TEXTS, _MOST_LINES = 100, 200  # that are looked at for what is [UNK]
_AROUND = 30  # characters
_MOST_CHUNKS = 16  # of a corpus in which texts are looked for


class UnknownText(NamedTuple):
    """What became [UNK], and where it was first seen."""

    times: int  # in the lines that were looked at
    file: str
    line: int | None  # as of a Place; None, too, if the text does not stand there as it was read
    before: str
    after: str


class VocabularyReport(NamedTuple):
    """How a vocabulary of V pieces cuts a text into pieces."""

    pieces: int
    unknown: int  # [UNK] among them
    morphemes: int  # words before WordPiece (eojeols with sentencepiece)
    eojeols: int  # words between white space
    whole_morphemes: int  # morphemes that are one known piece
    piece_counts: npt.NDArray[np.int64]  # [V], how often each piece occurs; [1], 0, without text
    # [MOST_PIECES], words of 1, 2 … pieces; the last number counts longer ones, too.
    morpheme_pieces: npt.NDArray[np.int64]
    eojeol_pieces: npt.NDArray[np.int64]
    unknown_texts: dict[str, UnknownText]  # the first ones


class _Worker:
    def __init__(self, make_tokenizer: Callable[[], Tokenizer], config: CorpusFlags):
        self.tokenizer, self.config = make_tokenizer(), config
        self.encoder = LineEncoder(self.tokenizer)

    def lines(self, chunk: Chunk, notes: Notes) -> Iterator[str]:
        return read_sentences([chunk], self.config, self.tokenizer, notes)


def count_words(
    paths: Sequence[str],
    config: CorpusFlags,
    make_tokenizer: Callable[[], Tokenizer],
    engine: Engine,
    notes: Notes,
) -> Counter[Word]:
    """Counts words in parallel; memory grows with the distinct words alone.

    Args:
        paths: files of the corpus.
        config: its format.
        make_tokenizer: opens the tokenizer in each worker; its vocabulary is not used.
        engine: where tasks run; the counts do not depend on it.
        notes: receives what was dropped or replaced.
    """
    make_worker = partial(_Worker, make_tokenizer, config)
    return _sum_counts(paths, config, make_worker, _count_chunk, engine, notes)


def count_whole_words(
    paths: Sequence[str],
    config: CorpusFlags,
    make_splitter: Callable[[], WordSplitter],
    engine: Engine,
    notes: Notes,
) -> Counter[str]:
    """Counts words as they stand in the text; else like ``count_words``."""
    make_worker = partial(_WholeWordWorker, make_splitter, config)
    return _sum_counts(paths, config, make_worker, _count_whole_words, engine, notes)


def count_chunk(
    chunk: Chunk, config: CorpusFlags, splitter: Tokenizer | WordSplitter
) -> Counter[Any]:
    """Counts the words of one chunk: those that pieces are learnt from, or whole ones."""
    if isinstance(splitter, WordSplitter):
        return _count_whole_words(_WholeWordWorker(lambda: splitter, config), chunk)[1]
    return _count_chunk(_Worker(lambda: splitter, config), chunk)[1]


def _sum_counts(
    paths: Sequence[str],
    config: CorpusFlags,
    make_worker: Callable[[], Any],
    count: Callable[[Any, Chunk], tuple[int, Counter[T], Notes]],
    engine: Engine,
    notes: Notes,
) -> Counter[T]:
    counts: Counter[T] = Counter()
    text_bytes = sum(estimated_sizes(paths))
    with engine.pool(make_worker) as pool, Progress("counting", text_bytes, "B") as progress:
        chunks = corpus_chunks(paths, config, engine, pool)
        for size, of_chunk, seen in pool.run(count, chunks):
            counts.update(of_chunk)
            notes.merge(seen)
            progress.update(size)
    return counts


class _WholeWordWorker:
    def __init__(self, make_splitter: Callable[[], WordSplitter], config: CorpusFlags):
        self.splitter, self.config = make_splitter(), config


def _count_whole_words(worker: _WholeWordWorker, chunk: Chunk) -> tuple[int, Counter[str], Notes]:
    notes, splitter = Notes(), worker.splitter
    counts: Counter[str] = Counter()
    for line in read_sentences([chunk], worker.config, splitter, notes):
        counts.update(splitter.printed(line).split("\n"))
    del counts[""]  # after the last end of each line
    return chunk.size, counts, notes


def _count_chunk(worker: _Worker, chunk: Chunk) -> tuple[int, Counter[Word], Notes]:
    tokenizer, notes = worker.tokenizer, Notes()
    parts: Counter[str] = Counter()
    for line in worker.lines(chunk, notes):
        words = tokenizer.parts(line)
        if words and words[0][0] != " ":
            words[0] = " " + words[0]
        parts.update(words)
    by_eojeol = tokenizer.config.subword_prefix_unit == "eojeol"
    counts: Counter[Word] = Counter()
    for part, n in parts.items():
        word = part.lstrip(" ")
        if tokenizer.keeps(word):
            continue
        continues = by_eojeol and len(word) == len(part)
        if tokenizer.config.do_lower_case:
            word = lower_keeping_length(word)
        counts[word, continues] += n
    return chunk.size, counts, notes


def read_sentences(
    chunks: Iterable[Chunk], config: CorpusFlags, tokenizer: Cleaner, notes: Notes
) -> Iterator[str]:
    """The normalised sentences of all chunks; ``notes`` as for ``read_documents``."""
    for chunk in chunks:
        for document in read_documents(chunk, config, tokenizer, notes):
            yield from document


def measure_vocabulary(
    chunks: Iterable[Chunk],
    config: CorpusFlags,
    make_tokenizer: Callable[[], Tokenizer],
    engine: Engine,
) -> VocabularyReport:
    """Tokenizes a corpus and counts."""
    with engine.pool(partial(_Worker, make_tokenizer, config)) as pool:
        found = pool.run(_measure_chunk, chunks)
        nothing, none = np.zeros(MOST_PIECES, np.int64), np.zeros(1, np.int64)
        return functools.reduce(
            _add, found, VocabularyReport(0, 0, 0, 0, 0, none, nothing, nothing, {})
        )


def _add(one: VocabularyReport, other: VocabularyReport) -> VocabularyReport:
    texts = dict(one.unknown_texts)
    for text, found in other.unknown_texts.items():
        if text in texts:
            texts[text] = texts[text]._replace(times=texts[text].times + found.times)
        elif len(texts) < _MOST_TEXTS:
            texts[text] = found
    return VocabularyReport(
        one.pieces + other.pieces,
        one.unknown + other.unknown,
        one.morphemes + other.morphemes,
        one.eojeols + other.eojeols,
        one.whole_morphemes + other.whole_morphemes,
        one.piece_counts + other.piece_counts,
        one.morpheme_pieces + other.morpheme_pieces,
        one.eojeol_pieces + other.eojeol_pieces,
        texts,
    )


def _measure_chunk(worker: _Worker, chunk: Chunk) -> VocabularyReport:
    lines, vocab = list(worker.lines(chunk, Notes())), worker.tokenizer.vocab
    packed, lengths = worker.encoder.encode(lines)
    starts = np.flatnonzero(packed & np.uint32(MORPHEME_START))
    ids = packed & np.uint32(ID_MASK)
    known = ids != vocab.unk_id
    sizes = np.diff(starts, append=len(packed))
    eojeol_starts = np.flatnonzero(packed & np.uint32(EOJEOL_START))
    owners = np.repeat(np.arange(len(lines)), lengths)
    return VocabularyReport(
        pieces=len(packed),
        unknown=int(np.count_nonzero(~known)),
        morphemes=len(starts),
        eojeols=len(eojeol_starts),
        whole_morphemes=int(np.count_nonzero((sizes == 1) & known[starts])),
        piece_counts=np.bincount(ids, minlength=len(vocab)),
        morpheme_pieces=_size_counts(sizes),
        eojeol_pieces=_size_counts(np.diff(eojeol_starts, append=len(packed))),
        unknown_texts=_unknown_texts(
            worker.tokenizer, chunk, [lines[i] for i in np.unique(owners[~known])[:_MOST_LINES]]
        ),
    )


def _size_counts(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.bincount(np.minimum(sizes, MOST_PIECES) - 1, minlength=MOST_PIECES)


def _unknown_texts(
    tokenizer: Tokenizer, chunk: Chunk, lines: Sequence[str]
) -> dict[str, UnknownText]:
    """What is [UNK] in lines of a chunk."""
    found: dict[str, UnknownText] = {}
    for line in lines:
        encoding = tokenizer.encode(line)
        for id, start, end in zip(encoding.ids, encoding.starts, encoding.ends, strict=True):
            text = line[start:end]
            if id != tokenizer.vocab.unk_id:
                continue
            if text in found:
                found[text] = found[text]._replace(times=found[text].times + 1)
            elif len(found) < _MOST_TEXTS:
                around = line[max(0, start - _AROUND) : start], line[end : end + _AROUND]
                place = _find_text(chunk, text) or (next(chunk.parts()).path, None)
                found[text] = UnknownText(1, *place, *around)
    return found


def _find_text(chunk: Chunk, text: str) -> Place | None:
    """Returns where a chunk has a text first."""
    wanted = text.encode("utf-8", "surrogatepass")
    for part in chunk.parts():
        place = part.data.find(wanted)
        if place >= 0 and part.format in ("text", "doc", "jsonl"):
            return part.path, part.first_line + part.data.count(b"\n", 0, place)
        if place >= 0:  # of a table rows are counted
            return part.path, None
    return None


def find_texts(paths: Sequence[str], config: CorpusFlags, texts: Iterable[str]) -> dict[str, Place]:
    """Finds where texts stand first, in the beginning of a corpus.

    A pipe, which is read only once, is not read again.
    """
    found: dict[str, Place] = {}
    left = list(texts)
    if not all(files.is_remote(path) or os.path.isfile(path) for path in paths):
        return found
    for chunk in itertools.islice(read_chunks(paths, config), _MOST_CHUNKS):
        for text in [text for text in left if text not in found]:
            if place := _find_text(chunk, text):
                found[text] = place
    return found


class SyllableReport(NamedTuple):
    """Which of the 11,172 Hangul syllables have a piece of their own."""

    # int8 [11172], in the order of Unicode: 0 none, 1 at the start of a word or inside one alone, 2
    # both.
    pieces: npt.NDArray[np.int8]
    missing_common: list[str]  # of the 2,350 of KS X 1001

    @property
    def missing_modern(self) -> int:
        """Syllables without any."""
        return int(np.count_nonzero(self.pieces == 0))


def covered_syllables(tokenizer: Tokenizer) -> SyllableReport:
    """Syllables that a vocabulary can spell, at the start of a word and inside one."""
    vocab, modern = tokenizer.vocab, list(map(chr, range(0xAC00, 0xD7A4)))
    # A SentencePiece model has the same piece for a start behind a blank of its own.
    forms = ("\u2581{}", "{}") if tokenizer.model is not None else ("{}", "##{}")
    pieces = np.array([[form.format(s) in vocab for form in forms] for s in modern], np.int8)
    if tokenizer.model is not None:
        pieces[:, 0] |= pieces[:, 1]
    found = pieces.sum(axis=1, dtype=np.int8)
    missing = [syllable for syllable, count in zip(modern, found, strict=True) if not count]
    # Only the common ones have two bytes in EUC-KR.
    common = [syllable for syllable in missing if len(syllable.encode("euc_kr", "ignore")) == 2]
    return SyllableReport(found, common)
