"""The operations between matrix products, each with its own gradient.

Under a compiler that sees the whole step, such as XLA under JAX, ``forward`` alone is used, and its
gradient is derived. On a CPU under TensorFlow the products are fastest outside XLA and everything
else is fastest inside, so that each operation becomes two small compiled functions; ``gradients``
computes again from the inputs what would have to be kept in memory otherwise.

All of them compute in float32, whatever the dtype of their inputs, but for the products of
attention.

Legend: R rows (sequences times positions), C columns, B batch, N heads, L max_seq_length, V
vocabulary. ``seed`` is that of a use of dropout, uint32 [3]; None where nothing is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from bert_ko.modeling.dropout import drop
from bert_ko.modeling.ops import ops

Tensor = Any

EPSILON = 1e-12
_SQRT_2_PI = math.sqrt(2 / math.pi)


class FusedOp(NamedTuple):
    """An operation and its gradient."""

    forward: Callable[..., Any]  # tensors, then settings by keyword, to a tensor or several
    # The gradient of the first result, the same tensors and settings, to the gradients of the first
    # ``num_gradients`` tensors. Any other results have none.
    gradients: Callable[..., tuple[Tensor, ...]]
    num_gradients: int


def _float(x: Tensor) -> Tensor:
    return ops.cast(x, "float32")


def _centre(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows with mean 0 and variance 1, and by what each was divided."""
    x = x - ops.mean(x, axis=-1, keepdims=True)
    inverse = ops.rsqrt(ops.mean(x * x, axis=-1, keepdims=True) + EPSILON)
    return x * inverse, inverse


def _norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return _centre(x)[0] * gamma + beta


def _norm_gradients(dy: Tensor, x: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    normal, inverse = _centre(x)
    scaled = dy * gamma
    along = ops.mean(scaled * normal, axis=-1, keepdims=True)
    dx = inverse * (scaled - ops.mean(scaled, axis=-1, keepdims=True) - normal * along)
    return dx, ops.sum(dy * normal, axis=0), ops.sum(dy, axis=0)


def _norm_dropout(
    x: Tensor, gamma: Tensor, beta: Tensor, seed: Tensor | None = None, *, rate: float, dtype: str
) -> Tensor:
    return ops.cast(drop(_norm(_float(x), gamma, beta), seed, rate), dtype)


def _norm_dropout_gradients(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    seed: Tensor | None = None,
    *,
    rate: float,
    dtype: str,
) -> tuple[Tensor, ...]:
    dx, dgamma, dbeta = _norm_gradients(drop(_float(dy), seed, rate), _float(x), gamma)
    return ops.cast(dx, x.dtype), dgamma, dbeta


def _dropout_add_norm(
    x: Tensor,
    bias: Tensor,
    residual: Tensor,
    gamma: Tensor,
    beta: Tensor,
    seed: Tensor | None = None,
    *,
    rate: float,
    dtype: str,
) -> Tensor:
    total = drop(_float(x) + bias, seed, rate) + _float(residual)
    return ops.cast(_norm(total, gamma, beta), dtype)


def _dropout_add_norm_gradients(
    dy: Tensor,
    x: Tensor,
    bias: Tensor,
    residual: Tensor,
    gamma: Tensor,
    beta: Tensor,
    seed: Tensor | None = None,
    *,
    rate: float,
    dtype: str,
) -> tuple[Tensor, ...]:
    total = drop(_float(x) + bias, seed, rate) + _float(residual)
    dtotal, dgamma, dbeta = _norm_gradients(_float(dy), total, gamma)
    dx = drop(dtotal, seed, rate)
    return (
        ops.cast(dx, x.dtype),
        ops.sum(dx, axis=0),
        ops.cast(dtotal, residual.dtype),
        dgamma,
        dbeta,
    )


def _activate(x: Tensor, activation: str) -> Tensor:
    if activation == "gelu":
        return 0.5 * x * (1 + ops.tanh(_SQRT_2_PI * (x + 0.044715 * x * x * x)))
    if activation == "gelu_erf":
        return 0.5 * x * (1 + ops.erf(x / math.sqrt(2)))
    return ops.relu(x) if activation == "relu" else ops.tanh(x)


def _slope(x: Tensor, activation: str) -> Tensor:
    """The derivative of the activation."""
    if activation == "gelu":
        t = ops.tanh(_SQRT_2_PI * (x + 0.044715 * x * x * x))
        inner = _SQRT_2_PI * (1 + 3 * 0.044715 * x * x)
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner
    if activation == "gelu_erf":
        density = ops.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return 0.5 * (1 + ops.erf(x / math.sqrt(2))) + x * density
    if activation == "relu":
        return ops.where(x > 0, 1.0, 0.0)
    return 1 - ops.square(ops.tanh(x))


def _bias_activation(x: Tensor, bias: Tensor, *, activation: str, dtype: str) -> Tensor:
    return ops.cast(_activate(_float(x) + bias, activation), dtype)


def _bias_activation_gradients(
    dy: Tensor, x: Tensor, bias: Tensor, *, activation: str, dtype: str
) -> tuple[Tensor, ...]:
    dx = _float(dy) * _slope(_float(x) + bias, activation)
    return ops.cast(dx, x.dtype), ops.sum(dx, axis=0)


def _split_heads(x: Tensor, bias: Tensor, *, shape: tuple[int, int, int], dtype: str) -> Tensor:
    batch, length, heads = shape
    x = ops.reshape(_float(x) + bias, (batch, length, 3, heads, -1))
    return ops.cast(ops.transpose(x, (2, 0, 3, 1, 4)), dtype)


def _split_heads_gradients(
    dy: Tensor, x: Tensor, bias: Tensor, *, shape: tuple[int, int, int], dtype: str
) -> tuple[Tensor, ...]:
    dx = ops.reshape(ops.transpose(dy, (1, 3, 0, 2, 4)), x.shape)
    return ops.cast(dx, x.dtype), ops.sum(_float(dx), axis=0)


def _attention_probs(scores: Tensor, bias: Tensor, scale: float) -> Tensor:
    return ops.softmax(_float(scores) * scale + bias, axis=-1)


def _softmax_dropout(
    scores: Tensor,
    bias: Tensor,
    seed: Tensor | None = None,
    *,
    scale: float,
    rate: float,
    dtype: str,
) -> Tensor:
    return ops.cast(drop(_attention_probs(scores, bias, scale), seed, rate), dtype)


def _softmax_dropout_gradients(
    dy: Tensor,
    scores: Tensor,
    bias: Tensor,
    seed: Tensor | None = None,
    *,
    scale: float,
    rate: float,
    dtype: str,
) -> tuple[Tensor, ...]:
    probs = _attention_probs(scores, bias, scale)
    dprobs = drop(_float(dy), seed, rate)
    inner = dprobs - ops.sum(dprobs * probs, axis=-1, keepdims=True)
    return (ops.cast(inner * probs * scale, scores.dtype),)


def _scores(query: Tensor, key: Tensor) -> Tensor:
    return ops.einsum("bqnd,bknd->bnqk", query, key)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, scale: float, dtype: str
) -> Tensor:
    probs = ops.cast(_attention_probs(_scores(query, key), bias, scale), dtype)
    return ops.einsum("bnqk,bknd->bqnd", probs, value)


