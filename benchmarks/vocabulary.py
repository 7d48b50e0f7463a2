#!/usr/bin/env python3
"""build_vocab against the Rust WordPiece trainer of `tokenizers`: same words, same size.

Both learn from MeCab's morphemes of the corpus and are measured on a text they have not seen. The
Rust trainer knows no eojeols; for `##` by eojeol its words that continue one begin with a joiner.
A smaller alphabet trades [UNK] for longer pieces: several alphabets of the Rust trainer are shown.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from common import DATA, VOCAB, corpus_files, machine
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from bert_ko.data.corpus import CorpusFlags, find_files
from bert_ko.data.documents import Notes
from bert_ko.data.words import count_words
from bert_ko.engines import LocalEngine
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.vocabulary_training import VocabularyFlags, Word, train_wordpiece
from bert_ko.tokenization.wordpiece import WordPiece

_JOINER = "\ue000"
_ALPHABETS = (3000, 3500, 4000)


def count(path: Path, workers: int) -> Counter[Word]:
    """Words of a text as the shipped vocabulary cuts them."""
    flags = CorpusFlags(input_file=(str(path),))
    make_tokenizer = partial(load_tokenizer, str(VOCAB))
    return count_words(find_files(flags), flags, make_tokenizer, LocalEngine(workers), Notes())


def by_morpheme(counts: Counter[Word]) -> Counter[Word]:
    """The same words when `##` stands only inside a morpheme."""
    merged: Counter[Word] = Counter()
    for (word, _), n in counts.items():
        merged[word, False] += n
    return merged


def with_joiner(counts: Counter[Word]) -> Counter[Word]:
    """Words that continue an eojeol begin with a joiner."""
    return Counter({((_JOINER if joins else "") + w, False): n for (w, joins), n in counts.items()})


def train_rust(counts: Counter[Word], size: int, alphabet: int) -> list[str]:
    """A vocabulary by the Rust trainer."""

    def texts() -> Iterator[str]:
        for (word, _), n in counts.items():
            for start in range(0, n, 10_000):
                yield " ".join([word] * min(10_000, n - start))

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    reserved = VocabularyFlags(vocab_size=size).reserved
    tokenizer.train_from_iterator(
        texts(),
        trainers.WordPieceTrainer(
            vocab_size=size,
            limit_alphabet=alphabet,
            special_tokens=reserved,
            show_progress=False,
        ),
    )
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def measure(pieces: list[str], counts: Counter[Word]) -> str:
    """Pieces per word and the share of unknown pieces."""
    wordpiece = WordPiece({piece: i for i, piece in enumerate(pieces)})
    total = unknown = 0
    for (word, continues), n in counts.items():
        ids = wordpiece.split_ids(word, continues)
        total += n * (1 if ids is None else len(ids))
        unknown += n * (ids is None)
    return f"{total / counts.total():.4f} pieces per morpheme, [UNK] {unknown / total:.4%}"


def main() -> None:
    """Prints a line a vocabulary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32000)
    arguments = parser.parse_args()
    train = count(corpus_files()[0].parent, 2)
    text = [
        paragraph["context"]
        for article in json.loads((DATA / "korquad" / "dev.json").read_text())["data"]
        for paragraph in article["paragraphs"]
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "unseen.txt")
        path.write_text("\n\n".join(text), encoding="utf-8")
        unseen = count(path, 1)
    print(f"{machine()}; {train.total():,} words, measured on {unseen.total():,} unseen ones")
    shipped = list(load_tokenizer(str(VOCAB)).vocab)
    print(f"## by eojeol, shipped: {measure(shipped, unseen)}")
    settings = VocabularyFlags(vocab_size=arguments.size)
    ours = train_wordpiece(by_morpheme(train), settings)
    print(f"## by morpheme, ours: {measure(ours, by_morpheme(unseen))}", flush=True)
    for alphabet in _ALPHABETS:
        for name, change in (("eojeol (joiner)", with_joiner), ("morpheme", by_morpheme)):
            rust = train_rust(change(train), arguments.size, alphabet)
            print(f"## by {name}, Rust, {alphabet} characters: {measure(rust, change(unseen))}")


if __name__ == "__main__":
    main()
