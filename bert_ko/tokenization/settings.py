"""Flags that say how a vocabulary is used; importing them loads no tokenizer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from bert_ko.flags import Flags, flag
from bert_ko.tokenization.config import PrefixUnit, TokenizerType


@dataclass(frozen=True)
class TokenizerSettings(Flags):
    """How a vocabulary is used; None leaves it to the vocabulary."""

    group = "Tokenizer"

    tokenizer_type: TokenizerType | None = flag(
        None,
        help="What splits text into words. Default: from tokenizer_config.json, else mecab.",
        affects_output=False,
    )
    do_lower_case: bool | None = flag(
        None,
        help="Lower-case words. Default: from tokenizer_config.json, else true.",
        affects_output=False,
    )
    subword_prefix_unit: PrefixUnit | None = flag(
        None,
        help="`##` on every piece that does not start an eojeol, or a morpheme. "
        "Default: from tokenizer_config.json, else eojeol.",
        affects_output=False,
    )
    additional_special_tokens: tuple[str, ...] | None = flag(
        None,
        help="Pieces of the vocabulary that the tokenizer keeps whole. Default: from "
        "tokenizer_config.json, else none.",
        affects_output=False,
    )
    mecab_user_dictionary: tuple[str, ...] | None = flag(
        None,
        help="Compiled MeCab user dictionaries (.dic). Default: from tokenizer_config.json.",
        affects_output=False,
    )

    @property
    def given_settings(self) -> dict[str, Any]:
        """The settings that the user has given, by name."""
        names = [field.name for field in dataclasses.fields(TokenizerSettings)]
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class TokenizerFlags(TokenizerSettings):
    """Flags of every command that takes a vocabulary."""

    vocab_file: str = flag(
        help="The vocabulary: vocab.txt, a SentencePiece .model, the folder of either, or "
        "ko-mecab-32k, which comes with bert_ko. tokenizer_config.json beside it is found.",
        affects_output=False,
    )
