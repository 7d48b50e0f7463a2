"""The model's variables: names, shapes and initial values, known before any framework is loaded.

Names are those of the variables of Google's TF1 code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.config import BertConfig

Initializer = Literal["normal", "zeros", "ones"]
Arrays = dict[str, npt.NDArray[np.float32]]

WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"
POSITION_EMBEDDINGS = "bert/embeddings/position_embeddings"
SEGMENT_EMBEDDINGS = "bert/embeddings/token_type_embeddings"
EMBEDDINGS_NORM = "bert/embeddings/LayerNorm"
POOLER = "bert/pooler/dense"
TRANSFORM = "cls/predictions/transform"
OUTPUT_BIAS = "cls/predictions/output_bias"
RELATIONSHIP_WEIGHTS = "cls/seq_relationship/output_weights"
RELATIONSHIP_BIAS = "cls/seq_relationship/output_bias"
SPAN_WEIGHTS = "cls/squad/output_weights"
SPAN_BIAS = "cls/squad/output_bias"
CLASS_WEIGHTS = "output_weights"  # as Google's run_classifier calls it
CLASS_BIAS = "output_bias"
TAG_WEIGHTS = "cls/tags/output_weights"
TAG_BIAS = "cls/tags/output_bias"
TAG_CRF = "cls/tags/crf/"
TAG_TRANSITIONS = f"{TAG_CRF}transitions"
TAG_START = f"{TAG_CRF}start"
TAG_END = f"{TAG_CRF}end"
# What means nothing without its labels.
LABEL_HEADS = (
    CLASS_WEIGHTS,
    CLASS_BIAS,
    TAG_WEIGHTS,
    TAG_BIAS,
    TAG_TRANSITIONS,
    TAG_START,
    TAG_END,
)


class ParameterSpec(NamedTuple):
    """Shape and initial value of a variable."""

    shape: tuple[int, ...]
    initializer: Initializer


Specs = dict[str, ParameterSpec]


def layer_name(layer: int) -> str:
    """Scope of an encoder layer, from 0."""
    return f"bert/encoder/layer_{layer}"


def encoder_specs(config: BertConfig, has_pooler: bool = True) -> Specs:
    """Embeddings and layers, and the pooler where something stands on it."""
    h, i = config.hidden_size, config.intermediate_size
    specs: Specs = {
        WORD_EMBEDDINGS: ParameterSpec((config.vocab_size, h), "normal"),
        SEGMENT_EMBEDDINGS: ParameterSpec((config.type_vocab_size, h), "normal"),
        POSITION_EMBEDDINGS: ParameterSpec((config.max_position_embeddings, h), "normal"),
    }
    specs.update(_norm(EMBEDDINGS_NORM, h))
    for layer in range(config.num_hidden_layers):
        scope = layer_name(layer)
        for name in ("query", "key", "value"):
            specs.update(_dense(f"{scope}/attention/self/{name}", h, h))
        specs.update(_dense(f"{scope}/attention/output/dense", h, h))
        specs.update(_norm(f"{scope}/attention/output/LayerNorm", h))
        specs.update(_dense(f"{scope}/intermediate/dense", h, i))
        specs.update(_dense(f"{scope}/output/dense", i, h))
        specs.update(_norm(f"{scope}/output/LayerNorm", h))
    if has_pooler:
        specs.update(_dense(POOLER, h, h))
    return specs


def masked_lm_specs(config: BertConfig, has_pooler: bool = False) -> Specs:
    """The encoder with the head for masked pieces."""
    h = config.hidden_size
    return {
        **encoder_specs(config, has_pooler),
        **dict(_dense(f"{TRANSFORM}/dense", h, h)),
        **dict(_norm(f"{TRANSFORM}/LayerNorm", h)),
        OUTPUT_BIAS: ParameterSpec((config.vocab_size,), "zeros"),
    }


def pretraining_specs(config: BertConfig) -> Specs:
    """The encoder with the heads for masked pieces and next sentences."""
    h = config.hidden_size
    return {
        **masked_lm_specs(config, has_pooler=True),
        RELATIONSHIP_WEIGHTS: ParameterSpec((2, h), "normal"),
        RELATIONSHIP_BIAS: ParameterSpec((2,), "zeros"),
    }


def span_specs(config: BertConfig) -> Specs:
    """The encoder with the head for answers: where they begin and end."""
    return {
        **encoder_specs(config, has_pooler=False),
        SPAN_WEIGHTS: ParameterSpec((2, config.hidden_size), "normal"),
        SPAN_BIAS: ParameterSpec((2,), "zeros"),
    }


def class_specs(config: BertConfig, num_labels: int) -> Specs:
    """The encoder with the head for a class of a text, on the pooler."""
    return {**encoder_specs(config), **_labels(CLASS_WEIGHTS, CLASS_BIAS, config, num_labels)}


def tag_specs(config: BertConfig, num_labels: int, use_crf: bool = False) -> Specs:
    """The encoder with the head for a tag of every piece, and perhaps a CRF over them."""
    crf: Specs = {
        TAG_TRANSITIONS: ParameterSpec((num_labels, num_labels), "zeros"),
        TAG_START: ParameterSpec((num_labels,), "zeros"),
        TAG_END: ParameterSpec((num_labels,), "zeros"),
    }
    return {
        **encoder_specs(config, has_pooler=False),
        **_labels(TAG_WEIGHTS, TAG_BIAS, config, num_labels),
        **(crf if use_crf else {}),
    }


def _labels(weights: str, bias: str, config: BertConfig, num_labels: int) -> Specs:
    return {
        weights: ParameterSpec((num_labels, config.hidden_size), "normal"),
        bias: ParameterSpec((num_labels,), "zeros"),
    }


def _dense(scope: str, inputs: int, units: int) -> Iterator[tuple[str, ParameterSpec]]:
    yield f"{scope}/kernel", ParameterSpec((inputs, units), "normal")
    yield f"{scope}/bias", ParameterSpec((units,), "zeros")


def _norm(scope: str, units: int) -> Iterator[tuple[str, ParameterSpec]]:
    yield f"{scope}/gamma", ParameterSpec((units,), "ones")
    yield f"{scope}/beta", ParameterSpec((units,), "zeros")


def count_parameters(specs: Mapping[str, ParameterSpec]) -> int:
    """Numbers in all variables."""
    return sum(int(np.prod(spec.shape)) for spec in specs.values())


def count_parameters_of(arrays: Arrays) -> int:
    """Numbers in all arrays."""
    return sum(array.size for array in arrays.values())


def initial_parameters(
    specs: Mapping[str, ParameterSpec], initializer_range: float, seed: int
) -> Arrays:
    """New weights.

    Args:
        specs: the variables.
        initializer_range: standard deviation of the normal distribution, which is cut at two of
            them.
        seed: each variable draws from a stream of its own, so that a head more changes no other.
    """
    arrays = {}
    for name, spec in specs.items():
        if spec.initializer == "normal":
            rng = np.random.default_rng([seed, *name.encode()])
            arrays[name] = _truncated_normal(spec.shape, rng) * np.float32(initializer_range)
        else:
            arrays[name] = np.full(spec.shape, spec.initializer == "ones", np.float32)
    return arrays


def _truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    values = rng.standard_normal(shape, np.float32)
    while True:
        outside = np.flatnonzero(np.abs(values) > 2)
        if not len(outside):
            return values
        values.ravel()[outside] = rng.standard_normal(len(outside), np.float32)
