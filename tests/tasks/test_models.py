"""A trained model is found with what stands beside it, and refused where the parts do not fit."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bert_ko.modeling.parameters import WORD_EMBEDDINGS, masked_lm_specs, span_specs
from bert_ko.tasks.models import ModelFlags, open_model, open_parts
from bert_ko.tokenization.settings import TokenizerSettings
from bert_ko.training.hugging_face import to_hugging_face_arrays, to_hugging_face_config
from bert_ko.training.initialization import read_source
from tests.small_models import (
    CONFIG,
    PIECES,
    arrays_of,
    assert_same_bits,
    save_model,
    write_vocabulary,
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_model(tmp_path_factory.mktemp("models") / "run"))


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(saved, tmp_path / "run"))


def checkpoint_of(folder: Path) -> Path:
    return next(folder.glob("checkpoint-*"))


def write_config(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps({**CONFIG.to_dict(), **changes}))
    return str(path)


def open_at(path: Path | str, **flags: Any) -> Any:
    return open_model(ModelFlags(init_checkpoint=str(path), **flags))


def hugging_face_folder(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    arrays = arrays_of("pretraining")
    theirs = {k: np.ascontiguousarray(v) for k, v in to_hugging_face_arrays(arrays).items()}
    save_file(theirs, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(to_hugging_face_config(CONFIG, arrays)))
    return str(folder)


def test_open_model_run_folder_and_its_checkpoint_have_everything(saved: Path) -> None:
    for path in (saved, checkpoint_of(saved)):
        found = open_at(path)
        assert found.config == CONFIG
        assert found.tokenizer.vocab.pieces == PIECES
        assert found.config_file == f"the configuration of {checkpoint_of(saved)}"
        specs = masked_lm_specs(CONFIG)
        arrays = arrays_of("pretraining")
        assert_same_bits(found.arrays(specs), {name: arrays[name] for name in specs})


def test_open_model_hugging_face_folder_with_a_vocabulary(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "theirs")
    write_vocabulary(tmp_path / "theirs")
    found = open_at(folder)
    assert found.config == CONFIG and found.tokenizer.vocab.pieces == PIECES
    assert_same_bits(found.arrays(masked_lm_specs(CONFIG)), arrays_of("masked_lm"))


def test_open_model_flags_come_before_what_stands_beside(saved: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "other.json", hidden_act="relu")
    vocab = write_vocabulary(tmp_path / "vocab")
    found = open_at(saved, bert_config_file=path, vocab_file=vocab)
    assert found.config == dataclasses.replace(CONFIG, hidden_act="relu")
    assert found.config_file == path


def test_open_model_without_vocabulary_asks_for_it(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "theirs")
    message = rf"^--vocab_file: no vocabulary in {folder}; name it\.$"
    with pytest.raises(FileNotFoundError, match=message):
        open_at(folder)
    vocab = write_vocabulary(tmp_path / "vocab")
    assert open_at(folder, vocab_file=vocab).tokenizer.vocab.pieces == PIECES


def test_open_model_without_configuration_asks_for_it(model: Path, tmp_path: Path) -> None:
    last = checkpoint_of(model)
    (last / "bert_config.json").unlink()
    message = rf"^--bert_config_file: no bert_config\.json beside {last}; name it\.$"
    with pytest.raises(FileNotFoundError, match=message):
        open_at(model)
    path = write_config(tmp_path / "named.json")
    assert open_at(model, bert_config_file=path).config == CONFIG


def test_open_model_other_vocabulary_than_in_training_is_refused(
    saved: Path, tmp_path: Path
) -> None:
    swapped = (*PIECES[:-2], PIECES[-1], PIECES[-2])
    vocab = write_vocabulary(tmp_path / "vocab", swapped)
    with pytest.raises(ValueError) as error:
        open_at(saved, vocab_file=vocab)
    assert str(error.value) == (
        f"--vocab_file: {vocab} is not the vocabulary that {checkpoint_of(saved)} was trained "
        "with; its pieces would mean other words."
    )


def test_open_model_larger_vocabulary_than_the_model_is_refused_with_the_numbers(
    tmp_path: Path,
) -> None:
    folder = hugging_face_folder(tmp_path / "theirs")
    vocab = write_vocabulary(tmp_path / "vocab", (*PIECES, "뷁"))
    with pytest.raises(ValueError) as error:
        open_at(folder, vocab_file=vocab)
    assert str(error.value) == (
        f"vocab_size is {CONFIG.vocab_size:,} in the configuration of {folder}, but "
        f"{CONFIG.vocab_size + 1:,} in the vocabulary ({vocab}); set vocab_size in the config to "
        "that."
    )


def test_open_model_smaller_vocabulary_than_the_model_is_padding(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "theirs")
    vocab = write_vocabulary(tmp_path / "vocab", PIECES[:-3])
    assert len(open_at(folder, vocab_file=vocab).tokenizer.vocab) == CONFIG.vocab_size - 3


def test_arrays_of_another_task_are_missing(saved: Path) -> None:
    with pytest.raises(ValueError) as error:
        open_at(saved).arrays(span_specs(CONFIG))
    assert str(error.value) == (
        f"--init_checkpoint: {checkpoint_of(saved)} lacks cls/squad/output_weights, "
        "cls/squad/output_bias; it was not trained for this."
    )


def test_arrays_of_another_size_are_refused_with_the_numbers(saved: Path, tmp_path: Path) -> None:
    size = CONFIG.vocab_size + 7
    path = write_config(tmp_path / "other.json", vocab_size=size)
    found = open_at(saved, bert_config_file=path)
    message = (
        f"{WORD_EMBEDDINGS} has shape [{CONFIG.vocab_size}, 16] in {checkpoint_of(saved)}, but "
        f"[{size}, 16] by {path}; likely vocab_size: the checkpoint has {CONFIG.vocab_size} pieces"
    )
    with pytest.raises(ValueError) as error:
        found.arrays(masked_lm_specs(found.config))
    assert message in str(error.value)


def test_open_parts_takes_the_vocabulary_beside_before_the_one_that_is_named(
    saved: Path, tmp_path: Path
) -> None:
    named = write_vocabulary(tmp_path / "vocab", (*PIECES, "뷁"))
    found = open_parts(read_source(str(saved)), None, named, TokenizerSettings())
    assert (found.tokenizer.source, found.tokenizer.vocab.pieces) == (str(saved), PIECES)
    shutil.copytree(saved, tmp_path / "run")
    (tmp_path / "run" / "vocab.txt").unlink()
    source = read_source(str(tmp_path / "run"))
    same = write_vocabulary(tmp_path / "same")
    assert open_parts(source, None, same, TokenizerSettings()).tokenizer.source == same
