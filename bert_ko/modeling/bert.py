"""BERT as functions of its variables: embeddings, encoder, pooler and the pre-training heads.

Legend: B batch, L max_seq_length, P max_predictions_per_seq, H hidden_size, N heads, D head size,
V vocabulary, R rows: B * L.

Source: modeling.py and run_pretraining.py of google-research/bert. Differs: query, key and value
are one matrix product; only masked positions reach the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from keras import ops

from bert_ko.modeling import parameters as names
from bert_ko.modeling.compute import Compute, Dropout
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.fused import (
    BIAS_ACTIVATION,
    DROPOUT_ADD_NORM,
    NORM_DROPOUT,
    SOFTMAX_DROPOUT,
    SPLIT_HEADS,
    Tensor,
    drop,
)

Parameters = Mapping[str, Tensor]
Features = Mapping[str, Tensor]
_MASKED = -10000.0  # what Google's code adds to the scores of padding


class Model(NamedTuple):
    """Variables and how to compute with them.

    Attributes:
        params: tensors by Google's names.
        config: shapes and rates.
        compute: dtypes and kernels.
        dropout: for this step; ``Dropout()`` for prediction.
    """

    params: Parameters
    config: BertConfig
    compute: Compute = Compute()
    dropout: Dropout = Dropout()

    def norm(self, scope: str) -> tuple[Tensor, Tensor]:
        """Gamma and beta of a layer normalization."""
        return self.params[f"{scope}/gamma"], self.params[f"{scope}/beta"]

    def dense(self, x: Tensor, scope: str) -> tuple[Tensor, Tensor]:
        """The product with a kernel, without its bias, and the bias."""
        kernel = self.params[f"{scope}/kernel"]
        return self.compute.matmul(x, kernel), self.params[f"{scope}/bias"]


def encode(model: Model, features: Features) -> Tensor:
    """The output of the last layer.

    Args:
        model: variables and settings.
        features: input_ids, input_mask, segment_ids, int32 [B, L].

    Returns:
        sequence_output [B, L, H], of activation_dtype.
    """
    batch, length = features["input_ids"].shape
    x = _embed(model, features)
    mask = ops.cast(features["input_mask"], "float32")
    bias = (1.0 - mask)[:, None, None, :] * _MASKED  # [B, 1, 1, L]
    for layer in range(model.config.num_hidden_layers):
        x = _layer(model, names.layer_name(layer), x, bias)
    return ops.reshape(x, (batch, length, model.config.hidden_size))


def all_layers(model: Model, features: Features) -> list[Tensor]:
    """The embeddings and the output of every layer, each [B, L, H]."""
    batch, length = features["input_ids"].shape
    mask = ops.cast(features["input_mask"], "float32")
    bias = (1.0 - mask)[:, None, None, :] * _MASKED
    outputs = [_embed(model, features)]
    for layer in range(model.config.num_hidden_layers):
        outputs.append(_layer(model, names.layer_name(layer), outputs[-1], bias))
    return [ops.reshape(x, (batch, length, model.config.hidden_size)) for x in outputs]


def _embed(model: Model, features: Features) -> Tensor:
    """[R, H]."""
    config, params = model.config, model.params
    ids = features["input_ids"]
    batch, length = ids.shape
    words = ops.take(params[names.WORD_EMBEDDINGS], ops.reshape(ids, (-1,)), axis=0)
    segments = params[names.SEGMENT_EMBEDDINGS]
    one_hot = ops.one_hot(features["segment_ids"], config.type_vocab_size, dtype="float32")
    places = ops.matmul(one_hot, segments) + params[names.POSITION_EMBEDDINGS][:length]
    x = words + ops.reshape(places, (-1, config.hidden_size))
    rate = config.hidden_dropout_prob
    return model.compute.fuse(NORM_DROPOUT)(
        x,
        *model.norm(names.EMBEDDINGS_NORM),
        *model.dropout.bits(rate, (batch * length, config.hidden_size)),
        rate=rate,
        dtype=model.compute.activation_dtype,
    )


def _layer(model: Model, scope: str, x: Tensor, bias: Tensor) -> Tensor:
    """X [R, H], bias [B, 1, 1, L] -> [R, H]."""
    context = _attention(model, f"{scope}/attention/self", x, bias)
    x = _sublayer_end(model, f"{scope}/attention/output", context, x)
    hidden = model.compute.fuse(BIAS_ACTIVATION)(
        *model.dense(x, f"{scope}/intermediate/dense"),
        activation=model.config.hidden_act,
        dtype=model.compute.matmul_dtype,
    )
    return _sublayer_end(model, f"{scope}/output", hidden, x)


def _sublayer_end(model: Model, scope: str, hidden: Tensor, residual: Tensor) -> Tensor:
    rate = model.config.hidden_dropout_prob
    rows, units = residual.shape
    return model.compute.fuse(DROPOUT_ADD_NORM)(
        *model.dense(hidden, f"{scope}/dense"),
        residual,
        *model.norm(f"{scope}/LayerNorm"),
        *model.dropout.bits(rate, (rows, units)),
        rate=rate,
        dtype=model.compute.activation_dtype,
    )


def _attention(model: Model, scope: str, x: Tensor, bias: Tensor) -> Tensor:
    """X [R, H], bias [B, 1, 1, L] -> [R, H]."""
    config, compute = model.config, model.compute
    batch, length, heads = bias.shape[0], bias.shape[-1], config.num_attention_heads
    parts = [f"{scope}/{name}" for name in ("query", "key", "value")]
    # Cast before they are joined: the copy is half as large in bfloat16.
    kernel = ops.concatenate([compute.cast(model.params[f"{p}/kernel"]) for p in parts], axis=1)
    qkv_bias = ops.concatenate([model.params[f"{part}/bias"] for part in parts], axis=0)
    product = compute.matmul(x, kernel)  # [R, 3H]
    rate, scale = config.attention_probs_dropout_prob, config.head_size**-0.5
    if compute.fused_attention and not model.dropout.is_active(rate):
        qkv = compute.cast(ops.cast(product, "float32") + qkv_bias)
        qkv = ops.reshape(qkv, (batch, length, 3, heads, config.head_size))
        query, key, value = (qkv[:, :, i] for i in range(3))  # [B, L, N, D]
        mask = ops.broadcast_to(bias >= 0, (batch, heads, length, length))
        context = ops.dot_product_attention(query, key, value, mask=mask, scale=scale)
        return ops.reshape(context, (-1, config.hidden_size))
    qkv = compute.fuse(SPLIT_HEADS)(
        product, qkv_bias, shape=(batch, length, heads), dtype=compute.matmul_dtype
    )
    query, key, value = ops.unstack(qkv, 3)  # [B, N, L, D]
    probs = compute.fuse(SOFTMAX_DROPOUT)(
        compute.matmul(query, key, transpose_b=True),
        bias,
        *model.dropout.bits(rate, (batch, heads, length, length)),
        scale=scale,
        rate=rate,
        dtype=compute.matmul_dtype,
    )
    context = ops.transpose(compute.matmul(probs, value), (0, 2, 1, 3))  # [B, L, N, D]
    return ops.reshape(context, (-1, config.hidden_size))


def pool(model: Model, sequence_output: Tensor) -> Tensor:
    """The output at [CLS] through a tanh layer: [B, L, H] -> float32 [B, H]."""
    first = ops.cast(sequence_output[:, 0], "float32")
    kernel, bias = (model.params[f"{names.POOLER}/{part}"] for part in ("kernel", "bias"))
    return ops.tanh(ops.matmul(first, kernel) + bias)


def drop_units(model: Model, x: Tensor) -> Tensor:
    """Dropout on the way to a head for labels, as in Google's run_classifier; any shape."""
    rate = model.config.hidden_dropout_prob
    bits = model.dropout.bits(rate, tuple(x.shape))
    return drop(x, bits[0], rate) if bits else x


