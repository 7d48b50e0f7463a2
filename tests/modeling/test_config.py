import json
from pathlib import Path
from typing import Any

import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.config import ACTIVATIONS
from bert_ko.modeling.encoder import config_from_json

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


def test_config_from_json_vocab_size_alone_takes_the_defaults_of_base() -> None:
    for values in (GOOGLES_KEYS, {"vocab_size": 30522}, {**GOOGLES_KEYS, "model_type": "bert"}):
        assert config_from_json(json.dumps(values), "x").to_dict() == GOOGLES_KEYS


def test_config_from_json_bytes_of_to_dict_round_trips() -> None:
    config = BertConfig(vocab_size=7, hidden_size=6, num_attention_heads=3, hidden_act="relu")
    text = json.dumps(config.to_dict()).encode()
    assert config_from_json(text, "x") == config


def test_config_from_json_configs_beside_the_vocabulary_have_its_size() -> None:
    lines = (VOCAB_FOLDER / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    paths = list(VOCAB_FOLDER.glob("bert_config*.json"))
    assert len(paths) == 6
    for path in paths:
        config = config_from_json(path.read_bytes(), str(path))
        assert config.vocab_size == 32000 == len(lines), path


def refusal(values: dict[str, Any] | str) -> str:
    text = values if isinstance(values, str) else json.dumps(values)
    with pytest.raises(ValueError) as caught:
        config_from_json(text, "모델/bert_config.json")
    message = str(caught.value)
    assert message.startswith("모델/bert_config.json: ") and "\n" not in message
    return message


@pytest.mark.parametrize("name", ["elmo", "BERT", 3, ["bert"]], ids=repr)
def test_config_from_json_unknown_encoder_raises(name: Any) -> None:
    message = refusal({**GOOGLES_KEYS, "model_type": name})
    assert f"model_type {name!r} is not known; known are bert" in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "not JSON"), ("", "not JSON"), ("{'vocab_size': 3}", "not JSON"),
        ("[1]", "must be a JSON object, got list."),
        ("null", "must be a JSON object, got NoneType."),
        ({"hidden_size": 768}, "vocab_size is missing"),
        ({**GOOGLES_KEYS, "layer_norm_eps": 1e-12, "hidden_sise": 1},
         "unknown keys hidden_sise, layer_norm_eps; known are attention_probs"),
        ({**GOOGLES_KEYS, "num_attention_heads": 7},
         "hidden_size must be a multiple of num_attention_heads, got 768 and 7."),
    ],
)  # fmt: skip
def test_config_from_json_other_content_raises(text: Any, part: str) -> None:
    assert part in refusal(text)


@pytest.mark.parametrize(
    "key",
    [
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "max_position_embeddings", "type_vocab_size",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [True, 12.0, "12", None, 0, -12, [12]], ids=repr)
def test_config_from_json_no_positive_integer_raises(key: str, value: Any) -> None:
    message = refusal({**GOOGLES_KEYS, key: value})
    assert f"{key} must be a positive integer, got {value!r}." in message


@pytest.mark.parametrize(
    "key", ["hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range"]
)
@pytest.mark.parametrize("value", [True, "0.1", None, 1, 1.5, -0.1, float("nan"), [0.1]], ids=repr)
def test_config_from_json_no_share_raises(key: str, value: Any) -> None:
    message = refusal({**GOOGLES_KEYS, key: value})
    assert f"{key} must be a number in [0, 1), got {value!r}." in message


@pytest.mark.parametrize("value", [0, 0.0, 0.5])
def test_config_from_json_share_may_be_an_integer(value: float) -> None:
    config = config_from_json(json.dumps({**GOOGLES_KEYS, "hidden_dropout_prob": value}), "x")
    assert config.hidden_dropout_prob == value


@pytest.mark.parametrize("value", ["swish", "GELU", "", None, 1, ["gelu"]], ids=repr)
def test_config_from_json_unknown_activation_raises(value: Any) -> None:
    message = refusal({**GOOGLES_KEYS, "hidden_act": value})
    assert f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {value!r}." in message
