"""New tokens for a trained model: pieces, embeddings, tokenizer and user dictionary in step.

With ``subword_prefix_unit=eojeol`` WordPiece looks a morpheme up bare where it begins an eojeol, as
in ``메타버스는``, and with ``##`` where it does not, as in ``(메타버스)``: a new word needs both
pieces. With ``morpheme``, also with tokenizer_type=wordpiece, the bare piece is enough.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bert_ko.tasks.conversion.conversion import Conversion, grow
from bert_ko.tokenization.folder import load_tokenizer, write_folder
from bert_ko.tokenization.normalization import lower_keeping_length
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.user_dictionary import compile_user_dictionary, has_final_consonant
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS
from bert_ko.tokenization.wordpiece import CONTINUATION, MAX_CHARS_PER_WORD

# Each new word is tried in these: at the start of an eojeol, then inside one.
_SENTENCES = (
    "{}", "{}에서 왔다.", "{}의 뜻을 찾았다.", "새 {} 소식을 들었다.",
    "({})", "‘{}’에 대해 물었다.",
)  # fmt: skip
_AFTER_CONSONANT = ("{}은", "{}을 보았다.")
_AFTER_VOWEL = ("{}는", "{}를 보았다.")
# Costs of a word in the user dictionary, tried one after another: first MeCab's own estimate.
_COSTS = (None, 0, -4000, -8000, -16000)
_SHOWN = 20


class Addition(NamedTuple):
    """A model with new pieces."""

    conversion: Conversion
    lines: list[str]  # a report for the user
    warnings: list[str]  # words that will not be used, or not always


class _Word(NamedTuple):
    """A word to be added."""

    text: str  # its form in a normalized text
    pieces: tuple[str, ...]


def add_tokens(
    conversion: Conversion,
    tokens: Sequence[str],
    special_tokens: Sequence[str],
    to_user_dictionary: bool,
    folder: str,
) -> Addition:
    """Gives a model new tokens: in place of [unusedN] first, then behind the last piece.

    Args:
        conversion: the model.
        tokens: words; one that begins with ``##`` is a piece for the inside of words, as it is.
        special_tokens: kept whole wherever they occur in a text, as ``[제품]``.
        to_user_dictionary: make a MeCab user dictionary of the words that MeCab splits.
        folder: empty; gets the new vocabulary, which is read until the model is written.

    Raises:
        ValueError: the vocabulary is a SentencePiece model, or a token can't be one.
    """
    tokenizer = conversion.tokenizer
    if tokenizer.model is not None:
        raise ValueError(
            "--add_tokens, --add_special_tokens: the vocabulary is a SentencePiece model; tokens "
            "can only be added to WordPiece vocabularies."
        )
    if to_user_dictionary and not tokenizer.has_morphemes:
        raise ValueError(
            "--add_to_user_dictionary needs tokenizer_type=mecab, but the vocabulary has "
            f"{tokenizer.config.tokenizer_type}."
        )
    words = [_word(tokenizer, token) for token in tokens]
    specials = [_cleaned(tokenizer, token, "add_special_tokens") for token in special_tokens]
    _refuse_clashes(tokenizer, words, specials)
    wanted = [*(piece for word in words for piece in word.pieces), *specials]
    new = [piece for piece in wanted if piece not in tokenizer.vocab]
    changed = _write(folder, tokenizer, new, specials, tokenizer.user_dictionaries)
    lines = [*_summary(tokenizer, wanted, new)]
    if to_user_dictionary:
        split = [word for word in words if _failures(changed, word)]
        if split:
            changed, name = _write_with_dictionary(folder, tokenizer, new, specials, split)
            lines.append(f"user dictionary {name}: {_listed([word.text for word in split])}")
        else:
            lines.append("MeCab keeps every new word whole; no user dictionary is needed")
    warnings = _warnings(changed, words, to_user_dictionary)
    return Addition(grow(conversion, changed), lines, warnings)


def _word(tokenizer: Tokenizer, token: str) -> _Word:
    text = _cleaned(tokenizer, token, "add_tokens")
    piece = tokenizer.fold(text)
    if piece.startswith(CONTINUATION) or tokenizer.config.subword_prefix_unit == "morpheme":
        return _Word(text, (piece,))
    return _Word(text, (piece, CONTINUATION + piece))


def _cleaned(tokenizer: Tokenizer, token: str, flag: str) -> str:
    """The token in its form in a normalized text."""
    text = tokenizer.clean_lines(token.replace("\n", " "))[0]
    problem = None
    if not text:
        problem = "cleaning leaves nothing of it; choose visible characters"
    elif any(char.isspace() for char in text):
        problem = "white space separates words, so a token can't contain any"
    elif "," in text or '"' in text:
        problem = "a token can't contain a comma or a quotation mark"
    elif text in SPECIAL_TOKENS or tokenizer.vocab.is_unused(text):
        problem = "the name is reserved; choose another"
    elif text == CONTINUATION or (flag == "add_special_tokens" and text.startswith(CONTINUATION)):
        problem = "## marks pieces inside a word; choose other characters"
    elif len(text) > MAX_CHARS_PER_WORD:
        problem = f"it has {len(text)} characters, more than the {MAX_CHARS_PER_WORD} of a word"
    if problem:
        raise ValueError(f"--{flag}: {token!r}: {problem}.")
    # A special token is found by its cleaned form, but keeps its capitals in the vocabulary.
    return tokenizer.rule.clean(token).strip(" ") if flag == "add_special_tokens" else text


def _refuse_clashes(tokenizer: Tokenizer, words: list[_Word], specials: list[str]) -> None:
    pieces = Counter(piece for word in words for piece in word.pieces)
    kept = dict.fromkeys((*tokenizer.config.additional_special_tokens, *specials))
    forms = Counter(tokenizer.clean_lines(token)[0] for token in kept)
    forms.update(token for token, n in Counter(specials).items() if n > 1)
    for flag, given in (("add_tokens", pieces), ("add_special_tokens", forms)):
        twice = [token for token, n in given.items() if n > 1]
        if twice:
            raise ValueError(f"--{flag}: {twice[0]!r} is given twice.")
    both = [token for token in specials if token in pieces]
    if both:
        raise ValueError(
            f"--add_special_tokens: {both[0]!r} is given as --add_tokens too; choose one of them."
        )


def _free_slots(tokenizer: Tokenizer) -> list[int]:
    kept = tokenizer.config.additional_special_tokens
    pieces = enumerate(tokenizer.vocab.pieces)
    return [i for i, piece in pieces if tokenizer.vocab.is_unused(piece) and piece not in kept]


def _write(
    folder: str,
    tokenizer: Tokenizer,
    new: Sequence[str],
    specials: Sequence[str],
    dictionaries: tuple[str, ...],
) -> Tokenizer:
    """Writes the vocabulary with new pieces and opens it."""
    pieces, slots = list(tokenizer.vocab.pieces), _free_slots(tokenizer)
    for i, piece in zip(slots, new, strict=False):
        pieces[i] = piece
    pieces += new[len(slots) :]
    kept = dict.fromkeys((*tokenizer.config.additional_special_tokens, *specials))
    config = dataclasses.replace(tokenizer.config, additional_special_tokens=tuple(kept))
    write_folder(folder, pieces, config, user_dictionaries=dictionaries)
    return load_tokenizer(folder)


def _write_with_dictionary(
    folder: str,
    tokenizer: Tokenizer,
    new: Sequence[str],
    specials: Sequence[str],
    words: Sequence[_Word],
) -> tuple[Tokenizer, str]:
    """With a dictionary in which each word costs just so little that MeCab keeps it whole.

    Returns:
        The tokenizer, and the name of the dictionary.
    """
    given, waiting = tokenizer.user_dictionaries, words
    names = {os.path.basename(path) for path in given}
    name, number = "added.dic", 2
    while name in names:
        name, number = f"added-{number}.dic", number + 1
    costs: dict[str, int | None] = {}
    for cost in _COSTS:
        for word in waiting:  # MeCab tells capitals from small letters
            costs[word.text] = cost
            if tokenizer.config.do_lower_case:
                costs[lower_keeping_length(word.text)] = cost
        version = os.path.join(folder, str(cost))  # a new one, because MeCab maps its files
        os.makedirs(version)
        path = os.path.join(version, name)
        compile_user_dictionary(costs, path)
        changed = _write(version, tokenizer, new, specials, (*given, path))
        waiting = [word for word in waiting if _failures(changed, word)]
        if not waiting:
            break
    return changed, name


def _sentences(word: str) -> Iterator[tuple[str, int]]:
    """Sentences with a word, and its first character in them."""
    final = has_final_consonant(word)
    particles = () if final is None else _AFTER_CONSONANT if final else _AFTER_VOWEL
    for sentence in (*_SENTENCES, *particles):
        yield sentence.format(word), sentence.index("{}")


def _failures(tokenizer: Tokenizer, word: _Word) -> list[str]:
    """Sentences in which a word does not become one of its pieces."""
    if word.text.startswith(CONTINUATION):
        return []  # a part of any words
    found = []
    for sentence, start in _sentences(word.text):
        encoding = tokenizer.encode(sentence)
        spans = zip(encoding.starts, encoding.ends, encoding.pieces, strict=True)
        end = start + len(word.text)
        if not any((a, b) == (start, end) and piece in word.pieces for a, b, piece in spans):
            found.append(sentence)
    return found


def _warnings(tokenizer: Tokenizer, words: Sequence[_Word], to_user_dictionary: bool) -> list[str]:
    found = []
    for word in words:
        failures = _failures(tokenizer, word)
        if not failures:
            continue
        total = len(list(_sentences(word.text)))
        parts = [part.strip(" ") for part in tokenizer.parts(tokenizer.clean_lines(failures[0])[0])]
        who = "MeCab" if tokenizer.has_morphemes else "the tokenizer"
        has_remedy = tokenizer.has_morphemes and not to_user_dictionary
        found.append(
            f"{word.text} is one piece in {total - len(failures)} of {total} trial sentences: "
            f"{who} splits {failures[0]!r} into {' + '.join(parts)}."
            + (" --add_to_user_dictionary makes it one morpheme." if has_remedy else "")
        )
    return found


def _summary(tokenizer: Tokenizer, wanted: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    if new:
        yield f"added {_listed(new)}"
        in_slots = min(len(new), len(_free_slots(tokenizer)))
        behind = len(new) - in_slots
        yield f"{in_slots:,} of them in [unusedN] slots, {behind:,} behind the last piece"
    if any(f"{CONTINUATION}{piece}" in new for piece in wanted):
        yield (
            "a word is added bare, for the start of an eojeol, and with ##, for the inside, as "
            "after an opening bracket"
        )
    known = [piece for piece in wanted if piece in tokenizer.vocab]
    if known:
        yield f"already in the vocabulary: {_listed(known)}"


def _listed(tokens: Sequence[str]) -> str:
    more = len(tokens) - _SHOWN
    return " ".join(tokens[:_SHOWN]) + (f" … and {more:,} more" if more > 0 else "")