def masked_lm_logits(model: Model, sequence_output: Tensor, positions: Tensor) -> Tensor:
    """Logits of the pieces at masked positions, without the output bias.

    Args:
        model: variables and settings.
        sequence_output: [B, L, H].
        positions: int32 [B, P].

    Returns:
        [B * P, V]; ``cls/predictions/output_bias`` is to be added.
    """
    batch, length, units = sequence_output.shape
    rows = ops.reshape(positions + ops.arange(batch, dtype="int32")[:, None] * length, (-1,))
    x = ops.take(ops.reshape(sequence_output, (-1, units)), rows, axis=0)
    compute = model.compute
    hidden = compute.fuse(BIAS_ACTIVATION)(
        *model.dense(x, f"{names.TRANSFORM}/dense"),
        activation=model.config.hidden_act,
        dtype=compute.activation_dtype,
    )
    hidden = compute.fuse(NORM_DROPOUT)(
        hidden,
        *model.norm(f"{names.TRANSFORM}/LayerNorm"),
        rate=0.0,
        dtype=compute.activation_dtype,
    )
    return compute.matmul(hidden, model.params[names.WORD_EMBEDDINGS], transpose_b=True)


def next_sentence_logits(model: Model, pooled_output: Tensor) -> Tensor:
    """[B, H] -> [B, 2] without the output bias; 0 says that the second segment follows."""
    return ops.matmul(pooled_output, ops.transpose(model.params[names.RELATIONSHIP_WEIGHTS]))
