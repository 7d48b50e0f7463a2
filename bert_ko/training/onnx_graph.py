"""A model as an ONNX graph: its operations, called once, become nodes.

Models are written with ``ops`` (see modeling/ops.py) and with what a backend chooses (see Compute).
Both are of ONNX here, so that an encoder or a head is written once, and nothing of TensorFlow, JAX
or Keras is needed. What is known of the weights alone is computed at once: three kernels that are
joined become one initializer.

Sizes of the inputs stay open; ``ops.shape`` gives them as values of the graph.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bert_ko.modeling.compute import Compute, Model, forward_only
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.fused import (
    BIAS_ACTIVATION,
    DROPOUT_ADD_NORM,
    EPSILON,
    NORM_DROPOUT,
    SOFTMAX_DROPOUT,
    FusedOp,
)
from bert_ko.modeling.ops import in_place_of_keras, ops
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.backend import Axes, OutputFunction

# The oldest that has Gelu, for the sake of older programs; likewise the form of the file.
OPSET, IR_VERSION = 20, 9
_TYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "int32": onnx.TensorProto.INT32,
    "int64": onnx.TensorProto.INT64,
}
_UNARY = {
    name: name.capitalize() for name in ("tanh", "relu", "erf", "exp", "log", "sqrt", "sigmoid")
}
_END = np.iinfo(np.int64).max


def onnx_model(
    config: ModelConfig,
    arrays: Arrays,
    outputs: OutputFunction,
    inputs: Mapping[str, Axes],
    output_axes: Mapping[str, Axes],
) -> onnx.ModelProto:
    """A function of a model as an ONNX model.

    Args:
        config: of the model.
        arrays: float32, its variables.
        outputs: the function.
        inputs: axes of the features, int32, by name.
        output_axes: of what is returned, by name.

    Raises:
        ValueError: the model uses an operation that has no form here.
    """
    graph = Graph()
    features = {name: graph.input(name, axes) for name, axes in inputs.items()}
    params = {name: Value(graph, np.asarray(x), name=name) for name, x in arrays.items()}
    with in_place_of_keras(Operations(graph)):
        found = outputs(Model(params, config, Compute(product=_product, fuse=_fuse)), features)
    return graph.finish({name: (found[name], axes) for name, axes in output_axes.items()})


class Graph:
    """Nodes and initializers, as far as they are known."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._counts: dict[str, int] = {}
        self._known: dict[tuple[Any, ...], Value] = {}

    def input(self, name: str, axes: Axes) -> Value:
        """An input of the whole, int32."""
        self._inputs.append(_describe(name, "int32", axes))
        return Value(self, None, name, "int32", len(axes))

    def new_name(self, kind: str) -> str:
        """A name that nothing else has."""
        self._counts[kind] = number = self._counts.get(kind, -1) + 1
        return f"{kind}_{number}"

    def add(
        self, kind: str, inputs: Sequence[Value], dtype: str, rank: int, **attributes: Any
    ) -> Value:
        """The output of a new node, or of an equal one that is there."""
        names = [self._name_of(value) for value in inputs]
        key = (kind, *names, *sorted(attributes.items()))
        if key not in self._known:
            output = self.new_name(kind)
            self._nodes.append(helper.make_node(kind, names, [output], output, **attributes))
            self._known[key] = Value(self, None, output, dtype, rank)
        return self._known[key]

    def _name_of(self, value: Value) -> str:
        if value.array is not None:
            if not value.name:  # equal small ones are one
                key = (value.array.dtype, value.array.shape, value.array.tobytes())
                value.name = self._known.setdefault(key, value).name or self.new_name("constant")
            if value.name not in self._initializers:
                array = np.ascontiguousarray(value.array).reshape(value.array.shape)
                self._initializers[value.name] = numpy_helper.from_array(array, value.name)
        return value.name

    def finish(self, outputs: Mapping[str, tuple[Value, Axes]]) -> onnx.ModelProto:
        """The model with these outputs, without what none of them needs."""
        described = []
        for name, (value, axes) in outputs.items():
            assert value.rank == len(axes), (name, value.rank, axes)
            source = self._name_of(value)
            self._nodes.append(helper.make_node("Identity", [source], [name], name))
            described.append(_describe(name, value.dtype, axes))
        needed, nodes = set(outputs), []
        for node in reversed(self._nodes):
            if node.output[0] in needed:
                needed.update(node.input)
                nodes.append(node)
        kept = [tensor for name, tensor in self._initializers.items() if name in needed]
        graph = helper.make_graph(nodes[::-1], "model", self._inputs, described, kept)
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(
            graph, producer_name="bert_ko", opset_imports=[opset], ir_version=IR_VERSION
        )


def _describe(name: str, dtype: str, axes: Axes) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[dtype], list(axes))


