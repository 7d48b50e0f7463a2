"""Word vocabularies: the words that a language model of whole words predicts.

A folder has ``words.txt``, a word a line in the order of the ids, ``words.json``, which says how
text becomes words and what was counted, and the user dictionaries that MeCab needs for it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from bert_ko.copies import local_vocabulary
from bert_ko.folders import folder_writer
from bert_ko.json_files import member, read_json
from bert_ko.tokenization.config import WordUnit, to_json
from bert_ko.tokenization.dictionary_files import dictionaries_in
from bert_ko.tokenization.morphemes import check_dictionary_version, dictionary_version
from bert_ko.tokenization.vocabulary import index_lines, read_lines
from bert_ko.tokenization.word_splitting import WordSplitter

WORDS_NAME, WORDS_CONFIG_NAME = "words.txt", "words.json"
SENTENCE_START, SENTENCE_END, UNKNOWN = "<S>", "</S>", "<UNK>"
SENTENCE_MARKS = (SENTENCE_START, SENTENCE_END, UNKNOWN)  # ids 0, 1 and 2
UNKNOWN_ID = SENTENCE_MARKS.index(UNKNOWN)
_BUILD = "bin/build_vocab --words --input_file=CORPUS --output_dir=FOLDER"


class Coverage(NamedTuple):
    """How much of a text a word vocabulary knows."""

    words: int = 0
    distinct_words: int = 0
    unknown_words: int = 0  # of ``words``

    @property
    def unknown_share(self) -> float:
        """Of 1."""
        return self.unknown_words / max(1, self.words)


@dataclass(frozen=True)
class WordVocabulary:
    """Words and their ids, and how text becomes words."""

    words: tuple[str, ...]  # in the order of their ids, SENTENCE_MARKS first
    unit: WordUnit
    mecab_dictionary: str | None = None  # that the words were found with; None for eojeols
    user_dictionaries: tuple[str, ...] = ()  # paths
    source: str = "vocabulary"  # where it was found, for messages

    @property
    def ids(self) -> dict[str, int]:
        """A new dict of word to id; what looks like a mark in a text is an unknown word."""
        marks = len(SENTENCE_MARKS)
        return dict(zip(self.words[marks:], range(marks, len(self.words)), strict=True))

    @property
    def settings(self) -> dict[str, Any]:
        """How text becomes words, as words.json has it."""
        return {
            "unit": self.unit,
            "normalization": "nfc",
            "mecab_dictionary": self.mecab_dictionary,
            "mecab_user_dictionary": list(map(os.path.basename, self.user_dictionaries)),
        }

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over everything that decides the ids of a text."""
        digest = hashlib.sha256("\n".join(self.words).encode())
        digest.update(to_json(self.settings).encode())
        for path in self.user_dictionaries:
            digest.update(Path(path).read_bytes())
        return digest.hexdigest()[:16]

    def splitter(self) -> WordSplitter:
        """Splits text as the text of the vocabulary was split."""
        return WordSplitter(self.unit, self.user_dictionaries)

    def measure(self, counts: Mapping[str, int]) -> Coverage:
        """How much of a text it knows, by the counts of the text's words."""
        total, ids = sum(counts.values()), self.ids
        known = sum(n for word, n in counts.items() if word in ids)
        return Coverage(total, len(counts), total - known)


def choose_words(counts: Mapping[str, int], vocab_size: int, min_frequency: int) -> tuple[str, ...]:
    """The words of a vocabulary: the marks, then the most frequent, at most ``vocab_size`` in all.

    Words of the same count are in the order of their code points.

    >>> choose_words({"나": 2, "가": 2, "다": 5, "라": 1}, 6, 2)
    ('<S>', '</S>', '<UNK>', '다', '가', '나')
    """
    frequent = [(-n, word) for word, n in counts.items() if n >= min_frequency]
    frequent.sort()
    # A literal mark in a text can't be told from the mark, so it has no id.
    words = [word for _, word in frequent if word not in SENTENCE_MARKS]
    return (*SENTENCE_MARKS, *words[: vocab_size - len(SENTENCE_MARKS)])


def write_word_vocabulary(
    folder: str, vocabulary: WordVocabulary, coverage: Coverage, min_frequency: int
) -> None:
    """Writes the folder, which is whole or without a vocabulary at any time; other files stay.

    Args:
        folder: made when missing.
        vocabulary: its user dictionaries are copied.
        coverage: of the corpus that it was counted on.
        min_frequency: uses that a word had at least.

    Raises:
        ValueError: two user dictionaries have the same name.
    """
    paths = vocabulary.user_dictionaries
    contents = {os.path.basename(path): Path(path).read_bytes() for path in paths}
    if len(contents) < len(paths):
        raise ValueError(
            f"--mecab_user_dictionary: two have the same name: {', '.join(paths)}; rename one."
        )
    about = {
        **vocabulary.settings,
        "fingerprint": vocabulary.fingerprint,
        "vocab_size": len(vocabulary.words),
        "min_frequency": min_frequency,
        "corpus": {**coverage._asdict(), "unknown_share": round(coverage.unknown_share, 6)},
    }
    contents[WORDS_NAME] = "".join(f"{word}\n" for word in vocabulary.words).encode()
    contents[WORDS_CONFIG_NAME] = to_json(about).encode()
    with folder_writer(folder, last=WORDS_NAME) as temporary:
        for name, content in contents.items():
            Path(temporary, name).write_bytes(content)


