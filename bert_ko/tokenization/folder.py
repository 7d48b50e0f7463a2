"""Vocabulary folders: opening and writing them."""

from __future__ import annotations

import dataclasses
import functools
import glob
import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_ko import files
from bert_ko.copies import local_vocabulary
from bert_ko.folders import folder_writer
from bert_ko.json_files import read_json
from bert_ko.messages import warn
from bert_ko.shipped import find_shipped, shipped_names
from bert_ko.tokenization.config import (
    CONFIG_NAME,
    HUGGING_FACE_KEY,
    TokenizerConfig,
    TokenizerType,
)
from bert_ko.tokenization.dictionary_files import dictionaries_in
from bert_ko.tokenization.morphemes import dictionary_version
from bert_ko.tokenization.published import (
    TOKENIZER_JSON,
    Published,
    RefusedTokenizerError,
    read_pieces,
    read_published,
    refuse_other_case,
)
from bert_ko.tokenization.settings import TokenizerSettings
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary
from bert_ko.tokenization.word_vocabulary import WORDS_CONFIG_NAME, WORDS_NAME

VOCAB_NAME = "vocab.txt"
MODEL_NAME = "spm.model"


def load_tokenizer(vocab_file: str, flags: TokenizerSettings | None = None) -> Tokenizer:
    """Opens a vocabulary.

    Args:
        vocab_file: vocab.txt, a .model, a folder that has one, also one of Hugging Face
            transformers, local or remote, or the name of a vocabulary that comes with bert_ko.
        flags: settings given by the user; None fields are not given.

    Raises:
        FileNotFoundError: no vocabulary found.
        ValueError: a bad vocabulary or config, or a flag that contradicts the config.
    """
    vocab_file = local_vocabulary(find_shipped(vocab_file))
    _refuse_words(vocab_file)
    if os.path.basename(vocab_file) == TOKENIZER_JSON and os.path.isfile(vocab_file):
        vocab_file = os.path.dirname(vocab_file) or "."
    folder = vocab_file if os.path.isdir(vocab_file) else os.path.dirname(vocab_file) or "."
    given = {} if flags is None else flags.given_settings
    config = read_config(folder)
    published = None if config else _read_published(folder, vocab_file, given)
    settings = published.config if published else config
    path = _find_vocabulary(vocab_file, settings)
    if settings is None:
        kind = given.get("tokenizer_type", "sentencepiece" if path.endswith(".model") else "mecab")
        # Given paths are relative to the working folder; a config's are relative to its own folder.
        dictionaries = list(map(os.path.abspath, given.get("mecab_user_dictionary", ())))
        settings = default_config(kind, {**given, "mecab_user_dictionary": tuple(dictionaries)})
    else:
        _compare_settings(settings, given, os.path.join(folder, CONFIG_NAME))
        dictionaries = dictionaries_in(folder, settings.mecab_user_dictionary)
    is_model = settings.tokenizer_type == "sentencepiece"
    if is_model != path.endswith(".model"):
        raise ValueError(
            f"--vocab_file: tokenizer_type={settings.tokenizer_type} needs a "
            f"{'.model file' if is_model else VOCAB_NAME}, got {path}."
        )
    pieces = published.pieces if published else None
    if pieces is None and os.path.basename(path) == TOKENIZER_JSON:
        pieces = read_pieces(path)
    vocab = None if pieces is None else Vocabulary(pieces, path)
    tokenizer = Tokenizer.open(path, settings, dictionaries, vocab_file, vocab)
    is_default = config is None and published is None and "tokenizer_type" not in given
    if is_default and settings.tokenizer_type == "mecab":
        _warn_of_default(path)
    return tokenizer


def _refuse_words(vocab_file: str) -> None:
    """Refuses a vocabulary of whole words, by a ValueError."""
    folder = vocab_file if os.path.isdir(vocab_file) else os.path.dirname(vocab_file)
    is_named = os.path.basename(vocab_file) == WORDS_NAME
    is_alone = folder == vocab_file and not has_vocabulary(folder)
    has_words = all(
        os.path.isfile(os.path.join(folder, name)) for name in (WORDS_NAME, WORDS_CONFIG_NAME)
    )
    if has_words and (is_named or is_alone):
        raise ValueError(
            f"--vocab_file: {vocab_file} is a vocabulary of words for a bidirectional language "
            "model, of which create_pretraining_data makes shards with --objective=bilm; a masked "
            "one needs pieces: give a vocabulary that bin/build_vocab made without --words."
        )


@functools.cache
def _warn_of_default(path: str) -> None:
    if multiprocessing.parent_process() is None:  # not once more in each worker
        warn(
            f"{path} is read as WordPiece inside MeCab's morphemes, as no {CONFIG_NAME} beside it "
            "says how it was made; give --tokenizer_type=wordpiece for Google's and others'"
        )


