"""Training a vocabulary: words and their counts to WordPiece, or sentences to SentencePiece."""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_ko.tokenization.vocabulary import CLS, MASK, PAD, SEP, SPECIAL_TOKENS, UNK
from bert_ko.tokenization.wordpiece import CONTINUATION, MAX_CHARS_PER_WORD, WordPiece

# sentencepiece writes a blank so; here it marks a word that is written without ``##``.
_START = "\u2581"
_LIBRARY_MARKS = frozenset((_START, "\u2585"))
# sentencepiece drops longer sentences in silence.
_MAX_SENTENCE_CHARS = 10_000
# Byte-pair merges contain many steps on the way to longer pieces; so many times the final size is
# trained, and what the greedy tokenizer gains least from is dropped in rounds.
_SURPLUS = 1.5
_PRUNING_ROUNDS = 4


@dataclass(frozen=True)
class VocabularySettings:
    """What a vocabulary is to contain.

    Attributes:
        vocab_size: pieces in all, specials included.
        min_frequency: a piece must be used so often in the corpus.
        character_coverage: share of the characters of the corpus that have a piece of their own.
        forced_alphabet: characters that have one in any case.
        num_unused: reserved [unusedN] slots.
        user_tokens: pieces kept whole by the tokenizer.
    """

    vocab_size: int
    min_frequency: int = 2
    character_coverage: float = 0.9995
    forced_alphabet: str = ""
    num_unused: int = 100
    user_tokens: tuple[str, ...] = ()

    def reserved(self) -> list[str]:
        """Pieces that stand before all that are learnt: [PAD] is 0, as padding expects."""
        unused = [f"[unused{i}]" for i in range(self.num_unused)]
        return [
            PAD,
            *(token for token in SPECIAL_TOKENS if token != PAD),
            *unused,
            *self.user_tokens,
        ]


# A word as the tokenizer looks it up, and whether its first piece carries ``##``.
Word = tuple[str, bool]


