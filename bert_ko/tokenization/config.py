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

    def __post_init__(self) -> None:
        for name, allowed in (
            ("tokenizer_type", get_args(TokenizerType)),
            ("subword_prefix_unit", get_args(PrefixUnit)),
            ("normalization", ("nfc", "google")),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.")
        if not isinstance(self.do_lower_case, bool):
            raise ValueError(f"do_lower_case must be true or false, got {self.do_lower_case!r}.")
        if not isinstance(self.mecab_dictionary, str | None):
            raise ValueError(f"mecab_dictionary must be a name, got {self.mecab_dictionary!r}.")
        if self.mecab_user_dictionary and self.tokenizer_type != "mecab":
            raise ValueError(
                "mecab_user_dictionary is for the tokenizer_type mecab alone, got "
                f"{', '.join(self.mecab_user_dictionary)} with {self.tokenizer_type}."
            )

    def to_dict(self) -> dict[str, Any]:
        """The values of the file, which names user dictionaries by their file names."""
        names = tuple(map(os.path.basename, self.mecab_user_dictionary))
        return dataclasses.asdict(dataclasses.replace(self, mecab_user_dictionary=names))

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
            if not (isinstance(items, list | tuple) and all(isinstance(i, str) for i in items)):
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


def to_json(values: Mapping[str, Any]) -> str:
    """A JSON file: sorted keys, one a line."""
    return json.dumps(values, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def read_config(folder: str) -> TokenizerConfig | None:
    """Reads the config of a vocabulary folder, ours or Hugging Face's.

    Returns:
        The config; None if there is no file, or one of another library that decides nothing.

    Raises:
        ValueError: the file is not a JSON object, has unknown keys or wrong values.
    """
    path = os.path.join(folder, CONFIG_NAME)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        try:
            values = json.load(file)
        except ValueError as error:
            raise ValueError(f"{path}: not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: must be a JSON object, got {type(values).__name__}.")
    own = values.get(HUGGING_FACE_KEY)
    if isinstance(own, dict) or "tokenizer_type" in values:
        return TokenizerConfig.from_dict(own if isinstance(own, dict) else values, path)
    # Hugging Face folders use the same file name; those of the first years name no class.
    name = values.get("tokenizer_class", "BertTokenizer" if "do_lower_case" in values else "")
    if not re.fullmatch("(Bert|Electra)Tokenizer(Fast)?", str(name)):
        return None
    is_uncased = bool(values.get("do_lower_case", True))
    return TokenizerConfig("wordpiece", "morpheme", is_uncased, "google")
