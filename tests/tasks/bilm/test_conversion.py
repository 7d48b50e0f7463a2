"""A biLM to bilm-tf's form and back: names, shapes, layers, and what is refused."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bert_ko.modeling.elmo import ElmoConfig, elmo_specs
from bert_ko.modeling.heads import BiLmHead, model_specs
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.tasks.bilm.layers import layer_outputs, sentence_layers
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.bilm import config_from_options, config_to_options
from bert_ko.training.checkpoints import Checkpoint, save_checkpoint
from bert_ko.training.devices import load_backend
from bert_ko.training.initialization import read_source
from tests import bilm_reference
from tests.bilm_reference import OPTIONS, write_published
from tests.fakes import Command

SENTENCE = ["비", "가", "온", "abc"]
convert = Command("convert_checkpoint")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A model as bilm-tf writes it."""
    return write_published(tmp_path / "theirs", OPTIONS)


def data_sets(folder: Path) -> dict[str, Any]:
    found = {}
    with h5py.File(folder / "weights.hdf5", "r") as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "shape") else {})
        )
    return found


@pytest.mark.slow
def test_conversion_there_and_back_changes_nothing(theirs: Path, tmp_path: Path) -> None:
    printed = convert.succeed(from_=theirs, to=tmp_path / "ours", to_format="bert_ko").err
    assert "largest difference between the layers before and after: 0.0e+00" in printed
    source = read_source(str(tmp_path / "ours"))
    assert isinstance(source.config, ElmoConfig) and source.config.vocab_size == 50
    backend = load_backend(DeviceConfig(precision="float32"))
    predict = backend.predictor(source.config, source.arrays, layer_outputs)
    (found,) = sentence_layers(predict, source.config, [SENTENCE])
    wanted = bilm_reference.layers(bilm_reference.random_weights(OPTIONS), OPTIONS, SENTENCE)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)

    convert.succeed(from_=tmp_path / "ours", to=tmp_path / "back", to_format="bilm")
    before, after = data_sets(theirs), data_sets(tmp_path / "back")
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert json.loads((tmp_path / "back" / "options.json").read_text()) == OPTIONS


@pytest.mark.slow
def test_trained_model_loses_its_softmax_alone(tmp_path: Path) -> None:
    config = config_from_options(OPTIONS, "options.json")
    arrays = initial_parameters(model_specs(config, BiLmHead(1)), 0.3, 1)
    state = {"step": 7, "tokenizer_fingerprint": None}
    save_checkpoint(str(tmp_path), 7, Checkpoint(arrays, {}, state), config, keep=0)
    ended = convert.succeed(from_=tmp_path, to=tmp_path / "theirs", to_format="bilm")
    assert "bilm-tf's form has no softmax: that of the model is left out" in ended.err
    assert read_source(str(tmp_path / "theirs")).arrays.keys() == elmo_specs(config).keys()


def test_options_round_trip_keeps_every_value() -> None:
    config = config_from_options(OPTIONS, "options.json")
    assert config_to_options(config) == OPTIONS
    free: Any = {**OPTIONS["lstm"], "cell_clip": None, "use_skip_connections": False}  # type: ignore[dict-item]
    config = config_from_options({**OPTIONS, "lstm": free}, "options.json")
    assert config.cell_clip is None and not config.residual


CHANGED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"CNN/b_cnn_1": None}, "weights.hdf5 lacks the data set CNN/b_cnn_1, which options.json "
     "asks for."),
    ({}, {"CNN_proj/b_proj": np.zeros(3, "f")}, "weights.hdf5: CNN_proj/b_proj has shape [3], but "
     "[6] by options.json; the two files belong to different models."),
    ({"bidirectional": False}, {}, "options.json: bidirectional must be true; one direction is not "
     "computed."),
    ({"lstm": {"dim": 3}}, {}, "options.json: projection_dim is missing."),
    ({"char_cnn": []}, {}, "options.json: char_cnn must be an object, got []."),
    ({"char_cnn": {**OPTIONS["char_cnn"], "n_characters": 99}}, {},  # type: ignore[dict-item]
     "options.json: n_characters must be 261 or 262, got 99."),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("options", "weights", "message"), CHANGED)
def test_damaged_model_is_named(options: Any, weights: Any, message: str, tmp_path: Path) -> None:
    folder = write_published(tmp_path / "theirs", {**OPTIONS, **options}, **weights)
    ended = convert(from_=folder, to=tmp_path / "ours", to_format="bert_ko")
    assert ended.error == f"--from: {folder}/{message}"
    assert not (tmp_path / "ours").exists()


def test_cut_off_weights_are_named(theirs: Path, tmp_path: Path) -> None:
    path = theirs / "weights.hdf5"
    path.write_bytes(path.read_bytes()[:200])
    ended = convert(from_=theirs, to=tmp_path / "ours", to_format="bert_ko")
    assert ended.error.startswith(f"--from: {path} can't be read; it is damaged or cut off: ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"to_format": "huggingface"}, "--to_format=huggingface: a bidirectional language model has"
         " the forms bert_ko and bilm."),
        ({"to_format": "onnx"}, "--to_format=onnx: a bidirectional language model has the forms "
         "bert_ko and bilm."),
        ({"to_format": "bilm", "vocab_size": 64}, "--vocab_size has no effect with a model of "
         "words; leave it out."),
    ],
)  # fmt: skip
def test_form_or_flag_without_meaning_is_refused(
    flags: Any, message: str, theirs: Path, tmp_path: Path
) -> None:
    ended = convert(from_=theirs, to=tmp_path / "other", **flags)
    assert ended.error == message
    assert not (tmp_path / "other").exists()


def test_syllables_are_not_written_in_the_form_of_bytes(tmp_path: Path) -> None:
    config = ElmoConfig(vocab_size=5, hidden_size=4, cell_size=3, filters=((1, 2),))
    arrays = initial_parameters(elmo_specs(config), 0.3, 1)
    save_checkpoint(
        str(tmp_path),
        1,
        Checkpoint(arrays, {}, {"step": 1, "tokenizer_fingerprint": None}),
        config,
        keep=0,
    )
    ended = convert(from_=tmp_path, to=tmp_path / "theirs", to_format="bilm")
    assert ended.error == (
        "bilm-tf's form has bytes for characters, and this model has syllables: it can't be "
        "written in it."
    )
    assert not (tmp_path / "theirs").exists()
