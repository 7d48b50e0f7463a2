"""The operations between matrix products, each with its own gradient.

Under a compiler that sees the whole step, such as XLA under JAX, ``forward`` alone is used, and its
gradient is derived. On a CPU under TensorFlow the products are fastest outside XLA and everything
else is fastest inside, so that each operation becomes two small compiled functions; ``gradients``
computes again from the inputs, and at most a number of each row, what would have to be kept in
memory otherwise.

All of them compute in float32, whatever the dtype of their inputs, but for the products of
attention.

Legend: R rows (sequences times positions), C columns, B batch, N heads, L max_seq_length, V
vocabulary. ``seed`` is that of a use of dropout, uint32 [3]; None where nothing is dropped.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bert_ko.modeling.dropout import drop
from bert_ko.modeling.ops import ops

Tensor = Any

EPSILON = 1e-12
_SQRT_2_PI = math.sqrt(2 / math.pi)


_sums_rows_by_products = contextvars.ContextVar("sums_rows_by_products", default=False)


class FusedOp(NamedTuple):
    """An operation and its gradient."""

    forward: Callable[..., Any]  # tensors, then settings by keyword, to a tensor or several
    # The gradient of the first result, the same tensors, what was kept, and the same settings, to
    # the gradients of the first ``num_gradients`` tensors. Any other results have none.
    gradients: Callable[..., tuple[Tensor, ...]]
    num_gradients: int
    num_kept: int = 0  # of the last results, which are for the gradients alone

    def split(self, found: Any) -> tuple[Any, tuple[Tensor, ...]]:
        """What forward returned, as the result (a tensor, or a tuple) and what is kept."""
        if not self.num_kept:
            return found, ()
        results, kept = found[: -self.num_kept], found[-self.num_kept :]
        return results[0] if len(results) == 1 else results, kept


@contextlib.contextmanager
def sums_rows_by_products() -> Iterator[None]:
    """Rows are summed by products with ones, which XLA compiles into faster code for a CPU."""
    token = _sums_rows_by_products.set(True)
    try:
        yield
    finally:
        _sums_rows_by_products.reset(token)


def row_sum(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sums over the last axis, with weights [C] if there are any: [..., C] to [..., 1]."""
    if not _sums_rows_by_products.get():
        return ops.sum(x if weights is None else x * weights, axis=-1, keepdims=True)
    columns = x.shape[-1]
    weights = ops.ones((columns,), "float32") if weights is None else weights
    sums = ops.matmul(ops.reshape(x, (-1, columns)), weights[:, None])
    return ops.reshape(sums, (*x.shape[:-1], 1))


def _row_mean(x: Tensor, weights: Tensor | None = None) -> Tensor:
    return row_sum(x, weights) * (1 / x.shape[-1])


def _float(x: Tensor) -> Tensor:
    return ops.cast(x, "float32")


