"""Loading a path: a model of some kind, or a vocabulary alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Literal

from bert_ko.shipped import find_shipped
from bert_ko.tasks.classifier.classifier import Classifier
from bert_ko.tasks.features.featurizer import Featurizer
from bert_ko.tasks.fill_mask.masked_lm import MaskedLm
from bert_ko.tasks.loading import (
    Loadable,
    open_trained,
    plain_messages,
    require_choice,
)
from bert_ko.tasks.ner.tagger import Tagger
from bert_ko.tasks.squad.reader import Reader
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.settings import TokenizerSettings
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.checkpoints import list_checkpoints
from bert_ko.training.model_files import vocabulary_beside
from bert_ko.training.places import local_weights

Kind = Literal["reader", "classifier", "tagger", "masked_lm", "features", "tokenizer"]
# A model of several kinds is loaded as the first of them.
_CLASSES: tuple[type[Loadable], ...] = (Reader, Classifier, Tagger, MaskedLm, Featurizer)
_BY_KIND = {one.kind: one for one in _CLASSES}
_TOKENIZER = "tokenizer"
_WEIGHTS = re.compile(r".+\.(safetensors|index|bin|pt|pth|pkl|ckpt)")


def load(path: str, kind: Kind | None, settings: Mapping[str, Any]) -> Loadable | Tokenizer:
    """See ``bert_ko.load``."""
    path = local_weights(find_shipped(path))
    with plain_messages():
        if kind is not None:
            require_choice("kind", kind, (*_BY_KIND, _TOKENIZER))
        if kind == _TOKENIZER or (kind is None and _is_vocabulary(path)):
            place = path if os.path.isfile(path) else vocabulary_beside(path) or path
            return load_tokenizer(place, TokenizerSettings(**settings))
        if kind is None:
            return load_model(path, settings)
        return _BY_KIND[kind].checked(*open_trained(path, settings))


def load_model(path: str, settings: Mapping[str, Any]) -> Loadable:
    """``load`` of what must be a model; messages name flags as on the command line."""
    model, own = open_trained(path, settings)
    return next(one for one in _CLASSES if one.fits(model)).from_model(model, **own)


def _is_vocabulary(path: str) -> bool:
    """Whether there is a vocabulary without weights."""
    if os.path.isfile(path):
        return path.endswith((".txt", ".model"))
    return (
        os.path.isdir(path)
        and vocabulary_beside(path) is not None
        and not (list_checkpoints(path, "best") or list_checkpoints(path))
        and not any(map(_WEIGHTS.fullmatch, os.listdir(path)))
    )
