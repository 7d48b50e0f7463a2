"""How TensorFlow computes what a model asks of `Compute`: products, fused operations, lookups."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from bert_ko.modeling.fused import FusedOp, sums_rows_by_products


def product(a: Any, b: Any, transpose_b: bool) -> Any:
    """See Compute.product."""
    return tf.matmul(a, b, transpose_b=transpose_b)


def copies_of(dtype: str) -> Callable[[Any, int], Sequence[Any]]:
    """See Compute.copies: one pass over a kernel, and one over its gradients."""

    def copies(kernel: Any, count: int) -> Sequence[Any]:
        def compute(kernel: Any) -> tuple[Any, Callable[..., Any]]:
            copy = tf.cast(kernel, dtype)
            return [tf.identity(copy) for _ in range(count)], _sum_in_float32

        return tuple(tf.custom_gradient(compute)(kernel))

    return copies


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _sum_in_float32(*tensors: Any) -> Any:
    return sum(tf.cast(tensor, "float32") for tensor in tensors)


def keras_attention(query: Any, key: Any, value: Any, bias: Any, scale: float) -> Any:
    """See Compute.attention: as Keras computes it, where a bias of 0 is seen."""
    return keras.ops.dot_product_attention(query, key, value, mask=bias >= 0, scale=scale)


def with_own_gradients(op: FusedOp) -> Callable[..., Any]:
    """The operation with its own gradient, which keeps its inputs and what FusedOp says."""

    def call(*tensors: Any, **settings: Any) -> Any:
        functions = (functools.partial(one, **settings) for one in (op.forward, op.gradients))
        return _differentiable(op, *functions)(tensors)

    return call


def compiled(op: FusedOp) -> Callable[..., Any]:
    """The operation and its gradient as functions compiled by XLA."""

    def call(*tensors: Any, **settings: Any) -> Any:
        functions = _compiled_functions(op, tuple(sorted(settings.items())))
        return _differentiable(op, *functions)(tensors)

    return call


@functools.cache
def _compiled_functions(op: FusedOp, settings: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
    """Shared by all layers, so that each shape is compiled once."""

    def under_xla(function: Callable[..., Any]) -> Any:
        def call(*tensors: Any) -> Any:
            with sums_rows_by_products():
                return function(*tensors, **dict(settings))

        return tf.function(call, jit_compile=True, autograph=False)

    return under_xla(op.forward), under_xla(op.gradients)


def _differentiable(
    op: FusedOp, forward: Callable[..., Any], gradients: Callable[..., Any]
) -> Callable[[Sequence[Any]], Any]:
    """Forward, whose gradient the other function computes from the same tensors."""

    def compute(*tensors: Any) -> tuple[Any, Callable[..., Any]]:
        result, kept = op.split(forward(*tensors))

        def gradient(*upstream: Any) -> tuple[Any, ...]:
            found = gradients(upstream[0], *tensors, *kept)
            return (*found, *[None] * (len(tensors) - op.num_gradients))

        return result, gradient

    differentiable = tf.custom_gradient(compute)
    return lambda tensors: differentiable(*(tf.convert_to_tensor(tensor) for tensor in tensors))


class Lookups:
    """Rows looked up in tables; their gradients are added to those of the tables in place.

    TensorFlow would make a sum for each row of the table, used or not.
    """

    def __init__(self, tape: Any, values: list[Any]):
        """Args: values: that are differentiated by; rows of other tables are looked up as ever."""
        self._tape = tape
        self._index = {id(value): i for i, value in enumerate(values)}
        self._used: list[tuple[Any, Any]] = []  # table and ids
        self.rows: list[Any] = []

    def __call__(self, table: Any, ids: Any) -> Any:
        """See Compute.lookup."""
        if id(table) not in self._index:
            return tf.gather(table, ids)
        rows = tf.gather(tf.stop_gradient(table), ids)
        self._tape.watch(rows)
        self._used.append((table, ids))
        self.rows.append(rows)
        return rows

    def add(self, gradients: list[Any], of_rows: list[Any]) -> list[Any]:
        """The gradients of all values, given those of the rows."""
        for (table, ids), of_row in zip(self._used, of_rows, strict=True):
            i = self._index[id(table)]
            gradients[i] = tf.tensor_scatter_nd_add(gradients[i], ids[:, None], of_row)
        return gradients
