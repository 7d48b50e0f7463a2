"""Text to pieces and ids; every piece knows its characters in the caller's string."""

from __future__ import annotations

import copy
import hashlib
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.morphemes import MecabSegmenter, Morpheme, check_dictionary_version
from bert_ko.tokenization.normalization import (
    RULES,
    NormalizedText,
    fold_word,
    lower_keeping_length,
    normalize,
    strip_accents,
    without_marks,
)
from bert_ko.tokenization.vocabulary import BLANK, Piece, SentencePieceModel, Vocabulary
from bert_ko.tokenization.wordpiece import (
    MAX_CHARS_PER_PUBLISHED_WORD,
    MAX_CHARS_PER_WORD,
    WordPiece,
    basic_parts,
    without_prefix,
)

# The part of speech of a token that is kept whole; mecab-ko-dic has no such tag.
KEPT_TOKEN_POS = "KEPT"
# Distinct morphemes grow with the corpus; the cache starts again before it grows without bound.
_MAX_CACHED_WORDS = 500_000

Texts: TypeAlias = list[str] | tuple[str, ...]


@dataclass(frozen=True)
class Encoding:
    """The pieces of one text, without [CLS] and [SEP]; spans ascend and never overlap."""

    pieces: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)  # characters in the caller's string
    ends: list[int] = field(default_factory=list)  # exclusive
    # Number of the morpheme (word, without MeCab), and of the eojeol, that a piece belongs to.
    morpheme_ids: list[int] = field(default_factory=list)
    eojeol_ids: list[int] = field(default_factory=list)
    morphemes: list[Morpheme] = field(default_factory=list)  # on request

    def __len__(self) -> int:
        return len(self.ids)

    def with_offsets(self) -> list[Piece]:
        """The pieces one by one."""
        return list(map(Piece, self.pieces, self.ids, self.starts, self.ends))