def _read_published(folder: str, vocab_file: str, given: Mapping[str, Any]) -> Published | None:
    """What a folder of others says, unless the user says it or names a SentencePiece model."""
    if vocab_file.endswith(".model") and os.path.isfile(vocab_file):
        refuse_other_case(folder, vocab_file)
        return None
    listed = os.path.join(folder, VOCAB_NAME) if os.path.isdir(vocab_file) else vocab_file
    try:
        return read_published(folder, listed if os.path.isfile(listed) else None)
    except RefusedTokenizerError as error:
        if "tokenizer_type" in given:
            return None
        models = _models_in(folder)
        advice = (
            f", or --vocab_file={models[0]} for its SentencePiece model alone" if models else ""
        )
        raise RefusedTokenizerError(f"{error}{advice}.") from None


def has_vocabulary(folder: str) -> bool:
    """Whether a folder has a vocabulary of any form."""
    names = (MODEL_NAME, VOCAB_NAME, TOKENIZER_JSON)
    return any(os.path.isfile(os.path.join(folder, name)) for name in names) or bool(
        _models_in(folder)
    )


def _models_in(folder: str) -> list[str]:
    """SentencePiece models by any name: spiece.model, sentencepiece.bpe.model and others."""
    return sorted(filter(os.path.isfile, glob.glob(os.path.join(glob.escape(folder), "*.model"))))


def _find_vocabulary(vocab_file: str, config: TokenizerConfig | None) -> str:
    # A model that an earlier vocabulary left in the folder is not used.
    may_be_model = config is None or config.tokenizer_type == "sentencepiece"
    if os.path.isdir(vocab_file):
        names = (MODEL_NAME, VOCAB_NAME) if may_be_model else (VOCAB_NAME, TOKENIZER_JSON)
        for name in names:
            if os.path.isfile(path := os.path.join(vocab_file, name)):
                return path
        models = _models_in(vocab_file) if may_be_model else []
        if len(models) == 1:
            return models[0]
        found = ", ".join(sorted(os.listdir(vocab_file))[:8]) or "nothing"
        raise FileNotFoundError(
            f"--vocab_file: no {VOCAB_NAME}, {TOKENIZER_JSON} or {MODEL_NAME} in {vocab_file}, "
            f"which has {found}; name the file."
        )
    if os.path.exists(vocab_file):
        files.refuse_no_file(vocab_file)
    else:
        shipped = ", ".join(shipped_names())
        raise FileNotFoundError(
            f"--vocab_file: no such file: {vocab_file}. bert_ko comes with {shipped or 'none'}."
        )
    # The vocab.txt beside a SentencePiece model is only a readable list of its pieces.
    beside = os.path.join(os.path.dirname(vocab_file), MODEL_NAME)
    is_list = may_be_model and os.path.basename(vocab_file) == VOCAB_NAME
    return beside if is_list and os.path.isfile(beside) else vocab_file


def read_config(folder: str) -> TokenizerConfig | None:
    """Reads our settings in a vocabulary folder; None if there are none.

    Raises:
        ValueError: the file is not a JSON object, has unknown keys or wrong values, or says for
            transformers something else than for us.
    """
    path = os.path.join(folder, CONFIG_NAME)
    values = read_json(path, advice="") or {}
    own = values.get(HUGGING_FACE_KEY)
    if isinstance(own, dict):
        config = TokenizerConfig.from_dict(own, path)
        theirs = values.get("do_lower_case", config.do_lower_case)
        if theirs != config.do_lower_case and config.tokenizer_type == "wordpiece":
            raise ValueError(
                f"{path}: do_lower_case is {theirs}, but {config.do_lower_case} under "
                f"{HUGGING_FACE_KEY}; keep the one that the model was trained with."
            )
        return config
    return TokenizerConfig.from_dict(values, path) if "tokenizer_type" in values else None


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
    """Writes a vocabulary folder, which is whole, the old one or without a vocabulary at any time.

    Args:
        folder: made when missing; other files in it stay.
        pieces: in the order of their ids.
        config: its user dictionaries are replaced.
        model: a serialised SentencePiece model.
        user_dictionaries: paths of files to copy into the folder.
    """
    files.require_writable_folder(folder)
    contents = {os.path.basename(path): Path(path).read_bytes() for path in user_dictionaries}
    if len(contents) < len(user_dictionaries):
        names = ", ".join(user_dictionaries)
        raise ValueError(f"--mecab_user_dictionary: two have the same name: {names}; rename one.")
    if model is not None:
        contents[MODEL_NAME] = model
    contents[VOCAB_NAME] = "".join(f"{piece}\n" for piece in pieces).encode()
    config = dataclasses.replace(config, mecab_user_dictionary=user_dictionaries)
    contents[CONFIG_NAME] = config.to_json().encode()
    # The settings without pieces are refused, pieces without their settings would not be.
    with folder_writer(folder, last=VOCAB_NAME if model is None else MODEL_NAME) as temporary:
        for name, content in contents.items():
            Path(temporary, name).write_bytes(content)
