"""A linear-chain conditional random field over tags, in keras.ops.

A path of tags scores the sum of its emissions, of the transitions between neighbours, of the start
of its first tag and the end of its last. The probability of a path is the softmax over all paths.

Everything is computed in float32, without matrix products, which accelerators round. Whatever the
values in padding are, they change nothing and have a gradient of exactly 0.

Legend: B batch, L length of the batch, known when traced, T tags. ``emissions`` float32 [B, L, T]
and ``tags`` int32 [B, L] may hold any value in padding. ``mask`` [B, L], of any dtype, is 1 for
real positions, which begin at position 0 without a gap; a row may have none.

Source: Lafferty et al., 2001, Conditional random fields. Differs: what a recursion carries is kept
    near 0, so that scores of 10,000 and long rows lose no precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.ops import ops

# What a step of a recursion carries, and what it reads at its position: see _steps.
_Pair = tuple[Tensor, Tensor]
_Step = tuple[Tensor, Tensor, Tensor]
# Far below the score of any path, and so small that a sum of two is a float32.
_FORBIDDEN = -1e30


class Crf(NamedTuple):
    """The variables, float32."""

    transitions: Tensor  # [T, T], from the tag of the row to that of the column
    start: Tensor  # [T], of the first tag
    end: Tensor  # [T], of the last tag


class _Messages(NamedTuple):
    """Sums over the paths on both sides of a position, each but for a constant per position."""

    forward: Tensor  # [B, L, T], log of the sum over all beginnings up to a position, by its tag
    backward: Tensor  # [B, L, T], the same over all rests from a position on
    log_partition: Tensor  # [B]


def log_likelihood(emissions: Tensor, tags: Tensor, mask: Tensor, crf: Crf) -> Tensor:
    """The log of the probability of each row's path, float32 [B]; 0 for a row without positions."""
    real = ops.cast(mask, "bool")
    tags = ops.where(real, ops.cast(tags, "int32"), 0)
    emissions = _without_padding(emissions, real)
    emitted, moved = _path_scores(emissions, tags, real, crf)
    # The same number for all tags of a position changes no probability. Measured from the path in
    # question, paths close to it score about 0, where float32 is finest; hence one by one.
    relative = emissions - emitted[:, :, None] - moved[:, :, None]
    return -log_partition(relative, mask, crf)


def log_partition(emissions: Tensor, mask: Tensor, crf: Crf) -> Tensor:
    """The log of the sum of exp(score) over all paths of each row, float32 [B].

    It is 0 for a row without positions. Its gradient is computed with it from expected counts, not
    through the recursion; there is no second derivative.
    """
    real = ops.cast(mask, "bool")
    weights = ops.cast(real, "float32")
    return ops.custom_gradient(_log_partition)(_without_padding(emissions, real), weights, *crf)