def load_word_vocabulary(vocab_file: str, flag: str = "--vocab_file") -> WordVocabulary:
    """Opens a word vocabulary.

    Args:
        vocab_file: its folder, or words.txt in it.
        flag: that named it, for messages.

    Raises:
        FileNotFoundError: there is nothing of that name.
        ImportError: MeCab is needed and not installed.
        ValueError: there is no word vocabulary, it is damaged, or another MeCab dictionary is
            installed.
    """
    vocab_file = local_vocabulary(vocab_file)
    if not os.path.exists(vocab_file):
        raise FileNotFoundError(f"{flag}: no such file: {vocab_file}; make it with {_BUILD}.")
    is_folder = os.path.isdir(vocab_file)
    folder = vocab_file if is_folder else os.path.dirname(vocab_file) or "."
    path, about_path = (os.path.join(folder, name) for name in (WORDS_NAME, WORDS_CONFIG_NAME))
    is_named = is_folder or os.path.basename(vocab_file) == WORDS_NAME
    if not is_named or not os.path.isfile(path):
        raise ValueError(
            f"{flag}: no vocabulary of words ({WORDS_NAME}) at {vocab_file}, which a bidirectional "
            f"language model needs; pieces are for masked ones. Make one with {_BUILD}."
        )
    about = read_json(about_path, advice="")
    if about is None:
        raise ValueError(f"{flag}: no {WORDS_CONFIG_NAME} beside {path}; copy the whole folder.")
    vocabulary = _vocabulary(read_lines(path), about, folder)
    if vocabulary.unit == "morpheme":
        check_dictionary_version(vocabulary.mecab_dictionary, path)
    for dictionary in vocabulary.user_dictionaries:
        if not os.path.isfile(dictionary):
            raise FileNotFoundError(
                f"{flag}: {about_path} names {dictionary}, which is missing; copy the whole folder."
            )
    if member(about, "fingerprint", str, about_path) != vocabulary.fingerprint:
        raise ValueError(
            f"{path} is not the one that {about_path} describes: its fingerprint is "
            f"{vocabulary.fingerprint}, not {about['fingerprint']}. Copy the folder again, or make "
            f"it again with {_BUILD}."
        )
    return vocabulary


def _vocabulary(words: tuple[str, ...], about: dict[str, Any], folder: str) -> WordVocabulary:
    path, about_path = (os.path.join(folder, name) for name in (WORDS_NAME, WORDS_CONFIG_NAME))
    index_lines(words, path)
    marks = len(SENTENCE_MARKS)
    if words[:marks] != SENTENCE_MARKS:
        raise ValueError(
            f"{path}: the first lines must be {' '.join(SENTENCE_MARKS)}, got "
            f"{' '.join(words[:marks]) or 'nothing'}; make it again with {_BUILD}."
        )
    unit = member(about, "unit", str, about_path)
    if unit not in get_args(WordUnit):
        units = ", ".join(get_args(WordUnit))
        raise ValueError(f"{about_path}: unit must be one of {units}, got {unit!r}.")
    dictionary = about.get("mecab_dictionary")
    if unit == "morpheme":
        dictionary = member(about, "mecab_dictionary", str, about_path)
    names = member(about, "mecab_user_dictionary", list, about_path)
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError(
                f"{about_path}: mecab_user_dictionary must name files in the same folder, got "
                f"{name!r}; nothing outside it is read."
            )
    paths = tuple(dictionaries_in(folder, names))
    return WordVocabulary(words, cast(WordUnit, unit), dictionary, paths, folder)


def make_word_vocabulary(
    counts: Mapping[str, int], splitter: WordSplitter, vocab_size: int, min_frequency: int
) -> WordVocabulary:
    """Chooses the words of a corpus by their counts; see ``choose_words``."""
    words = choose_words(counts, vocab_size, min_frequency)
    dictionary = dictionary_version() if splitter.unit == "morpheme" else None
    return WordVocabulary(words, splitter.unit, dictionary, splitter.user_dictionaries)


def has_words(folder: str) -> bool:
    """Whether a folder has a vocabulary of words."""
    names = (WORDS_NAME, WORDS_CONFIG_NAME)
    return all(os.path.isfile(os.path.join(folder, name)) for name in names)
