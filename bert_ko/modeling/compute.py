"""How a model computes: dtypes, matrix products, dropout, fused operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bert_ko.modeling.dropout import Dropout, drop
from bert_ko.modeling.fused import ATTENTION, FusedOp, Tensor
from bert_ko.modeling.ops import ops

Parameters = Mapping[str, Tensor]
Features = Mapping[str, Tensor]


def plain_matmul(a: Tensor, b: Tensor, transpose_b: bool) -> Tensor:
    """See Compute.product; the result has the dtype of the inputs."""
    return ops.matmul(a, ops.swapaxes(b, -1, -2) if transpose_b else b)


def forward_only(op: FusedOp) -> Callable[..., Any]:
    """The operation as its forward function, for a compiler that derives the gradient."""

    def call(*tensors: Tensor, **settings: Any) -> Any:
        return op.split(op.forward(*tensors, **settings))[0]

    return call


def attention_of(
    fuse: Callable[[FusedOp], Callable[..., Any]],
) -> Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]:
    """Attention as one operation; see Compute.attention."""

    def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
        return fuse(ATTENTION)(query, key, value, bias, scale=scale, dtype=ops.dtype(query))

    return attention


@dataclass(frozen=True)
class Compute:
    """What a backend chooses; the default is right everywhere."""

    activation_dtype: str = "float32"  # of what flows between layers
    matmul_dtype: str = "float32"  # of the inputs of every matrix product of the encoder
    # Multiplies [..., M, K] by [..., K, N], or by [..., N, K] transposed; may return float32 for
    # bfloat16.
    product: Callable[[Tensor, Tensor, bool], Tensor] = plain_matmul
    fuse: Callable[[FusedOp], Callable[..., Any]] = forward_only
    # The same for an operation with matrix products inside, which is not compiled as one.
    differentiate: Callable[[FusedOp], Callable[..., Any]] = forward_only
    # Query, key, value [B, L, N, D] of matmul_dtype, what is added to the scores, float32
    # [B, 1, 1 or L, L], and the scores' scale to [B, L, N, D]; used where nothing is dropped.
    attention: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor] | None = None
    # Makes of a cheap function of tensors one that is computed again for its gradient, which keeps
    # the tensors alone.
    recompute: Callable[[Callable[..., Tensor]], Callable[..., Tensor]] = lambda function: function
    # Makes of a function of tensors one whose gradient keeps them alone, and computes the function
    # again; None keeps what is inside the layers.
    remat: Callable[[Callable[..., Tensor]], Callable[..., Tensor]] | None = None
    # A kernel once for each share, of matmul_dtype or of its own; their gradients are added up in
    # float32.
    copies: Callable[[Tensor, int], Sequence[Tensor]] = lambda kernel, count: [kernel] * count
    # The rows of a table at ids [R].
    lookup: Callable[[Tensor, Tensor], Tensor] = lambda table, ids: ops.take(table, ids, axis=0)
    # Of a batch, which an encoder computes side by side: no core waits for the others' part of an
    # operation.
    shares: int = 1

    def num_shares(self, batch: int) -> int:
        """Of a batch of this many rows, which may be a tensor for one share: all are equal."""
        return self.shares if self.shares > 1 and batch % self.shares == 0 else 1

    def cast(self, x: Tensor) -> Tensor:
        """To the dtype of matrix products."""
        return ops.cast(x, self.matmul_dtype)

    def matmul(self, a: Tensor, b: Tensor, transpose_b: bool = False) -> Tensor:
        """[..., M, K] by [..., K, N], or by [..., N, K] transposed, in matmul_dtype."""
        return self.product(self.cast(a), self.cast(b), transpose_b)


class Model(NamedTuple):
    """Variables and how to compute with them."""

    params: Parameters  # by the names of modeling.parameters
    config: Any  # a ModelConfig; an encoder knows its own
    compute: Compute = Compute()
    dropout: Dropout = Dropout()  # for one step; this default for prediction

    def for_shares(self, count: int, scope: str) -> list[Model]:
        """The model for each share of a batch: the same weights, dropout of the share's rows.

        Args:
            count: of shares.
            scope: of the variables whose kernels the shares use.
        """
        copies = {
            name: self.compute.copies(value, count)
            for name, value in self.params.items()
            if name.startswith(f"{scope}/") and name.endswith("/kernel")
        }
        return [
            self._replace(
                params={**self.params, **{name: kernels[i] for name, kernels in copies.items()}},
                dropout=dropout,
            )
            for i, dropout in enumerate(self.dropout.shares(count))
        ]

    def norm(self, scope: str) -> tuple[Tensor, Tensor]:
        """Gamma and beta [H] of a layer normalization."""
        return self.params[f"{scope}/gamma"], self.params[f"{scope}/beta"]

    def dense(self, x: Tensor, scope: str) -> tuple[Tensor, Tensor]:
        """X [..., K] by a kernel [K, N] to [..., N], without the bias, and the bias [N]."""
        kernel = self.params[f"{scope}/kernel"]
        return self.compute.matmul(x, kernel), self.params[f"{scope}/bias"]

    def layer(
        self, function: Callable[..., Tensor], scope: str, x: Tensor, *others: Tensor
    ) -> Tensor:
        """A layer of an encoder; with ``compute.remat`` its gradient keeps its input alone.

        Args:
            function: (model, scope, x, others) to the layer's output.
            scope: with which the names of its variables begin.
            x: the layer's input.
            others: what it is not differentiated by.
        """
        if self.compute.remat is None:
            return function(self, scope, x, *others)
        names = [name for name in self.params if name.startswith(f"{scope}/")]

        def inside(dropout: Dropout, x: Tensor, *values: Tensor) -> Tensor:
            params = {**self.params, **dict(zip(names, values, strict=True))}
            return function(self._replace(params=params, dropout=dropout), scope, x, *others)

        repeated = self.compute.remat(self.dropout.repeatable(inside))
        return repeated(x, *(self.params[name] for name in names))

    def drop_units(self, x: Tensor) -> Tensor:
        """Dropout on the way to a head for labels, as in Google's run_classifier; any shape."""
        rate = self.config.hidden_dropout_prob
        seeds = self.dropout.seeds(rate, ops.shape(x))
        return drop(x, seeds[0], rate) if seeds else x