def train_wordpiece(counts: Mapping[Word, int], settings: VocabularySettings) -> list[str]:
    """Learns WordPiece pieces.

    Args:
        counts: how often each word stands in the corpus.
        settings: what to contain.

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
    reserved = settings.reserved()
    alphabet = _alphabet(words, settings)
    room = settings.vocab_size - len(alphabet.union(reserved))
    if room < 0:
        raise ValueError(
            f"--vocab_size={settings.vocab_size} is too small: {len(reserved)} reserved pieces and "
            f"{len(alphabet)} single characters; lower --character_coverage (now "
            f"{settings.character_coverage}) or raise --vocab_size."
        )
    known = {word: n for word, n in words.items() if _characters(word) <= alphabet}
    merges = _train_merges(known, int(_SURPLUS * room) + len(alphabet) + 10)
    taken = {*alphabet, *reserved}
    # A piece may come twice: "##a" is "a" inside a word, and a literal "##a" at its start.
    candidates = dict.fromkeys(piece for piece in merges if piece not in taken)
    learnt = _prune(list(candidates), alphabet, known, room, settings)
    return [*reserved, *sorted(alphabet.difference(reserved)), *learnt]


def _characters(word: Word) -> set[str]:
    """The single-character pieces that spell a word."""
    text, continues = word
    return {(CONTINUATION if continues or i else "") + char for i, char in enumerate(text)}


def _alphabet(counts: Mapping[Word, int], settings: VocabularySettings) -> set[str]:
    """Single-character pieces, the most frequent first, until the coverage is reached.

    A character at the start of a word and inside one are two pieces, counted apart.
    """
    frequency: Counter[str] = Counter()
    for (text, continues), n in counts.items():
        for i, char in enumerate(text):
            frequency[(CONTINUATION if continues or i else "") + char] += n
    forced = {prefix + char for char in settings.forced_alphabet for prefix in ("", CONTINUATION)}
    goal, covered = settings.character_coverage * frequency.total(), 0
    alphabet = set(forced)
    for piece, n in sorted(frequency.items(), key=lambda item: (-item[1], item[0])):
        if covered >= goal:
            break
        alphabet.add(piece)
        covered += n
    return alphabet


def _train_merges(counts: Mapping[Word, int], size: int) -> list[str]:
    """Pieces by byte-pair encoding in the order of their merges, in ``##`` form."""
    # Words that hold the library's own marks have their single characters alone.
    usable = {word: n for word, n in counts.items() if _LIBRARY_MARKS.isdisjoint(word[0])}
    if not usable:
        return []
    import sentencepiece

    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "words.tsv")
        lines = sorted(
            f"{'' if continues else _START}{text}\t{n}\n" for (text, continues), n in usable.items()
        )
        path.write_text("".join(lines), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(path),
            input_format="tsv",
            model_writer=model,
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
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    processor: Any = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = map(processor.id_to_piece, range(1, processor.get_piece_size()))
    return [_in_wordpiece_form(piece) for piece in pieces if piece != _START]


def _in_wordpiece_form(piece: str) -> str:
    return piece[1:] if piece.startswith(_START) else CONTINUATION + piece


def _prune(
    candidates: Sequence[str],
    alphabet: set[str],
    counts: Mapping[Word, int],
    room: int,
    settings: VocabularySettings,
) -> list[str]:
    """Keeps the pieces that save the greedy tokenizer most pieces, most useful first."""
    kept = list(candidates)
    for round_number in range(_PRUNING_ROUNDS):
        scores = _scores(kept, alphabet, counts, settings.min_frequency)
        left = _PRUNING_ROUNDS - 1 - round_number
        size = room + max(0, len(kept) - room) * left // (left + 1)
        ranked = sorted(scores, key=lambda piece: (-scores[piece], piece))
        kept = ranked[:size]
    return kept


def _scores(
    pieces: Sequence[str], alphabet: set[str], counts: Mapping[Word, int], min_frequency: int
) -> dict[str, int]:
    """Pieces that the corpus would have more without each piece; rare pieces are left out."""
    used = _usage(WordPiece({piece: i for i, piece in enumerate([*pieces, *alphabet])}), counts)
    vocab = frozenset([*pieces, *alphabet])
    scores = {}
    for piece in pieces:
        if used[piece] >= max(1, min_frequency):
            scores[piece] = used[piece] * (_split_length(piece, vocab) - 1)
    return scores


def _usage(wordpiece: WordPiece, counts: Mapping[Word, int]) -> Counter[str]:
    used: Counter[str] = Counter()
    for (text, continues), n in counts.items():
        for piece in wordpiece.split(text, continues) or ():
            used[piece] += n
    return used


def _split_length(piece: str, vocab: frozenset[str]) -> int:
    """Greedy pieces of a piece's text when it is missing itself."""
    continues = piece.startswith(CONTINUATION) and len(piece) > len(CONTINUATION)
    text = piece[len(CONTINUATION) :] if continues else piece
    start = number = 0
    while start < len(text):
        prefix = CONTINUATION if continues or start else ""
        end = max(start + 1, len(text) - (start == 0))
        while end > start + 1 and prefix + text[start:end] not in vocab:
            end -= 1
        start, number = end, number + 1
    return number


def train_sentencepiece(
    sentences: Iterable[str], settings: VocabularySettings, do_lower_case: bool, max_sentences: int
) -> bytes:
    """Learns a unigram SentencePiece model that has BERT's special tokens.

    Args:
        sentences: normalised lines.
        settings: what to contain; user tokens and unused slots become control symbols.
        do_lower_case: fold case inside the model.
        max_sentences: more are sampled down to so many.

    Returns:
        The content of a .model file.

    Raises:
        ValueError: the corpus is too small for vocab_size.
    """
    import sentencepiece

    model = io.BytesIO()
    unused = [f"[unused{i}]" for i in range(settings.num_unused)]
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_in_bounds(sentences),
            model_writer=model,
            model_type="unigram",
            vocab_size=settings.vocab_size,
            character_coverage=settings.character_coverage,
            required_chars=settings.forced_alphabet,
            normalization_rule_name="nmt_nfkc_cf" if do_lower_case else "identity",
            input_sentence_size=max_sentences,
            shuffle_input_sentence=True,
            max_sentence_length=1 << 16,
            pad_id=0,
            pad_piece=PAD,
            unk_id=1,
            unk_piece=UNK,
            bos_id=-1,
            eos_id=-1,
            control_symbols=[CLS, SEP, MASK, *unused],
            user_defined_symbols=list(settings.user_tokens),
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).rpartition("] ")[2] or str(error)
        raise ValueError(f"--vocab_size={settings.vocab_size}: {reason}") from None
    return model.getvalue()


def _in_bounds(sentences: Iterable[str]) -> Iterator[str]:
    for sentence in sentences:
        for start in range(0, len(sentence), _MAX_SENTENCE_CHARS):
            yield sentence[start : start + _MAX_SENTENCE_CHARS]
