"""Names, arrays and settings of transformers' models in ours, and back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.config import ACTIVATIONS
from bert_ko.modeling.encoder import BERT, config_from_hugging_face
from bert_ko.modeling.heads import (
    ClassHead,
    MaskedLmHead,
    NextSentenceHead,
    PretrainingHead,
    SpanHead,
    TagHead,
    model_specs,
    pooler_specs,
)
from bert_ko.modeling.parameters import Arrays, Specs
from bert_ko.training.hugging_face import (
    architecture,
    class_suffixes,
    from_hugging_face,
    is_transposed,
    to_hugging_face,
    to_hugging_face_arrays,
    to_hugging_face_config,
)

HEADS: dict[str, Any] = {
    "BertForPreTraining": PretrainingHead(),
    "BertForMaskedLM": MaskedLmHead(),
    "BertForQuestionAnswering": SpanHead(),
    "BertForSequenceClassification": ClassHead(4),
    "BertModel": None,
}
CONFIG = BertConfig(
    vocab_size=30, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=12,
    hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.05, max_position_embeddings=20,
    type_vocab_size=3, initializer_range=0.01,
)  # fmt: skip
THEIRS = {
    "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 12, "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.05,
    "max_position_embeddings": 20, "type_vocab_size": 3, "initializer_range": 0.01,
}  # fmt: skip


def arrays_of(specs: Specs) -> Arrays:
    rng = np.random.default_rng(3)
    return {name: rng.standard_normal(spec.shape, np.float32) for name, spec in specs.items()}


# Names


@given(layers=st.integers(1, 24), kind=st.sampled_from(list(HEADS)))
def test_names_there_and_back_are_the_same(layers: int, kind: str) -> None:
    specs = model_specs(BertConfig(vocab_size=9, num_hidden_layers=layers), HEADS[kind])
    theirs = {name: to_hugging_face(name) for name in specs}
    assert {name: from_hugging_face(new, BERT) for name, new in theirs.items()} == {
        name: name for name in specs
    }
    assert len(set(theirs.values())) == len(specs)


def test_names_of_tags_there_and_back_are_the_same() -> None:
    for name in model_specs(CONFIG, TagHead(("O", "B-가", "I-가"))):
        assert from_hugging_face(to_hugging_face(name), BERT, has_tags=True) == name
    assert to_hugging_face("cls/tags/output_weights") == "classifier.weight"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("bert/embeddings/word_embeddings", "bert.embeddings.word_embeddings.weight"),
        ("bert/embeddings/LayerNorm/gamma", "bert.embeddings.LayerNorm.weight"),
        ("bert/encoder/layer_11/attention/self/key/bias",
         "bert.encoder.layer.11.attention.self.key.bias"),
        ("bert/encoder/layer_0/output/LayerNorm/beta",
         "bert.encoder.layer.0.output.LayerNorm.bias"),
        ("bert/pooler/dense/kernel", "bert.pooler.dense.weight"),
        ("cls/predictions/transform/dense/kernel", "cls.predictions.transform.dense.weight"),
        ("cls/predictions/output_bias", "cls.predictions.bias"),
        ("cls/seq_relationship/output_weights", "cls.seq_relationship.weight"),
        ("cls/seq_relationship/output_bias", "cls.seq_relationship.bias"),
        ("cls/squad/output_weights", "qa_outputs.weight"),
        ("cls/squad/output_bias", "qa_outputs.bias"),
    ],
)  # fmt: skip
def test_to_hugging_face_names(ours: str, theirs: str) -> None:
    assert to_hugging_face(ours) == theirs
    assert is_transposed(ours) == ours.endswith("/kernel")


# Arrays


@pytest.mark.parametrize("kind", HEADS)
def test_to_hugging_face_arrays_read_back_are_the_same_bits(kind: str) -> None:
    arrays = arrays_of(model_specs(CONFIG, HEADS[kind]))
    assert architecture(CONFIG, arrays) == kind
    found: Arrays = {}
    for theirs, array in to_hugging_face_arrays(CONFIG, arrays).items():
        name = from_hugging_face(theirs, BERT)
        assert name is not None
        found[name] = array.T if is_transposed(name) else array
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_to_hugging_face_arrays_model_without_head_has_no_prefix() -> None:
    found = to_hugging_face_arrays(
        CONFIG, arrays_of({**model_specs(CONFIG), **pooler_specs(CONFIG)})
    )
    assert {name.partition(".")[0] for name in found} == {"embeddings", "encoder", "pooler"}
    kernel = "encoder.layer.2.intermediate.dense.weight"
    assert found[kernel].shape == (CONFIG.intermediate_size, CONFIG.hidden_size)


@pytest.mark.parametrize(
    ("heads", "suffixes"),
    [
        ([PretrainingHead()], ["ForPreTraining"]),
        ([MaskedLmHead(), ClassHead(2)], ["ForSequenceClassification", "ForMaskedLM"]),
        ([PretrainingHead(), SpanHead()], ["ForQuestionAnswering", "ForPreTraining"]),
        ([NextSentenceHead()], ["ForNextSentencePrediction"]),
        ([], ["Model"]),
    ],
)
def test_class_suffixes_use_every_head(heads: Any, suffixes: list[str]) -> None:
    specs = model_specs(CONFIG)
    for head in heads:
        specs.update(head.specs(CONFIG))
    assert class_suffixes(specs) == suffixes


# Settings


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("gelu", "gelu_new"), ("gelu_erf", "gelu"), ("relu", "relu"), ("tanh", "tanh")],
)
def test_config_both_ways(ours: str, theirs: str, kind: str) -> None:
    config = BertConfig(**{**CONFIG.to_dict(), "hidden_act": ours})
    found = to_hugging_face_config(config, arrays_of(model_specs(config, HEADS[kind])))
    if kind == "BertForSequenceClassification":
        assert found.pop("id2label") == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2", 3: "LABEL_3"}
        assert found.pop("label2id") == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2, "LABEL_3": 3}
    assert found == {
        **THEIRS,
        "architectures": [kind],
        "hidden_act": theirs,
        "layer_norm_eps": 1e-12,
        "model_type": "bert",
    }
    assert config_from_hugging_face(found, "config.json") == config


def test_config_every_activation_of_ours_has_one_of_theirs() -> None:
    for name in ACTIVATIONS:
        config = BertConfig(vocab_size=9, hidden_act=name)
        assert config_from_hugging_face(to_hugging_face_config(config, {}), "x") == config


def test_config_from_hugging_face_what_is_missing_is_a_default_of_transformers() -> None:
    config = config_from_hugging_face({"vocab_size": 9}, "config.json")
    assert config == BertConfig(vocab_size=9, hidden_act="gelu_erf")
    more = {"vocab_size": 9, "hidden_act": "gelu_pytorch_tanh", "torch_dtype": "float16"}
    assert config_from_hugging_face(more, "config.json") == BertConfig(vocab_size=9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "electra"},
         "config.json: model_type 'electra' is not known; known are bert, elmo."),
        ({"position_embedding_type": "relative_key"},
         "config.json: position_embedding_type is 'relative_key', but only 'absolute' is "
         "computed."),
        ({"layer_norm_eps": 1e-5}, "config.json: layer_norm_eps is 1e-05, but BERT's is 1e-12."),
        ({"layer_norm_eps": 0}, "config.json: layer_norm_eps is 0, but BERT's is 1e-12."),
        ({"hidden_act": "silu"},
         "config.json: hidden_act 'silu' is not known; known are gelu, gelu_python, gelu_new, "
         "gelu_fast, gelu_pytorch_tanh, relu, tanh."),
        ({"num_attention_heads": 5},
         "config.json: hidden_size must be a multiple of num_attention_heads, got 8 and 5."),
        ({"vocab_size": 0}, "config.json: vocab_size must be a positive integer, got 0."),
        ({"layer_norm_eps": "1e-12"},
         "config.json: layer_norm_eps is '1e-12', but BERT's is 1e-12."),
        ({"layer_norm_eps": None}, "config.json: layer_norm_eps is None, but BERT's is 1e-12."),
        ({"layer_norm_eps": True}, "config.json: layer_norm_eps is True, but BERT's is 1e-12."),
        ({"hidden_act": ["gelu"]},
         "config.json: hidden_act ['gelu'] is not known; known are gelu, gelu_python, gelu_new, "
         "gelu_fast, gelu_pytorch_tanh, relu, tanh."),
        ({"hidden_dropout_prob": 10**400},
         "config.json: hidden_dropout_prob must be a number in [0, 1), got "
         "100000000000000000000000000000… (401 characters)."),
        ({"is_decoder": True}, "config.json: is_decoder is True, but only False is computed."),
        ({"is_decoder": "no"}, "config.json: is_decoder is 'no', but only False is computed."),
        ({"add_cross_attention": True},
         "config.json: add_cross_attention is True, but only False is computed."),
        ({"pruned_heads": {"0": [1]}},
         "config.json: pruned_heads is {'0': [1]}, but models with it are not computed."),
        ({"architectures": 5}, "config.json: architectures must be a list of names, got 5."),
        ({"architectures": [5]}, "config.json: architectures must be a list of names, got [5]."),
        ({"architectures": ["RobertaModel"]},
         "config.json: architectures is ['RobertaModel'], no Bert model."),
        ({"auto_map": {"AutoModel": "modeling_mine.Mine"}},
         "config.json: auto_map names code of its own, which is not run."),
        ({"hidden_sise": 8}, "config.json: unknown key 'hidden_sise'; is it hidden_size?"),
    ],
)  # fmt: skip
def test_config_from_hugging_face_what_ours_cannot_compute_is_refused(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        config_from_hugging_face({**THEIRS, **values}, "config.json")
    assert str(error.value) == message


def test_config_from_hugging_face_keys_that_change_nothing_are_passed_over() -> None:
    more = {
        "architectures": None, "is_decoder": False, "add_cross_attention": None, "pruned_heads": {},
        "position_embedding_type": "absolute", "tie_word_embeddings": True, "use_cache": True,
        "directionality": "bidi", "pooler_num_attention_heads": 12, "pad_token_id": 0,
        "auto_map": {"AutoTokenizer": "mine.Mine"},
    }  # fmt: skip
    assert config_from_hugging_face({**THEIRS, **more}, "x") == config_from_hugging_face(
        THEIRS, "x"
    )


def test_config_from_hugging_face_without_vocab_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^config\.json: vocab_size is missing\.$"):
        config_from_hugging_face({"model_type": "bert"}, "config.json")
