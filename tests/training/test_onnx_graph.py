"""Models as ONNX graphs: the same outputs as with Keras, whatever the sizes of a batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.compute import Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encode
from bert_ko.modeling.heads import MaskedLmHead, SpanHead
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import Arrays
from tests.small_models import CONFIG, arrays_of

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from bert_ko.training.onnx_graph import IR_VERSION, OPSET, onnx_model  # noqa: E402

INPUTS = dict.fromkeys(("input_ids", "input_mask", "segment_ids"), ("batch", "length"))
OUTPUT = ("batch", "length", CONFIG.hidden_size)


def batch_of(rows: int, length: int, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng([rows, length])
    mask = (np.arange(length) < rng.integers(2, length + 1, (rows, 1))).astype(np.int32)
    ids = rng.integers(0, CONFIG.vocab_size, (rows, length), np.int32)
    segments = rng.integers(0, 2, (rows, length), np.int32)
    return {"input_ids": ids, "input_mask": mask, "segment_ids": segments, **more}


def run(model: Any, batch: dict[str, Any]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, batch), strict=True))


def sequence_output(model: Model, batch: Any) -> dict[str, Any]:
    return {"sequence_output": encode(model, batch)}


def with_config(**changes: Any) -> ModelConfig:
    return dataclasses.replace(CONFIG, **changes)


def assert_equal(
    config: ModelConfig,
    arrays: Arrays,
    outputs: Callable[..., Any],
    model: Any,
    batch: dict[str, Any],
) -> None:
    found, wanted = run(model, batch), outputs(Model(arrays, config), batch)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], np.asarray(value), atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["gelu", "gelu_erf", "relu", "tanh"])
def test_onnx_encoder_of_open_sizes_is_that_of_keras(activation: str) -> None:
    config, arrays = with_config(hidden_act=activation), arrays_of("encoder")
    outputs = {"sequence_output": OUTPUT}
    model = onnx_model(config, arrays, sequence_output, INPUTS, outputs)
    onnx.checker.check_model(model, full_check=True)
    for shape in ((1, 5), (3, 12), (2, 40)):
        assert_equal(config, arrays, sequence_output, model, batch_of(*shape))


def test_onnx_masks_at_any_places_are_those_of_keras() -> None:
    arrays, head = arrays_of("masked_lm"), MaskedLmHead()
    axes = ("batch", "masks")
    outputs = {"probabilities": (*axes, CONFIG.vocab_size)}
    inputs = {**INPUTS, "masked_lm_positions": axes}
    model = onnx_model(CONFIG, arrays, head.outputs, inputs, outputs)
    for places in ([[1]], [[0, 4, 4], [5, 2, 1]]):
        positions = np.array(places, np.int32)
        batch = batch_of(len(places), 6, masked_lm_positions=positions)
        assert_equal(CONFIG, arrays, head.outputs, model, batch)
    shared = [x for x in model.graph.initializer if x.name.endswith("word_embeddings")]
    assert len(shared) == 1  # the embeddings are not there again as output weights


def test_onnx_graph_is_small_and_can_be_read_by_older_programs() -> None:
    spans = dict.fromkeys(("start_logits", "end_logits"), ("batch", "length"))
    arrays = arrays_of("spans")
    model = onnx_model(CONFIG, arrays, SpanHead().outputs, INPUTS, spans)
    nodes = model.graph.node
    kinds = [node.op_type for node in nodes]
    assert (model.opset_import[0].version, model.ir_version) == (OPSET, IR_VERSION)
    assert kinds.count("LayerNormalization") == 1 + 2 * CONFIG.num_hidden_layers
    assert kinds.count("Gelu") == kinds.count("Softmax") == CONFIG.num_hidden_layers
    used = {name for node in nodes for name in node.input} | set(spans)
    assert {name for node in nodes for name in node.output} <= used
    assert {x.name for x in model.graph.initializer} <= used
    weights = sum(np.prod(x.dims, dtype=int) for x in model.graph.initializer)
    assert weights < sum(array.size for array in arrays.values()) + 100


def test_onnx_takes_only_the_weights_that_are_needed() -> None:
    config = with_config(num_hidden_layers=1)
    outputs = {"sequence_output": OUTPUT}
    model = onnx_model(config, arrays_of("pretraining"), sequence_output, INPUTS, outputs)
    names = {x.name for x in model.graph.initializer}
    assert any("/layer_0/" in name for name in names)
    assert not any("/layer_1/" in name or name.startswith("cls/") for name in names)


def test_onnx_operations_that_other_encoders_use_are_those_of_keras() -> None:
    def outputs(model: Model, batch: Any) -> dict[str, Any]:
        mask = ops.cast(batch["input_mask"], "float32")[:, :, None]
        words = ops.take(model.params["words"], batch["input_ids"], axis=0) * mask
        mean = ops.sum(words, axis=1, keepdims=True) / ops.sum(mask, axis=1, keepdims=True)
        joined = ops.concatenate([words - mean, 2.0 * ops.sigmoid(words)], axis=-1)
        return {"sequence_output": ops.swapaxes(ops.exp(joined[:, 1:]), 1, 2)}

    arrays = {"words": np.random.default_rng(1).normal(size=(CONFIG.vocab_size, 3)).astype("f")}
    axes = {"sequence_output": ("batch", 6, "shorter")}
    model = onnx_model(CONFIG, arrays, outputs, INPUTS, axes)
    assert_equal(CONFIG, arrays, outputs, model, batch_of(2, 7))


def test_onnx_operation_that_is_not_known_is_named() -> None:
    def outputs(model: Model, batch: Any) -> dict[str, Any]:
        return {"sequence_output": ops.cumsum(batch["input_ids"], axis=1)}

    with pytest.raises(ValueError, match=r"^--to_format=onnx: the model uses keras\.ops\.cumsum, "):
        onnx_model(CONFIG, {}, outputs, INPUTS, {"sequence_output": ("batch", "length")})
    assert np.asarray(ops.cumsum(np.array([1, 2]))).tolist() == [1, 3]  # Keras is back
