"""Vocabulary folders: opening and writing them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_ko import files
from bert_ko.shipped import find_shipped, shipped_names
from bert_ko.tokenization.config import CONFIG_NAME, TokenizerConfig, TokenizerType, read_config
from bert_ko.tokenization.dictionary_files import dictionaries_in
from bert_ko.tokenization.morphemes import dictionary_version
from bert_ko.tokenization.settings import TokenizerSettings
from bert_ko.tokenization.tokenizer import Tokenizer

VOCAB_NAME = "vocab.txt"
MODEL_NAME = "spm.model"


def load_tokenizer(vocab_file: str, flags: TokenizerSettings | None = None) -> Tokenizer:
    """Opens a vocabulary.

    Args:
        vocab_file: vocab.txt, a .model, a folder that has one, or the name of a vocabulary that
            comes with bert_ko.
        flags: settings given by the user; None fields are not given.

    Raises:
        FileNotFoundError: no vocabulary found.
        ValueError: a bad vocabulary or config, or a flag that contradicts the config.
    """
    vocab_file = find_shipped(vocab_file)
    folder = vocab_file if os.path.isdir(vocab_file) else os.path.dirname(vocab_file) or "."
    given = {} if flags is None else flags.given_settings
    config = read_config(folder)
    path = _find_vocabulary(vocab_file, config)
    if config is None:
        kind = given.get("tokenizer_type", "sentencepiece" if path.endswith(".model") else "mecab")
        # Given paths are relative to the working folder; a config's are relative to its own folder.
        dictionaries = tuple(map(os.path.abspath, given.get("mecab_user_dictionary", ())))
        config = default_config(kind, {**given, "mecab_user_dictionary": dictionaries})
    else:
        _compare_settings(config, given, os.path.join(folder, CONFIG_NAME))
    is_model = config.tokenizer_type == "sentencepiece"
    if is_model != path.endswith(".model"):
        raise ValueError(
            f"--vocab_file: tokenizer_type={config.tokenizer_type} needs a "
            f"{'.model file' if is_model else VOCAB_NAME}, got {path}."
        )
    paths = dictionaries_in(folder, config.mecab_user_dictionary)
    return Tokenizer.open(path, config, paths, vocab_file)


def _find_vocabulary(vocab_file: str, config: TokenizerConfig | None) -> str:
    # A model that an earlier vocabulary left in the folder is not used.
    may_be_model = config is None or config.tokenizer_type == "sentencepiece"
    if os.path.isdir(vocab_file):
        for name in (MODEL_NAME, VOCAB_NAME) if may_be_model else (VOCAB_NAME,):
            if os.path.isfile(path := os.path.join(vocab_file, name)):
                return path
        raise FileNotFoundError(f"--vocab_file: no {VOCAB_NAME} or {MODEL_NAME} in {vocab_file}.")
    if not os.path.isfile(vocab_file):
        names = ", ".join(shipped_names())
        raise FileNotFoundError(
            f"--vocab_file: no such file: {vocab_file}. bert_ko comes with {names or 'none'}."
        )
    # The vocab.txt beside a SentencePiece model is only a readable list of its pieces.
    beside = os.path.join(os.path.dirname(vocab_file), MODEL_NAME)
    is_list = may_be_model and os.path.basename(vocab_file) == VOCAB_NAME
    return beside if is_list and os.path.isfile(beside) else vocab_file


def default_config(tokenizer_type: TokenizerType, settings: Mapping[str, Any]) -> TokenizerConfig:
    """The defaults of a type, save what the settings say."""
    defaults: dict[str, Any] = {"tokenizer_type": tokenizer_type}
    if tokenizer_type == "mecab":
        defaults["mecab_dictionary"] = dictionary_version()
    elif tokenizer_type == "wordpiece":
        defaults |= {"normalization": "google", "subword_prefix_unit": "morpheme"}
    else:
        defaults["do_lower_case"] = False  # a SentencePiece model has its own case rule
    return TokenizerConfig(**{**defaults, **settings})


def _compare_settings(config: TokenizerConfig, given: dict[str, Any], path: str) -> None:
    for name, value in given.items():
        found: Any = getattr(config, name)
        if name == "mecab_user_dictionary":
            value, found = ([os.path.basename(p) for p in paths] for paths in (value, found))
        if value != found:
            raise ValueError(
                f"--{name}={value} contradicts {path}, which has {found}. Leave the flag out, "
                "or use a vocabulary that was built with it."
            )


def write_folder(
    folder: str,
    pieces: list[str],
    config: TokenizerConfig,
    model: bytes | None = None,
    user_dictionaries: tuple[str, ...] = (),
) -> None:
    """Writes a vocabulary folder, each file atomically.

    Args:
        folder: made when missing.
        pieces: in the order of their ids.
        config: its user dictionaries are replaced.
        model: a serialised SentencePiece model.
        user_dictionaries: paths of files to copy into the folder.
    """
    files.require_writable_folder(folder)
    contents: dict[str, str | bytes] = {
        os.path.basename(path): Path(path).read_bytes() for path in user_dictionaries
    }
    if model is not None:
        contents[MODEL_NAME] = model
    contents[VOCAB_NAME] = "".join(f"{piece}\n" for piece in pieces)
    config = dataclasses.replace(config, mecab_user_dictionary=user_dictionaries)
    contents[CONFIG_NAME] = config.to_json()
    for name, content in contents.items():
        files.write_atomic(os.path.join(folder, name), content)
