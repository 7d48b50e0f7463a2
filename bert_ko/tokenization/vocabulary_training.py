"""Training a vocabulary: words and their counts to WordPiece, or sentences to SentencePiece."""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_ko.flags import Flags, flag
from bert_ko.tokenization.vocabulary import (
    CLS,
    MASK,
    PAD,
    SEP,
    SPECIAL_TOKENS,
    UNK,
    SentencePieceModel,
)
from bert_ko.tokenization.wordpiece import (
    CONTINUATION,
    MAX_CHARS_PER_WORD,
    WordPiece,
    without_prefix,
)

# sentencepiece writes a blank so; here it marks a word that is written without ``##``.
_START = "\u2581"
_LIBRARY_MARKS = frozenset((_START, "\u2585"))
# sentencepiece drops longer sentences silently.
_MAX_SENTENCE_CHARS = 10_000
# Byte-pair merges contain many steps on the way to longer pieces; this many times the final size is
# trained, and what the greedy tokenizer gains least from is dropped in rounds.
_SURPLUS = 1.5
_PRUNING_ROUNDS = 4

# A word as the tokenizer looks it up, and whether its first piece carries ``##``.
Word = tuple[str, bool]


@dataclass(frozen=True)
class VocabularyFlags(Flags):
    """What a vocabulary contains."""

    group = "Pieces"

    vocab_size: int = flag(
        32000,
        main=True,
        help="Pieces in all, special tokens included.",
        at_least=len(SPECIAL_TOKENS),
    )
    min_frequency: int = flag(2, help="Uses of a piece in the corpus at least.", at_least=1)
    character_coverage: float = flag(
        0.9995,
        help="Share of the corpus's characters that get a piece of their own, in (0, 1].",
        above=0,
        at_most=1,
    )
    forced_alphabet: str = flag("", help="Characters that always get a piece of their own.")
    num_unused: int = flag(100, help="Reserved [unusedN] slots.", at_least=0)
    additional_special_tokens: tuple[str, ...] = flag(
        (), help="Pieces that the tokenizer keeps whole, such as [NAME]."
    )
    max_sentences: int = flag(2_000_000, help="sentencepiece only: sentences sampled for training.")

    @property
    def unused(self) -> list[str]:
        """The reserved slots."""
        return [f"[unused{i}]" for i in range(self.num_unused)]

    @property
    def reserved(self) -> list[str]:
        """Pieces before all that are learnt: [PAD] is 0, as padding expects."""
        return [*SPECIAL_TOKENS, *self.unused, *self.additional_special_tokens]


def train_wordpiece(counts: Mapping[Word, int], settings: VocabularyFlags) -> list[str]:
    """Learns WordPiece pieces from the words of a corpus and their numbers.

    Returns:
        At most vocab_size pieces: reserved ones, single characters in the order of their code
        points, then the rest, the most useful first.

    Raises:
        ValueError: the reserved pieces and the characters alone are more than vocab_size.

    Source: byte-pair encoding of the sentencepiece library on distinct words.

    Differs: merges that the greedy longest-match tokenizer hardly uses are dropped for later ones
        that it does.
    """
    words = {word: n for word, n in counts.items() if len(word[0]) <= MAX_CHARS_PER_WORD}
    reserved = settings.reserved
    alphabet = _alphabet(words, settings)
    room = settings.vocab_size - len(alphabet.union(reserved))
    if room < 0:
        raise ValueError(
            f"--vocab_size={settings.vocab_size} is too small: {len(reserved)} reserved pieces and "
            f"{len(alphabet)} single characters; lower --character_coverage (now "
            f"{settings.character_coverage}) or raise --vocab_size."
        )
    known = {word: n for word, n in words.items() if alphabet.issuperset(_characters(word))}
    merges = _train_merges(known, int(_SURPLUS * room) + len(alphabet) + 10)
    taken = {*alphabet, *reserved}
    # A piece may come twice: "##a" is "a" inside a word, and a literal "##a" at its start.
    candidates = dict.fromkeys(piece for piece in merges if piece not in taken)
    learnt = _prune(list(candidates), alphabet, known, room, settings.min_frequency)
    return [*reserved, *sorted(alphabet.difference(reserved)), *learnt]


def _characters(word: Word) -> Iterator[str]:
    """The single-character pieces that spell a word."""
    text, continues = word
    return ((CONTINUATION if continues or i else "") + char for i, char in enumerate(text))


