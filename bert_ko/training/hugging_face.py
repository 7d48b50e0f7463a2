"""Names and settings of transformers' BERT models in ours, and the other way round."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import (
    CLASS_BIAS,
    CLASS_WEIGHTS,
    OUTPUT_BIAS,
    RELATIONSHIP_BIAS,
    RELATIONSHIP_WEIGHTS,
    SPAN_BIAS,
    SPAN_WEIGHTS,
    TAG_BIAS,
    TAG_WEIGHTS,
    Arrays,
)
from bert_ko.training.labels import Labels, made_up_label

# Ours gelu is the tanh approximation, theirs the exact one.
_ACTIVATIONS = {
    "gelu": "gelu_erf",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
    "tanh": "tanh",
}
_THEIR_ACTIVATIONS = {"gelu": "gelu_new", "gelu_erf": "gelu", "relu": "relu", "tanh": "tanh"}
_SAME_KEYS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings",
    "type_vocab_size", "initializer_range",
)  # fmt: skip
_EPSILON = 1e-12  # of layer normalization, in Google's code
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


def from_hugging_face(name: str, has_tags: bool = False) -> tuple[str, bool] | None:
    """Google's name for a weight of transformers' BertForPreTraining and its kin.

    Args:
        name: theirs.
        has_tags: the model is a BertForTokenClassification.

    Returns:
        The name and whether the matrix is transposed; None for copies and buffers.
    """
    if name.endswith("position_ids") or name.startswith("cls.predictions.decoder."):
        return None
    heads = {**_HEADS, **(_TAGS if has_tags else _CLASSES)}
    if name in heads:
        return heads[name], False
    if name.startswith(("embeddings.", "encoder.", "pooler.")):  # BertModel alone
        name = f"bert.{name}"
    path = re.sub(r"\.layer\.(\d+)\.", r".layer_\1.", name)
    scope, _, leaf = path.rpartition(".")
    scope = scope.replace(".", "/")
    if scope.endswith("LayerNorm"):
        return f"{scope}/{ {'weight': 'gamma', 'bias': 'beta'}.get(leaf, leaf) }", False
    if scope.startswith("bert/embeddings/"):
        return scope, False
    if leaf == "weight":
        return f"{scope}/kernel", True
    return f"{scope}/{leaf}", False


def to_hugging_face(name: str) -> tuple[str, bool]:
    """Transformers' name for one of our variables, and whether the matrix is transposed.

    >>> to_hugging_face("bert/encoder/layer_0/output/dense/kernel")
    ('bert.encoder.layer.0.output.dense.weight', True)
    """
    if name in _THEIR_HEADS:
        return _THEIR_HEADS[name], False
    path = re.sub(r"/layer_(\d+)/", r"/layer.\1/", name).replace("/", ".")
    scope, _, leaf = path.rpartition(".")
    if leaf in ("gamma", "beta"):
        return f"{scope}.{'weight' if leaf == 'gamma' else 'bias'}", False
    if leaf == "kernel":
        return f"{scope}.weight", True
    return (path if leaf == "bias" else f"{path}.weight"), False


def architecture(arrays: Mapping[str, Any]) -> str:
    """Transformers' class for the variables that there are."""
    for weights, name in (
        (SPAN_WEIGHTS, "BertForQuestionAnswering"),
        (CLASS_WEIGHTS, "BertForSequenceClassification"),
        (TAG_WEIGHTS, "BertForTokenClassification"),
    ):
        if weights in arrays:
            return name
    if RELATIONSHIP_WEIGHTS in arrays:
        return "BertForPreTraining"
    return "BertForMaskedLM" if OUTPUT_BIAS in arrays else "BertModel"


def to_hugging_face_arrays(arrays: Arrays) -> dict[str, Any]:
    """The variables under transformers' names, in its order of rows and columns."""
    has_head = architecture(arrays) != "BertModel"
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        theirs, transpose = to_hugging_face(name)
        theirs = theirs if has_head else theirs.removeprefix("bert.")
        found[theirs] = array.T if transpose else array
    return found


def from_hugging_face_config(values: Mapping[str, Any], source: str) -> BertConfig:
    """Our configuration for a config.json of transformers.

    Args:
        values: of the file.
        source: its name, for messages.

    Raises:
        ValueError: a model that ours can't compute.
    """
    if values.get("model_type") not in (None, "bert"):
        raise ValueError(f"{source} is of a {values['model_type']} model; only bert is read.")
    kind = values.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise ValueError(f"{source}: position_embedding_type {kind} is not known; only absolute.")
    epsilon = values.get("layer_norm_eps", _EPSILON)
    if not 0 < epsilon <= 1e-9:
        raise ValueError(f"{source}: layer_norm_eps is {epsilon}, but BERT's is {_EPSILON}.")
    act = values.get("hidden_act", "gelu")
    if act not in _ACTIVATIONS:
        raise ValueError(
            f"{source}: hidden_act {act} is not known; known are {', '.join(_ACTIVATIONS)}."
        )
    known = {key: values[key] for key in _SAME_KEYS if key in values}
    if "vocab_size" not in known:
        raise ValueError(f"{source} has no vocab_size.")
    try:
        return BertConfig(**known, hidden_act=_ACTIVATIONS[act])
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def to_hugging_face_config(
    config: BertConfig, arrays: Mapping[str, Any], labels: Labels | None = None
) -> dict[str, Any]:
    """The config.json of transformers for our model.

    Args:
        config: ours.
        arrays: its variables, which decide about the class.
        labels: of a classifier or a tagger, where they are known; none for a regression.
    """
    values = config.to_dict()
    outputs = next((arrays[name] for name in (CLASS_BIAS, TAG_BIAS) if name in arrays), ())
    names = list(labels or map(made_up_label, range(len(outputs))))
    return {
        **{key: values[key] for key in _SAME_KEYS},
        "architectures": [architecture(arrays)],
        "hidden_act": _THEIR_ACTIVATIONS[config.hidden_act],
        "layer_norm_eps": _EPSILON,
        "model_type": "bert",
        **({"id2label": dict(enumerate(names))} if len(outputs) else {}),
        **({"label2id": {name: i for i, name in enumerate(names)}} if len(outputs) else {}),
        **({"problem_type": "regression"} if labels == () and len(outputs) else {}),
    }