class Value:
    """A tensor of a graph; ``array`` is known of constants, among them the weights.

    It has the operators that models use.
    """

    __array_ufunc__ = None  # a numpy array leaves operators to this class

    def __init__(
        self, graph: Graph, array: Any = None, name: str = "", dtype: str = "", rank: int = 0
    ):
        self.graph, self.array, self.name = graph, array, name
        self.dtype = dtype if array is None else str(array.dtype)
        self.rank = rank if array is None else array.ndim

    def __add__(self, other: Any) -> Value:
        return _binary("Add", operator.add, self, other)

    def __radd__(self, other: Any) -> Value:
        return _binary("Add", operator.add, other, self)

    def __sub__(self, other: Any) -> Value:
        return _binary("Sub", operator.sub, self, other)

    def __rsub__(self, other: Any) -> Value:
        return _binary("Sub", operator.sub, other, self)

    def __mul__(self, other: Any) -> Value:
        return _binary("Mul", operator.mul, self, other)

    def __rmul__(self, other: Any) -> Value:
        return _binary("Mul", operator.mul, other, self)

    def __truediv__(self, other: Any) -> Value:
        return _binary("Div", operator.truediv, self, other)

    def __getitem__(self, key: Any) -> Value:
        """Slices with steps of 1, numbers, and None for a new axis."""
        found, axis = self, 0
        for part in key if isinstance(key, tuple) else (key,):
            if part is None:
                found = found._node("Unsqueeze", _ints(self.graph, axis), rank=found.rank + 1)
            elif isinstance(part, slice):
                found = found._slice(part, axis)
            else:
                found = found._node("Gather", part, rank=found.rank - 1, axis=axis)
                continue
            axis += 1
        return found

    def _slice(self, part: slice, axis: int) -> Value:
        assert part.step is None, part
        if part == slice(None):
            return self
        ends = (0 if part.start is None else part.start, _END if part.stop is None else part.stop)
        rows = [_row(self.graph, [end]) for end in ends]
        return self._node("Slice", *rows, _ints(self.graph, axis), rank=self.rank)

    def _node(self, kind: str, *others: Any, rank: int, **attributes: Any) -> Value:
        inputs = [self, *(_value(self.graph, other, "int64") for other in others)]
        return self.graph.add(kind, inputs, self.dtype, rank, **attributes)


def _value(graph: Graph, x: Any, dtype: str) -> Value:
    return x if isinstance(x, Value) else Value(graph, np.asarray(x, dtype))


def _ints(graph: Graph, *numbers: int) -> Value:
    return Value(graph, np.array(numbers, np.int64))


def _row(graph: Graph, numbers: Sequence[Any]) -> Value:
    """Numbers, some of which the graph computes, int64 [n]."""
    if not any(isinstance(number, Value) for number in numbers):
        return _ints(graph, *numbers)
    rows = [
        _cast(number, "int64")[None] if isinstance(number, Value) else _ints(graph, number)
        for number in numbers
    ]
    return rows[0] if len(rows) == 1 else graph.add("Concat", rows, "int64", 1, axis=0)


def _binary(kind: str, function: Callable[[Any, Any], Any], a: Any, b: Any) -> Value:
    known = a if isinstance(a, Value) else b
    a, b = (_value(known.graph, x, known.dtype) for x in (a, b))
    if a.dtype != b.dtype:  # a size, which is int64, becomes what it meets
        a, b = (_cast(a, b.dtype), b) if a.rank == 0 else (a, _cast(b, a.dtype))
    if a.array is not None and b.array is not None:
        return Value(known.graph, np.asarray(function(a.array, b.array), a.dtype))
    return known.graph.add(kind, [a, b], a.dtype, max(a.rank, b.rank))


def _cast(x: Value, dtype: str) -> Value:
    if x.dtype == dtype:
        return x
    if x.array is not None:
        return Value(x.graph, x.array.astype(dtype))
    return x.graph.add("Cast", [x], dtype, x.rank, to=_TYPES[dtype])


