"""Variables of models: names, shapes and initial values, known before any framework is loaded.

Names are those of the variables of Google's TF1 code, or follow them: SCOPE/embeddings/…,
SCOPE/encoder/layer_N/…, and for heads cls/….
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Initializer = Literal["normal", "zeros", "ones"]
Arrays = dict[str, npt.NDArray[np.float32]]


class ParameterSpec(NamedTuple):
    """Shape and initial value of a variable."""

    shape: tuple[int, ...]
    initializer: Initializer


Specs = dict[str, ParameterSpec]


def dense_specs(scope: str, inputs: int, units: int) -> Iterator[tuple[str, ParameterSpec]]:
    """Kernel [inputs, units] and bias [units] of a dense layer, by name."""
    yield f"{scope}/kernel", ParameterSpec((inputs, units), "normal")
    yield f"{scope}/bias", ParameterSpec((units,), "zeros")


def norm_specs(scope: str, units: int) -> Iterator[tuple[str, ParameterSpec]]:
    """Gamma and beta [units] of a layer normalization, by name."""
    yield f"{scope}/gamma", ParameterSpec((units,), "ones")
    yield f"{scope}/beta", ParameterSpec((units,), "zeros")


def count_parameters(specs: Mapping[str, ParameterSpec]) -> int:
    """Numbers in all variables."""
    return sum(math.prod(spec.shape) for spec in specs.values())


def initial_parameters(
    specs: Mapping[str, ParameterSpec], initializer_range: float, seed: int
) -> Arrays:
    """New weights, from a normal distribution cut at two standard deviations (initializer_range).

    Each variable draws from a stream of its own, so that one more head changes no other variable.
    """
    arrays = {}
    for name, spec in specs.items():
        if spec.initializer == "normal":
            rng = np.random.default_rng([seed, *name.encode()])
            arrays[name] = _truncated_normal(spec.shape, rng) * np.float32(initializer_range)
        else:
            arrays[name] = np.full(spec.shape, spec.initializer == "ones", np.float32)
    return arrays


def _truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    values = rng.standard_normal(shape, np.float32)
    while True:
        outside = np.flatnonzero(np.abs(values) > 2)
        if not len(outside):
            return values
        values.ravel()[outside] = rng.standard_normal(len(outside), np.float32)
