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

# normal: with standard deviation initializer_range; unit: with 1; fan_in: with that of 1 / the root
# of the inputs, which all axes but the last are; a number: all the same.
Initializer = Literal["normal", "zeros", "ones", "unit", "fan_in"] | float
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
        if spec.initializer in ("normal", "unit", "fan_in"):
            rng = np.random.default_rng([seed, *name.encode()])
            scale = _scale(spec, initializer_range)
            arrays[name] = _truncated_normal(spec.shape, rng) * np.float32(scale)
        else:
            value = {"zeros": 0.0, "ones": 1.0}.get(str(spec.initializer), spec.initializer)
            arrays[name] = np.full(spec.shape, value, np.float32)
    return arrays


def _scale(spec: ParameterSpec, initializer_range: float) -> float:
    if spec.initializer == "normal":
        return initializer_range
    return 1.0 if spec.initializer == "unit" else 1 / math.sqrt(math.prod(spec.shape[:-1]))


def _truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    values = rng.standard_normal(shape, np.float32)
    while True:
        outside = np.flatnonzero(np.abs(values) > 2)
        if not len(outside):
            return values
        values.ravel()[outside] = rng.standard_normal(len(outside), np.float32)
