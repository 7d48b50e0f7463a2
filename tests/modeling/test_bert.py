"""Equality with transformers' BertForPreTraining, under the backend of KERAS_BACKEND."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from bert_ko.modeling.bert import BertConfig, bert_layers
from bert_ko.modeling.compute import Model
from bert_ko.modeling.encoder import encode
from bert_ko.modeling.heads import PretrainingHead, model_specs, pool
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import Arrays, initial_parameters
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.devices import load_backend
from tests.modeling.transformers_models import TransformersModel

Array = npt.NDArray[Any]

# Importing torch, transformers, Keras and its backend takes seconds.
pytestmark = pytest.mark.slow

BATCH, LENGTH, PREDICTIONS = 3, 12, 4
HEAD = PretrainingHead()


def tiny_config(hidden_act: str) -> BertConfig:
    return BertConfig(
        vocab_size=61,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        hidden_act=hidden_act,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=16,
    )


def random_arrays(config: BertConfig) -> Arrays:
    """Far from the initial values, so that every variable shows in the results."""
    rng = np.random.default_rng(4)
    arrays = initial_parameters(model_specs(config, HEAD), 0.2, seed=4)
    return {
        name: value + rng.normal(0, 0.1, value.shape).astype("f") for name, value in arrays.items()
    }


def make_batch() -> dict[str, Array]:
    """Sequences of 12, 9 and 5 pieces with two segments; 4, 2 and 1 masked pieces."""
    rng = np.random.default_rng(6)
    lengths, second, masked = np.array([12, 9, 5]), np.array([7, 4, 3]), np.array([4, 2, 1])
    columns = np.arange(LENGTH)
    input_mask = columns < lengths[:, None]
    weights = (np.arange(PREDICTIONS) < masked[:, None]).astype(np.float32)
    positions = np.stack(
        [np.sort(rng.choice(np.arange(1, n), PREDICTIONS, False)) for n in lengths]
    )
    return {
        "input_ids": (rng.integers(1, 61, (BATCH, LENGTH)) * input_mask).astype(np.int32),
        "input_mask": input_mask.astype(np.int32),
        "segment_ids": ((columns >= second[:, None]) & input_mask).astype(np.int32),
        "masked_lm_positions": (positions * (weights > 0)).astype(np.int32),
        "masked_lm_ids": (rng.integers(1, 61, weights.shape) * (weights > 0)).astype(np.int32),
        "masked_lm_weights": weights,
        "next_sentence_labels": np.array([[0], [1], [1]], np.int32),
        "next_sentence_weights": np.ones(BATCH, np.float32),
        "masked_lm_denominator": weights.sum(),
        "next_sentence_denominator": np.float32(BATCH),
    }


class Results(NamedTuple):
    """What a model makes of the batch.

    Attributes:
        layers: embeddings and the output of every layer.
        pooled_output: [B, H].
        masked_lm_logits: [B, P, V].
        next_sentence_logits: [B, 2].
        loss: a scalar.
        gradients: of the loss, by Google's names.
    """

    layers: list[Array]
    pooled_output: Array
    masked_lm_logits: Array
    next_sentence_logits: Array
    loss: float
    gradients: Arrays


def transformers_results(config: BertConfig, arrays: Arrays, batch: dict[str, Array]) -> Results:
    model = TransformersModel("ForPreTraining", config, arrays)
    rows = np.arange(BATCH)[:, None]
    labels = np.full((BATCH, LENGTH), -100)
    masked = batch["masked_lm_weights"] > 0
    labels[(rows + 0 * masked)[masked], batch["masked_lm_positions"][masked]] = batch[
        "masked_lm_ids"
    ][masked]
    output = model(batch, labels=labels, next_sentence_label=batch["next_sentence_labels"])
    output.loss.backward()
    layers = [layer.detach() for layer in output.hidden_states]
    return Results(
        [layer.numpy() for layer in layers],
        model.model.bert.pooler(layers[-1]).detach().numpy(),
        output.prediction_logits.detach().numpy()[rows, batch["masked_lm_positions"]],
        output.seq_relationship_logits.detach().numpy(),
        output.loss.item(),
        model.gradients(),
    )


def own_results(
    config: BertConfig,
    arrays: Arrays,
    batch: dict[str, Array],
    attention: Any,
    value_and_gradients: Any,
) -> Results:
    backend: Any = load_backend(DeviceConfig(precision="float32", attention=attention))
    params = {name: ops.convert_to_tensor(value) for name, value in arrays.items()}
    features = {name: ops.convert_to_tensor(value) for name, value in batch.items()}

    def loss(params: Any) -> Any:
        return HEAD.loss(Model(params, config, backend.compute), features)[0]

    value, gradients = value_and_gradients(loss, params)
    model = Model(params, config, backend.compute)
    layers = bert_layers(model, features)
    sequence_output = encode(model, features)
    positions = features["masked_lm_positions"]
    found = (
        pool(model, sequence_output),
        HEAD.masked_lm.logits(model, sequence_output, positions),
        HEAD.next_sentence.logits(model, sequence_output),
    )
    assert (ops.convert_to_numpy(sequence_output) == ops.convert_to_numpy(layers[-1])).all()
    return Results(
        [ops.convert_to_numpy(layer) for layer in layers],
        *(ops.convert_to_numpy(x) for x in found),
        float(value),
        {name: np.asarray(ops.convert_to_numpy(gradient)) for name, gradient in gradients.items()},
    )


@pytest.mark.parametrize("attention", ["plain", "fused"])
@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_erf", "relu"])
def test_pretraining_model_outputs_and_gradients_equal_transformers(
    value_and_gradients: Any, hidden_act: str, attention: str
) -> None:
    config, batch = tiny_config(hidden_act), make_batch()
    arrays = random_arrays(config)
    wanted = transformers_results(config, arrays, batch)
    found = own_results(config, arrays, batch, attention, value_and_gradients)
    real = batch["input_mask"] == 1  # what stands at padding is used nowhere
    assert len(found.layers) == len(wanted.layers) == 3
    for own, other in zip(found.layers, wanted.layers, strict=True):
        np.testing.assert_allclose(own[real], other[real], rtol=0, atol=1e-5)
    for name in ("pooled_output", "masked_lm_logits", "next_sentence_logits", "loss"):
        own, other = getattr(found, name), getattr(wanted, name)
        np.testing.assert_allclose(own, other, rtol=0, atol=1e-5, err_msg=name)
    assert found.gradients.keys() == wanted.gradients.keys() == arrays.keys()
    for name, gradient in found.gradients.items():
        other = wanted.gradients[name]
        # The softmax does not see a bias of all keys: its gradient is zero but for rounding.
        assert np.abs(other).max() > 1e-3 or name.endswith("key/bias"), name
        np.testing.assert_allclose(gradient, other, rtol=0, atol=1e-5, err_msg=name)
