"""Opening our tokenizer from the files of a Hugging Face folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.morphemes import dictionary_version
from bert_ko.tokenization.sentencepieces import SentencePieceModel
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary

_INSTALL = "pip install 'python-mecab-ko>=1.3.7,<1.4'"


def read_settings(settings: Mapping[str, Any]) -> TokenizerConfig:
    """Settings as they stand in tokenizer_config.json.

    Raises:
        ValueError: a wrong value.
    """
    values = dict(settings)
    for name in ("additional_special_tokens", "mecab_user_dictionary"):
        values[name] = tuple(values.get(name, ()))
    return TokenizerConfig(**values)


def user_dictionaries(
    config: TokenizerConfig, vocab_file: str | None, fetch: Callable[[str], str]
) -> list[str]:
    """Paths of the MeCab user dictionaries.

    Args:
        config: names them.
        vocab_file: they are beside it.
        fetch: from a name to the path of a file that is not.
    """
    folder = os.path.dirname(vocab_file or "")
    paths = [os.path.join(folder, name) for name in config.mecab_user_dictionary]
    return [path if os.path.isfile(path) else fetch(os.path.basename(path)) for path in paths]


def open_tokenizer(
    config: TokenizerConfig,
    vocab_file: str | None,
    spm_file: str | None,
    dictionaries: list[str],
) -> Tokenizer:
    """Opens a tokenizer.

    Args:
        config: its settings.
        vocab_file: vocab.txt.
        spm_file: spm.model, for that type alone.
        dictionaries: paths of MeCab user dictionaries.

    Raises:
        ImportError: MeCab is not installed.
        ValueError: a file is missing or broken, or the installed MeCab dictionary is another one.
    """
    is_model = config.tokenizer_type == "sentencepiece"
    path = spm_file if is_model else vocab_file
    if not path:
        raise ValueError(
            f"There is no {'spm.model' if is_model else 'vocab.txt'} in the tokenizer's folder; "
            f"a tokenizer of the type {config.tokenizer_type} needs it."
        )
    if is_model:
        model = SentencePieceModel(Path(path).read_bytes(), path)
        return Tokenizer(Vocabulary(model.pieces, path), config, "", model)
    if config.tokenizer_type == "mecab":
        _check_dictionary(config.mecab_dictionary)
    return Tokenizer(Vocabulary.load(path), config, "", None, dictionaries)


def _check_dictionary(wanted: str | None) -> None:
    try:
        installed = dictionary_version()
    except ImportError:
        raise ImportError(f"This tokenizer needs MeCab: {_INSTALL}") from None
    if wanted is not None and installed != wanted:
        version = wanted.rpartition(" ")[2]
        raise ValueError(
            f"The vocabulary was made with {wanted}, installed is {installed}, which segments "
            f"differently. Run `pip install python-mecab-ko-dic=={version}`."
        )