class Operations:
    """The functions of keras.ops that models use, on values of a graph; see there."""

    def __init__(self, graph: Graph):
        self._graph = graph

    def __getattr__(self, name: str) -> Any:
        if name not in _UNARY:
            raise ValueError(
                f"--to_format=onnx: the model uses keras.ops.{name}, which is not among the "
                "operations of bert_ko/training/onnx_graph.py; add it there."
            )
        return lambda x: self._graph.add(_UNARY[name], [x], x.dtype, x.rank)

    def cast(self, x: Value, dtype: str) -> Value:
        """To float32, int32 or int64."""
        return _cast(x, dtype)

    def shape(self, x: Value) -> tuple[Any, ...]:
        """Numbers of a constant, else values."""
        if x.array is not None:
            return tuple(x.array.shape)
        sizes = self._graph.add("Shape", [x], "int64", 1)
        return tuple(sizes[axis] for axis in range(x.rank))

    def reshape(self, x: Value, newshape: Sequence[Any]) -> Value:
        """Sizes may be values; one may be -1."""
        sizes = _row(self._graph, newshape)
        return self._graph.add("Reshape", [x, sizes], x.dtype, len(newshape))

    def transpose(self, x: Value, axes: Sequence[int] | None = None) -> Value:
        """Reverses the axes unless they are given."""
        axes = tuple(range(x.rank))[::-1] if axes is None else tuple(axes)
        if x.array is not None:
            return Value(self._graph, x.array.transpose(axes))
        return self._graph.add("Transpose", [x], x.dtype, x.rank, perm=axes)

    def swapaxes(self, x: Value, axis1: int, axis2: int) -> Value:
        """Swaps two axes."""
        axes = list(range(x.rank))
        axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
        return self.transpose(x, axes)

    def matmul(self, a: Value, b: Value) -> Value:
        """Of two or more axes each."""
        return self._graph.add("MatMul", [a, b], a.dtype, max(a.rank, b.rank))

    def take(self, x: Value, indices: Value, axis: int) -> Value:
        """Rows at places."""
        rank = x.rank - 1 + indices.rank
        return self._graph.add("Gather", [x, indices], x.dtype, rank, axis=axis)

    def one_hot(self, x: Value, num_classes: int, dtype: str) -> Value:
        """With a new last axis."""
        depth = _value(self._graph, num_classes, "int64")
        values = Value(self._graph, np.array([0, 1], dtype))
        return self._graph.add("OneHot", [_cast(x, "int64"), depth, values], dtype, x.rank + 1)

    def concatenate(self, xs: Sequence[Value], axis: int = 0) -> Value:
        """Joins along an axis."""
        arrays = [x.array for x in xs]
        if all(array is not None for array in arrays):
            return Value(self._graph, np.concatenate(arrays, axis))
        return self._graph.add("Concat", xs, xs[0].dtype, xs[0].rank, axis=axis)

    def stack(self, xs: Sequence[Value], axis: int) -> Value:
        """Joins along a new axis."""
        axes = _ints(self._graph, axis)
        rows = [self._graph.add("Unsqueeze", [x, axes], x.dtype, x.rank + 1) for x in xs]
        return self.concatenate(rows, axis)

    def split(self, x: Value, indices_or_sections: int) -> list[Value]:
        """Into one part alone, as nothing is shared out here."""
        assert indices_or_sections == 1, indices_or_sections
        return [x]

    def unstack(self, x: Value, num: int) -> list[Value]:
        """Along the first axis."""
        return [x[i] for i in range(num)]

    def arange(self, stop: Any, dtype: str) -> Value:
        """From 0."""
        ends = [_value(self._graph, end, "int64") for end in (0, stop, 1)]
        return _cast(self._graph.add("Range", ends, "int64", 1), dtype)

    def softmax(self, x: Value, axis: int = -1) -> Value:
        """Over an axis."""
        return self._graph.add("Softmax", [x], x.dtype, x.rank, axis=axis)

    def sum(self, x: Value, axis: int, keepdims: bool = False) -> Value:
        """Over an axis."""
        rank = x.rank if keepdims else x.rank - 1
        axes = _ints(self._graph, axis)
        return self._graph.add("ReduceSum", [x, axes], x.dtype, rank, keepdims=int(keepdims))


# What a backend chooses; see Compute


def _product(a: Value, b: Value, transpose_b: bool) -> Value:
    """See Compute.product; weights that many rows share are not copied for their transpose."""
    if transpose_b and b.array is not None and a.rank == 2:
        return a.graph.add("Gemm", [a, b], a.dtype, 2, transB=1)
    return ops.matmul(a, ops.swapaxes(b, -1, -2) if transpose_b else b)  # type: ignore[no-any-return]


def _norm_dropout(x: Value, gamma: Value, beta: Value, *, rate: float, dtype: str) -> Value:
    return x.graph.add(
        "LayerNormalization", [x, gamma, beta], x.dtype, x.rank, axis=-1, epsilon=EPSILON
    )


def _dropout_add_norm(
    x: Value, bias: Value, residual: Value, gamma: Value, beta: Value, **settings: Any
) -> Value:
    return _norm_dropout(x + bias + residual, gamma, beta, **settings)


def _bias_activation(x: Value, bias: Value, *, activation: str, dtype: str) -> Value:
    if activation in ("gelu", "gelu_erf"):
        total, how = x + bias, "tanh" if activation == "gelu" else "none"
        return x.graph.add("Gelu", [total], x.dtype, x.rank, approximate=how)
    return getattr(ops, activation)(x + bias)  # type: ignore[no-any-return]


def _softmax_dropout(scores: Value, bias: Value, *, scale: float, rate: float, dtype: str) -> Value:
    return ops.softmax(scores * scale + bias)  # type: ignore[no-any-return]


# Operations that ONNX has whole, which programs compute faster than their parts.
_WHOLE: dict[FusedOp, Callable[..., Value]] = {
    NORM_DROPOUT: _norm_dropout,
    DROPOUT_ADD_NORM: _dropout_add_norm,
    BIAS_ACTIVATION: _bias_activation,
    SOFTMAX_DROPOUT: _softmax_dropout,
}


def _fuse(op: FusedOp) -> Callable[..., Any]:
    return _WHOLE.get(op) or forward_only(op)
