"""An encoder of one's own: registered here, it goes through the commands as BERT does."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bert_ko.json_files import write_json
from bert_ko.modeling import encoder
from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import Encoder, register
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import Arrays, ParameterSpec, Specs, dense_specs
from bert_ko.training.checkpoints import list_checkpoints
from bert_ko.training.initialization import read_source
from tests.fakes import Command, results
from tests.small_data import write_shards, write_table
from tests.small_models import assert_same_bits

# Importing TensorFlow and compiling take seconds.
pytestmark = pytest.mark.slow

WORDS = "toy/embeddings/word_embeddings"

# The encoder: its configuration, its variables, one function


@dataclass(frozen=True, kw_only=True)
class ToyConfig(ModelConfig):
    """Attributes: depth: dense layers of a layer."""

    model_type: ClassVar[str] = "toy"
    depth: int = 1


def toy_scopes(config: ToyConfig, layer: int) -> list[str]:
    return [f"toy/encoder/layer_{layer}/dense_{i}" for i in range(config.depth)]


def toy_specs(config: ToyConfig) -> Specs:
    size = config.hidden_size
    specs = {WORDS: ParameterSpec((config.vocab_size, size), "normal")}
    for layer in range(config.num_hidden_layers):
        for scope in toy_scopes(config, layer):
            specs.update(dense_specs(scope, size, size))
    return specs


def toy_layers(model: Model, features: Features) -> list[Any]:
    """Every piece sees itself and the mean of its row."""
    mask = ops.cast(features["input_mask"], "float32")[:, :, None]
    x = ops.take(model.params[WORDS], features["input_ids"], axis=0)
    outputs = [x]
    for layer in range(model.config.num_hidden_layers):
        x = x + ops.sum(x * mask, axis=1, keepdims=True) / ops.sum(mask, axis=1, keepdims=True)
        for scope in toy_scopes(model.config, layer):
            product, bias = model.dense(x, scope)
            x = x + ops.tanh(product + bias)
        outputs.append(x)
    return outputs


TOY = Encoder(ToyConfig, "toy", toy_specs, toy_layers)
CONFIG = ToyConfig(
    vocab_size=1500, hidden_size=8, num_hidden_layers=2, hidden_dropout_prob=0.0,
    initializer_range=0.3, depth=2,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "_ENCODERS", dict(encoder._ENCODERS))
        register(TOY)
        yield


# What it goes through

STEPS = {"precision": "float32", "do_train": True, "do_eval": True, "train_batch_size": 8}
convert = Command("convert_checkpoint")


@pytest.fixture(scope="module")
def pretrain(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Four updates, which have been done."""
    folder = tmp_path_factory.mktemp("toy")
    shards = write_shards(folder / "shards" / "a@1", vocab_folder, dupe_factor=1)
    write_json(str(folder / "toy.json"), CONFIG.to_dict())
    command = Command("run_pretraining", {
        "input_file": shards, "bert_config_file": folder / "toy.json", "vocab_file": vocab_folder,
        "output_dir": folder / "run", "max_seq_length": 32, "max_predictions_per_seq": 5,
        "num_train_steps": 4, "num_warmup_steps": 1, "learning_rate": 1e-2,
        "save_checkpoints_steps": 2, **STEPS,
    })  # fmt: skip
    command.succeed()
    return command


@pytest.fixture
def pretrained(pretrain: Command) -> Path:
    folder: Path = pretrain.flags["output_dir"]
    return folder


def arrays_of(path: Path) -> Arrays:
    return read_source(str(path)).arrays


def test_toy_pretraining_learns_and_resumes(pretrain: Command, pretrained: Path) -> None:
    wanted = arrays_of(pretrained)
    assert {*toy_specs(CONFIG), "toy/pooler/dense/kernel"} < wanted.keys()
    assert not any(name.startswith("bert/") for name in wanted)
    shutil.rmtree(list_checkpoints(str(pretrained))[-1])
    assert np.abs(arrays_of(pretrained)[WORDS] - wanted[WORDS]).max() > 1e-3
    pretrain.succeed()
    assert_same_bits(arrays_of(pretrained), wanted)


def test_toy_classifier_learns_and_its_lower_layers_hardly_change(
    pretrained: Path, tmp_path: Path
) -> None:
    rows = [("날씨", "비가 온다"), ("음식", "밥을 먹는다")] * 4
    table = write_table(tmp_path / "train.tsv", rows, "label", "text")
    Command("run_classifier", {
        "task_name": "tsv", "train_file": table, "eval_file": table, "max_seq_length": 16,
        "output_dir": tmp_path / "run", "init_checkpoint": pretrained, "num_train_epochs": 40,
        "layer_decay": 1e-3, "learning_rate": 0.05, **STEPS,
    }).succeed()  # fmt: skip
    before, after = arrays_of(pretrained), arrays_of(tmp_path / "run")
    moved = {name: np.abs(after[name] - before[name]).max() for name in toy_specs(CONFIG)}
    assert moved[WORDS] < 1e-8 < moved["toy/encoder/layer_1/dense_0/kernel"] < 0.01
    assert results(tmp_path / "run")["accuracy"] == 100


def test_toy_conversion_there_and_back_changes_nothing(pretrained: Path, tmp_path: Path) -> None:
    google, back, wide = tmp_path / "tf1" / "model.ckpt", tmp_path / "back", tmp_path / "wide"
    convert.succeed(from_=pretrained, to=google)
    convert.succeed(from_=google, to=back, to_format="bert_ko")
    assert_same_bits(arrays_of(back), arrays_of(pretrained))
    assert read_source(str(back)).config == CONFIG
    convert.succeed(from_=pretrained, to=wide, to_format="bert_ko", vocab_size=1536)
    assert arrays_of(wide)[WORDS].shape == (1536, 8)


def test_toy_conversion_to_hugging_face_is_refused(pretrained: Path, tmp_path: Path) -> None:
    ended = convert(from_=pretrained, to=tmp_path / "hf", to_format="huggingface")
    assert ended.error == "toy has no form in Hugging Face transformers; give another --to_format."
    assert not (tmp_path / "hf").exists()


def test_toy_features_are_those_of_its_layers(pretrained: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("비가 온다\n밥\n", encoding="utf-8")
    Command("extract_features").succeed(
        input_file=tmp_path / "texts.txt",
        output_file=tmp_path / "features.npz",
        init_checkpoint=pretrained,
        layers=(-1, -3),
        max_seq_length=16,
        precision="float32",
    )
    with np.load(tmp_path / "features.npz") as found:
        values = found["values"]
    assert values.shape[1:] == (2, 8)
    words = arrays_of(pretrained)[WORDS]  # what its embeddings are, and its layers are not
    assert [(words == value).all(axis=1).any() for value in values[0]] == [False, True]
