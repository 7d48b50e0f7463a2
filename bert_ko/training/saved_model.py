"""A model as TensorFlow's SavedModel, for TensorFlow Serving and others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from bert_ko.modeling.compute import Compute, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.heads import HostBatch
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.backend import Axes, OutputFunction, Predict
from bert_ko.training.tensorflow_operations import product

SIGNATURE = "serving_default"  # what TensorFlow Serving calls


def write_saved_model(
    folder: str,
    config: ModelConfig,
    arrays: Arrays,
    outputs: OutputFunction,
    inputs: Mapping[str, Axes],
) -> None:
    """Writes a function of a model, in float32 and without XLA.

    Args:
        folder: to write to.
        config: of the model.
        arrays: float32, its variables.
        outputs: the function.
        inputs: axes of the features, int32, by name; those with names are open.
    """
    module = tf.Module()
    module.weights = {
        name: tf.Variable(array, trainable=False, name=name) for name, array in arrays.items()
    }

    def serve(**features: Any) -> dict[str, Any]:
        params = {name: weight.read_value() for name, weight in module.weights.items()}
        return outputs(Model(params, config, Compute(product=product)), features)

    specs = {
        name: tf.TensorSpec([axis if isinstance(axis, int) else None for axis in axes], tf.int32)
        for name, axes in inputs.items()
    }
    signature = tf.function(serve, autograph=False).get_concrete_function(**specs)
    tf.saved_model.save(module, folder, signatures={SIGNATURE: signature})


def open_saved_model(folder: str) -> Predict:
    """The function of a model that ``write_saved_model`` wrote."""
    model = tf.saved_model.load(folder)
    function = model.signatures[SIGNATURE]
    names = function.structured_input_signature[1].keys()

    def predict(batch: HostBatch) -> HostBatch:
        found = function(**{name: tf.constant(batch[name]) for name in names})
        assert model is not None  # its variables live as long as it does
        return {name: value.numpy() for name, value in found.items()}

    return predict
