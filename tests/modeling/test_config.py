import json
from pathlib import Path
from typing import Any

import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.config import ACTIVATIONS
from bert_ko.modeling.encoder import config_from_values
from bert_ko.training.checkpoints import read_model_config

VOCAB_FOLDER = Path(__file__).parents[2] / "vocab" / "ko-mecab-32k"
GOOGLES_KEYS = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "type_vocab_size": 2,
    "vocab_size": 30522,
}


def test_config_from_values_vocab_size_alone_takes_the_defaults_of_base() -> None:
    for values in (GOOGLES_KEYS, {"vocab_size": 30522}, {**GOOGLES_KEYS, "model_type": "bert"}):
        assert config_from_values(values, "x").to_dict() == GOOGLES_KEYS


def test_config_from_values_of_to_dict_round_trips() -> None:
    config = BertConfig(vocab_size=7, hidden_size=6, num_attention_heads=3, hidden_act="relu")
    assert config_from_values(json.loads(json.dumps(config.to_dict())), "x") == config


def test_config_from_values_configs_beside_the_vocabulary_have_its_size() -> None:
    lines = (VOCAB_FOLDER / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    paths = list(VOCAB_FOLDER.glob("bert_config*.json"))
    assert len(paths) == 6
    for path in paths:
        config = read_model_config(str(path))
        assert config.vocab_size == 32000 == len(lines), path


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(ValueError) as caught:
        config_from_values(values, "모델/bert_config.json")
    message = str(caught.value)
    assert message.startswith("모델/bert_config.json: ") and "\n" not in message
    return message


@pytest.mark.parametrize("name", ["roberta", "BERT", 3, ["bert"]], ids=repr)
def test_config_from_values_unknown_encoder_raises(name: Any) -> None:
    message = refusal({**GOOGLES_KEYS, "model_type": name})
    assert f"model_type {name!r} is not known; known are bert" in message


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"hidden_size": 768}, "vocab_size is missing"),
        ({**GOOGLES_KEYS, "epsilon": 1e-12, "hidden_sise": 1},
         "unknown keys epsilon, hidden_sise; known are attention_probs"),
        ({**GOOGLES_KEYS, "num_attention_heads": 7},
         "hidden_size must be a multiple of num_attention_heads, got 768 and 7."),
        ({**GOOGLES_KEYS, "directionality": "left"},
         "directionality is 'left', but only bidi is computed."),
    ],
)  # fmt: skip
def test_config_from_values_other_content_raises(values: Any, part: str) -> None:
    assert part in refusal(values)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("vocab_size", 10**9, "vocab_size must be at most 10,000,000, got 1000000000."),
        ("hidden_size", 10**9, "hidden_size must be at most 65,536, got 1000000000."),
        ("num_hidden_layers", 10**9, "num_hidden_layers must be at most 1,000, got 1000000000."),
        ("max_position_embeddings", 10**15, "must be at most 1,000,000, got 1000000000000000."),
        ("type_vocab_size", 10**9, "type_vocab_size must be at most 1,000,000, got 1000000000."),
        ("intermediate_size", 10**400,
         "intermediate_size must be at most 1,000,000, got 100000000000000000000000000000… (401 "
         "characters)."),
        ("hidden_dropout_prob", 10**400,
         "in [0, 1), got 100000000000000000000000000000… (401 characters)."),
        ("hidden_act", ["gelu"] * 99,
         "got ['gelu', 'gelu', 'gelu', 'gelu… (792 characters)."),
        ("hidden_size", 61_440,
         "the encoder would have 187,637,428,224 parameters, at most 20,000,000,000 are computed; "
         "lower vocab_size (30,522), hidden_size (61,440) or num_hidden_layers (12)."),
    ],
)  # fmt: skip
def test_config_from_values_absurd_number_is_named_at_once(key: str, value: Any, part: str) -> None:
    assert part in refusal({**GOOGLES_KEYS, key: value})


def test_config_from_values_keys_of_googles_multilingual_models_are_passed_over() -> None:
    more = {
        "directionality": "bidi", "pooler_fc_size": 768, "pooler_num_attention_heads": 12,
        "pooler_num_fc_layers": 3, "pooler_size_per_head": 128,
        "pooler_type": "first_token_transform",
    }  # fmt: skip
    assert config_from_values({**GOOGLES_KEYS, **more}, "x").to_dict() == GOOGLES_KEYS
    assert "unknown keys pooler_tipe;" in refusal({**GOOGLES_KEYS, **more, "pooler_tipe": 1})


def test_config_from_values_of_transformers_is_read_in_our_terms() -> None:
    theirs = {
        **GOOGLES_KEYS, "model_type": "bert", "architectures": ["BertForMaskedLM"],
        "layer_norm_eps": 1e-12, "transformers_version": "4.40.0", "pad_token_id": 0,
    }  # fmt: skip
    found = config_from_values(theirs, "x").to_dict()
    assert found == {**GOOGLES_KEYS, "hidden_act": "gelu_erf"}
    assert "is it num_hidden_layers?" in refusal({**theirs, "num_hiden_layers": 3})
    assert "model_type 'roberta' is not known" in refusal({**theirs, "model_type": "roberta"})


@pytest.mark.parametrize(
    ("text", "part"),
    [("{", "not JSON"), ("", "is empty"), ("[1]", "must be an object, got a list."),
     ("null", "must be an object, got null."), ("[" * 3000 + "]" * 3000, "nested too deeply")],
)  # fmt: skip
def test_read_model_config_no_object_names_the_file(text: str, part: str, tmp_path: Path) -> None:
    path = tmp_path / "bert_config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{path}") as caught:
        read_model_config(str(path))
    assert part in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "max_position_embeddings", "type_vocab_size",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [True, 12.0, "12", None, 0, -12, [12]], ids=repr)
def test_config_from_values_no_positive_integer_raises(key: str, value: Any) -> None:
    message = refusal({**GOOGLES_KEYS, key: value})
    assert f"{key} must be a positive integer, got {value!r}." in message


@pytest.mark.parametrize(
    "key", ["hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range"]
)
@pytest.mark.parametrize("value", [True, "0.1", None, 1, 1.5, -0.1, float("nan"), [0.1]], ids=repr)
def test_config_from_values_no_share_raises(key: str, value: Any) -> None:
    message = refusal({**GOOGLES_KEYS, key: value})
    assert f"{key} must be a number in [0, 1), got {value!r}." in message


@pytest.mark.parametrize("value", [0, 0.0, 0.5])
def test_config_from_values_share_may_be_an_integer(value: float) -> None:
    config = config_from_values({**GOOGLES_KEYS, "hidden_dropout_prob": value}, "x")
    assert config.hidden_dropout_prob == value


@pytest.mark.parametrize("value", ["swish", "GELU", "", None, 1, ["gelu"]], ids=repr)
def test_config_from_values_unknown_activation_raises(value: Any) -> None:
    message = refusal({**GOOGLES_KEYS, "hidden_act": value})
    assert f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {value!r}." in message
