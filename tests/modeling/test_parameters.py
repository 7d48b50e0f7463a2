import math

import numpy as np
import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.heads import PretrainingHead, model_specs, pooler_specs
from bert_ko.modeling.parameters import (
    ParameterSpec,
    Specs,
    count_parameters,
    initial_parameters,
)

CONFIG = BertConfig(
    vocab_size=11,
    hidden_size=4,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=6,
    max_position_embeddings=5,
    type_vocab_size=3,
)


def pretraining_specs(config: BertConfig) -> Specs:
    return model_specs(config, PretrainingHead())


# tf.trainable_variables() of run_pretraining.py of google-research/bert.
GOOGLES_SHAPES = {
    "bert/embeddings/word_embeddings": (11, 4),
    "bert/embeddings/token_type_embeddings": (3, 4),
    "bert/embeddings/position_embeddings": (5, 4),
    "bert/embeddings/LayerNorm/gamma": (4,),
    "bert/embeddings/LayerNorm/beta": (4,),
    "bert/encoder/layer_0/attention/self/query/kernel": (4, 4),
    "bert/encoder/layer_0/attention/self/query/bias": (4,),
    "bert/encoder/layer_0/attention/self/key/kernel": (4, 4),
    "bert/encoder/layer_0/attention/self/key/bias": (4,),
    "bert/encoder/layer_0/attention/self/value/kernel": (4, 4),
    "bert/encoder/layer_0/attention/self/value/bias": (4,),
    "bert/encoder/layer_0/attention/output/dense/kernel": (4, 4),
    "bert/encoder/layer_0/attention/output/dense/bias": (4,),
    "bert/encoder/layer_0/attention/output/LayerNorm/gamma": (4,),
    "bert/encoder/layer_0/attention/output/LayerNorm/beta": (4,),
    "bert/encoder/layer_0/intermediate/dense/kernel": (4, 6),
    "bert/encoder/layer_0/intermediate/dense/bias": (6,),
    "bert/encoder/layer_0/output/dense/kernel": (6, 4),
    "bert/encoder/layer_0/output/dense/bias": (4,),
    "bert/encoder/layer_0/output/LayerNorm/gamma": (4,),
    "bert/encoder/layer_0/output/LayerNorm/beta": (4,),
    "bert/pooler/dense/kernel": (4, 4),
    "bert/pooler/dense/bias": (4,),
    "cls/predictions/transform/dense/kernel": (4, 4),
    "cls/predictions/transform/dense/bias": (4,),
    "cls/predictions/transform/LayerNorm/gamma": (4,),
    "cls/predictions/transform/LayerNorm/beta": (4,),
    "cls/predictions/output_bias": (11,),
    "cls/seq_relationship/output_weights": (2, 4),
    "cls/seq_relationship/output_bias": (2,),
}


def test_pretraining_specs_one_layer_has_googles_variables() -> None:
    specs = pretraining_specs(CONFIG)
    assert {name: spec.shape for name, spec in specs.items()} == GOOGLES_SHAPES


def test_model_specs_without_a_head_are_the_encoders() -> None:
    encoder = ("bert/embeddings/", "bert/encoder/")
    wanted = {name: shape for name, shape in GOOGLES_SHAPES.items() if name.startswith(encoder)}
    assert {name: spec.shape for name, spec in model_specs(CONFIG).items()} == wanted


def test_pretraining_specs_every_layer_has_its_variables() -> None:
    config = BertConfig(vocab_size=11, num_hidden_layers=3, hidden_size=4, num_attention_heads=2)
    layers = [
        [n.split("/", 3)[3] for n in pretraining_specs(config) if n.split("/")[2:3] == [layer]]
        for layer in ("layer_0", "layer_1", "layer_2")
    ]
    assert len(layers[0]) == 16 and layers[0] == layers[1] == layers[2]


def test_count_parameters_base_has_googles_number() -> None:
    # bert-base-uncased: 109,482,240 in the encoder; 30,522 + 592,130 in the heads.
    config = BertConfig(vocab_size=30522)
    assert count_parameters({**model_specs(config), **pooler_specs(config)}) == 109_482_240
    assert count_parameters(pretraining_specs(config)) == 110_106_428


def test_initial_parameters_are_float32_of_their_shapes() -> None:
    arrays = initial_parameters(pretraining_specs(CONFIG), 0.02, seed=3)
    assert {name: array.shape for name, array in arrays.items()} == GOOGLES_SHAPES
    for name, array in arrays.items():
        assert array.dtype == np.float32, name
        if name.endswith("/gamma"):
            assert (array == 1).all(), name
        else:
            assert array.any() == (not name.endswith(("/beta", "bias"))), name


@pytest.mark.parametrize("initializer_range", [0.02, 0.5])
def test_initial_parameters_normal_is_cut_at_two_deviations(initializer_range: float) -> None:
    count = 400_000
    specs = {"x/kernel": ParameterSpec((count // 100, 100), "normal")}
    values = initial_parameters(specs, initializer_range, seed=1)["x/kernel"] / initializer_range
    assert 1.99 < np.abs(values).max() <= 2 + 1e-6
    # A normal distribution cut at 2 has the deviation 0.8796. A mean has the deviation
    # 0.88 / sqrt(n) = 0.0014, a deviation about 0.7 of that; the bounds are five of them.
    assert abs(values.mean()) < 5 * 0.88 / math.sqrt(count)
    assert abs(values.std() - 0.8796) < 0.005
    # As many lie within one deviation as the cut distribution has there: 0.6827 / 0.9545.
    inside = float((np.abs(values) < 1).mean())
    assert abs(inside - 0.71526) < 5 * math.sqrt(0.7153 * 0.2847 / count)


def test_initial_parameters_same_seed_is_identical_other_seed_is_not() -> None:
    specs = pretraining_specs(CONFIG)
    first, again, other = (initial_parameters(specs, 0.02, seed) for seed in (5, 5, 6))
    for name, spec in specs.items():
        assert (first[name] == again[name]).all(), name
        if spec.initializer == "normal":
            assert (first[name] != other[name]).any(), name


def test_initial_parameters_variable_depends_on_no_other_one() -> None:
    small = model_specs(CONFIG)
    large = dict(reversed(pretraining_specs(CONFIG).items()))
    first, second = (initial_parameters(specs, 0.02, 5) for specs in (small, large))
    for name in small:
        assert (first[name] == second[name]).all(), name
    kernels = [array for array in second.values() if array.shape == (4, 4)]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels) == 6
