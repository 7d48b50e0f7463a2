"""Vocabulary folders: reading a tokenizer, its fingerprint, and writing one."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import Any

from bert_ko import files
from bert_ko.tokenization.config import (
    CONFIG_NAME,
    TokenizerConfig,
    read_config,
)
from bert_ko.tokenization.morphemes import dictionary_version
from bert_ko.tokenization.sentencepieces import SentencePieceModel
from bert_ko.tokenization.settings import TokenizerSettings
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary

VOCAB_NAME = "vocab.txt"
MODEL_NAME = "spm.model"


def load_tokenizer(vocab_file: str, flags: TokenizerSettings | None = None) -> Tokenizer:
    """Opens a vocabulary.

    Args:
        vocab_file: vocab.txt, a .model, or a folder that holds one.
        flags: settings typed by the user; None fields are not typed.

    Returns:
        The tokenizer, its fingerprint set.

    Raises:
        FileNotFoundError: no vocabulary there.
        ValueError: a bad vocabulary or config, or a flag that contradicts the config.
    """
    folder = vocab_file if os.path.isdir(vocab_file) else os.path.dirname(vocab_file) or "."
    typed = {} if flags is None else flags.given_settings
    config = read_config(folder)
    path = _find_vocabulary(vocab_file, config)
    if config is None:
        config = _default_config(path, typed)
    else:
        _refuse_contradictions(config, typed, os.path.join(folder, CONFIG_NAME))
    _check_dictionary(config, folder)
    return _open(path, config, vocab_file)


def _find_vocabulary(vocab_file: str, config: TokenizerConfig | None) -> str:
    # A model that an earlier vocabulary left in the folder is passed over.
    takes_model = config is None or config.tokenizer_type == "sentencepiece"
    if os.path.isdir(vocab_file):
        for name in (MODEL_NAME, VOCAB_NAME) if takes_model else (VOCAB_NAME,):
            if os.path.isfile(path := os.path.join(vocab_file, name)):
                return path
        raise FileNotFoundError(f"--vocab_file: no {VOCAB_NAME} or {MODEL_NAME} in {vocab_file}.")
    if not os.path.isfile(vocab_file):
        raise FileNotFoundError(f"--vocab_file: no such file: {vocab_file}.")
    # A folder made for a SentencePiece model lists its pieces in vocab.txt for people to read.
    beside = os.path.join(os.path.dirname(vocab_file), MODEL_NAME)
    is_list = takes_model and os.path.basename(vocab_file) == VOCAB_NAME
    return beside if is_list and os.path.isfile(beside) else vocab_file


def _default_config(path: str, typed: dict[str, Any]) -> TokenizerConfig:
    kind = typed.get("tokenizer_type", "sentencepiece" if path.endswith(".model") else "mecab")
    defaults: dict[str, Any] = {
        "tokenizer_type": kind,
        "normalization": "google" if kind == "wordpiece" else "nfc",
        "subword_prefix_unit": "morpheme" if kind == "wordpiece" else "eojeol",
        "mecab_dictionary": dictionary_version() if kind == "mecab" else None,
        # A SentencePiece model holds its own case rule.
        "do_lower_case": kind != "sentencepiece",
    }
    values = {**defaults, **typed}
    # Typed paths are relative to where the user is; the config's are relative to the folder.
    dictionaries = tuple(map(os.path.abspath, typed.get("mecab_user_dictionary", ())))
    return TokenizerConfig(**{**values, "mecab_user_dictionary": dictionaries})


def _refuse_contradictions(config: TokenizerConfig, typed: dict[str, Any], path: str) -> None:
    for name, value in typed.items():
        stands: Any = getattr(config, name)
        if name == "mecab_user_dictionary":
            value, stands = ([os.path.basename(p) for p in paths] for paths in (value, stands))
        if value != stands:
            raise ValueError(
                f"--{name}={value} contradicts {path}, which says {stands}. Leave the flag out, "
                "or use a vocabulary that was built with it."
            )


def _check_dictionary(config: TokenizerConfig, folder: str) -> None:
    if config.tokenizer_type != "mecab" or config.mecab_dictionary is None:
        return
    installed = dictionary_version()
    if installed != config.mecab_dictionary:
        version = config.mecab_dictionary.rpartition(" ")[2]
        raise ValueError(
            f"{folder}: the vocabulary was made with {config.mecab_dictionary}, installed is "
            f"{installed}, which segments differently. Run "
            f"`pip install python-mecab-ko-dic=={version}`, or build the vocabulary again."
        )


def _open(path: str, config: TokenizerConfig, source: str) -> Tokenizer:
    folder = os.path.dirname(path)
    dictionaries = [os.path.join(folder, name) for name in config.mecab_user_dictionary]
    model = None
    if config.tokenizer_type == "sentencepiece":
        if not path.endswith(".model"):
            raise ValueError(
                f"--vocab_file: tokenizer_type=sentencepiece needs a .model file, got {path}."
            )
        with open(path, "rb") as file:
            model = SentencePieceModel(file.read(), path)
        vocab = Vocabulary(model.pieces, path)
    elif path.endswith(".model"):
        raise ValueError(
            f"--vocab_file: {path} is a SentencePiece model, but tokenizer_type is "
            f"{config.tokenizer_type}."
        )
    else:
        vocab = Vocabulary.load(path)
    fingerprint = _fingerprint(vocab, config, model, dictionaries)
    return Tokenizer(vocab, config, fingerprint, model, dictionaries, source)


def _fingerprint(
    vocab: Vocabulary,
    config: TokenizerConfig,
    model: SentencePieceModel | None,
    dictionaries: list[str],
) -> str:
    """16 hexadecimal digits over everything that decides an id."""
    names = tuple(os.path.basename(path) for path in dictionaries)
    digest = hashlib.sha256("\n".join(vocab.pieces).encode("utf-8", "surrogatepass"))
    digest.update(dataclasses.replace(config, mecab_user_dictionary=names).to_json().encode())
    digest.update(model.serialized if model else b"")
    for path in dictionaries:
        if os.path.isfile(path):  # a missing one is reported, by its name, when it is opened
            with open(path, "rb") as file:
                digest.update(file.read())
    return digest.hexdigest()[:16]


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
        config: its user dictionaries are named by their file names.
        model: a serialised SentencePiece model.
        user_dictionaries: paths of the dictionaries, copied into the folder.
    """
    files.require_writable_folder(folder)
    for path in user_dictionaries:
        with open(path, "rb") as file:
            files.write_atomic(os.path.join(folder, os.path.basename(path)), file.read())
    if model is not None:
        files.write_atomic(os.path.join(folder, MODEL_NAME), model)
    files.write_atomic(os.path.join(folder, VOCAB_NAME), "".join(p + "\n" for p in pieces))
    names = tuple(os.path.basename(path) for path in user_dictionaries)
    config = dataclasses.replace(config, mecab_user_dictionary=names)
    files.write_atomic(os.path.join(folder, CONFIG_NAME), config.to_json())
