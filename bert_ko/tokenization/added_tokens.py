"""Tokens that a published tokenizer keeps whole, beside those of every vocabulary."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from bert_ko.json_files import expect, read_json
from bert_ko.tokenization.config import CONFIG_NAME, TokenizerConfig, is_text
from bert_ko.tokenization.normalization import RULES, without_marks
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS
from bert_ko.tokenization.wordpiece import basic_parts

T = TypeVar("T")

SPECIAL_TOKENS_MAP = "special_tokens_map.json"
_ADDED_TOKENS = "added_tokens.json"
# Keys of tokenizer_config.json and special_tokens_map.json with tokens.
_LISTS = ("additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens")
_OTHER_ROLES = ("bos_token", "eos_token")


class _Token(NamedTuple):
    content: str
    id: int | None  # None if the place does not say
    values: Mapping[str, Any]
    place: str


class Resolved(NamedTuple):
    """Kept tokens as a tokenizer has them."""

    config: TokenizerConfig
    behind: tuple[str, ...]  # pieces that follow those of the vocabulary


class AddedTokens(NamedTuple):
    """All places of a folder that name tokens."""

    tokens: list[_Token]

    @classmethod
    def read(
        cls,
        folder: str,
        values: Mapping[str, Any],
        whole: Mapping[str, Any],
        whole_decides: bool,
    ) -> AddedTokens:
        """Collects the tokens of all files.

        Args:
            folder: of the tokenizer.
            values: of tokenizer_config.json.
            whole: of tokenizer.json.
            whole_decides: whether transformers takes the tokens of tokenizer.json in any case.

        Raises:
            ValueError: a file that transformers leaves out names more tokens than the others.
        """
        path, map_path = (os.path.join(folder, name) for name in (CONFIG_NAME, SPECIAL_TOKENS_MAP))
        named = read_json(map_path, advice="") or {}
        for key in _LISTS:
            if key in values and key in named and _contents(values, key) != _contents(named, key):
                raise ValueError(f"{path} and {map_path} have different {key}.")
        main, older = [*_listed(values, path)], [*_listed(named, map_path)]
        special = {token.content for token in (*main, *older)}
        place = f"{path}: added_tokens_decoder"
        for number, token in _typed(values.get("added_tokens_decoder"), dict, place).items():
            main.append(_token(token, place)._replace(id=_number(number, place)))
        place = os.path.join(folder, _ADDED_TOKENS)
        for content, number in (read_json(place, advice="") or {}).items():
            token = _token(content, place, special=content in special)
            older.append(token._replace(id=_number(number, place)))
        place = f"{os.path.join(folder, 'tokenizer.json')}: added_tokens"
        for token in _typed(whole.get("added_tokens"), list, place):
            number = token.get("id") if isinstance(token, dict) else None
            found = _token(token, place)._replace(id=_number(number, place))
            (main if whole_decides else older).append(found)
        if "added_tokens_decoder" in values:  # then transformers leaves older files out
            known = {*SPECIAL_TOKENS, *(token.content for token in main)}
            for token in older:
                if token.content not in known:
                    raise ValueError(
                        f"{token.place}: {token.content!r} is not in the added_tokens_decoder of "
                        f"{path}; keep the ones that the model was trained with."
                    )
        return cls([*main, *older])

    def resolve(self, config: TokenizerConfig, pieces: Sequence[str]) -> Resolved:
        """Finds the pieces that are kept whole.

        Args:
            config: without them.
            pieces: of the vocabulary.

        Raises:
            ValueError: a token that is found in another way, or has another id than its piece.
        """
        ids = {piece: i for i, piece in enumerate(pieces)}
        behind: list[str] = []
        for token in sorted(self.tokens, key=lambda token: -1 if token.id is None else token.id):
            is_next = token.id == len(pieces) + len(behind)
            if token.content not in ids and token.id is not None and is_next:
                ids[token.content] = token.id
                behind.append(token.content)
        kept: dict[str, None] = {}
        for token in self.tokens:
            place = f"{token.place}: {token.content!r}"
            if token.content not in ids:
                raise ValueError(f"{place} is not in the vocabulary, nor directly behind it.")
            if token.id not in (None, ids[token.content]):
                raise ValueError(
                    f"{place} has the id {token.id}, but {ids[token.content]} in the vocabulary."
                )
            if token.content not in SPECIAL_TOKENS:
                _refuse_other_rules(token, place, config)
                kept[token.content] = None
        return Resolved(
            dataclasses.replace(config, additional_special_tokens=tuple(kept)), tuple(behind)
        )


def _refuse_other_rules(token: _Token, place: str, config: TokenizerConfig) -> None:
    """Refuses tokens that are not found as they are in a cleaned text."""
    for name in ("single_word", "lstrip", "rstrip"):
        if token.values.get(name):
            raise ValueError(f"{place} has {name}, which is not read.")
    rule = RULES[config.normalization]
    if config.strip_accents:
        rule = without_marks(rule)
    if rule.clean(token.content) != token.content or not token.content:
        raise ValueError(f"{place} has characters that are removed from texts.")
    is_special = token.values.get("special", False)
    changes = config.do_lower_case or config.strip_accents
    text = f"a{token.content}a"
    is_split = config.tokenize_chinese_chars and basic_parts(text) != basic_parts(text, False)
    if token.values.get("normalized", not is_special) and (changes or is_split):
        raise ValueError(f"{place} is normalized like a text, which is not read; make it special.")


def _contents(values: Mapping[str, Any], key: str) -> str:
    """What a list of tokens names, to be compared."""
    tokens = values.get(key) or []
    tokens = tokens if isinstance(tokens, list) else [tokens]
    return repr([token.get("content") if isinstance(token, dict) else token for token in tokens])


def _listed(values: Mapping[str, Any], path: str) -> Iterator[_Token]:
    for key in _LISTS:
        tokens = values.get(key) or []
        tokens = list(tokens.values()) if isinstance(tokens, dict) else tokens
        place = f"{path}: {key}"
        yield from (_token(token, place, special=True) for token in _typed(tokens, list, place))
    for role in _OTHER_ROLES:
        if values.get(role) is not None:
            yield _token(values[role], f"{path}: {role}", special=True)


def _token(token: Any, place: str, **defaults: Any) -> _Token:
    values = {**defaults, **token} if isinstance(token, dict) else defaults
    content = values.get("content") if isinstance(token, dict) else token
    if not isinstance(content, str) or not is_text(content):
        raise ValueError(f"{place} must have tokens, got {token!r}.")
    return _Token(content, None, values, place)


def _number(value: Any, place: str) -> int:
    if type(value) is int or (isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value)):
        return int(value)
    raise ValueError(f"{place} must have ids, got {value!r}.")


def _typed(value: Any, kind: type[T], place: str) -> T:
    return kind() if value is None else expect(value, kind, place)
