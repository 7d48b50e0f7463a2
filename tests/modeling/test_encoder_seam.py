"""An encoder of one's own: registered here, it goes through the commands as BERT does."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bert_ko import (
    convert_checkpoint,
    create_pretraining_data,
    extract_features,
    run_classifier,
    run_pretraining,
)
from bert_ko.convert_checkpoint import ConvertCheckpointConfig
from bert_ko.create_pretraining_data import CreatePretrainingDataConfig
from bert_ko.extract_features import ExtractFeaturesConfig
from bert_ko.json_files import write_json
from bert_ko.modeling import encoder
from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import Encoder, register
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import Arrays, ParameterSpec, Specs, dense_specs
from bert_ko.run_classifier import RunClassifierConfig
from bert_ko.run_pretraining import RunPretrainingConfig
from bert_ko.training.checkpoints import list_checkpoints
from bert_ko.training.initialization import read_source

# Importing TensorFlow and compiling take seconds.
pytestmark = pytest.mark.slow

SAMPLE_CORPUS = Path(__file__).parents[2] / "samples" / "corpus.txt"
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
    vocab_size=1500,
    hidden_size=8,
    num_hidden_layers=2,
    hidden_dropout_prob=0.0,
    initializer_range=0.3,
    depth=2,
)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "_ENCODERS", dict(encoder._ENCODERS))
        register(TOY)
        yield


# What it goes through

STEPS = {"learning_rate": 1e-2, "precision": "float32", "save_checkpoints_steps": 2}


@pytest.fixture(scope="module")
def pretrained(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four updates."""
    folder = tmp_path_factory.mktemp("toy")
    create_pretraining_data.run(
        CreatePretrainingDataConfig(
            input_file=(str(SAMPLE_CORPUS),),
            output_file=(str(folder / "shards" / "a@1"),),
            vocab_file=vocab_folder,
            max_seq_length=32,
            max_predictions_per_seq=5,
            dupe_factor=1,
            num_workers=1,
        )
    )
    write_json(str(folder / "toy.json"), CONFIG.to_dict())
    pretrain(folder, vocab_folder)
    return folder / "run"


def pretrain(folder: Path, vocab: str) -> None:
    run_pretraining.run(
        RunPretrainingConfig(
            input_file=(str(folder / "shards"),),
            bert_config_file=str(folder / "toy.json"),
            vocab_file=vocab,
            output_dir=str(folder / "run"),
            max_seq_length=32,
            max_predictions_per_seq=5,
            do_train=True,
            do_eval=True,
            train_batch_size=8,
            num_train_steps=4,
            num_warmup_steps=1,
            **STEPS,
        )
    )


def arrays_of(path: Path) -> Arrays:
    return read_source(str(path)).arrays


def convert(source: Path, to: Path, **flags: Any) -> None:
    convert_checkpoint.run(ConvertCheckpointConfig(from_=str(source), to=str(to), **flags))


def assert_same(found: Arrays, wanted: Arrays) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_toy_pretraining_learns_and_resumes(pretrained: Path, vocab_folder: str) -> None:
    wanted = arrays_of(pretrained)
    assert {*toy_specs(CONFIG), "toy/pooler/dense/kernel"} < wanted.keys()
    assert not any(name.startswith("bert/") for name in wanted)
    shutil.rmtree(list_checkpoints(str(pretrained))[-1])
    assert np.abs(arrays_of(pretrained)[WORDS] - wanted[WORDS]).max() > 1e-3
    pretrain(pretrained.parent, vocab_folder)
    assert_same(arrays_of(pretrained), wanted)


def test_toy_classifier_learns_and_its_lower_layers_hardly_change(
    pretrained: Path, tmp_path: Path
) -> None:
    table = tmp_path / "train.tsv"
    table.write_text("label\ttext\n" + "날씨\t비가 온다\n음식\t밥을 먹는다\n" * 4, encoding="utf-8")
    flags = {
        "task_name": "tsv", "train_file": str(table), "eval_file": str(table),
        "max_seq_length": 16, "output_dir": str(tmp_path / "run"),
    }  # fmt: skip
    run_classifier.run(
        RunClassifierConfig(
            init_checkpoint=str(pretrained),
            do_train=True,
            train_batch_size=8,
            num_train_epochs=40,
            layer_decay=1e-3,
            **{**STEPS, "learning_rate": 0.05, "save_checkpoints_steps": 100},
            **flags,
        )
    )
    before, after = arrays_of(pretrained), arrays_of(tmp_path / "run")
    moved = {name: np.abs(after[name] - before[name]).max() for name in toy_specs(CONFIG)}
    assert moved[WORDS] < 1e-8 < moved["toy/encoder/layer_1/dense_0/kernel"] < 0.01
    run_classifier.run(RunClassifierConfig(precision="float32", do_eval=True, **flags))
    results = (tmp_path / "run" / "eval_results.txt").read_text(encoding="utf-8")
    assert "accuracy = 100.0\n" in results


def test_toy_conversion_there_and_back_changes_nothing(pretrained: Path, tmp_path: Path) -> None:
    convert(pretrained, tmp_path / "tf1" / "model.ckpt")
    convert(tmp_path / "tf1" / "model.ckpt", tmp_path / "back", to_format="bert_ko")
    assert_same(arrays_of(tmp_path / "back"), arrays_of(pretrained))
    assert read_source(str(tmp_path / "back")).config == CONFIG
    convert(pretrained, tmp_path / "wide", to_format="bert_ko", vocab_size=1536)
    assert arrays_of(tmp_path / "wide")[WORDS].shape == (1536, 8)


def test_toy_conversion_to_hugging_face_is_refused(pretrained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        convert(pretrained, tmp_path / "hf", to_format="huggingface")
    assert str(caught.value) == (
        "toy has no form in Hugging Face transformers; give another --to_format."
    )
    assert not (tmp_path / "hf").exists()


def test_toy_features_are_those_of_its_layers(pretrained: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("비가 온다\n밥\n", encoding="utf-8")
    extract_features.run(
        ExtractFeaturesConfig(
            input_file=str(tmp_path / "texts.txt"),
            output_file=str(tmp_path / "features.npz"),
            init_checkpoint=str(pretrained),
            layers=("-1", "-3"),
            max_seq_length=16,
            precision="float32",
        )
    )
    with np.load(tmp_path / "features.npz") as found:
        values = found["values"]
    assert values.shape[1:] == (2, 8)
    words = arrays_of(pretrained)[WORDS]  # what its embeddings are, and its layers are not
    assert [(words == value).all(axis=1).any() for value in values[0]] == [False, True]
