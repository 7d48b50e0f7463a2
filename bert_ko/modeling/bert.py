"""BERT: its configuration, here and in transformers, its variables, and the encoder.

Legend: B batch, L max_seq_length, H hidden_size, N heads, D head size, R rows: B * L.

Source: modeling.py of google-research/bert. Differs: query, key and value are one matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy.typing as npt

from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig, refuse_giant, shown
from bert_ko.modeling.fused import (
    BIAS_ACTIVATION,
    DROPOUT_ADD_NORM,
    EPSILON,
    NORM_DROPOUT,
    SOFTMAX_DROPOUT,
    SPLIT_HEADS,
    Tensor,
)
from bert_ko.modeling.ops import ops
from bert_ko.modeling.packing import is_packed
from bert_ko.modeling.parameters import (
    ParameterSpec,
    Specs,
    count_parameters,
    dense_specs,
    norm_specs,
)

SCOPE = "bert"
WORD_EMBEDDINGS = f"{SCOPE}/embeddings/word_embeddings"
POSITION_EMBEDDINGS = f"{SCOPE}/embeddings/position_embeddings"
SEGMENT_EMBEDDINGS = f"{SCOPE}/embeddings/token_type_embeddings"
EMBEDDINGS_NORM = f"{SCOPE}/embeddings/LayerNorm"
_MASKED = -10000.0  # what Google's code adds to the scores of what a piece does not see
# Our gelu is the tanh approximation, theirs the exact one.
_ACTIVATIONS = {
    "gelu": "gelu_erf", "gelu_python": "gelu_erf", "gelu_new": "gelu", "gelu_fast": "gelu",
    "gelu_pytorch_tanh": "gelu", "relu": "relu", "tanh": "tanh",
}  # fmt: skip
_THEIR_ACTIVATIONS = {"gelu": "gelu_new", "gelu_erf": "gelu", "relu": "relu", "tanh": "tanh"}
# Keys of theirs whose other values compute something else.
_ONLY: Mapping[str, object] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "quantization_config": {},
}
_SAME_KEYS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings",
    "type_vocab_size", "initializer_range",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BertConfig(ModelConfig):
    """bert_config.json; Google's keys and defaults."""

    model_type: ClassVar[str] = "bert"

    num_attention_heads: int = 12  # N; divides hidden_size
    intermediate_size: int = 3072  # units of the feed-forward layer
    attention_probs_dropout_prob: float = 0.1
    type_vocab_size: int = 2  # segment ids

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by its key."""
        super().__post_init__()
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_attention_heads, got {self.hidden_size} "
                f"and {self.num_attention_heads}."
            )
        refuse_giant(count_parameters(bert_specs(self)), self)

    @property
    def head_size(self) -> int:
        """D, hidden units of an attention head."""
        return self.hidden_size // self.num_attention_heads


def from_hugging_face_config(values: Mapping[str, Any], source: str) -> BertConfig:
    """Our configuration for the values of a config.json of transformers.

    Raises:
        ValueError: our BERT can't compute such a model; the message names ``source``, the file.
    """
    try:
        for key, kept in _ONLY.items():
            value = values.get(key)
            if value and value != kept:
                usual = f"only {kept!r} is" if kept != {} else "models with it are not"
                raise ValueError(f"{key} is {shown(value)}, but {usual} computed.")
        epsilon = values.get("layer_norm_eps", EPSILON)
        if type(epsilon) not in (int, float) or not 0 < epsilon <= 1e-9:
            raise ValueError(f"layer_norm_eps is {shown(epsilon)}, but BERT's is {EPSILON}.")
        act = values.get("hidden_act", "gelu")
        if not isinstance(act, str) or act not in _ACTIVATIONS:
            raise ValueError(
                f"hidden_act {shown(act)} is not known; known are {', '.join(_ACTIVATIONS)}."
            )
        known = {key: values[key] for key in _SAME_KEYS if key in values}
        if "vocab_size" not in known:
            raise ValueError("vocab_size is missing.")
        return BertConfig(**known, hidden_act=_ACTIVATIONS[act])
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def to_hugging_face_config(config: BertConfig) -> dict[str, Any]:
    """The keys of transformers' config.json that describe the encoder."""
    values = config.to_dict()
    return {
        **{key: values[key] for key in _SAME_KEYS},
        "hidden_act": _THEIR_ACTIVATIONS[config.hidden_act],
        "layer_norm_eps": EPSILON,
        "model_type": "bert",
    }