def _log_partition(
    emissions: Tensor, weights: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
    """The value, and the function to gradients.

    ``weights`` are the mask in float32: JAX wants a gradient for every argument.
    """
    messages = _messages(emissions, weights > 0, Crf(transitions, start, end))

    def gradients(upstream: Tensor) -> tuple[Tensor, ...]:
        factors = weights * upstream[:, None]
        tags = _tag_probs(messages, emissions) * factors[:, :, None]
        pairs = _pair_probs(messages, transitions) * factors[:, 1:, None, None]
        is_last = weights - ops.pad(weights[:, 1:], ((0, 0), (0, 1)))
        return (
            tags,
            ops.zeros_like(weights),
            ops.sum(pairs, axis=(0, 1)),
            ops.sum(tags[:, 0], axis=0),
            ops.sum(tags * is_last[:, :, None], axis=(0, 1)),
        )

    return messages.log_partition, gradients


def marginals(emissions: Tensor, mask: Tensor, crf: Crf) -> Tensor:
    """The probability of every tag at every position, float32 [B, L, T]; 0 in padding.

    It has no gradient.
    """
    real = ops.cast(mask, "bool")
    emissions, crf = _constant(_without_padding(emissions, real), crf)
    probs = _tag_probs(_messages(emissions, real, crf), emissions)
    return ops.where(real[:, :, None], probs, 0.0)


def viterbi(
    emissions: Tensor, mask: Tensor, crf: Crf, allowed: npt.NDArray[np.bool_] | None = None
) -> Tensor:
    """The path with the highest score, int32 [B, L]; 0 in padding. It has no gradient.

    Of equal choices the first tag wins, beginning with the last position.

    Args:
        emissions: float32 [B, L, T].
        mask: [B, L].
        crf: variables.
        allowed: bool [T + 1, T], see ``bio_transitions``: which tags may follow that of the row,
            and in the last row which may come first; at least one in every row. None allows all.
    """
    real = ops.cast(mask, "bool")
    emissions, crf = _constant(_without_padding(emissions, real), crf)
    if allowed is not None:
        crf = restricted(crf, allowed)
    into = ops.transpose(crf.transitions)  # to the tag of the row
    itself = ops.arange(into.shape[0], dtype="int32")

    def extend(carry: _Pair, inputs: _Step) -> tuple[_Pair, _Pair]:
        emission, is_real, is_first = inputs
        candidates = carry[0][:, None, :] + into  # [B, T, T]
        best = ops.where(is_first, crf.start, ops.max(candidates, axis=-1)) + emission
        best = best - ops.max(best, axis=-1, keepdims=True)
        # In padding every tag comes from itself, so that the way back starts at the last real one.
        origin = ops.where(is_real, ops.cast(ops.argmax(candidates, axis=-1), "int32"), itself)
        carry = (ops.where(is_real, best, carry[0]), origin)
        return carry, carry

    def go_back(tag: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
        return ops.take_along_axis(origin, tag[:, None], axis=1)[:, 0], tag

    steps = _steps(emissions, real)
    first = ops.zeros_like(emissions[:, 0])
    carry = (first, ops.cast(first, "int32"))
    (scores, _), (_, origins) = ops.scan(extend, carry, steps, length=emissions.shape[1])
    last = ops.cast(ops.argmax(scores + crf.end, axis=-1), "int32")
    _, tags = ops.scan(go_back, last, origins, length=emissions.shape[1], reverse=True)
    return ops.where(real, ops.transpose(tags), 0)


def restricted(crf: Crf, allowed: npt.NDArray[np.bool_]) -> Crf:
    """The variables, with scores so low that no best path has a transition that is not allowed.

    Args:
        crf: variables.
        allowed: see ``viterbi``.
    """
    assert allowed.shape == (crf.start.shape[0] + 1, crf.start.shape[0]), allowed.shape
    assert allowed.any(axis=1).all(), "a tag that nothing may follow"
    penalties = np.where(allowed, 0, _FORBIDDEN).astype(np.float32)
    return Crf(crf.transitions + penalties[:-1], crf.start + penalties[-1], crf.end)


def bio_transitions(labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which BIO tags may follow which: I-X only B-X or I-X, the others any.

    >>> bio_transitions(["O", "B-PS", "I-PS"]).astype(int).tolist()
    [[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]]

    Args:
        labels: T different ones, each O, B-X or I-X, with any name X.

    Returns:
        bool [T + 1, T]: row, the tag before; column, the tag; the last row, the beginning.

    Raises:
        ValueError: a label of another form or given twice, or nothing but I-X.
    """
    parts = [_split_label(label) for label in labels]
    if len(set(labels)) < len(labels):
        raise ValueError(f"labels must differ from each other, got {', '.join(labels)}.")
    if all(prefix == "I" for prefix, _ in parts):
        found = ", ".join(labels) or "none"
        raise ValueError(f"labels must include O or some B-X, got {found}.")
    rows = [
        [prefix != "I" or (last != "O" and last_name == name) for prefix, name in parts]
        for last, last_name in [*parts, ("O", "")]
    ]
    return np.array(rows, bool)


def _split_label(label: str) -> tuple[str, str]:
    """To "O", "B" or "I", and the name."""
    prefix, _, name = label.partition("-")
    if label != "O" and (prefix not in ("B", "I") or not name):
        raise ValueError(f"A BIO label must be O, B-X or I-X with a name X, got {label!r}.")
    return prefix, name


def _constant(emissions: Tensor, crf: Crf) -> tuple[Tensor, Crf]:
    """The same without a gradient."""
    return ops.stop_gradient(emissions), Crf(*(ops.stop_gradient(x) for x in crf))


def _without_padding(emissions: Tensor, real: Tensor) -> Tensor:
    """0 there: no inf or NaN comes in, and no gradient goes out."""
    return ops.where(real[:, :, None], ops.cast(emissions, "float32"), 0.0)


def _path_scores(emissions: Tensor, tags: Tensor, real: Tensor, crf: Crf) -> _Pair:
    """What each position adds to the score of the path by its emission, and by moves, [B, L]."""
    num_tags = crf.start.shape[0]
    one_hot = ops.one_hot(tags, num_tags, dtype="float32")
    emitted = ops.sum(emissions * one_hot, axis=-1)
    steps = ops.take(ops.reshape(crf.transitions, (-1,)), tags[:, :-1] * num_tags + tags[:, 1:])
    entered = ops.concatenate([ops.take(crf.start, tags[:, :1]), steps], axis=1)
    is_last = real & ~ops.pad(real[:, 1:], ((0, 0), (0, 1)), constant_values=False)
    left = ops.where(is_last, ops.take(crf.end, tags), 0.0)
    return emitted, ops.where(real, entered, 0.0) + left


def _steps(emissions: Tensor, real: Tensor) -> _Step:
    """Emissions [L, B, T]; which positions are real, and which the first of them, [L, B, 1]."""
    # TensorFlow's oneDNN complains of a transposed bool on standard error.
    real = ops.transpose(ops.cast(real, "int32"))[:, :, None] > 0
    before = ops.pad(real[:-1], ((1, 0), (0, 0), (0, 0)), constant_values=False)
    return ops.transpose(emissions, (1, 0, 2)), real, real & ~before


def _messages(emissions: Tensor, real: Tensor, crf: Crf) -> _Messages:
    """Both directions in one loop: backward is forward on the reversed row."""
    ways = [_steps(emissions, real), _steps(ops.flip(emissions, axis=1), ops.flip(real, axis=1))]
    steps = tuple(ops.stack(pair, axis=1) for pair in zip(*ways, strict=True))  # [L, 2, B, ...]
    into = ops.stack([ops.transpose(crf.transitions), crf.transitions])[:, None]  # [2, 1, T, T]
    start = ops.stack([crf.start, crf.end])[:, None]  # [2, 1, T]

    def step(carry: _Pair, inputs: _Step) -> tuple[_Pair, _Pair]:
        emission, is_real, is_first = inputs
        message, scale = carry  # [2, B, T], [2, B, 1]: what was taken out of it
        sums = _logsumexp(message[:, :, None, :] + into)[..., 0]
        new = ops.where(is_first, start, sums) + emission
        largest = ops.max(new, axis=-1, keepdims=True)
        message = ops.where(is_real, new - largest, message)
        carry = (message, ops.where(is_real, scale + largest, scale))
        return carry, carry

    zeros = ops.zeros_like(steps[0][0])
    init = (zeros, zeros[:, :, :1])
    (last, scale), (found, _) = ops.scan(step, init, steps, length=emissions.shape[1])
    total = (_logsumexp(last[0] + crf.end) + scale[0])[:, 0]
    found = ops.transpose(found, (1, 2, 0, 3))  # [2, B, L, T]
    return _Messages(
        found[0],
        ops.flip(found[1], axis=1),
        ops.where(ops.any(real, axis=1), total, 0.0),
    )


def _logsumexp(x: Tensor) -> Tensor:
    """Over the last axis, which stays; x is finite."""
    largest = ops.max(x, axis=-1, keepdims=True)
    return ops.log(ops.sum(ops.exp(x - largest), axis=-1, keepdims=True)) + largest


def _tag_probs(messages: _Messages, emissions: Tensor) -> Tensor:
    """[B, L, T]; both messages count the emission."""
    return ops.softmax(messages.forward + messages.backward - emissions, axis=-1)


def _pair_probs(messages: _Messages, transitions: Tensor) -> Tensor:
    """Of the tags of a position and the next, [B, L - 1, T, T]."""
    before, after = messages.forward[:, :-1, :, None], messages.backward[:, 1:, None, :]
    scores = before + transitions + after
    powers = ops.exp(scores - ops.max(scores, axis=(2, 3), keepdims=True))
    return powers / ops.sum(powers, axis=(2, 3), keepdims=True)