def _attention_gradients(
    dy: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    *,
    scale: float,
    dtype: str,
) -> tuple[Tensor, ...]:
    probs = _attention_probs(_scores(query, key), bias, scale)
    dprobs = _float(_scores(dy, value))
    inner = dprobs - ops.sum(dprobs * probs, axis=-1, keepdims=True)
    dscores = ops.cast(inner * probs * scale, dtype)
    return (
        ops.einsum("bnqk,bknd->bqnd", dscores, key),
        ops.einsum("bnqk,bqnd->bknd", dscores, query),
        ops.einsum("bnqk,bqnd->bknd", ops.cast(probs, dtype), dy),
    )


def _cross_entropy(logits: Tensor, bias: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = _float(logits) + bias
    largest = ops.max(logits, axis=-1)
    total = ops.log(ops.sum(ops.exp(logits - largest[:, None]), axis=-1)) + largest
    label = ops.take_along_axis(logits, ops.cast(labels, "int32")[:, None], axis=-1)[:, 0]
    return total - label, ops.cast(label >= largest, "float32")


def _cross_entropy_gradients(
    dy: Tensor, logits: Tensor, bias: Tensor, labels: Tensor
) -> tuple[Tensor, ...]:
    probs = ops.softmax(_float(logits) + bias, axis=-1)
    columns = ops.arange(logits.shape[-1], dtype="int32")[None, :]
    is_label = columns == ops.cast(labels, "int32")[:, None]
    dlogits = ops.where(is_label, probs - 1.0, probs) * dy[:, None]
    return ops.cast(dlogits, logits.dtype), ops.sum(dlogits, axis=0)


# x [R, C], gamma, beta [C], seed [3] -> [R, C]: layer normalization, then dropout.
NORM_DROPOUT = FusedOp(_norm_dropout, _norm_dropout_gradients, 3)
# x [R, C], bias [C], residual [R, C], gamma, beta [C], seed [3] -> [R, C]:
# the end of a sublayer, LayerNorm(dropout(x + bias) + residual).
DROPOUT_ADD_NORM = FusedOp(_dropout_add_norm, _dropout_add_norm_gradients, 5)
# x [R, C], bias [C] -> [R, C]
BIAS_ACTIVATION = FusedOp(_bias_activation, _bias_activation_gradients, 2)
# x [B * L, 3 * N * D], bias [3 * N * D] -> query, key and value [3, B, N, L, D]
SPLIT_HEADS = FusedOp(_split_heads, _split_heads_gradients, 2)
# scores [B, N, L, L], bias [B, 1, 1 or L, L], seed [3] -> [B, N, L, L]
SOFTMAX_DROPOUT = FusedOp(_softmax_dropout, _softmax_dropout_gradients, 1)
# query, key, value [B, L, N, D], bias [B, 1, 1 or L, L] -> [B, L, N, D]; the products are of dtype,
# as are all three. It keeps no [L, L] for the gradient.
ATTENTION = FusedOp(_attention, _attention_gradients, 3)
# logits [R, V], bias [V], labels [R] -> losses [R], 1 where the label has the largest logit [R]
CROSS_ENTROPY = FusedOp(_cross_entropy, _cross_entropy_gradients, 2)

ALL = (
    NORM_DROPOUT,
    DROPOUT_ADD_NORM,
    BIAS_ACTIVATION,
    SPLIT_HEADS,
    SOFTMAX_DROPOUT,
    ATTENTION,
    CROSS_ENTROPY,
)
