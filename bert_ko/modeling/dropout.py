"""Dropout whose masks are hashes, computed where they are used.

No random number is drawn, kept or read: whether an element is dropped follows from its place in the
batch and a seed, in a few operations on integers that a compiler joins with what surrounds them,
and the gradient computes the same mask again. Masks are equal on all processors, under both
backends and on any number of devices.

The hash is two rounds of a shifted exclusive or and a multiplication, each with a word of the seed.
Its shifts and factors are those of the least bias that https://github.com/skeeto/hash-prospector
found (issue 19).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.ops import ops

Tensor = Any

_RANGE = 1 << 32  # of random words
_FACTORS = np.uint32(0x21F0AAAD), np.uint32(0x735A2D97)


def step_seed(seed: int, step: int) -> npt.NDArray[Any]:
    """The seed of an update, uint32 [2]: the user's, and the number of the step."""
    return np.random.SeedSequence((seed % (1 << 64), step)).generate_state(2, np.uint32)


def child_seed(seed: Tensor, index: Tensor | int) -> Tensor:
    """The seed [2] of a part of an update, or of a use of dropout; uint32."""
    number = ops.cast(index, "uint32") * np.uint32(2)
    return _hash(ops.stack([number, number + np.uint32(1)]), seed[0], seed[1])


def random_words(seed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A word for each element, uniformly distributed: seed [3] to uint32 of the shape."""
    index, stride = seed[2], 1
    for axis in reversed(range(len(shape))):
        places = ops.cast(ops.arange(shape[axis], dtype="int32"), "uint32") * np.uint32(stride)
        index = index + ops.reshape(places, (-1, *[1] * (len(shape) - 1 - axis)))
        stride = stride * shape[axis] % _RANGE
    return _hash(index, seed[0], seed[1])


def _hash(index: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Words for the numbers that index has, uint32."""
    word = ops.bitwise_xor(index, first)
    word = ops.bitwise_xor(word, ops.right_shift(word, np.uint32(16))) * _FACTORS[0] + second
    word = ops.bitwise_xor(word, ops.right_shift(word, np.uint32(15))) * _FACTORS[1]
    return ops.bitwise_xor(word, ops.right_shift(word, np.uint32(15)))


def dropout_threshold(rate: float) -> int:
    """An element is dropped where its word is below this; at any rate some are kept."""
    return min(round(rate * _RANGE), _RANGE - 1)


def drop(x: Tensor, seed: Tensor | None, rate: float) -> Tensor:
    """Zeros where the words of the seed say so, the rest scaled up; of the shape of x.

    It is linear in x, and so its own gradient.
    """
    if seed is None:
        return x
    threshold = dropout_threshold(rate)
    keep = random_words(seed, tuple(x.shape)) >= np.uint32(threshold)
    return ops.where(keep, x * (_RANGE / (_RANGE - threshold)), 0.0)


class Dropout:
    """The seeds of one step; which a use gets depends on its place in the model alone."""

    def __init__(self, seed: Tensor | None = None, share: Tensor | int = 0, uses: int = 0):
        """Begins a step.

        Args:
            seed: uint32 [2]; None drops nothing.
            share: which of the equal shares of the batch, each computed by itself, this is.
            uses: before the first.
        """
        self._seed = seed
        self._share = share
        self._uses = uses

    def seeds(self, rate: float, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
        """The seed for a tensor of this shape, uint32 [3], or nothing, to be passed on by ``*``.

        The third number is that of the tensor's first element, in those of all shares.
        """
        if not self.is_active(rate):
            return ()
        self._uses += 1
        first = ops.cast(self._share, "uint32") * np.uint32(math.prod(shape) % _RANGE)
        words = child_seed(self._seed, self._uses)
        return (ops.concatenate([words, ops.reshape(first, (1,))]),)

    def is_active(self, rate: float) -> bool:
        """Whether anything is dropped at this rate."""
        return self._seed is not None and rate > 0

    def shares(self, count: int) -> list[Dropout]:
        """Of the equal shares of what this one is for, beginning where it is."""
        return [Dropout(self._seed, self._share * count + i, self._uses) for i in range(count)]

    def go_on_after(self, other: Dropout) -> None:
        """The next use is one after the other's last."""
        self._uses = max(self._uses, other._uses)

    def repeatable(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """A function of a Dropout and tensors as one of tensors; its seeds are always the same."""
        begin = self._uses

        def call(*tensors: Tensor) -> Tensor:
            inner = Dropout(self._seed, self._share, begin)
            result = function(inner, *tensors)
            self.go_on_after(inner)
            return result

        return call