def layer_name(layer: int) -> str:
    """Scope of an encoder layer, from 0."""
    return f"{SCOPE}/encoder/layer_{layer}"


def bert_specs(config: BertConfig) -> Specs:
    """Embeddings and layers."""
    h, i = config.hidden_size, config.intermediate_size
    specs: Specs = {
        WORD_EMBEDDINGS: ParameterSpec((config.vocab_size, h), "normal"),
        SEGMENT_EMBEDDINGS: ParameterSpec((config.type_vocab_size, h), "normal"),
        POSITION_EMBEDDINGS: ParameterSpec((config.max_position_embeddings, h), "normal"),
    }
    specs.update(norm_specs(EMBEDDINGS_NORM, h))
    for layer in range(config.num_hidden_layers):
        scope = layer_name(layer)
        for name in ("query", "key", "value"):
            specs.update(dense_specs(f"{scope}/attention/self/{name}", h, h))
        specs.update(dense_specs(f"{scope}/attention/output/dense", h, h))
        specs.update(norm_specs(f"{scope}/attention/output/LayerNorm", h))
        specs.update(dense_specs(f"{scope}/intermediate/dense", h, i))
        specs.update(dense_specs(f"{scope}/output/dense", i, h))
        specs.update(norm_specs(f"{scope}/output/LayerNorm", h))
    return specs


def bert_multiplications(config: BertConfig, lengths: npt.NDArray[Any]) -> float:
    """Of the matrix products of a prediction for sequences of these lengths; see Encoder."""
    h, i = config.hidden_size, config.intermediate_size
    each = lengths.sum() * (4 * h * h + 2 * h * i) + 2 * h * (lengths * lengths).sum()
    return float(config.num_hidden_layers * each)


def bert_layers(model: Model, features: Features) -> list[Tensor]:
    """The embeddings and the output of every layer; the last is sequence_output.

    Args:
        model: variables and settings.
        features: input_ids, input_mask, segment_ids, int32 [B, L], and those of packed rows.

    Returns:
        num_hidden_layers + 1 of [B, L, H], of activation_dtype.
    """
    shape = (*ops.shape(features["input_ids"]), model.config.hidden_size)
    embedded, bias = _embed(model, features), _attention_bias(features)
    count = model.compute.num_shares(shape[0])
    models = model.for_shares(count, f"{SCOPE}/encoder")
    shares = [
        _layers(*share)
        for share in zip(models, ops.split(embedded, count), ops.split(bias, count), strict=True)
    ]
    model.dropout.go_on_after(models[-1].dropout)
    outputs = [embedded, *(_joined(parts) for parts in zip(*shares, strict=True))]
    return [ops.reshape(x, shape) for x in outputs]


def _layers(model: Model, x: Tensor, bias: Tensor) -> list[Tensor]:
    """The output of every layer [R, H], for the embeddings and the bias of a share."""
    outputs = [x]
    for layer in range(model.config.num_hidden_layers):
        outputs.append(model.layer(_layer, layer_name(layer), outputs[-1], bias))
    return outputs[1:]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return ops.concatenate(parts) if len(parts) > 1 else parts[0]


def _attention_bias(features: Features) -> Tensor:
    """What is added to the scores, float32 [B, 1, 1, L]; [B, 1, L, L] of packed rows.

    There a piece sees its own sequence, and padding sees padding: no row of scores is masked whole.
    """
    if is_packed(features):
        ids = features["sequence_ids"]
        is_other = ids[:, None, :, None] != ids[:, None, None, :]
        return ops.cast(is_other, "float32") * _MASKED
    mask = ops.cast(features["input_mask"], "float32")
    return (1.0 - mask)[:, None, None, :] * _MASKED


def _embed(model: Model, features: Features) -> Tensor:
    """[R, H]."""
    config, params = model.config, model.params
    ids = features["input_ids"]
    batch, length = ops.shape(ids)
    words = model.compute.lookup(params[WORD_EMBEDDINGS], ops.reshape(ids, (-1,)))
    segments = params[SEGMENT_EMBEDDINGS]
    one_hot = ops.one_hot(features["segment_ids"], config.type_vocab_size, dtype="float32")
    positions = params[POSITION_EMBEDDINGS][:length]
    if is_packed(features):
        # A product: the gradient of a gather adds up one by one, all rows at the same positions.
        positions = ops.matmul(
            ops.one_hot(features["position_ids"], length, dtype="float32"), positions
        )
    places = ops.matmul(one_hot, segments) + positions
    x = words + ops.reshape(places, (-1, config.hidden_size))
    rate = config.hidden_dropout_prob
    return model.compute.fuse(NORM_DROPOUT)(
        x,
        *model.norm(EMBEDDINGS_NORM),
        *model.dropout.seeds(rate, (batch * length, config.hidden_size)),
        rate=rate,
        dtype=model.compute.activation_dtype,
    )


