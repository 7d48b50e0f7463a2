"""The settings of a vocabulary's tokenizer: ``tokenizer_config.json``."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

CONFIG_NAME = "tokenizer_config.json"
# In a Hugging Face folder of ours, the file has the settings under this key.
HUGGING_FACE_KEY = "bert_ko"
TokenizerType = Literal["mecab", "sentencepiece", "wordpiece"]
PrefixUnit = Literal["eojeol", "morpheme"]
WordUnit = Literal["morpheme", "eojeol"]  # of language models of whole words
_PUBLISHED_DEFAULTS = {"strip_accents": False, "tokenize_chinese_chars": True}


@dataclass(frozen=True)
class TokenizerConfig:
    """Everything beside the vocabulary that decides the ids of a text."""

    tokenizer_type: TokenizerType = "mecab"  # what splits a text into words before WordPiece
    subword_prefix_unit: PrefixUnit = "eojeol"  # pieces that do not start one carry ``##``
    do_lower_case: bool = True  # before the look-up
    normalization: str = "nfc"  # of normalization.RULES; decided by the type
    additional_special_tokens: tuple[str, ...] = ()  # pieces kept whole
    mecab_dictionary: str | None = None  # that the vocabulary was made with; None without MeCab
    mecab_user_dictionary: tuple[str, ...] = ()  # paths, relative to the vocabulary's folder
    # Of the normalization transformers alone.
    strip_accents: bool = False  # decompose words, Hangul too, and remove marks
    tokenize_chinese_chars: bool = True  # each is a word

    def __post_init__(self) -> None:
        for name, allowed in (
            ("tokenizer_type", get_args(TokenizerType)),
            ("subword_prefix_unit", get_args(PrefixUnit)),
            ("normalization", ("nfc", "google", "transformers")),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.")
        for name in ("do_lower_case", *_PUBLISHED_DEFAULTS):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {value!r}.")
            if self.normalization != "transformers" and value != _PUBLISHED_DEFAULTS.get(
                name, value
            ):
                raise ValueError(f"{name}={value} needs the normalization transformers.")
        if self.normalization == "transformers" and self.tokenizer_type != "wordpiece":
            raise ValueError(
                "the normalization transformers is for the tokenizer_type wordpiece alone."
            )
        if not isinstance(self.mecab_dictionary, str | None) or not is_text(
            self.mecab_dictionary or ""
        ):
            raise ValueError(f"mecab_dictionary must be a name, got {self.mecab_dictionary!r}.")
        if self.mecab_user_dictionary and self.tokenizer_type != "mecab":
            raise ValueError(
                "mecab_user_dictionary is for the tokenizer_type mecab alone, got "
                f"{', '.join(self.mecab_user_dictionary)} with {self.tokenizer_type}."
            )

    def to_dict(self) -> dict[str, Any]:
        """The values of the file, which names user dictionaries by their file names."""
        names = tuple(map(os.path.basename, self.mecab_user_dictionary))
        values = dataclasses.asdict(dataclasses.replace(self, mecab_user_dictionary=names))
        # They are left out so that the fingerprints of other vocabularies stay as they were.
        unused = [] if self.normalization == "transformers" else _PUBLISHED_DEFAULTS
        return {name: value for name, value in values.items() if name not in unused}

    def to_json(self) -> str:
        """The text of the file."""
        return to_json(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> TokenizerConfig:
        """Checks the values of a file.

        Raises:
            ValueError: unknown keys or wrong values; the message starts with ``source``.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"{source}: unknown keys {unknown}; allowed are {sorted(known)}.")
        lists = {}
        for name in ("additional_special_tokens", "mecab_user_dictionary"):
            items = values.get(name, ())
            is_list = isinstance(items, list | tuple)
            if not (is_list and all(isinstance(i, str) and is_text(i) for i in items)):
                raise ValueError(f"{source}: {name} must be a list of strings, got {items!r}.")
            lists[name] = tuple(items)
        for name in lists["mecab_user_dictionary"]:
            if name in ("", ".", "..") or re.search(r"[/\\\0]", name):
                raise ValueError(
                    f"{source}: mecab_user_dictionary must name files in the same folder, got "
                    f"{name!r}; nothing outside it is read."
                )
        try:
            return cls(**{**values, **lists})
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None


def is_text(value: str) -> bool:
    r"""Whether a string is one that files can hold: JSON can have half a character, ``\ud800``."""
    return not re.search("[\ud800-\udfff]", value)


def to_json(values: Mapping[str, Any]) -> str:
    """A JSON file: sorted keys, one a line."""
    return json.dumps(values, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
