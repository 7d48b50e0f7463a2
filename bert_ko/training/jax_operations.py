"""JAX: operations with gradients of their own, and attention by the kernel that the device has."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_ko.modeling.compute import attention_of
from bert_ko.modeling.fused import FusedOp

_CUDNN_HEAD_SIZE = 128  # at most
# Of the largest value: what bfloat16 and another order of additions explain, and no wrong mask.
_TOLERANCE = 0.03


def with_own_gradients(op: FusedOp) -> Callable[..., Any]:
    """The operation with its own gradient, which keeps its inputs and what FusedOp says."""

    def call(*tensors: Any, **settings: Any) -> Any:
        def forward(*tensors: Any) -> tuple[Any, tuple[Any, ...]]:
            return op.split(op.forward(*tensors, **settings))

        def keep(*tensors: Any) -> tuple[Any, tuple[Any, ...]]:
            result, kept = forward(*tensors)
            return result, (*tensors, *kept)

        def gradients(kept: tuple[Any, ...], upstream: Any) -> tuple[Any, ...]:
            first = upstream[0] if isinstance(upstream, tuple) else upstream
            found = op.gradients(first, *kept, **settings)
            return (*found, *[None] * (len(tensors) - op.num_gradients))

        differentiable = jax.custom_vjp(lambda *tensors: forward(*tensors)[0])
        differentiable.defvjp(keep, gradients)
        return differentiable(*tensors)

    return call


def attention(query: Any, key: Any, value: Any, bias: Any, scale: float) -> Any:
    """Attention without dropout; see Compute.attention."""
    _, length, heads, head_size = query.shape
    is_packed = bias.shape[2] != 1
    if _uses_cudnn(length, heads, head_size, query.dtype.name, is_packed):
        return _cudnn_attention(query, key, value, bias, scale)
    return _own_attention(query, key, value, bias, scale)


_own_attention = attention_of(with_own_gradients)


def _cudnn_attention(query: Any, key: Any, value: Any, bias: Any, scale: float) -> Any:
    """Nothing of [L, L] is kept; unpacked rows have lengths instead of a mask."""
    compute = functools.partial(
        jax.nn.dot_product_attention, query, key, value, scale=scale, implementation="cudnn"
    )
    is_seen = bias >= 0
    if bias.shape[2] != 1:
        return compute(mask=is_seen)
    # A row without a piece fills up the last batch, and would divide by 0.
    lengths = jnp.maximum(jnp.sum(is_seen, axis=(1, 2, 3), dtype=jnp.int32), 1)
    return compute(key_value_seq_lengths=lengths)


@functools.cache
def _uses_cudnn(length: int, heads: int, head_size: int, dtype: str, is_packed: bool) -> bool:
    """Whether cuDNN's kernel can compute attention of such a shape here, and computes it right."""
    device = jax.devices()[0]
    if device.platform != "gpu" or dtype != "bfloat16" or head_size > _CUDNN_HEAD_SIZE:
        return False
    with jax.ensure_compile_time_eval():  # this is asked while a step is traced
        try:
            error = _cudnn_error(length, heads, head_size, is_packed)
        except Exception as raised:  # whatever a driver or a version does not like
            warnings.warn(_no_cudnn(str(raised).strip().split("\n")[0][:200]), stacklevel=2)
            return False
    if error > _TOLERANCE:
        warnings.warn(_no_cudnn(f"its results differ by {error:.2g}"), stacklevel=2)
        return False
    return True


def _no_cudnn(reason: str) -> str:
    return f"attention is computed without cuDNN's kernel, which is slower: {reason}"


def _cudnn_error(length: int, heads: int, head_size: int, is_packed: bool) -> float:
    """How much cuDNN's attention and its gradients differ, as a share of the largest value."""
    rng = np.random.default_rng(0)
    shape = (2, length, heads, head_size)
    query, key, value, upstream = (
        jnp.asarray(rng.standard_normal(shape, np.float32), jnp.bfloat16) for _ in range(4)
    )
    ends = np.array([length, max(1, length // 3)])
    is_first = np.arange(length) < ends[:, None]  # [2, L]
    is_seen = is_first[:, None, None, :]
    if is_packed:
        is_seen = is_first[:, None, :, None] == is_first[:, None, None, :]
    bias = jnp.where(is_seen, 0.0, -10000.0)

    def results(attend: Callable[..., Any]) -> list[np.ndarray]:
        def compute(*tensors: Any) -> tuple[Any, ...]:
            output, pull = jax.vjp(lambda *x: attend(*x, bias, head_size**-0.5), *tensors)
            return (output, *pull(upstream))

        return [np.asarray(x, np.float32) for x in jax.jit(compute)(query, key, value)]

    pairs = zip(results(_cudnn_attention), results(_own_attention), strict=True)
    # NaN differs from everything.
    errors = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs]
    return max(np.inf if np.isnan(error) else error for error in errors)
