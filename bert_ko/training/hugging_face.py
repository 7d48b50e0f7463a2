"""Names of transformers' variables in ours, and the other way round."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import Encoder, HuggingFaceForm, encoder_of
from bert_ko.modeling.heads import (
    CLASS_BIAS,
    CLASS_WEIGHTS,
    OUTPUT_BIAS,
    RELATIONSHIP_BIAS,
    RELATIONSHIP_WEIGHTS,
    SPAN_BIAS,
    SPAN_WEIGHTS,
    TAG_BIAS,
    TAG_WEIGHTS,
)
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.labels import Labels, made_up_label

_HEADS = {
    "cls.predictions.bias": OUTPUT_BIAS,
    "cls.seq_relationship.weight": RELATIONSHIP_WEIGHTS,
    "cls.seq_relationship.bias": RELATIONSHIP_BIAS,
    "qa_outputs.weight": SPAN_WEIGHTS,
    "qa_outputs.bias": SPAN_BIAS,
}
# Theirs has one name for both heads.
_CLASSES = {"classifier.weight": CLASS_WEIGHTS, "classifier.bias": CLASS_BIAS}
_TAGS = {"classifier.weight": TAG_WEIGHTS, "classifier.bias": TAG_BIAS}
_THEIR_HEADS = {
    ours: theirs for heads in (_HEADS, _CLASSES, _TAGS) for theirs, ours in heads.items()
}
# What a class of transformers is called behind the encoder's prefix.
_FOR_TAGS, _FOR_PAIRS, _ENCODER_ALONE = (
    "ForTokenClassification",
    "ForNextSentencePrediction",
    "Model",
)


def from_hugging_face(name: str, encoder: Encoder, has_tags: bool = False) -> str | None:
    """Our name for a weight of transformers' models; None for copies and buffers."""
    if name.endswith("position_ids") or name.startswith("cls.predictions.decoder."):
        return None
    heads = {**_HEADS, **(_TAGS if has_tags else _CLASSES)}
    if name in heads:
        return heads[name]
    if name.startswith(("embeddings.", "encoder.", "pooler.")):  # the encoder alone
        name = f"{encoder.scope}.{name}"
    path = re.sub(r"\.layer\.(\d+)\.", r".layer_\1.", name)
    scope, _, leaf = path.rpartition(".")
    scope = scope.replace(".", "/")
    if scope.endswith("LayerNorm"):
        return f"{scope}/{ {'weight': 'gamma', 'bias': 'beta'}.get(leaf, leaf) }"
    if scope.startswith(f"{encoder.scope}/embeddings/"):
        return scope
    return f"{scope}/{'kernel' if leaf == 'weight' else leaf}"


def to_hugging_face(name: str) -> str:
    """Transformers' name for one of our variables.

    >>> to_hugging_face("bert/encoder/layer_0/output/dense/kernel")
    'bert.encoder.layer.0.output.dense.weight'
    """
    if name in _THEIR_HEADS:
        return _THEIR_HEADS[name]
    path = re.sub(r"/layer_(\d+)/", r"/layer.\1/", name).replace("/", ".")
    scope, _, leaf = path.rpartition(".")
    if leaf in ("gamma", "beta"):
        return f"{scope}.{'weight' if leaf == 'gamma' else 'bias'}"
    if leaf == "kernel":
        return f"{scope}.weight"
    return path if leaf == "bias" else f"{path}.weight"


def is_transposed(name: str) -> bool:
    """Whether transformers has the transpose of one of our variables."""
    return name.endswith("/kernel")


def has_tags(values: Mapping[str, Any]) -> bool:
    """Whether a config.json is of a model that classifies tokens."""
    return any(str(name).endswith(_FOR_TAGS) for name in values.get("architectures") or ())


def class_suffixes(arrays: Mapping[str, Any]) -> list[str]:
    """The names of transformers' classes, without their prefix, that use a model's variables.

    Together they use all heads, and the first one is the model's main one.
    """
    found = [
        name
        for weights, name in (
            (SPAN_WEIGHTS, "ForQuestionAnswering"),
            (CLASS_WEIGHTS, "ForSequenceClassification"),
            (TAG_WEIGHTS, _FOR_TAGS),
            (RELATIONSHIP_WEIGHTS, "ForPreTraining" if OUTPUT_BIAS in arrays else _FOR_PAIRS),
            (OUTPUT_BIAS, "ForMaskedLM"),
        )
        if weights in arrays and not (weights == OUTPUT_BIAS and RELATIONSHIP_WEIGHTS in arrays)
    ]
    return found or [_ENCODER_ALONE]


def architecture(config: ModelConfig, arrays: Mapping[str, Any]) -> str:
    """Transformers' class for a model; a ValueError if it has no such encoder."""
    return f"{hugging_face_form(config).class_prefix}{class_suffixes(arrays)[0]}"


def hugging_face_form(config: ModelConfig) -> HuggingFaceForm:
    """The form of a model's encoder in transformers; a ValueError if there is none."""
    encoder = encoder_of(config)
    if encoder.hugging_face is None:
        raise ValueError(
            f"{encoder.model_type} has no form in Hugging Face transformers; give another "
            "--to_format."
        )
    return encoder.hugging_face


def to_hugging_face_arrays(config: ModelConfig, arrays: Arrays) -> dict[str, Any]:
    """The variables, float32, by transformers' names, kernels [in, out] transposed to [out, in]."""
    is_encoder = class_suffixes(arrays) == [_ENCODER_ALONE]
    prefix = f"{encoder_of(config).scope}." if is_encoder else ""
    return {
        to_hugging_face(name).removeprefix(prefix): array.T if is_transposed(name) else array
        for name, array in arrays.items()
    }


def to_hugging_face_config(
    config: ModelConfig, arrays: Mapping[str, Any], labels: Labels | None = None
) -> dict[str, Any]:
    """The config.json of transformers for our model.

    Args:
        config: ours.
        arrays: its variables, which decide the class.
        labels: of a classifier or a tagger, if known; empty for a regression.
    """
    outputs = next((arrays[name] for name in (CLASS_BIAS, TAG_BIAS) if name in arrays), ())
    names = list(labels or map(made_up_label, range(len(outputs))))
    values = hugging_face_form(config).to_config(config)
    values = {**values, "architectures": [architecture(config, arrays)]}
    if len(outputs):
        values["id2label"] = dict(enumerate(names))
        values["label2id"] = {name: number for number, name in enumerate(names)}
        if labels == ():
            values["problem_type"] = "regression"
    return values
