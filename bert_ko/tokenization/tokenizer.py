"""Text to pieces and ids; every piece knows its characters in the caller's string."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, overload

from bert_ko.tokenization import normalization
from bert_ko.tokenization.basic import BasicSegmenter
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.morphemes import MecabSegmenter, Morpheme
from bert_ko.tokenization.normalization import NormalizedText
from bert_ko.tokenization.sentencepieces import BLANK, SentencePieceModel
from bert_ko.tokenization.vocabulary import Vocabulary
from bert_ko.tokenization.wordpiece import WordPiece, piece_length

# What stands for a part of speech at a token that is kept whole; mecab-ko-dic has no such tag.
KEPT_TOKEN_POS = "KEPT"
# Distinct morphemes grow with the corpus; the cache starts again before it grows without bound.
_MAX_CACHED_WORDS = 500_000


class Segmenter(Protocol):
    """What cuts normalised text into words that keep the blanks before them."""

    def parts(self, text: str) -> list[str]: ...  # noqa: D102
    def printed(self, text: str) -> str: ...  # noqa: D102


class Piece(NamedTuple):
    """A piece of a text, and its characters there: text[start:end]."""

    piece: str
    id: int
    start: int
    end: int


@dataclass(frozen=True)
class Encoding:
    """The pieces of one text.

    Attributes:
        pieces: as they stand in the vocabulary.
        ids: their ids.
        starts: first character of each piece in the caller's string.
        ends: the character after its last; spans ascend and never overlap.
        morpheme_ids: number of the morpheme (word, without MeCab) that each piece belongs to.
        eojeol_ids: number of the eojeol that each piece belongs to.
        morphemes: the morphemes with parts of speech and original offsets, where asked for.
    """

    pieces: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    morpheme_ids: list[int] = field(default_factory=list)
    eojeol_ids: list[int] = field(default_factory=list)
    morphemes: list[Morpheme] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def with_offsets(self) -> list[Piece]:
        """The pieces one by one."""
        return list(map(Piece, self.pieces, self.ids, self.starts, self.ends))


class CutWord(NamedTuple):
    """The pieces of one word: strings, ids, and characters of the word that each stands for."""

    pieces: tuple[str, ...]
    ids: tuple[int, ...]
    lengths: tuple[int, ...]


class Tokenizer:
    """The whole way from a string to ids; pickles, so that worker processes can have it.

    Attributes:
        vocab: the pieces.
        config: what cuts and normalises the text.
        fingerprint: of vocabulary and config together.
        model: the SentencePiece model, for that type alone.
        user_dictionaries: absolute paths of compiled MeCab dictionaries.
        source: where the vocabulary was found, for messages.
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
        """Joins the parts; ``load_tokenizer`` reads them from a vocabulary folder.

        Args:
            vocab: the pieces.
            config: what cuts and normalises the text.
            fingerprint: of vocabulary and config together.
            model: the SentencePiece model, for that type alone.
            user_dictionaries: paths of compiled MeCab dictionaries.
            source: where the vocabulary was found, for messages.

        Raises:
            ValueError: an additional special token is not in the vocabulary.
        """
        self.vocab, self.config, self.fingerprint, self.model = vocab, config, fingerprint, model
        self.user_dictionaries = tuple(map(os.path.abspath, user_dictionaries))
        self.source = source
        self.rule = normalization.RULES[config.normalization]
        missing = [token for token in config.additional_special_tokens if token not in vocab]
        if missing:
            raise ValueError(
                f"--additional_special_tokens: {', '.join(missing)} not in the vocabulary; build "
                "it with them, or write them over [unusedN] lines of vocab.txt."
            )
        self._strips_accents = config.tokenizer_type == "wordpiece" and config.do_lower_case
        self._lowers_words = config.do_lower_case and not self._strips_accents
        self._prefixes_eojeols = config.subword_prefix_unit == "eojeol"
        self._segmenter: Segmenter = (
            MecabSegmenter(self.user_dictionaries)
            if config.tokenizer_type == "mecab"
            else BasicSegmenter()
        )
        self._wordpiece = WordPiece(vocab)
        self._keep(config.additional_special_tokens)
        self._cut_words: dict[tuple[str, bool], CutWord] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_cut_words": {}}

    def keeping(self, token: str) -> Tokenizer:
        """The same tokenizer, which keeps one token more whole, such as [MASK] in a text.

        Raises:
            ValueError: the type is sentencepiece, whose model alone decides.
        """
        if self.model is not None:
            raise ValueError(f"{token} in a text is not known to a SentencePiece model.")
        other = copy.copy(self)
        other._cut_words = {}
        other._keep((*self.config.additional_special_tokens, token))
        return other

    def _keep(self, tokens: Iterable[str]) -> None:
        kept = {self.clean_lines(token)[0]: token for token in tokens}
        if "" in kept:
            raise ValueError(
                f"--additional_special_tokens: nothing is left of {kept['']!r} when a text is "
                "cleaned; choose visible characters."
            )
        self._kept = kept
        self._kept_pattern = (
            re.compile(" *(?:" + "|".join(map(re.escape, sorted(kept, reverse=True))) + ")")
            if kept
            else None
        )

    @property
    def has_morphemes(self) -> bool:
        """Whether the words are MeCab's, so that parts of speech can be asked for."""
        return self.config.tokenizer_type == "mecab"

    def clean_lines(self, text: str) -> list[str]:
        r"""Normalises many lines joined by ``\n``; the fast way in for corpora, no offsets."""
        lines = self.rule.clean_lines(text)
        if not self._strips_accents:
            return lines
        return [normalization.strip_accents(NormalizedText(line)).text.strip(" ") for line in lines]

    def parts(self, text: str) -> list[str]:
        """Cuts one normalised line into words that keep the blanks before them."""
        if self._kept_pattern is None:
            return self._segmenter.parts(text)
        found: list[str] = []
        for start, end, is_kept in self._stretches(text):
            found += [text[start:end]] if is_kept else self._segmenter.parts(text[start:end])
        return found

    def printed(self, text: str) -> str:
        r"""``parts`` in one string, each ended by ``\n``."""
        if self._kept_pattern is None:
            return self._segmenter.printed(text)
        return "".join([f"{part}\n" for part in self.parts(text)])

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

    def cut(self, word: str, starts_eojeol: bool) -> CutWord:
        """Cuts one word of ``parts`` into pieces.

        Args:
            word: the surface, without blanks.
            starts_eojeol: whether white space, or nothing, stands before it.
        """
        ids = self.cut_ids(word, starts_eojeol)
        pieces = tuple([self.vocab.pieces[i] for i in ids])
        # One piece, [UNK] too, stands for the whole word.
        lengths = (len(word),) if len(ids) == 1 else tuple(map(piece_length, pieces))
        return CutWord(pieces, tuple(ids), lengths)

    def cut_ids(self, word: str, starts_eojeol: bool) -> list[int]:
        """The ids of ``cut`` alone."""
        if word in self._kept:
            return [self.vocab[self._kept[word]]]
        if self._lowers_words:
            word = normalization.lower_keeping_length(word)
        continues = self._prefixes_eojeols and not starts_eojeol
        return self._wordpiece.split_ids(word, continues) or [self.vocab.unk_id]

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
        self,
        text: list[str] | tuple[str, ...],
        with_morphemes: bool = False,
        *,
        offsets: Literal[False] = False,
    ) -> list[Encoding]: ...
    @overload
    def encode(
        self,
        text: list[str] | tuple[str, ...],
        with_morphemes: bool = False,
        *,
        offsets: Literal[True],
    ) -> list[list[Piece]]: ...

    def encode(self, text: Any, with_morphemes: bool = False, *, offsets: bool = False) -> Any:
        """Tokenizes a text, or each of several.

        Args:
            text: any string, or a list of them; special tokens such as ``[SEP]`` in it are plain
                text, unless the config names them among the additional special tokens.
            with_morphemes: also analyse parts of speech (MeCab only; a second pass of MeCab).
            offsets: return a list of pieces, each with its id and its characters, in the place of
                an Encoding, which has them as lists of their own.

        Returns:
            Pieces, ids, offsets into ``text`` and word numbers, without [CLS] and [SEP]; of a list
            a list.

        Raises:
            ValueError: morphemes asked of a tokenizer without MeCab.
        """
        if not isinstance(text, str):
            found = [self._encode(one, with_morphemes) for one in text]
            return [one.with_offsets() for one in found] if offsets else found
        encoding = self._encode(text, with_morphemes)
        return encoding.with_offsets() if offsets else encoding

    def _encode(self, text: str, with_morphemes: bool) -> Encoding:
        source = normalization.normalize(text, self.rule)
        if self._strips_accents:
            source = normalization.strip_accents(source)
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
        if len(self._cut_words) > _MAX_CACHED_WORDS:
            self._cut_words.clear()
        for morpheme, part in enumerate(self.parts(source.text)):
            word = part.lstrip(" ")
            starts_eojeol = morpheme == 0 or len(word) < len(part)
            eojeol += starts_eojeol
            cut = self._cut_words.get((word, starts_eojeol))
            if cut is None:
                cut = self._cut_words[word, starts_eojeol] = self.cut(word, starts_eojeol)
            start = cursor + len(part) - len(word)
            for length in cut.lengths:
                original = source.span(start, start + length)
                encoding.starts.append(original[0])
                encoding.ends.append(original[1])
                start += length
            encoding.pieces.extend(cut.pieces)
            encoding.ids.extend(cut.ids)
            encoding.morpheme_ids.extend([morpheme] * len(cut.ids))
            encoding.eojeol_ids.extend([eojeol] * len(cut.ids))
            cursor += len(part)
        return encoding

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
        if not isinstance(self._segmenter, MecabSegmenter):
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
            for surface, first, last, pos in self._segmenter.analyze(stretch):
                found.append(Morpheme(surface, *source.span(start + first, start + last), pos))
        return found
