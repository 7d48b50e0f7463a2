"""A biLM from our folder to bilm-tf's form and back, with its layers compared."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from bert_ko import files
from bert_ko.folders import folder_writer
from bert_ko.json_files import write_json
from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.parameters import Arrays
from bert_ko.tasks.bilm.layers import layer_outputs, sentence_layers
from bert_ko.tokenization.beside import copy_word_vocabulary
from bert_ko.tokenization.word_vocabulary import WordVocabulary
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.bilm import OPTIONS_NAME, write_bilm
from bert_ko.training.checkpoints import CONFIG_NAME, Checkpoint, save_checkpoint
from bert_ko.training.devices import load_backend
from bert_ko.training.initialization import Source, read_source
from bert_ko.training.model_files import find_words

LIMIT = 1e-5  # of a difference between two layers
SENTENCES = (
    ("비", "가", "온", "뒤", "에", "땅", "이", "굳", "는다"),
    ("Seoul", "2026", "!"),
    ("삼십육계줄행랑이라더니아주멀리도갔구나", "ㅋㅋ"),
)
_FORMAT = 1


class WordModel(NamedTuple):
    """A biLM on its way from one form to another."""

    source: Source
    arrays: Arrays
    config: ElmoConfig
    words: WordVocabulary | None  # of the softmax


def open_word_model(source: Source, vocab_file: str | None) -> WordModel:
    """A biLM with the vocabulary of a flag, or that beside it if there is one.

    Raises:
        FileNotFoundError: the flag names none.
        ValueError: the vocabulary is not the one that the softmax was trained with.
    """
    config = source.config
    assert isinstance(config, ElmoConfig)
    words = find_words(source, vocab_file)
    return WordModel(source, dict(sorted(source.arrays.items())), config, words)


def write_word_model(model: WordModel, form: str, path: str, *, compares: bool) -> str:
    """Writes a biLM into a new folder, whose files appear when all are written and compared.

    Args:
        model: to write.
        form: bert_ko or bilm; the latter has no softmax.
        path: the folder.
        compares: whether the layers of both are compared.

    Returns:
        What was found, to be printed.

    Raises:
        ValueError: the form can't say it, or the layers differ by more than LIMIT.
    """
    files.require_writable_folder(os.path.dirname(os.path.abspath(path)))
    last = OPTIONS_NAME if form == "bilm" else CONFIG_NAME
    with folder_writer(path, last) as temporary:
        if form == "bilm":
            write_bilm(temporary, model.arrays, model.config)
        else:
            _write_checkpoint(model, temporary)
        if model.words is not None:
            copy_word_vocabulary(model.words, temporary)
        if not compares:
            return "the layers were not compared (--nocompare)"
        difference = _difference(model, read_source(temporary))
        if not difference <= LIMIT:
            raise ValueError(
                f"the conversion differs from {model.source.path} by {difference:.1e}, more than "
                f"{LIMIT:.0e}; nothing was written (--nocompare writes it all the same)."
            )
    return f"largest difference between the layers before and after: {difference:.1e}"


def _write_checkpoint(model: WordModel, folder: str) -> None:
    step = model.source.step
    state = {
        "format": _FORMAT,
        "step": step,
        "tokenizer_fingerprint": model.words.fingerprint if model.words is not None else None,
        "converted_from": model.source.kind,
    }
    save_checkpoint(folder, step, Checkpoint(model.arrays, {}, state), model.config, keep=0)
    write_json(os.path.join(folder, CONFIG_NAME), model.config.to_dict())


def _difference(model: WordModel, written: Source) -> float:
    """The largest between the layers of a few sentences."""
    assert isinstance(written.config, ElmoConfig)
    backend = load_backend(DeviceConfig(num_devices=1, precision="float32"))
    found = []
    for arrays, config in ((model.arrays, model.config), (written.arrays, written.config)):
        specs = encoder_of(config).specs(config)
        own = {name: arrays[name] for name in specs}
        predict = backend.predictor(config, own, layer_outputs)
        found.append(sentence_layers(predict, config, SENTENCES))
    return max(float(np.abs(a - b).max()) for a, b in zip(*found, strict=True))
