"""What a vocabulary folder says of its tokenizer: ``tokenizer_config.json``."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

CONFIG_NAME = "tokenizer_config.json"
# In a Hugging Face folder of ours, the settings stand under this key of the file.
HUGGING_FACE_KEY = "bert_ko"
TokenizerType = Literal["mecab", "sentencepiece", "wordpiece"]
PrefixUnit = Literal["eojeol", "morpheme"]
# Hugging Face folders use the same file name; these classes are WordPiece as Google wrote it.
_WORDPIECE_CLASSES = (
    "BertTokenizer",
    "BertTokenizerFast",
    "ElectraTokenizer",
    "ElectraTokenizerFast",
)


@dataclass(frozen=True)
class TokenizerConfig:
    """Everything beside the vocabulary that decides the ids of a text.

    Attributes:
        tokenizer_type: what cuts a text into words before WordPiece.
        subword_prefix_unit: ``##`` on every piece not at the start of an eojeol, or of a morpheme.
        do_lower_case: whether words are lower-cased before the look-up.
        normalization: a name of normalization.RULES; decided by the type.
        additional_special_tokens: pieces kept whole wherever they stand in a text.
        mecab_dictionary: system dictionary the vocabulary was made with, None without MeCab.
        mecab_user_dictionary: file names of user dictionaries, relative to the folder.
    """

    tokenizer_type: TokenizerType = "mecab"
    subword_prefix_unit: PrefixUnit = "eojeol"
    do_lower_case: bool = True
    normalization: str = "nfc"
    additional_special_tokens: tuple[str, ...] = ()
    mecab_dictionary: str | None = None
    mecab_user_dictionary: tuple[str, ...] = ()

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

    def to_json(self) -> str:
        """The file's text: sorted keys, one a line."""
        return (
            json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=2, sort_keys=True)
            + "\n"
        )


def read_config(folder: str) -> TokenizerConfig | None:
    """Reads the config of a vocabulary folder.

    Args:
        folder: the folder of the vocabulary file.

    Returns:
        The config, or None where the folder has none that decides anything.

    Raises:
        ValueError: the file is no JSON object, has unknown keys or wrong values.
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
    if isinstance(values.get(HUGGING_FACE_KEY), dict):
        return _from_values(values[HUGGING_FACE_KEY], path)
    if "tokenizer_type" not in values:
        return _from_hugging_face(values)
    return _from_values(values, path)


def _from_values(values: dict[str, Any], path: str) -> TokenizerConfig:
    known = {field.name for field in dataclasses.fields(TokenizerConfig)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{path}: unknown keys {unknown}; allowed are {sorted(known)}.")
    for name in ("additional_special_tokens", "mecab_user_dictionary"):
        items = values.get(name, [])
        if not (isinstance(items, list) and all(isinstance(item, str) for item in items)):
            raise ValueError(f"{path}: {name} must be a list of strings, got {items!r}.")
        values[name] = tuple(items)
    try:
        return TokenizerConfig(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _from_hugging_face(values: dict[str, Any]) -> TokenizerConfig | None:
    # Folders of the first years name no class.
    is_old = "tokenizer_class" not in values and "do_lower_case" in values
    if values.get("tokenizer_class") not in _WORDPIECE_CLASSES and not is_old:
        return None
    return TokenizerConfig(
        tokenizer_type="wordpiece",
        subword_prefix_unit="morpheme",
        do_lower_case=bool(values.get("do_lower_case", True)),
        normalization="google",
    )