class Tokenizer:
    """The whole way from a string to ids; pickles, so that worker processes can have it.

    Args:
        vocab: the pieces.
        config: how the text is normalised and split.
        fingerprint: of vocabulary and config together.
        model: the SentencePiece model, for that type alone.
        user_dictionaries: paths of compiled MeCab dictionaries.
        source: where the vocabulary was found, for messages.

    Raises:
        ValueError: an additional special token is not in the vocabulary.
    """

    def __init__(
        self,
        vocab: Vocabulary,
        config: TokenizerConfig,
        fingerprint: str = "",
        model: SentencePieceModel | None = None,
        user_dictionaries: Iterable[str] = (),
        source: str = "vocabulary",
    ):
        self.vocab, self.config, self.fingerprint, self.model = vocab, config, fingerprint, model
        self.user_dictionaries = tuple(map(os.path.abspath, user_dictionaries))
        self.source = source
        rule = RULES[config.normalization]
        self.rule = without_marks(rule) if config.strip_accents else rule
        missing = [token for token in config.additional_special_tokens if token not in vocab]
        if missing:
            raise ValueError(
                f"--additional_special_tokens: {', '.join(missing)} not in the vocabulary; build "
                "it with them, or write them over [unusedN] lines of vocab.txt."
            )
        # The words of published vocabularies change as transformers has it, each on its own.
        self._is_published = config.normalization == "transformers"
        is_basic = config.tokenizer_type == "wordpiece" and not self._is_published
        self._strips_accents = is_basic and config.do_lower_case
        self._lowers_words = config.do_lower_case and not (
            self._strips_accents or self._is_published
        )
        self._prefixes_eojeols = config.subword_prefix_unit == "eojeol"
        self._mecab = None
        if config.tokenizer_type == "mecab":
            self._mecab = MecabSegmenter(self.user_dictionaries)
        self._split: Callable[[str], list[str]] = self._mecab.parts if self._mecab else basic_parts
        if not config.tokenize_chinese_chars:
            self._split = partial(basic_parts, splits_chinese=False)
        limit = MAX_CHARS_PER_PUBLISHED_WORD if self._is_published else MAX_CHARS_PER_WORD
        self._wordpiece = WordPiece(vocab, limit)
        self._keep(config.additional_special_tokens)

    @classmethod
    def open(
        cls,
        path: str,
        config: TokenizerConfig,
        dictionaries: Sequence[str] = (),
        source: str = "",
        vocab: Vocabulary | None = None,
    ) -> Tokenizer:
        """Opens vocab.txt, or a .model for the type sentencepiece, and computes the fingerprint.

        Args:
            path: of the file.
            config: that belongs to it.
            dictionaries: paths of compiled MeCab dictionaries.
            source: of the vocabulary, for messages.
            vocab: the pieces, if they are not to be read from the file.

        Raises:
            ImportError: MeCab is needed and not installed.
            ValueError: the file is damaged, or another MeCab dictionary is installed.
        """
        if config.tokenizer_type == "mecab":
            check_dictionary_version(config.mecab_dictionary, path)
        model = None
        if config.tokenizer_type == "sentencepiece":
            model = SentencePieceModel(Path(path).read_bytes(), path)
        if vocab is None:
            vocab = Vocabulary(model.pieces, path) if model else Vocabulary.load(path)
        fingerprint = _fingerprint(vocab, config, model, dictionaries)
        return cls(vocab, config, fingerprint, model, dictionaries, source or path)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_found": {}}

    def keeping(self, *tokens: str, vocab: Vocabulary | None = None) -> Tokenizer:
        """The same tokenizer, which keeps more tokens whole, such as [MASK] in a text.

        Args:
            tokens: pieces of the vocabulary.
            vocab: the same pieces and more behind them.

        Raises:
            ValueError: the type is sentencepiece, whose model alone decides.
        """
        if self.model is not None:
            raise ValueError(f"{tokens[0]} in a text is not known to a SentencePiece model.")
        other = copy.copy(self)
        other.vocab = vocab or self.vocab
        other._keep((*self.config.additional_special_tokens, *tokens))
        return other

    def _keep(self, tokens: Iterable[str]) -> None:
        self._kept = {self.clean_lines(token)[0]: token for token in tokens}
        if invisible := self._kept.get(""):
            raise ValueError(
                f"--additional_special_tokens: nothing is left of {invisible!r} when a text is "
                "cleaned; choose visible characters."
            )
        longest_first = "|".join(map(re.escape, sorted(self._kept, reverse=True)))
        self._kept_pattern = re.compile(f" *(?:{longest_first})") if self._kept else None
        # Words that were split before, and whether they start an eojeol: pieces, ids and lengths.
        self._found: dict[tuple[str, bool], tuple[list[str], list[int], list[int]]] = {}

    @property
    def has_morphemes(self) -> bool:
        """Whether the words are MeCab's, with parts of speech."""
        return self._mecab is not None

    def clean_lines(self, text: str) -> list[str]:
        r"""Normalises many lines joined by ``\n``; the fast way in for corpora, no offsets."""
        lines = self.rule.clean_lines(text)
        if not self._strips_accents:
            return lines
        return [strip_accents(NormalizedText(line)).text.strip(" ") for line in lines]

    def parts(self, text: str) -> list[str]:
        """Splits one normalised line into words that keep the blanks before them."""
        if self._kept_pattern is None:
            return self._split(text)
        found: list[str] = []
        for start, end, is_kept in self._stretches(text):
            found += [text[start:end]] if is_kept else self._split(text[start:end])
        return found

    def printed_lines(self, lines: Sequence[str]) -> list[str]:
        r"""``parts`` of each line in one string, each ended by ``\n``."""
        if self._mecab and self._kept_pattern is None:
            return self._mecab.printed_lines(lines)
        return ["".join([f"{part}\n" for part in self.parts(line)]) for line in lines]

    def keeps(self, word: str) -> bool:
        """Whether a word of ``parts`` is a token that is kept whole."""
        return word in self._kept

    def _stretches(self, text: str) -> Iterator[tuple[int, int, bool]]:
        """Spans of a text, and whether each is a token to be kept whole (blanks before it)."""
        cursor = 0
        for token in self._kept_pattern.finditer(text) if self._kept_pattern else ():
            yield cursor, token.start(), False
            yield token.start(), token.end(), True
            cursor = token.end()
        yield cursor, len(text), False

    def cut_ids(self, word: str, starts_eojeol: bool) -> list[int]:
        """Splits one word of ``parts``, without its blanks, into pieces."""
        if word in self._kept:
            return [self.vocab[self._kept[word]]]
        if self._is_published:
            return [i for part in self._folded_parts(self.fold(word)) for i in self._part_ids(part)]
        if self._lowers_words:  # not by fold, as each distinct word of a corpus comes here
            word = lower_keeping_length(word)
        continues = self._prefixes_eojeols and not starts_eojeol
        return self._wordpiece.split_ids(word, continues) or [self.vocab.unk_id]

    def fold(self, word: str) -> str:
        """The form in which a word of ``parts`` is looked up."""
        if self._is_published:
            return fold_word(word, self.config.strip_accents, self.config.do_lower_case)
        return lower_keeping_length(word) if self._lowers_words else word

    def _folded_parts(self, word: str) -> list[str]:
        """A few characters decompose into punctuation, which is a word of its own."""
        return [word] if word.isascii() else basic_parts(word, splits_chinese=False)

    def _part_ids(self, part: str) -> list[int]:
        return self._wordpiece.split_ids(part) or [self.vocab.unk_id]

    @overload
    def encode(
        self, text: str, with_morphemes: bool = False, *, offsets: Literal[False] = False
    ) -> Encoding: ...
    @overload
    def encode(
        self, text: str, with_morphemes: bool = False, *, offsets: Literal[True]
    ) -> list[Piece]: ...
    @overload
    def encode(
        self, text: Texts, with_morphemes: bool = False, *, offsets: Literal[False] = False
    ) -> list[Encoding]: ...
    @overload
    def encode(
        self, text: Texts, with_morphemes: bool = False, *, offsets: Literal[True]
    ) -> list[list[Piece]]: ...

    def encode(self, text: Any, with_morphemes: bool = False, *, offsets: bool = False) -> Any:
        """Tokenizes a text, or each of several.

        Args:
            text: any string, or a list of them; special tokens such as ``[SEP]`` in it are plain
                text, unless the config names them among the additional special tokens.
            with_morphemes: also analyse parts of speech (MeCab only; a second pass of MeCab).
            offsets: return a list of pieces, each with its id and its characters, instead of an
                Encoding, which has them as separate lists.

        Raises:
            ValueError: parts of speech from a tokenizer without MeCab.
        """
        texts = [text] if isinstance(text, str) else text
        encodings = [self._encode(one, with_morphemes) for one in texts]
        found = [one.with_offsets() for one in encodings] if offsets else encodings
        return found[0] if isinstance(text, str) else found

    def _encode(self, text: str, with_morphemes: bool) -> Encoding:
        source = normalize(text, self.rule)
        if self._strips_accents:
            source = strip_accents(source)
        encoding = self._encode_model(source) if self.model else self._encode_words(source)
        if with_morphemes:
            encoding.morphemes.extend(self._analyze(source))
        return encoding

    def tokenize(self, text: str) -> list[str]:
        """Pieces alone."""
        return self.encode(text).pieces

    def _encode_words(self, source: NormalizedText) -> Encoding:
        encoding = Encoding()
        cursor, eojeol = 0, -1
        if len(self._found) > _MAX_CACHED_WORDS:
            self._found.clear()
        for morpheme, part in enumerate(self.parts(source.text)):
            word = part.lstrip(" ")
            starts_eojeol = morpheme == 0 or len(word) < len(part)
            eojeol += starts_eojeol
            found = self._found.get((word, starts_eojeol)) or self._find(word, starts_eojeol)
            pieces, ids, lengths = found
            start = cursor + len(part) - len(word)
            for length in lengths:
                first, end = (
                    source.span(start, start + length) if length else (encoding.ends[-1],) * 2
                )
                encoding.starts.append(first)
                encoding.ends.append(end)
                start += length
            encoding.pieces.extend(pieces)
            encoding.ids.extend(ids)
            encoding.morpheme_ids.extend([morpheme] * len(ids))
            encoding.eojeol_ids.extend([eojeol] * len(ids))
            cursor += len(part)
        return encoding

    def _find(self, word: str, starts_eojeol: bool) -> tuple[list[str], list[int], list[int]]:
        ids = self.cut_ids(word, starts_eojeol)
        pieces = [self.vocab.pieces[i] for i in ids]
        # A single piece, even [UNK], covers the whole word.
        if len(ids) == 1:
            lengths = [len(word)]
        elif self._is_published:
            lengths = self._unfolded_lengths(word)
        else:
            lengths = [len(without_prefix(piece)) for piece in pieces]
        self._found[word, starts_eojeol] = pieces, ids, lengths
        return pieces, ids, lengths

    def _unfolded_lengths(self, word: str) -> list[int]:
        """How many characters of a word belong to each piece of what it is folded to.

        A character that decomposes belongs whole to the piece that holds its first part.
        """
        ends: list[int] = []  # in the folded word
        for part in self._folded_parts(self.fold(word)):
            ids = self._part_ids(part)
            start = ends[-1] if ends else 0
            lengths = [len(without_prefix(self.vocab.pieces[i])) for i in ids]
            ends += [start + n for n in accumulate([len(part)] if len(ids) == 1 else lengths)]
        starts = list(accumulate([len(self.fold(char)) for char in word], initial=0))[:-1]
        covered = [bisect_left(starts, end) for end in ends]
        return [end - start for start, end in pairwise([0, *covered])]

    def _encode_model(self, source: NormalizedText) -> Encoding:
        assert self.model is not None
        encoding = Encoding()
        eojeol = -1
        for piece in self.model.encode(source.text):
            eojeol += not encoding.ids or piece.piece.startswith(BLANK)
            start, end = (
                source.span(piece.start, piece.end)
                if piece.start < piece.end
                else (encoding.ends[-1:] or [0]) * 2
            )
            encoding.pieces.append(piece.piece)
            encoding.ids.append(piece.id)
            encoding.starts.append(start)
            encoding.ends.append(end)
            encoding.eojeol_ids.append(eojeol)
            encoding.morpheme_ids.append(eojeol)
        return encoding

    def _analyze(self, source: NormalizedText) -> list[Morpheme]:
        if self._mecab is None:
            raise ValueError(
                "Parts of speech need --tokenizer_type=mecab, "
                f"this vocabulary is of type {self.config.tokenizer_type}."
            )
        found = []
        for start, end, is_kept in self._stretches(source.text):
            stretch = source.text[start:end]
            if is_kept:
                token = stretch.lstrip(" ")
                found.append(Morpheme(token, *source.span(end - len(token), end), KEPT_TOKEN_POS))
                continue
            for surface, first, last, pos in self._mecab.analyze(stretch):
                found.append(Morpheme(surface, *source.span(start + first, start + last), pos))
        return found


def _fingerprint(
    vocab: Vocabulary,
    config: TokenizerConfig,
    model: SentencePieceModel | None,
    dictionaries: Iterable[str],
) -> str:
    """16 hexadecimal digits over everything that decides an id."""
    digest = hashlib.sha256("\n".join(vocab.pieces).encode("utf-8", "surrogatepass"))
    digest.update(config.to_json().encode())
    digest.update(model.serialized if model else b"")
    for path in dictionaries:
        if os.path.isfile(path):  # a missing one is reported, by its name, when it is opened
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]