def _centre(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows with mean 0 and variance 1, and by what each was divided."""
    x = x - _row_mean(x)
    inverse = ops.rsqrt(_row_mean(x * x) + EPSILON)
    return x * inverse, inverse


def _norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return _centre(x)[0] * gamma + beta


def _norm_gradients(dy: Tensor, x: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    normal, inverse = _centre(x)
    along = dy * normal
    dx = inverse * (dy * gamma - _row_mean(dy, gamma) - normal * _row_mean(along, gamma))
    return dx, ops.sum(along, axis=0), ops.sum(dy, axis=0)


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


def _attention_probs(scores: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Softmax over the last axis, and the logarithm of what each row was divided by."""
    x = _float(scores) * scale + bias
    largest = ops.max(x, axis=-1, keepdims=True)
    powers = ops.exp(x - largest)
    total = row_sum(powers)
    return powers * (1 / total), ops.log(total) + largest


def _attention_probs_again(scores: Tensor, bias: Tensor, scale: float, log_total: Tensor) -> Tensor:
    return ops.exp(_float(scores) * scale + bias - log_total)


def _softmax_gradient(dprobs: Tensor, probs: Tensor) -> Tensor:
    return (dprobs - row_sum(dprobs * probs)) * probs


def _softmax_dropout(
    scores: Tensor,
    bias: Tensor,
    seed: Tensor | None = None,
    *,
    scale: float,
    rate: float,
    dtype: str,
) -> tuple[Tensor, Tensor]:
    probs, log_total = _attention_probs(scores, bias, scale)
    return ops.cast(drop(probs, seed, rate), dtype), log_total


def _softmax_dropout_gradients(
    dy: Tensor,
    scores: Tensor,
    bias: Tensor,
    *rest: Tensor,
    scale: float,
    rate: float,
    dtype: str,
) -> tuple[Tensor, ...]:
    *seed, log_total = rest
    probs = _attention_probs_again(scores, bias, scale, log_total)
    dprobs = drop(_float(dy), seed[0] if seed else None, rate)
    return (ops.cast(_softmax_gradient(dprobs, probs) * scale, scores.dtype),)


def _scores(query: Tensor, key: Tensor) -> Tensor:
    return ops.einsum("bqnd,bknd->bnqk", query, key)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, scale: float, dtype: str
) -> tuple[Tensor, Tensor]:
    probs, log_total = _attention_probs(_scores(query, key), bias, scale)
    return ops.einsum("bnqk,bknd->bqnd", ops.cast(probs, dtype), value), log_total


def _attention_gradients(
    dy: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    log_total: Tensor,
    *,
    scale: float,
    dtype: str,
) -> tuple[Tensor, ...]:
    probs = _attention_probs_again(_scores(query, key), bias, scale, log_total)
    dscores = _softmax_gradient(_float(_scores(dy, value)), probs)
    dscores = ops.cast(dscores * scale, dtype)
    return (
        ops.einsum("bnqk,bknd->bqnd", dscores, key),
        ops.einsum("bnqk,bqnd->bknd", dscores, query),
        ops.einsum("bnqk,bqnd->bknd", ops.cast(probs, dtype), dy),
    )


def _cross_entropy(logits: Tensor, bias: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    logits = _float(logits) + bias
    largest = ops.max(logits, axis=-1)
    log_total = ops.log(ops.sum(ops.exp(logits - largest[:, None]), axis=-1)) + largest
    label = ops.take_along_axis(logits, ops.cast(labels, "int32")[:, None], axis=-1)[:, 0]
    return log_total - label, ops.cast(label >= largest, "float32"), log_total


def _cross_entropy_gradients(
    dy: Tensor, logits: Tensor, bias: Tensor, labels: Tensor, log_total: Tensor
) -> tuple[Tensor, ...]:
    probs = ops.exp(_float(logits) + bias - log_total[:, None])
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
# scores [B, N, L, L], bias [B, 1, 1 or L, L], seed [3] -> [B, N, L, L]; kept: the logarithms of
# the softmax's sums [B, N, L, 1]
SOFTMAX_DROPOUT = FusedOp(_softmax_dropout, _softmax_dropout_gradients, 1, 1)
# query, key, value [B, L, N, D], bias [B, 1, 1 or L, L] -> [B, L, N, D]; the products are of dtype,
# as are all three. Kept are the same, and no [L, L].
ATTENTION = FusedOp(_attention, _attention_gradients, 3, 1)
# logits [R, V], bias [V], labels [R] -> losses [R], 1 where the label has the largest logit [R];
# kept: the logarithms of the softmax's sums [R]
CROSS_ENTROPY = FusedOp(_cross_entropy, _cross_entropy_gradients, 2, 1)

ALL = (
    NORM_DROPOUT,
    DROPOUT_ADD_NORM,
    BIAS_ACTIVATION,
    SPLIT_HEADS,
    SOFTMAX_DROPOUT,
    ATTENTION,
    CROSS_ENTROPY,
)
