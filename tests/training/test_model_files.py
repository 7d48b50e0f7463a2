"""What belongs to weights is found beside them, and refused where the parts do not fit."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bert_ko.flags import flag
from bert_ko.messages import program_name
from bert_ko.modeling.bert import WORD_EMBEDDINGS
from bert_ko.tasks.settings import FineTuneFlags
from bert_ko.training.checkpoints import Checkpoint, save_checkpoint
from bert_ko.training.hugging_face import to_hugging_face_arrays, to_hugging_face_config
from bert_ko.training.model_files import (
    ModelFlags,
    config_beside,
    open_model,
    open_model_files,
    remembered_flags,
    vocabulary_beside,
    weight_places,
)
from tests.small_models import (
    CONFIG,
    PIECES,
    arrays_of,
    assert_same_bits,
    save_model,
    specs_of,
    write_vocabulary,
)

SWAPPED = (*PIECES[:-2], PIECES[-1], PIECES[-2])


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


def hugging_face_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    arrays = arrays_of("pretraining")
    theirs = to_hugging_face_arrays(CONFIG, arrays).items()
    save_file({k: np.ascontiguousarray(v) for k, v in theirs}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(to_hugging_face_config(CONFIG, arrays)))
    return folder


def google_prefix(folder: Path) -> str:
    """As Google publishes a model; the weights themselves are not looked at."""
    write_config(Path(write_vocabulary(folder)) / "bert_config.json")
    (folder / "bert_model.ckpt.index").touch()
    return str(folder / "bert_model.ckpt")


# Of a command that trains


@dataclasses.dataclass(frozen=True)
class Flags(FineTuneFlags):
    """Of texts of 40 pieces."""

    max_seq_length: int = flag(40, help="Pieces.")


def flags(folder: Path, **values: Any) -> Flags:
    known = {"output_dir": str(folder / "new"), "do_train": True}
    return Flags(**{**known, **{name: str(v) for name, v in values.items()}})


def refusal(config: Flags) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        open_model_files(config)
    return str(error.value)


def test_open_model_files_are_found_beside_init_checkpoint(saved: Path, tmp_path: Path) -> None:
    theirs = hugging_face_folder(Path(write_vocabulary(tmp_path / "theirs")))
    for path, config_file, vocabulary in (
        (saved, checkpoint_of(saved) / "bert_config.json", saved),
        (checkpoint_of(saved), checkpoint_of(saved) / "bert_config.json", saved),
        (checkpoint_of(saved) / "model.safetensors", checkpoint_of(saved) / "bert_config.json",
         saved),
        (google_prefix(tmp_path / "google"), tmp_path / "google/bert_config.json",
         tmp_path / "google"),
        (theirs, theirs / "config.json", theirs),
        (theirs / "model.safetensors", theirs / "config.json", theirs),
    ):  # fmt: skip
        found = open_model_files(flags(tmp_path, init_checkpoint=path))
        assert (found.config, found.config_file) == (CONFIG, str(config_file))
        assert (found.tokenizer.source, found.tokenizer.vocab.pieces) == (str(vocabulary), PIECES)


def test_open_model_files_weights_of_the_run_come_before_those_it_began_with(
    model: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    write_config(Path(write_vocabulary(first)) / "bert_config.json", hidden_act="relu")
    config = flags(tmp_path, output_dir=model, init_checkpoint=first)
    assert open_model_files(config).config == CONFIG
    assert weight_places(str(model), "x") == [str(model), "x"]
    shutil.rmtree(checkpoint_of(model))  # killed before it had any
    write_config(model / "bert_config.json")
    assert open_model_files(config).config.hidden_act == "relu"
    assert weight_places(str(model), "x") == ["x", str(model)]
    assert weight_places(str(model), None) == [str(model)]
    # It still helps out where the other place has nothing.
    config = flags(tmp_path, output_dir=model, init_checkpoint=tmp_path / "bert_model.ckpt")
    assert open_model_files(config).config_file == str(model / "bert_config.json")


def test_open_model_files_nowhere_asks_for_the_flag(saved: Path, tmp_path: Path) -> None:
    new, init = tmp_path / "new", tmp_path / "theirs"
    assert refusal(flags(tmp_path)) == f"--bert_config_file: no bert_config.json in {new}; name it."
    config = write_config(tmp_path / "model.json")
    hugging_face_folder(init)
    assert refusal(flags(tmp_path, bert_config_file=config)) == (
        f"--vocab_file: no vocabulary in {new}; name it."
    )
    assert refusal(flags(tmp_path, init_checkpoint=init)) == (
        f"--vocab_file: no vocabulary in {init} or {new}; name it."
    )


def test_open_model_files_other_vocabulary_than_beside_the_weights_is_refused_or_warned_of(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = write_vocabulary(tmp_path / "same")
    other = write_vocabulary(tmp_path / "other", SWAPPED)
    google = google_prefix(tmp_path / "google")
    for place, beside in ((saved, saved), (google, tmp_path / "google")):
        asked = {"do_train": "", "init_checkpoint": place}
        open_model_files(flags(tmp_path, vocab_file=same, **asked))
        assert refusal(flags(tmp_path, vocab_file=other, **asked)) == (
            f"--vocab_file: {other} is not the vocabulary beside the weights, {beside}; leave the "
            "flag out."
        )
    # What is trained may change pieces, such as [unused0], where no fingerprint is known.
    open_model_files(flags(tmp_path, vocab_file=other, init_checkpoint=google))
    assert capsys.readouterr().err == (
        f"{program_name()}: warning: --vocab_file: {other} is not the vocabulary beside the "
        f"weights, {tmp_path}/google; the embeddings may belong to other pieces\n"
    )


# What is found beside weights


def test_beside_folder_without_anything_has_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "bert_model.ckpt", tmp_path / "nowhere" / "x.ckpt"):
        assert config_beside(str(path)) is vocabulary_beside(str(path)) is None
        assert remembered_flags(str(path)) == {}


def test_remembered_flags_are_those_of_the_best_weights(tmp_path: Path) -> None:
    for step, kind in ((1, "best"), (2, "checkpoint")):
        path = save_state(tmp_path, kind, step=step, identity={"max_seq_length": step})
        for name in (path, f"{path}/model.safetensors"):
            assert remembered_flags(name) == {"max_seq_length": step}
    assert remembered_flags(str(tmp_path)) == {"max_seq_length": 1}


def test_remembered_flags_of_a_converted_model(tmp_path: Path) -> None:
    save_state(tmp_path, step=3, trained_with={"use_crf": True})
    assert remembered_flags(str(tmp_path)) == {"use_crf": True}


def save_state(folder: Path, kind: Any = "checkpoint", **state: Any) -> str:
    checkpoint = Checkpoint({"w": np.zeros(1, np.float32)}, {}, state)
    return save_checkpoint(str(folder), state["step"], checkpoint, CONFIG, 0, kind)


# Of a command that uses a model


def open_at(path: Path | str, **flags: Any) -> Any:
    return open_model(ModelFlags(init_checkpoint=str(path), **flags))


def refused_at(path: Path | str, **flags: Any) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        open_at(path, **flags)
    return str(error.value)


def test_open_model_run_folder_and_its_checkpoint_have_everything(saved: Path) -> None:
    for path in (saved, checkpoint_of(saved)):
        found = open_at(path)
        assert found.config == CONFIG
        assert found.tokenizer.vocab.pieces == PIECES
        assert found.files.config_file == f"the configuration of {checkpoint_of(saved)}"
        specs, arrays = specs_of("masked_lm"), arrays_of("pretraining")
        assert_same_bits(found.arrays(specs), {name: arrays[name] for name in specs})


def test_open_model_hugging_face_folder_with_a_vocabulary(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "theirs")
    write_vocabulary(folder)
    found = open_at(folder)
    assert found.config == CONFIG and found.tokenizer.vocab.pieces == PIECES
    assert_same_bits(found.arrays(specs_of("masked_lm")), arrays_of("masked_lm"))


def test_open_model_flags_that_agree_are_accepted(saved: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "other.json", hidden_dropout_prob=0.5)  # never used here
    found = open_at(saved, bert_config_file=path, vocab_file=write_vocabulary(tmp_path / "vocab"))
    assert found.config == dataclasses.replace(CONFIG, hidden_dropout_prob=0.5)
    assert found.files.config_file == path


def test_open_model_flags_that_contradict_are_refused(saved: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "other.json", hidden_act="relu", vocab_size=9)
    assert refused_at(saved, bert_config_file=path) == (
        f"--bert_config_file: {path} is not the configuration that {checkpoint_of(saved)} was "
        f"trained with (hidden_act was 'gelu', now 'relu', vocab_size was {CONFIG.vocab_size}, now "
        "9); leave the flag out."
    )
    vocab = write_vocabulary(tmp_path / "vocab", SWAPPED)
    assert refused_at(saved, vocab_file=vocab) == (
        f"--vocab_file: {vocab} is not the vocabulary that {checkpoint_of(saved)} was trained "
        "with; its pieces would mean other words."
    )


def test_open_model_other_vocabulary_than_beside_theirs_is_refused(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "theirs")
    write_vocabulary(folder)
    vocab = write_vocabulary(tmp_path / "vocab", SWAPPED)
    assert refused_at(folder, vocab_file=vocab) == (
        f"--vocab_file: {vocab} is not the vocabulary beside the weights, {folder}; leave the flag "
        "out."
    )


def test_open_model_beside_a_tokenizer_that_is_not_read_takes_another_of_the_same_pieces(
    tmp_path: Path,
) -> None:
    folder = hugging_face_folder(tmp_path / "theirs")
    write_vocabulary(folder)
    Path(folder, "tokenizer_config.json").write_text('{"tokenizer_class": "BertJapaneseTokenizer"}')
    assert "tokenizer_config.json names BertJapaneseTokenizer, which is not" in refused_at(folder)
    vocab = write_vocabulary(tmp_path / "vocab")
    assert open_at(folder, vocab_file=vocab).tokenizer.vocab.pieces == PIECES
    other = write_vocabulary(tmp_path / "other", SWAPPED)
    assert "is not the vocabulary beside the weights" in refused_at(folder, vocab_file=other)


def test_open_model_without_vocabulary_or_configuration_asks_for_it(
    model: Path, tmp_path: Path
) -> None:
    folder = hugging_face_folder(tmp_path / "theirs")
    assert refused_at(folder) == f"--vocab_file: no vocabulary in {folder}; name it."
    vocab = write_vocabulary(tmp_path / "vocab")
    assert open_at(folder, vocab_file=vocab).tokenizer.vocab.pieces == PIECES
    last = checkpoint_of(model)
    (last / "bert_config.json").unlink()
    message = f"--bert_config_file: no bert_config.json beside {last}; name it."
    assert refused_at(model) == message
    path = write_config(tmp_path / "named.json")
    assert open_at(model, bert_config_file=path).config == CONFIG


def test_open_model_vocabulary_of_another_size(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "theirs")
    vocab = write_vocabulary(tmp_path / "vocab", (*PIECES, "뷁"))
    assert refused_at(folder, vocab_file=vocab) == (
        f"vocab_size is {CONFIG.vocab_size:,} in the configuration of {folder}, but "
        f"{CONFIG.vocab_size + 1:,} in the vocabulary ({vocab}); set vocab_size in the config to "
        "that."
    )
    vocab = write_vocabulary(tmp_path / "fewer", PIECES[:-3])  # padding
    assert len(open_at(folder, vocab_file=vocab).tokenizer.vocab) == CONFIG.vocab_size - 3


def test_arrays_of_another_task_or_size_are_refused(saved: Path, tmp_path: Path) -> None:
    found = open_at(saved)
    with pytest.raises(ValueError) as error:
        found.arrays(specs_of("spans"))
    assert str(error.value) == (
        f"--init_checkpoint: {checkpoint_of(saved)} lacks cls/squad/output_weights, "
        "cls/squad/output_bias; it was not trained for this."
    )
    size = CONFIG.vocab_size + 7
    wider = specs_of("masked_lm", dataclasses.replace(CONFIG, vocab_size=size))
    with pytest.raises(ValueError, match=rf"^--init_checkpoint: {WORD_EMBEDDINGS} has shape "):
        found.arrays(wider)
