"""The vocabulary of a model: whether it fits, and its files beside the weights."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from bert_ko import files

if TYPE_CHECKING:  # MeCab is loaded only for a run that names a vocabulary
    from bert_ko.tokenization.tokenizer import Tokenizer


def compare_vocab_size(
    size: int, owner: str, where: str, model_size: int, config_file: str
) -> None:
    """Refuses a vocabulary that is larger than the model's.

    Args:
        size: of the vocabulary.
        owner: whose it is, for the message: "the shards".
        where: the file that says so.
        model_size: vocab_size of the model's configuration.
        config_file: where that was read.

    Raises:
        ValueError: with both numbers and what to change.
    """
    if size > model_size:
        raise ValueError(
            f"vocab_size is {model_size:,} in {config_file}, but {size:,} in {owner} "
            f"({where}); set vocab_size in the config to that."
        )


def copy_vocabulary(tokenizer: Tokenizer, folder: str) -> None:
    """Puts the files of a vocabulary beside a model.

    Args:
        tokenizer: opened.
        folder: of the model; what is there already stays.

    Raises:
        ValueError: the folder has another vocabulary.
    """
    from bert_ko.tokenization.folder import write_folder

    model = tokenizer.model.serialized if tokenizer.model else None
    with tempfile.TemporaryDirectory() as temporary:
        pieces = list(tokenizer.vocab.pieces)
        write_folder(temporary, pieces, tokenizer.config, model, tokenizer.user_dictionaries)
        contents = {}
        for name in sorted(os.listdir(temporary)):
            with open(os.path.join(temporary, name), "rb") as file:
                contents[name] = file.read()
    for name, content in contents.items():
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            continue
        with open(path, "rb") as file:
            if file.read() != content:
                raise ValueError(
                    f"--vocab_file={tokenizer.source} is to be copied to {folder}, but {path} "
                    "differs; delete that, choose another --output_dir, or leave --vocab_file out."
                )
    for name, content in contents.items():
        files.write_atomic(os.path.join(folder, name), content)