def _alphabet(counts: Mapping[Word, int], settings: VocabularyFlags) -> set[str]:
    """Single-character pieces, the most frequent first, until the coverage is reached.

    A character at the start of a word and inside one are two pieces, counted apart.
    """
    frequency: Counter[str] = Counter()
    for word, n in counts.items():
        for piece in _characters(word):
            frequency[piece] += n
    goal, covered = settings.character_coverage * frequency.total(), 0
    alphabet = {prefix + char for char in settings.forced_alphabet for prefix in ("", CONTINUATION)}
    for piece, n in sorted(frequency.items(), key=lambda item: (-item[1], item[0])):
        if covered >= goal:
            break
        alphabet.add(piece)
        covered += n
    return alphabet


def _train_merges(counts: Mapping[Word, int], size: int) -> list[str]:
    """Pieces by byte-pair encoding in the order of their merges, in ``##`` form."""
    # Words that have the library's own marks get pieces of single characters alone.
    lines = sorted(
        f"{'' if continues else _START}{text}\t{n}\n"
        for (text, continues), n in counts.items()
        if _LIBRARY_MARKS.isdisjoint(text)
    )
    if not lines:
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "words.tsv")
        path.write_text("".join(lines), encoding="utf-8")
        model = _train(
            input=str(path),
            input_format="tsv",
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_unicode_script=False,
            split_by_number=False,
            max_sentencepiece_length=MAX_CHARS_PER_WORD,
            max_sentence_length=1 << 20,
        )
    pieces = [piece for piece in SentencePieceModel(model).pieces[1:] if piece != _START]
    return [p[1:] if p.startswith(_START) else CONTINUATION + p for p in pieces]


def _train(**options: Any) -> bytes:
    """Content of a .model file; the library is imported when one is trained."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        model_writer=model, bos_id=-1, eos_id=-1, num_threads=1, minloglevel=2, **options
    )
    return model.getvalue()


def _prune(
    pieces: list[str], alphabet: set[str], counts: Mapping[Word, int], room: int, min_frequency: int
) -> list[str]:
    """Keeps the pieces that save the greedy tokenizer most pieces, most useful first."""
    for left in reversed(range(_PRUNING_ROUNDS)):
        scores = _scores(pieces, alphabet, counts, min_frequency)
        size = room + max(0, len(pieces) - room) * left // (left + 1)
        pieces = sorted(scores, key=lambda piece: (-scores[piece], piece))[:size]
    return pieces


def _scores(
    pieces: Sequence[str], alphabet: set[str], counts: Mapping[Word, int], min_frequency: int
) -> dict[str, int]:
    """Pieces that the corpus would have more without each piece; rare pieces are left out."""
    vocab = {piece: i for i, piece in enumerate([*pieces, *alphabet])}
    wordpiece = WordPiece(vocab)
    used: Counter[str] = Counter()
    for (text, continues), n in counts.items():
        for piece in wordpiece.split(text, continues) or ():
            used[piece] += n
    return {
        piece: used[piece] * (_split_length(piece, vocab) - 1)
        for piece in pieces
        if used[piece] >= max(1, min_frequency)
    }


def _split_length(piece: str, vocab: Mapping[str, int]) -> int:
    """Greedy pieces of a piece's text when it is missing itself."""
    text = without_prefix(piece)
    start = number = 0
    while start < len(text):
        prefix = CONTINUATION if start or text != piece else ""
        end = max(start + 1, len(text) - (start == 0))
        while end > start + 1 and prefix + text[start:end] not in vocab:
            end -= 1
        start, number = end, number + 1
    return number


def train_sentencepiece(
    sentences: Iterable[str], settings: VocabularyFlags, do_lower_case: bool
) -> bytes:
    """Learns a unigram SentencePiece model that has BERT's special tokens.

    Args:
        sentences: normalised lines.
        settings: what to contain; special and unused tokens become control symbols.
        do_lower_case: fold case inside the model.

    Returns:
        The content of a .model file.

    Raises:
        ValueError: the corpus is too small for vocab_size.
    """
    bounded = (
        sentence[start : start + _MAX_SENTENCE_CHARS]
        for sentence in sentences
        for start in range(0, len(sentence), _MAX_SENTENCE_CHARS)
    )
    try:
        return _train(
            sentence_iterator=bounded,
            model_type="unigram",
            vocab_size=settings.vocab_size,
            character_coverage=settings.character_coverage,
            required_chars=settings.forced_alphabet,
            normalization_rule_name="nmt_nfkc_cf" if do_lower_case else "identity",
            input_sentence_size=settings.max_sentences,
            shuffle_input_sentence=True,
            max_sentence_length=1 << 16,
            pad_id=0,
            pad_piece=PAD,
            unk_id=1,
            unk_piece=UNK,
            control_symbols=[CLS, SEP, MASK, *settings.unused],
            user_defined_symbols=list(settings.additional_special_tokens),
        )
    except RuntimeError as error:
        reason = str(error).rpartition("] ")[2] or str(error)
        raise ValueError(f"--vocab_size={settings.vocab_size}: {reason}") from None
