"""Korean BERT: vocabulary, pre-training, fine-tuning and prediction.

    import bert_ko
    reader = bert_ko.load("reader/")
    print(reader.answer("누가 지었나?", "세종이 한글을 지었다.").text)

Importing this is quick: frameworks are imported when a model is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal, overload

from bert_ko.version import VERSION

if TYPE_CHECKING:
    from bert_ko.tasks.classifier.classifier import Classification, Classifier, Score
    from bert_ko.tasks.features.featurizer import Featurizer, TextFeatures
    from bert_ko.tasks.fill_mask.masked_lm import Candidate, Mask, MaskedLm
    from bert_ko.tasks.kinds import Kind
    from bert_ko.tasks.ner.tagger import TaggedEntity, Tagger
    from bert_ko.tasks.squad.reader import Answer, Reader
    from bert_ko.tokenization.tokenizer import Encoding, Tokenizer
    from bert_ko.tokenization.vocabulary import Piece

__version__ = VERSION
__all__ = [
    "Answer", "Candidate", "Classification", "Classifier", "Encoding", "Featurizer", "Mask",
    "MaskedLm", "Piece", "Reader", "Score", "TaggedEntity", "Tagger", "TextFeatures", "Tokenizer",
    "load",
]  # fmt: skip
_MODULES = {
    "tasks.classifier.classifier": ("Classification", "Classifier", "Score"),
    "tasks.features.featurizer": ("Featurizer", "TextFeatures"),
    "tasks.fill_mask.masked_lm": ("Candidate", "Mask", "MaskedLm"),
    "tasks.ner.tagger": ("TaggedEntity", "Tagger"),
    "tasks.squad.reader": ("Answer", "Reader"),
    "tokenization.tokenizer": ("Encoding", "Tokenizer"),
    "tokenization.vocabulary": ("Piece",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


@overload
def load(path: str, kind: Literal["reader"], **settings: Any) -> Reader: ...
@overload
def load(path: str, kind: Literal["classifier"], **settings: Any) -> Classifier: ...
@overload
def load(path: str, kind: Literal["tagger"], **settings: Any) -> Tagger: ...
@overload
def load(path: str, kind: Literal["masked_lm"], **settings: Any) -> MaskedLm: ...
@overload
def load(path: str, kind: Literal["features"], **settings: Any) -> Featurizer: ...
@overload
def load(path: str, kind: Literal["tokenizer"], **settings: Any) -> Tokenizer: ...
@overload
def load(path: str, kind: None = None, **settings: Any) -> Any: ...


def load(path: str, kind: Kind | None = None, **settings: Any) -> Any:
    """Opens a trained model, or a vocabulary if there are no weights.

    Args:
        path: a folder of a run or one of its checkpoints, a converted folder, a Hugging Face folder
            with safetensors, the prefix of a TF1 checkpoint, or a vocabulary: a folder, or the
            name of one that comes with bert_ko, "ko-mecab-32k".
        kind: of the result, for a model of several kinds: "features" of any model, "tokenizer" for
            its vocabulary alone. By default the first of those above that fits.
        settings: of the kind's ``from_model``, such as max_seq_length and batch_size; and precision
            ("float32" unless given), num_devices, attention, vocab_file, bert_config_file …

    Returns:
        A Reader, Classifier, Tagger, MaskedLm, Featurizer or Tokenizer.

    Raises:
        FileNotFoundError: the weights, the configuration or the vocabulary is missing.
        ValueError: they do not match or are damaged, or the model is of another kind.
    """
    from bert_ko.tasks.kinds import load as load_kind

    return load_kind(path, kind, settings)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
