"""The settings of transformers' BERT models in ours, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bert_ko.modeling.bert import BertConfig

# Our gelu is the tanh approximation, theirs the exact one.
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


def from_hugging_face_config(values: Mapping[str, Any], source: str) -> BertConfig:
    """Our configuration for a config.json of transformers.

    Args:
        values: of the file.
        source: its name, for messages.

    Raises:
        ValueError: a model that ours can't compute.
    """
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


def to_hugging_face_config(config: BertConfig) -> dict[str, Any]:
    """The keys of transformers' config.json that describe the encoder."""
    values = config.to_dict()
    return {
        **{key: values[key] for key in _SAME_KEYS},
        "hidden_act": _THEIR_ACTIVATIONS[config.hidden_act],
        "layer_norm_eps": _EPSILON,
        "model_type": "bert",
    }
