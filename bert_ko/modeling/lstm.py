"""A layer of an LSTM with projection over all steps, as one operation with its own gradient.

What does not depend on the step before is one product over all steps: of the inputs before the
loop, and of the gradients of the weights after it. The steps between are small products and one
compiled function each.

Legend: T steps, B batch, C cells, P units of the projection. Gates are in TensorFlow's order:
input, new input, forget, output.

Source: LSTMCell of TensorFlow 1, with num_proj, cell_clip and proj_clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bert_ko.modeling.compute import Compute
from bert_ko.modeling.dropout import drop
from bert_ko.modeling.fused import FusedOp, Tensor
from bert_ko.modeling.ops import ops

States = tuple[Tensor, ...]

_FORGET_BIAS = 1.0
_UNROLLED = 64  # steps at most that are written out one by one for the compiler


def _float(x: Tensor) -> Tensor:
    return ops.cast(x, "float32")


def _clip(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else ops.clip(x, -limit, limit)


def _unless_clipped(gradient: Tensor, clipped: Tensor, limit: float | None) -> Tensor:
    return gradient if limit is None else ops.where(ops.abs(clipped) < limit, gradient, 0.0)


def _cell(
    from_input: Tensor,
    from_hidden: Tensor,
    bias: Tensor,
    cell: Tensor,
    *,
    clip: float | None,
    dtype: str,
) -> tuple[Tensor, Tensor, Tensor]:
    total = _float(from_input) + _float(from_hidden) + bias
    i, new, forget, o = ops.split(total, 4, axis=-1)
    i, forget, o = ops.sigmoid(i), ops.sigmoid(forget + _FORGET_BIAS), ops.sigmoid(o)
    new = ops.tanh(new)
    cell = _clip(forget * cell + i * new, clip)
    gates = ops.concatenate([i, new, forget, o], axis=-1)
    return ops.cast(o * ops.tanh(cell), dtype), cell, gates


def _cell_backwards(
    dy: Tensor,
    gates: Tensor,
    cell: Tensor,
    before: Tensor,
    dcell: Tensor,
    *,
    clip: float | None,
    dtype: str,
) -> tuple[Tensor, Tensor]:
    i, new, forget, o = ops.split(gates, 4, axis=-1)
    dy, t = _float(dy), ops.tanh(cell)
    dcell = _unless_clipped(dcell + dy * o * (1 - t * t), cell, clip)
    dgates = [
        dcell * new * i * (1 - i),
        dcell * i * (1 - new * new),
        dcell * before * forget * (1 - forget),
        dy * t * o * (1 - o),
    ]
    return ops.cast(ops.concatenate(dgates, axis=-1), dtype), dcell * forget


def _project(x: Tensor, *, clip: float | None, dtype: str) -> Tensor:
    return ops.cast(_clip(_float(x), clip), dtype)


def _project_backwards(
    dy: Tensor, from_next: Tensor, hidden: Tensor, *, clip: float | None, dtype: str
) -> Tensor:
    dx = _float(dy) + _float(from_next)
    return ops.cast(_unless_clipped(dx, _float(hidden), clip), dtype)


def _outputs(gates: Tensor, cells: Tensor, *, dtype: str) -> Tensor:
    units = cells.shape[-1]
    return ops.cast(gates[..., 3 * units :] * ops.tanh(cells), dtype)


def _no_gradients(*tensors: Tensor, **settings: Any) -> tuple[Tensor, ...]:
    raise AssertionError("parts of LSTM, whose own gradient does not ask for theirs")


# Parts of a step; see LSTM. from_input, from_hidden [B, 4C], bias [4C], cell [B, C] -> what is to
# be projected [B, C], the new cell [B, C] and the gates [B, 4C].
CELL = FusedOp(_cell, _no_gradients, 0)
CELL_BACKWARDS = FusedOp(_cell_backwards, _no_gradients, 0)
PROJECT = FusedOp(_project, _no_gradients, 0)
PROJECT_BACKWARDS = FusedOp(_project_backwards, _no_gradients, 0)
OUTPUTS = FusedOp(_outputs, _no_gradients, 0)


def _loop(
    step: Callable[[States, States], States],
    state: States,
    inputs: States,
    wanted: int,
    is_backwards: bool = False,
) -> list[Tensor]:
    """Steps over the first axis of the inputs.

    Args:
        step: the state and a row of each input to the next state, of the same shapes and dtypes.
        state: before the first step.
        inputs: [T, ...].
        wanted: the first ones of a state are.
        is_backwards: begins at the last row.

    Returns:
        What is wanted of the state after the step of each row, [T, ...].
    """
    if inputs[0].shape[0] > _UNROLLED:
        # Under TensorFlow, results of keras.ops.scan must be like the state.
        _, found = ops.scan(lambda *x: (step(*x),) * 2, state, inputs, reverse=is_backwards)
        return list(found[:wanted])
    rows = list(zip(*(ops.unstack(x, axis=0) for x in inputs), strict=True))
    states = []
    for row in rows[::-1] if is_backwards else rows:
        state = step(state, row)
        states.append(state[:wanted])
    ordered = states[::-1] if is_backwards else states
    return [ops.stack(values) for values in zip(*ordered, strict=True)]


def _lstm(
    inputs: Tensor,
    bias: Tensor,
    recurrent: Tensor,
    projection: Tensor,
    cell: Tensor,
    hidden: Tensor,
    *,
    compute: Compute,
    clips: tuple[float | None, float | None],
) -> tuple[Tensor, ...]:
    recurrent, projection = compute.cast(recurrent), compute.cast(projection)
    dtypes = {"clip": clips[0], "dtype": compute.matmul_dtype}

    def step(state: States, row: States) -> States:
        hidden, cell, _ = state
        product = compute.product(compute.cast(hidden), recurrent, False)
        output, cell, gates = compute.fuse(CELL)(row[0], product, bias, cell, **dtypes)
        hidden = compute.fuse(PROJECT)(
            compute.product(output, projection, False),
            clip=clips[1],
            dtype=compute.activation_dtype,
        )
        return hidden, cell, gates

    no_gates = ops.zeros_like(_float(inputs[0]))
    begin = (ops.cast(hidden, compute.activation_dtype), _float(cell), no_gates)
    hiddens, cells, gates = _loop(step, begin, (inputs,), 3)
    return hiddens, cells, hiddens, cells, gates


def _lstm_gradients(
    dy: Tensor,
    inputs: Tensor,
    bias: Tensor,
    recurrent: Tensor,
    projection: Tensor,
    cell: Tensor,
    hidden: Tensor,
    hiddens: Tensor,
    cells: Tensor,
    gates: Tensor,
    *,
    compute: Compute,
    clips: tuple[float | None, float | None],
) -> tuple[Tensor, ...]:
    weights = compute.cast(recurrent), compute.cast(projection)
    dtype = compute.matmul_dtype
    cells_before = ops.concatenate([_float(cell)[None], cells[:-1]], axis=0)
    hiddens_before = ops.concatenate([ops.cast(hidden, hiddens.dtype)[None], hiddens[:-1]], axis=0)

    def step(state: States, row: States) -> States:
        *_, from_next, dcell = state
        dy, hidden, gates, cell, before = row
        dprojected = compute.fuse(PROJECT_BACKWARDS)(
            dy, from_next, hidden, clip=clips[1], dtype=dtype
        )
        doutput = compute.product(dprojected, weights[1], True)
        dgates, dcell = compute.fuse(CELL_BACKWARDS)(
            doutput, gates, cell, before, dcell, clip=clips[0], dtype=dtype
        )
        from_next = _float(compute.product(dgates, weights[0], True))
        return dgates, dprojected, from_next, dcell

    none = ops.zeros_like(hiddens[0])
    nothing = ops.cast(ops.zeros_like(gates[0]), dtype), ops.cast(none, dtype)
    begin = (*nothing, _float(none), ops.zeros_like(cells[0]))
    rows = (dy, hiddens, gates, cells, cells_before)
    dgates, dprojected = _loop(step, begin, rows, 2, is_backwards=True)
    outputs = compute.fuse(OUTPUTS)(gates, cells, dtype=dtype)
    return (
        ops.cast(dgates, inputs.dtype),
        ops.sum(_float(dgates), axis=(0, 1)),
        _float(_of_all_steps(compute, hiddens_before, dgates)),
        _float(_of_all_steps(compute, outputs, dprojected)),
    )


def _of_all_steps(compute: Compute, x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of weights: [T, B, M] and [T, B, N] to [M, N]."""
    x, gradient = (ops.reshape(value, (-1, value.shape[-1])) for value in (x, gradient))
    return compute.matmul(ops.transpose(x), gradient)


# inputs [T, B, 4C] (times their weights), bias [4C], recurrent [P, 4C], projection [C, P], and of
# the step before the first cell [B, C] and hidden [B, P] -> hidden of all steps [T, B, P] and cells
# [T, B, C], which have no gradient, nor has what came before. Kept are both and the gates.
LSTM = FusedOp(_lstm, _lstm_gradients, 4, 3)


def _drop_steps(x: Tensor, seed: Tensor, *, rate: float) -> Tensor:
    """Dropout whose masks are those of [B, T, P]: equal on any number of devices."""
    return ops.transpose(drop(ops.transpose(x, (1, 0, 2)), seed, rate), (1, 0, 2))


def _drop_steps_gradients(dy: Tensor, x: Tensor, seed: Tensor, *, rate: float) -> Sequence[Tensor]:
    return (_drop_steps(dy, seed, rate=rate),)


# x [T, B, P], seed [3] -> [T, B, P]
DROP_STEPS = FusedOp(_drop_steps, _drop_steps_gradients, 1)  # type: ignore[arg-type]
