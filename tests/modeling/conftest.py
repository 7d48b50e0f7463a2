"""Differentiation under either backend, so that the same tests run under both."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

Tensors = Mapping[str, Any]
ValueAndGradients = Callable[[Callable[[Tensors], Any], Tensors], tuple[Any, dict[str, Any]]]


@pytest.fixture(scope="session")
def value_and_gradients() -> ValueAndGradients:
    """(function of named tensors to a scalar, the tensors) to (its value, gradients by name)."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return lambda function, tensors: jax.value_and_grad(function)(dict(tensors))

    import tensorflow as tf

    def differentiate(function: Callable[[Tensors], Any], tensors: Tensors) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(tensors)
        gradients = tape.gradient(value, tensors, unconnected_gradients="zero")
        return value, {name: tf.convert_to_tensor(g) for name, g in gradients.items()}

    return differentiate
