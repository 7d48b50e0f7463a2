"""Vocabularies written beside the models that were trained with them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bert_ko import files

if TYPE_CHECKING:  # MeCab is loaded only for a run that names a vocabulary
    from bert_ko.tokenization.tokenizer import Tokenizer
    from bert_ko.tokenization.word_vocabulary import WordVocabulary


def copy_vocabulary(tokenizer: Tokenizer, folder: str, target: str | None = None) -> None:
    """Writes the files of a vocabulary of pieces, unless they are there already.

    Args:
        tokenizer: that has it.
        folder: to write to.
        target: the folder that they get to; None for the same.

    Raises:
        ValueError: the target has another vocabulary.
    """
    from bert_ko.tokenization.folder import write_folder

    model = tokenizer.model.serialized if tokenizer.model else None
    with tempfile.TemporaryDirectory() as temporary:
        pieces = list(tokenizer.vocab.pieces)
        write_folder(temporary, pieces, tokenizer.config, model, tokenizer.user_dictionaries)
        contents = {path.name: path.read_bytes() for path in sorted(Path(temporary).iterdir())}
    _write(contents, folder, target or folder, tokenizer.source)


def copy_word_vocabulary(vocabulary: WordVocabulary, folder: str) -> None:
    """Writes the files of a vocabulary of words, unless they are there already.

    Raises:
        ValueError: the folder has another vocabulary.
    """
    from bert_ko.tokenization.word_vocabulary import WORDS_CONFIG_NAME, WORDS_NAME

    own = (os.path.join(vocabulary.source, name) for name in (WORDS_CONFIG_NAME, WORDS_NAME))
    paths = [Path(path) for path in (*vocabulary.user_dictionaries, *own)]
    contents = {path.name: path.read_bytes() for path in paths}
    _write(contents, folder, folder, vocabulary.source)


def _write(contents: Mapping[str, bytes], folder: str, target: str, source: str) -> None:
    for name, content in contents.items():
        path = Path(target, name)
        if path.exists() and path.read_bytes() != content:
            raise ValueError(
                f"--vocab_file={source} is to be copied to {target}, but {path} differs; delete "
                "that, choose another --output_dir, or leave --vocab_file out."
            )
    for name, content in contents.items():
        files.write_atomic(os.path.join(folder, name), content)
