"""Counts the words of a corpus, and measures how a vocabulary cuts it into pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bert_ko.data.corpus import Chunk, CorpusFlags, estimated_sizes
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


class VocabularyReport(NamedTuple):
    """How a vocabulary cuts a text into pieces."""

    pieces: int = 0
    unknown: int = 0  # [UNK] among them
    morphemes: int = 0  # words before WordPiece (eojeols with sentencepiece)
    eojeols: int = 0  # words between white space
    whole_morphemes: int = 0  # morphemes that are one known piece


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
        return VocabularyReport(*map(sum, zip(*pool.run(_measure_chunk, chunks), strict=True)))


def _measure_chunk(worker: _Worker, chunk: Chunk) -> VocabularyReport:
    encoded = worker.encoder.encode(list(worker.lines(chunk, Notes())))
    packed = encoded.pieces
    starts = np.flatnonzero(packed & np.uint32(MORPHEME_START))
    known = (packed & np.uint32(ID_MASK)) != worker.tokenizer.vocab.unk_id
    alone = np.diff(starts, append=len(packed)) == 1
    return VocabularyReport(
        pieces=len(packed),
        unknown=int(np.count_nonzero(~known)),
        morphemes=len(starts),
        eojeols=int(np.count_nonzero(packed & np.uint32(EOJEOL_START))),
        whole_morphemes=int(np.count_nonzero(alone & known[starts])),
    )


class SyllableReport(NamedTuple):
    """Hangul syllables without a piece of their own."""

    missing_modern: int  # of all 11,172
    missing_common: list[str]  # of the 2,350 of KS X 1001


def missing_syllables(tokenizer: Tokenizer) -> SyllableReport:
    """Syllables that a vocabulary cannot spell, at the start of a word or inside one."""
    vocab = tokenizer.vocab
    missing = [
        syllable
        for syllable in map(chr, range(0xAC00, 0xD7A4))
        if not (syllable in vocab or f"##{syllable}" in vocab or f"\u2581{syllable}" in vocab)
    ]
    # Only the common ones have two bytes in EUC-KR.
    common = [syllable for syllable in missing if len(syllable.encode("euc_kr", "ignore")) == 2]
    return SyllableReport(len(missing), common)