def _layer(model: Model, scope: str, x: Tensor, bias: Tensor) -> Tensor:
    """X [R, H], bias [B, 1, 1 or L, L] -> [R, H]."""
    context = _attention(model, f"{scope}/attention/self", x, bias)
    output = f"{scope}/attention/output"
    x = _sublayer_end(model, output, model.dense(context, f"{output}/dense")[0], x)
    return _sublayer_end(model, f"{scope}/output", _feed_forward(model, scope, x), x)


def _feed_forward(model: Model, scope: str, x: Tensor) -> Tensor:
    """X [R, H] -> [R, H], without the last bias."""
    compute = model.compute

    def after_first(first: Tensor, bias: Tensor, kernel: Tensor) -> Tensor:
        activated = compute.fuse(BIAS_ACTIVATION)(
            first, bias, activation=model.config.hidden_act, dtype=compute.matmul_dtype
        )
        return compute.matmul(activated, kernel)

    # What is activated is the largest array of a layer, and cheap to compute.
    kernel = compute.cast(model.params[f"{scope}/output/dense/kernel"])
    return compute.recompute(after_first)(*model.dense(x, f"{scope}/intermediate/dense"), kernel)


def _sublayer_end(model: Model, scope: str, product: Tensor, residual: Tensor) -> Tensor:
    """Product [R, H] of the sublayer's last kernel, residual [R, H] -> [R, H]."""
    rate = model.config.hidden_dropout_prob
    rows, units = ops.shape(residual)
    return model.compute.fuse(DROPOUT_ADD_NORM)(
        product,
        model.params[f"{scope}/dense/bias"],
        residual,
        *model.norm(f"{scope}/LayerNorm"),
        *model.dropout.seeds(rate, (rows, units)),
        rate=rate,
        dtype=model.compute.activation_dtype,
    )


def _attention(model: Model, scope: str, x: Tensor, bias: Tensor) -> Tensor:
    """X [R, H], bias [B, 1, 1 or L, L] -> [R, H]."""
    config, compute = model.config, model.compute
    batch, _, _, length = ops.shape(bias)
    heads = config.num_attention_heads
    parts = [f"{scope}/{name}" for name in ("query", "key", "value")]
    # Cast before they are joined: the copy is half as large in bfloat16.
    kernel = ops.concatenate([compute.cast(model.params[f"{p}/kernel"]) for p in parts], axis=1)
    qkv_bias = ops.concatenate([model.params[f"{part}/bias"] for part in parts], axis=0)
    product = compute.matmul(x, kernel)  # [R, 3H]
    rate, scale = config.attention_probs_dropout_prob, config.head_size**-0.5
    if compute.attention is not None and not model.dropout.is_active(rate):
        qkv = compute.cast(ops.cast(product, "float32") + qkv_bias)
        qkv = ops.reshape(qkv, (batch, length, 3, heads, config.head_size))
        query, key, value = (qkv[:, :, i] for i in range(3))  # [B, L, N, D]
        context = compute.attention(query, key, value, bias, scale)
        return ops.reshape(context, (-1, config.hidden_size))
    qkv = compute.fuse(SPLIT_HEADS)(
        product, qkv_bias, shape=(batch, length, heads), dtype=compute.matmul_dtype
    )
    query, key, value = ops.unstack(qkv, 3)  # [B, N, L, D]
    probs = compute.fuse(SOFTMAX_DROPOUT)(
        compute.matmul(query, key, transpose_b=True),
        bias,
        *model.dropout.seeds(rate, (batch, heads, length, length)),
        scale=scale,
        rate=rate,
        dtype=compute.matmul_dtype,
    )
    context = ops.transpose(compute.matmul(probs, value), (0, 2, 1, 3))  # [B, L, N, D]
    return ops.reshape(context, (-1, config.hidden_size))
