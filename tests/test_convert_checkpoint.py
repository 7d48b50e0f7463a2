"""convert_checkpoint from end to end: with numpy in the place of TensorFlow, then with TensorFlow
and transformers.
"""

import dataclasses
import errno
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bert_ko.modeling.bert import WORD_EMBEDDINGS
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.heads import OUTPUT_BIAS, RELATIONSHIP_BIAS
from bert_ko.modeling.parameters import Arrays
from bert_ko.tasks.conversion import comparison, conversion
from bert_ko.tensor_files import save_arrays
from bert_ko.tokenization import hugging_face
from bert_ko.tokenization.folder import load_tokenizer, write_folder
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.checkpoints import list_checkpoints, load_checkpoint, read_model_config
from bert_ko.training.initialization import Source, read_source
from bert_ko.training.labels import read_labels, write_labels
from tests.fakes import Command
from tests.small_models import (
    CONFIG,
    PIECES,
    STEP,
    arrays_of,
    assert_same_bits,
    install_backend,
    install_tensorflow,
    save_model,
    slots_of,
    write_vocabulary,
)

COMPARISON = "bert_ko.tasks.conversion.comparison"
REPOSITORY = Path(__file__).parents[1]
KINDS = ["pretraining", "masked_lm", "spans", "classes", "tags", "encoder"]
SIZE = CONFIG.vocab_size


def write_tokenizer(folder: str, tokenizer: Tokenizer, *_: object) -> list[str]:
    """Our files instead of those for transformers."""
    write_folder(folder, list(tokenizer.vocab.pieces), tokenizer.config)
    return []


@pytest.fixture
def numpy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    install_tensorflow(monkeypatch)
    install_backend(monkeypatch, COMPARISON)
    monkeypatch.setattr(comparison, "can_run_transformers", lambda: False)
    monkeypatch.setattr(hugging_face, "write_hugging_face_tokenizer", write_tokenizer)


def flag_of(form: str) -> str:
    return f"--to_format={form}"


class Convert:
    """Runs the command, on the model of pre-training unless another source is given."""

    def __init__(self, model: str) -> None:
        self.command, self.model = Command("convert_checkpoint"), model

    def __call__(self, to: Path | str, *flags: str, source: Any = None) -> Source:
        """Returns the written model; ``ended`` has the printed lines."""
        self.ended = self.command.succeed(*flags, to=to, from_=source or self.model)
        return read_source(str(to))

    def error(self, to: Path | str, *flags: str, source: Any = None) -> str:
        """Of a command that is refused before it writes anything."""
        before = contents(Path(to).parent)
        ended = self.command(*flags, to=to, from_=source or self.model)
        assert contents(Path(to).parent) == before
        return ended.error


@pytest.fixture
def real(model: str) -> Convert:
    """With everything that is installed."""
    return Convert(model)


@pytest.fixture
def convert(numpy_only: None, model: str) -> Convert:
    """With numpy instead of TensorFlow, and without transformers."""
    return Convert(model)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def names_of(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def model_config(folder: Path) -> ModelConfig:
    return read_model_config(str(folder / "bert_config.json"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder of each kind."""
    folder = tmp_path_factory.mktemp("models")
    return {kind: save_model(folder / kind, kind) for kind in (*KINDS, "crf")}


@pytest.fixture
def model(models: dict[str, str]) -> str:
    return models["pretraining"]


# Round trips


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "crf"])
def test_convert_to_tf1_and_back_changes_no_bit(
    kind: str, models: dict[str, str], tmp_path: Path, convert: Convert
) -> None:
    prefix, back = tmp_path / "google" / "bert_model.ckpt", tmp_path / "back"
    there = convert(prefix, source=models[kind])
    assert (there.kind, there.step, there.config) == ("TF1 checkpoint", STEP, CONFIG)
    assert_same_bits(there.arrays, arrays_of(kind))
    again = convert(back, flag_of("bert_ko"), source=prefix)
    assert (again.kind, again.step, again.config) == ("checkpoint of step 300", STEP, CONFIG)
    assert_same_bits(again.arrays, arrays_of(kind))
    assert again.fingerprint == load_tokenizer(models[kind]).fingerprint
    assert load_tokenizer(str(back)).fingerprint == again.fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_convert_to_hugging_face_and_back_changes_no_bit(
    kind: str, models: dict[str, str], tmp_path: Path, convert: Convert
) -> None:
    there = convert(tmp_path / "theirs", flag_of("huggingface"), source=models[kind])
    assert (there.kind, there.step, there.config) == ("Hugging Face folder", 0, CONFIG)
    assert_same_bits(there.arrays, arrays_of(kind))
    again = convert(tmp_path / "back", flag_of("bert_ko"), source=tmp_path / "theirs")
    assert_same_bits(again.arrays, arrays_of(kind))
    assert again.config == CONFIG and again.step == 0
    assert again.fingerprint == load_tokenizer(models[kind]).fingerprint
    google = convert(tmp_path / "google" / "bert_model.ckpt", source=tmp_path / "theirs")
    assert_same_bits(google.arrays, arrays_of(kind))
    assert google.config == CONFIG


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("form", ["bert_ko", "tf1", "huggingface"])
def test_convert_half_precision_of_our_folder_is_written_in_float32(
    dtype: str, form: str, tmp_path: Path, convert: Convert
) -> None:
    import ml_dtypes

    model = save_model(tmp_path / "model")
    half = np.dtype(getattr(ml_dtypes, dtype, dtype))
    stored = {name: array.astype(half) for name, array in arrays_of("pretraining").items()}
    save_file(stored, Path(list_checkpoints(model)[0]) / "model.safetensors")
    found = convert(tmp_path / "new" / "to", flag_of(form), source=model)
    wanted = {name: array.astype(np.float32) for name, array in stored.items()}
    assert_same_bits(found.arrays, wanted)


def test_convert_writes_what_the_readers_of_each_form_look_for(
    model: str, tmp_path: Path, convert: Convert
) -> None:
    convert(tmp_path / "bert_model.ckpt")
    vocabulary = ["tokenizer_config.json", "vocab.txt"]
    assert names_of(tmp_path) == ["bert_config.json", "bert_model.ckpt.index", *vocabulary]
    convert(tmp_path / "ours", flag_of("bert_ko"), source=list_checkpoints(model)[-1])
    parts = [f"checkpoint-00000300/{name}" for name in (
        "bert_config.json", "model.safetensors", "state.json",
    )]  # fmt: skip
    assert names_of(tmp_path / "ours") == ["bert_config.json", *parts, *vocabulary]
    convert(tmp_path / "theirs", flag_of("huggingface"))
    assert names_of(tmp_path / "theirs") == [
        "README.md", "config.json", "model.safetensors", *vocabulary,
    ]  # fmt: skip
    values = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert values["architectures"] == ["BertForPreTraining"]
    assert (values["pad_token_id"], values["hidden_act"]) == (0, "gelu_new")
    for folder in ("", "ours"):
        assert model_config(tmp_path / folder) == CONFIG
        assert (tmp_path / folder / "vocab.txt").read_text() == "".join(f"{p}\n" for p in PIECES)


def test_convert_state_of_our_folder_says_where_it_is_from(
    model: str, tmp_path: Path, convert: Convert
) -> None:
    convert(tmp_path / "bert_model.ckpt")
    convert(tmp_path / "ours", flag_of("bert_ko"), source=tmp_path / "bert_model.ckpt")
    state = load_checkpoint(list_checkpoints(str(tmp_path / "ours"))[0], with_slots=False).state
    assert state == {
        "format": 1,
        "step": STEP,
        "tokenizer_fingerprint": load_tokenizer(model).fingerprint,
        "converted_from": "TF1 checkpoint",
        "trained_with": {},
    }


def test_convert_trained_positions_stay_in_our_form_alone(tmp_path: Path, convert: Convert) -> None:
    for name, state, wanted in (
        ("recorded", {"trained_positions": 5}, 5),
        ("derived", {"identity": {"max_seq_length": 6, "init_checkpoint": None}}, 6),
        ("unknown", {"identity": {"max_seq_length": 6, "init_checkpoint": "phase1"}}, None),
    ):
        model = save_model(tmp_path / name)
        path = Path(list_checkpoints(model)[0]) / "state.json"
        kept = {k: v for k, v in json.loads(path.read_text()).items() if not k.endswith("crc32c")}
        path.write_text(json.dumps({**kept, **state}))
        grown = convert(tmp_path / f"{name}2", flag_of("bert_ko"), "--vocab_size=200", source=model)
        assert grown.trained_positions == wanted
        again = convert(tmp_path / f"{name}3", flag_of("bert_ko"), source=tmp_path / f"{name}2")
        assert again.trained_positions == wanted
        tf1 = tmp_path / f"{name}4" / "bert_model.ckpt"
        assert convert(tf1, source=model).trained_positions is None
        back = convert(tmp_path / f"{name}5", flag_of("bert_ko"), source=tf1)
        assert back.trained_positions is None


def test_convert_prints_a_summary(model: str, tmp_path: Path, convert: Convert) -> None:
    convert(tmp_path / "ours", flag_of("bert_ko"))
    *summary, title, made, _, command, _ = convert.ended.err.splitlines()
    assert title.startswith("── converted to bert_ko ─") and made == f"made    {tmp_path}/ours/"
    assert command == f"  bert_ko serve {tmp_path}/ours"
    assert summary == [
        f"{model}/checkpoint-00000300 (checkpoint of step 300) → {tmp_path}/ours (bert_ko)",
        f"{len(arrays_of('pretraining'))} variables, 0.0 million parameters",
        "largest difference, bert_ko before and bert_ko after: masked_lm_logits 0.0e+00, "
        "next_sentence_logits 0.0e+00, sequence_output 0.0e+00",
    ]
    convert(tmp_path / "theirs", flag_of("huggingface"))
    assert (
        "\ntransformers and torch are not installed: their outputs were not compared\n"
        in convert.ended.err
    )


def test_convert_hugging_face_folder_opens_again_with_its_own_tokenizer(
    model: str, tmp_path: Path, real: Convert
) -> None:
    """Without the stub for the tokenizer's files."""
    theirs = tmp_path / "theirs"
    real(theirs, flag_of("huggingface"), "--nocompare")
    assert load_tokenizer(str(theirs)).fingerprint == load_tokenizer(model).fingerprint
    values = json.loads((theirs / "tokenizer_config.json").read_text())
    assert values["model_max_length"] == CONFIG.max_position_embeddings
    back = real(tmp_path / "back", flag_of("bert_ko"), "--nocompare", source=theirs)
    assert_same_bits(back.arrays, arrays_of("pretraining"))


# Labels


LABELS = {"classes": ("긍정", "부정", "중립"), "tags": ("O", "B-곳", "I-곳", "B-때", "I-때")}


@pytest.mark.parametrize("kind", LABELS)
def test_convert_labels_go_around_all_forms(kind: str, tmp_path: Path, convert: Convert) -> None:
    labels = LABELS[kind]
    model = save_model(tmp_path / "model", kind)
    write_labels(model, labels)
    theirs, google, ours = tmp_path / "theirs", tmp_path / "google" / "m.ckpt", tmp_path / "ours"
    for source, to, form in (
        (model, theirs, "huggingface"), (theirs, google, "tf1"), (google, ours, "bert_ko"),
        (ours, tmp_path / "again", "huggingface"),
    ):  # fmt: skip
        found = convert(to, flag_of(form), source=source)
        assert found.labels == labels
        assert_same_bits(found.arrays, arrays_of(kind))
    assert not (theirs / "labels.json").exists()
    values = json.loads((theirs / "config.json").read_text(encoding="utf-8"))
    assert values["id2label"] == {str(i): label for i, label in enumerate(labels)}
    assert values["label2id"] == {label: i for i, label in enumerate(labels)}
    assert "problem_type" not in values
    assert (google.parent / "labels.json").read_bytes() == (ours / "labels.json").read_bytes()


def test_convert_labels_that_are_not_known_are_made_up_there_alone(
    models: dict[str, str], tmp_path: Path, convert: Convert
) -> None:
    theirs = convert(tmp_path / "theirs", flag_of("huggingface"), source=models["classes"])
    assert theirs.labels is None
    values = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert values["id2label"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
    assert convert(tmp_path / "back", flag_of("bert_ko"), source=tmp_path / "theirs").labels is None
    assert not (tmp_path / "back" / "labels.json").exists()


def test_convert_labels_without_a_head_are_left_out(tmp_path: Path, convert: Convert) -> None:
    model = save_model(tmp_path / "model", "encoder")
    write_labels(model, LABELS["classes"])
    convert(tmp_path / "theirs", flag_of("huggingface"), source=model)
    assert "id2label" not in json.loads((tmp_path / "theirs" / "config.json").read_text())
    convert(tmp_path / "ours", flag_of("bert_ko"), source=model)
    assert not (tmp_path / "ours" / "labels.json").exists()


def test_convert_regression_is_one_there(tmp_path: Path, convert: Convert) -> None:
    arrays = arrays_of("classes")
    arrays = {**arrays, **{n: arrays[n][:1] for n in ("output_weights", "output_bias")}}
    model = save_model(tmp_path / "model", "classes", arrays)
    write_labels(model, ())
    convert(tmp_path / "theirs", flag_of("huggingface"), source=model)
    values = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert values["problem_type"] == "regression" and values["id2label"] == {"0": "LABEL_0"}
    again = convert(tmp_path / "back", flag_of("bert_ko"), source=tmp_path / "theirs")
    assert_same_bits(again.arrays, arrays)
    assert convert(tmp_path / "ours", flag_of("bert_ko"), source=model).labels == ()


def test_convert_labels_of_another_model_are_not_written_over(
    tmp_path: Path, convert: Convert
) -> None:
    for name, labels in (("one", "가나다"), ("two", "라마바")):
        write_labels(save_model(tmp_path / name, "classes"), labels)
    google = tmp_path / "google"
    convert(google / "one.ckpt", source=tmp_path / "one")
    assert convert.error(google / "two.ckpt", source=tmp_path / "two") == (
        f"--to: {google}/labels.json is of another model and would be overwritten; choose another "
        "folder."
    )
    convert(google / "same.ckpt", source=tmp_path / "one")
    assert read_labels(str(google)) == ("가", "나", "다")


def test_convert_crf_is_left_out_for_transformers_with_a_warning(
    models: dict[str, str], tmp_path: Path, convert: Convert
) -> None:
    theirs = convert(tmp_path / "theirs", flag_of("huggingface"), source=models["crf"])
    assert convert.ended.warnings == [
        "transformers has no CRF: its transitions are left out, and each piece is tagged on its "
        "own there; train without --use_crf for equal tags."
    ]
    assert_same_bits(theirs.arrays, arrays_of("tags"))
    values = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert values["architectures"] == ["BertForTokenClassification"]
    for form in ("tf1", "bert_ko"):
        found = convert(tmp_path / form / "to", flag_of(form), source=models["crf"])
        assert "warning" not in convert.ended.err
        assert_same_bits(found.arrays, arrays_of("crf"))


# Both sides are compared


Change = Callable[[Arrays], Arrays]


def damage(name: str, value: float) -> Change:
    """Adds a number to all of a variable."""
    return lambda arrays: {**arrays, name: arrays[name] + np.float32(value)}


def damage_what_is_written(patch: pytest.MonkeyPatch, change: Change) -> None:
    write = conversion.write_tensorflow
    patch.setattr(
        conversion, "write_tensorflow", lambda path, arrays, step: write(path, change(arrays), step)
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pretraining", "spans"])
def test_convert_every_variable_that_changes_is_noticed(
    kind: str, models: dict[str, str], tmp_path: Path, convert: Convert
) -> None:
    names = [name for name in arrays_of(kind) if "layer_0" not in name]
    for number, name in enumerate(names):
        to = tmp_path / str(number) / "bert_model.ckpt"
        with pytest.MonkeyPatch.context() as patch:
            damage_what_is_written(patch, damage(name, 0.01))
            ended = convert.command(to=to, from_=models[kind])
        assert re.fullmatch(
            rf"the conversion differs from {models[kind]}/checkpoint-00000300 by "
            r"\d\.\de[-+]\d\d in \w+, more than 1e-04; nothing was written "
            r"\(--nocompare writes it all the same\)\.",
            ended.error,
        ), name


@pytest.mark.parametrize(
    ("value", "status", "printed"),
    [(5.5e-5, 0, "5."), (1.05e-4, 1, "1.")],
)
def test_convert_limit_is_one_in_ten_thousand(
    value: float, status: int, printed: str, tmp_path: Path, convert: Convert,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    damage_what_is_written(monkeypatch, damage(RELATIONSHIP_BIAS, value))
    ended = convert.command(to=tmp_path / "bert_model.ckpt", from_=convert.model)
    assert ended.status == status
    assert "masked_lm_logits 0.0e+00, " in ended.err and "sequence_output 0.0e+00" in ended.err
    assert f"next_sentence_logits {printed}" in ended.err
    message = "in next_sentence_logits, more than 1e-04; nothing was written"
    assert (message in ended.err) == bool(status)
    assert (tmp_path / "bert_model.ckpt.index").exists() != bool(status)


def test_convert_variable_that_is_not_written_is_noticed(
    tmp_path: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, to = "bert/pooler/dense/bias", tmp_path / "bert_model.ckpt"
    damage_what_is_written(
        monkeypatch, lambda arrays: {k: v for k, v in arrays.items() if k != name}
    )
    ended = convert.command(to=to, from_=convert.model)
    assert ended.error == (
        f"the conversion lacks {name}; nothing was written (--nocompare writes it all the same)."
    )
    assert not list(tmp_path.iterdir())


def test_convert_nocompare_loads_no_backend(
    tmp_path: Path, real: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "load_backend", None)
    real(tmp_path / "ours", flag_of("bert_ko"), "--nocompare")
    assert "largest difference" not in real.ended.err


# The optimizer


def test_convert_with_optimizer_writes_its_slots(tmp_path: Path, convert: Convert) -> None:
    prefix = tmp_path / "bert_model.ckpt"
    arrays = arrays_of("pretraining")
    assert_same_bits(convert(prefix, "--with_optimizer").arrays, arrays)
    with np.load(f"{prefix}.index") as values:
        written = dict(values)
    assert written.pop("global_step") == STEP
    assert_same_bits(written, {**arrays, **slots_of(arrays)})
    # They go no further: a model alone is read.
    again = convert(tmp_path / "ours", flag_of("bert_ko"), source=prefix)
    assert_same_bits(again.arrays, arrays)
    assert not list((tmp_path / "ours").rglob("optimizer.safetensors"))


# Sizes of the vocabulary


@pytest.mark.parametrize("form", ["bert_ko", "tf1", "huggingface"])
def test_convert_vocab_size_pads_and_cuts_again(
    form: str, tmp_path: Path, convert: Convert
) -> None:
    padded, cut = tmp_path / "padded" / "to", tmp_path / "cut" / "to"
    found = convert(padded, flag_of(form), "--vocab_size=192")
    assert convert.ended.err.splitlines()[2:4] == [
        f"vocab_size {SIZE} → 192",
        f"{192 - SIZE} rows of the embeddings belong to no piece",
    ]
    assert found.config == dataclasses.replace(CONFIG, vocab_size=192)
    for name, array in arrays_of("pretraining").items():
        has_rows = name in (WORD_EMBEDDINGS, OUTPUT_BIAS)
        assert len(found.arrays[name]) == (192 if has_rows else len(array))
        np.testing.assert_array_equal(found.arrays[name][: len(array)], array)
        assert not found.arrays[name][len(array) :].any()
    found = convert(cut, flag_of("bert_ko"), f"--vocab_size={SIZE}", source=padded)
    assert_same_bits(found.arrays, arrays_of("pretraining"))
    assert "belong to no piece" not in convert.ended.err


# New pieces


def grown_vocabulary(folder: Path) -> str:
    """One piece in the place of [unused0], two behind the last one."""
    pieces = list(PIECES)
    pieces[pieces.index("[unused0]")] = "도서관"
    return write_vocabulary(folder, [*pieces, "##으로", "뷁"])


@pytest.mark.parametrize("form", ["bert_ko", "tf1", "huggingface"])
def test_convert_new_vocabulary_grows_model_config_and_tokenizer(
    form: str, tmp_path: Path, convert: Convert
) -> None:
    vocab, to = grown_vocabulary(tmp_path / "vocab"), tmp_path / "new" / "to"
    found = convert(to, flag_of(form), f"--vocab_file={vocab}")
    out = convert.ended.err
    assert "3 new pieces, 2 of them from their old pieces, the others from the mean of all" in out
    assert f"vocab_size {SIZE} → {SIZE + 2}" in out
    assert found.config == dataclasses.replace(CONFIG, vocab_size=SIZE + 2)
    folder = to.parent if form == "tf1" else to
    new = load_tokenizer(vocab)
    assert load_tokenizer(str(folder)).fingerprint == new.fingerprint
    assert found.fingerprint == (new.fingerprint if form == "bert_ko" else None)
    for name in (WORD_EMBEDDINGS, OUTPUT_BIAS):
        old, grown = arrays_of("pretraining")[name], found.arrays[name]
        place = PIECES.index("[unused0]")
        parts = [PIECES.index(piece) for piece in ("도", "##서", "##관")]
        np.testing.assert_array_equal(grown[place], old[parts].mean(axis=0))
        parts = [PIECES.index(piece) for piece in ("##으", "##로")]
        np.testing.assert_array_equal(grown[SIZE], old[parts].mean(axis=0))
        others = np.delete(np.arange(SIZE), place)
        np.testing.assert_array_equal(grown[SIZE + 1], old[others].mean(axis=0))
        np.testing.assert_array_equal(grown[others], old[others])


ADDED = ("--add_tokens=도서관,코로나19", "--add_special_tokens=[제품]", "--add_to_user_dictionary")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["bert_ko", "tf1", "huggingface"])
def test_convert_added_tokens_are_in_model_config_and_tokenizer(
    form: str, tmp_path: Path, real: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_tensorflow(monkeypatch)
    pieces = tuple(dict.fromkeys((*PIECES, "(", "코", "##로", "##나", "##1", "##9")))
    config = dataclasses.replace(CONFIG, vocab_size=len(pieces))
    model = save_model(tmp_path / "model", config=config, pieces=pieces)
    to = tmp_path / "new" / "to"
    found = real(to, flag_of(form), "--nocompare", *ADDED, source=model)
    assert found.config == dataclasses.replace(config, vocab_size=len(pieces) + 3)
    folder = to.parent if form == "tf1" else to
    tokenizer = load_tokenizer(str(folder))
    assert found.fingerprint == (tokenizer.fingerprint if form == "bert_ko" else None)
    assert tokenizer.config.additional_special_tokens == ("[제품]",)
    assert (folder / "added.dic").is_file()
    assert tokenizer.tokenize("코로나19 (코로나19 도서관[제품]")[:5] == [
        "코로나19", "(", "##코로나19", "도서관", "[제품]",
    ]  # fmt: skip
    rows = found.arrays[WORD_EMBEDDINGS]
    old = arrays_of("pretraining", config)[WORD_EMBEDDINGS]
    parts = [pieces.index(piece) for piece in ("도", "##서", "##관")]
    np.testing.assert_array_equal(rows[pieces.index("[unused0]")], old[parts].mean(axis=0))
    assert "2 of them in [unusedN] slots, 3 behind the last piece\n" in real.ended.err
    assert "user dictionary added.dic: 코로나19\n" in real.ended.err
    assert "warning" not in real.ended.err


def test_convert_added_tokens_keep_the_form_of_the_model(
    model: str, tmp_path: Path, convert: Convert
) -> None:
    theirs, token = tmp_path / "theirs", "--add_tokens=도서관"
    assert convert(tmp_path / "ours", token).kind == "checkpoint of step 300"
    found = convert(tmp_path / "one", token, source=list_checkpoints(model)[0])
    assert found.kind == "checkpoint of step 300" and "warning" not in convert.ended.err
    convert(theirs, flag_of("huggingface"))
    found = convert(tmp_path / "again", "--add_special_tokens=[가]", source=theirs)
    assert found.kind == "Hugging Face folder"
    convert(tmp_path / "to", "--add_tokens=코로나19")
    assert convert.ended.warnings == [
        "코로나19 is one piece in 0 of 6 trial sentences: MeCab splits '코로나19' into 코로나 + "
        "19. --add_to_user_dictionary makes it one morpheme."
    ]


def test_convert_added_tokens_come_on_top_of_a_new_vocabulary(
    tmp_path: Path, convert: Convert
) -> None:
    vocab = grown_vocabulary(tmp_path / "vocab")
    flags = (f"--vocab_file={vocab}", "--add_tokens=내일", "--vocab_size=192")
    found = convert(tmp_path / "to", *flags)
    pieces = load_tokenizer(str(tmp_path / "to")).vocab.pieces
    assert pieces[5:7] == ("도서관", "내일") and pieces[SIZE:] == ("##으로", "뷁", "##내일")
    assert found.config is not None and found.config.vocab_size == 192
    assert len(found.arrays[WORD_EMBEDDINGS]) == 192
    assert not found.arrays[WORD_EMBEDDINGS][SIZE + 3 :].any()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--add_tokens="], "--add_tokens needs at least one token, got none."),
        (["--add_special_tokens=,"], "--add_special_tokens needs at least one token, got none."),
        (["--add_to_user_dictionary"], "--add_to_user_dictionary needs --add_tokens."),
        (["--add_tokens=[UNK]"], "--add_tokens: '[UNK]': the name is reserved; choose another."),
        (["--with_optimizer"], "--with_optimizer needs --to_format=tf1."),
        ([f"--vocab_size={SIZE - 1}"],
         f"--vocab_size={SIZE - 1}, but the vocabulary has {SIZE} pieces, each of which needs a "
         "row."),
    ],
)  # fmt: skip
def test_convert_flags_that_do_not_fit_are_refused(
    flags: list[str], message: str, tmp_path: Path, convert: Convert
) -> None:
    assert convert.error(tmp_path / "to", flag_of("bert_ko"), *flags) == message


def test_convert_added_tokens_are_not_written_beside_another_vocabulary(
    tmp_path: Path, convert: Convert
) -> None:
    convert(tmp_path / "one.ckpt")
    assert convert.error(tmp_path / "two.ckpt", "--add_tokens=도서관") == (
        f"--to: {tmp_path}/vocab.txt is another vocabulary and would be overwritten; choose "
        "another folder."
    )


def test_convert_vocabulary_of_the_flag_is_the_models_if_it_has_none(
    tmp_path: Path, convert: Convert
) -> None:
    google = tmp_path / "google"
    convert(google / "bert_model.ckpt")
    for name in ("vocab.txt", "tokenizer_config.json"):
        (google / name).unlink()
    source, to = google / "bert_model.ckpt", tmp_path / "new" / "ours"
    (tmp_path / "new").mkdir()
    found = convert.error(to, flag_of("bert_ko"), source=source)
    assert found == f"--vocab_file: no vocabulary in {google}; name it."
    vocab = write_vocabulary(tmp_path / "vocab")
    same = convert(to, flag_of("bert_ko"), f"--vocab_file={vocab}", source=source)
    assert same.fingerprint == load_tokenizer(vocab).fingerprint
    larger = write_vocabulary(tmp_path / "larger", (*PIECES, "뷁"))
    (tmp_path / "newer").mkdir()
    to = tmp_path / "newer" / "ours"
    assert convert.error(to, flag_of("bert_ko"), f"--vocab_file={larger}", source=source) == (
        f"vocab_size is {SIZE} in the configuration of {google}/bert_model.ckpt, but {SIZE + 1} in "
        f"the vocabulary ({larger}); set vocab_size in the config to that."
    )


# What is interrupted


NO_SPACE = OSError(errno.ENOSPC, "No space left on device", "a")


@pytest.mark.parametrize(
    ("form", "error", "message"),
    [("bert_ko", KeyboardInterrupt(), "interrupted"), ("tf1", KeyboardInterrupt(), "interrupted"),
     ("huggingface", NO_SPACE, "a: No space left on device")],
)  # fmt: skip
def test_convert_interrupted_leaves_nothing_and_the_next_one_finishes(
    form: str, error: BaseException, message: str, tmp_path: Path, convert: Convert,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def place(folder: str) -> Path:
        to = tmp_path / folder / "to"
        return to / "bert_model.ckpt" if form == "tf1" else to

    def fail(*args: Any) -> None:
        raise error

    convert(place("whole"), flag_of(form))
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "write_json", fail)  # among the last things
        ended = convert.command(flag_of(form), to=place("half"), from_=convert.model)
        assert ended.err.strip().endswith(message)
    assert list((tmp_path / "half").iterdir()) == []
    killed = tmp_path / "half" / ".to.0123abcd.tmp"  # nobody could remove it
    killed.mkdir()
    (killed / "model.safetensors").write_bytes(b"half")
    convert(place("half"), flag_of(form))
    assert names_of(tmp_path / "half") == names_of(tmp_path / "whole")
    for name in names_of(tmp_path / "whole"):
        written = (tmp_path / "half" / name).read_bytes()
        assert form == "tf1" or written == (tmp_path / "whole" / name).read_bytes()


# What is refused


@pytest.mark.parametrize("form", ["bert_ko", "huggingface"])
def test_convert_folder_that_is_not_empty_is_refused(
    form: str, tmp_path: Path, convert: Convert
) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "thesis.txt").write_text("만 시간")
    found = convert.error(tmp_path / "to", flag_of(form))
    assert found == f"--to: {tmp_path}/to exists; choose another place, or remove it."


def test_convert_tf1_checkpoint_is_not_written_over(tmp_path: Path, convert: Convert) -> None:
    prefix = tmp_path / "bert_model.ckpt"
    convert(prefix)
    found = convert.error(prefix)
    assert found == f"--to: {prefix} exists; choose another place, or remove it."
    # Another one of the same model may stand beside it.
    before = contents(tmp_path)
    convert(tmp_path / "again.ckpt", source=prefix)
    assert contents(tmp_path).items() >= before.items()


def test_convert_files_of_another_model_are_not_overwritten(
    tmp_path: Path, convert: Convert
) -> None:
    """Else the checkpoint there could not be read any more."""
    prefix = tmp_path / "bert_model.ckpt"
    convert(prefix)
    assert convert.error(tmp_path / "padded.ckpt", "--vocab_size=192", source=prefix) == (
        f"--to: {tmp_path}/bert_config.json is of another model and would be overwritten; choose "
        "another folder."
    )
    (tmp_path / "vocab").mkdir()
    write_vocabulary(tmp_path / "vocab", (*PIECES, "뷁"))
    found = convert.error(tmp_path / "vocab" / "bert_model.ckpt")
    assert f"{tmp_path}/vocab/vocab.txt differs" in found


def test_convert_file_instead_of_a_folder_or_no_form_is_refused(
    tmp_path: Path, convert: Convert
) -> None:
    (tmp_path / "to").touch()
    found = convert.error(tmp_path / "to", flag_of("bert_ko"))
    assert found == f"{tmp_path}/to must be a folder, but it or a part of it is a file."
    assert convert.error(tmp_path / "other") == (
        "--to_format is missing: bert_ko, tf1, huggingface, bilm, onnx or savedmodel (--to does "
        "not end in .ckpt)."
    )


def test_convert_pickle_is_never_opened(tmp_path: Path, convert: Convert) -> None:
    folder, name = tmp_path / "theirs", "pytorch_model.bin"
    folder.mkdir()
    (folder / name).write_text(f"cos\nsystem\n(S'touch {tmp_path}/trapped'\ntR.")
    (folder / "config.json").write_text("{}")
    assert convert.error(tmp_path / "to", flag_of("bert_ko"), source=folder) == (
        f"--from: {folder}/{name} is a pickle, which can run any code when it is opened, and is "
        "not read. Convert it where you trust it: load it with transformers and call "
        "save_pretrained(folder, safe_serialization=True)."
    )
    assert not (tmp_path / "trapped").exists()


def test_convert_no_source_is_named_by_the_flag_of_this_command(
    tmp_path: Path, convert: Convert
) -> None:
    found = convert.error(tmp_path / "to", flag_of("bert_ko"), source=tmp_path / "none")
    assert found.startswith(f"--from: nothing at {tmp_path}/none: ")


def test_convert_other_model_is_refused(tmp_path: Path, convert: Convert) -> None:
    folder = tmp_path / "theirs"
    write_vocabulary(folder, PIECES[:9])
    save_arrays(str(folder / "model.safetensors"), {"x": np.zeros(1, np.float32)})
    for values, message in (
        (
            {"model_type": "bert", "vocab_size": 9},
            "its weights have no embeddings.word_embeddings.weight, but x …",
        ),
        ({"model_type": "t5"}, "config.json: model_type 't5' is not known; known are bert, elmo."),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps is 1e-05, but BERT's is 1e-12."),
    ):
        (folder / "config.json").write_text(json.dumps(values))
        found = convert.error(tmp_path / "to", flag_of("bert_ko"), source=folder)
        assert found.startswith("--from: ") and message in found


def test_convert_other_configuration_is_refused_with_the_numbers(
    model: str, tmp_path: Path, convert: Convert
) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({**CONFIG.to_dict(), "num_hidden_layers": 4}))
    flags = (f"--bert_config_file={path}", flag_of("bert_ko"))
    assert convert.error(tmp_path / "to", *flags) == (
        f"--bert_config_file: {path} is not the configuration that {model}/checkpoint-00000300 was "
        "trained with (num_hidden_layers was 2, now 4); leave the flag out."
    )


def test_convert_help_answers_without_a_framework() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(REPOSITORY / "bin" / "convert_checkpoint"),
         "--help"], capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert "--from (str, required)" in done.stdout
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not modules & {"tensorflow", "keras", "jax", "torch", "transformers"}


# With TensorFlow and transformers


def compared(convert: Convert) -> tuple[str, dict[str, float]]:
    """Who was compared, and the differences by output."""
    lines = convert.ended.err.splitlines()
    (line,) = [line for line in lines if line.startswith("largest difference, ")]
    who, _, found = line.removeprefix("largest difference, ").partition(": ")
    pairs = [part.rsplit(" ", 1) for part in found.split(", ")]
    return who, {name: float(value) for name, value in pairs}


@pytest.fixture
def both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(hugging_face, "write_hugging_face_tokenizer", write_tokenizer)


OUTPUTS = {
    "pretraining": {"masked_lm_logits", "next_sentence_logits", "sequence_output"},
    "masked_lm": {"masked_lm_logits", "sequence_output"},
    "spans": {"start_logits", "end_logits", "sequence_output"},
    "classes": {"class_logits", "sequence_output"},
    "tags": {"tag_logits", "sequence_output"},
    "encoder": {"sequence_output"},
}


@pytest.mark.slow
@pytest.mark.usefixtures("both_sides")
@pytest.mark.parametrize(
    ("kind", "hidden_act"),
    [("pretraining", "tanh"), ("masked_lm", "gelu_erf"), ("spans", "relu"), ("classes", "gelu"),
     ("tags", "gelu"), ("encoder", "gelu")],
)  # fmt: skip
def test_convert_around_all_forms_keeps_the_outputs_of_transformers(
    kind: str, hidden_act: str, tmp_path: Path, real: Convert
) -> None:
    config = dataclasses.replace(CONFIG, hidden_act=hidden_act)
    model = save_model(tmp_path / "model", kind, config=config)
    theirs, google, ours = tmp_path / "theirs", tmp_path / "google" / "m.ckpt", tmp_path / "ours"
    for source, to, form, sides in (
        (model, theirs, "huggingface", "bert_ko before and transformers after"),
        (theirs, google, "tf1", "transformers before and bert_ko after"),
        (google, ours, "bert_ko", "bert_ko before and bert_ko after"),
    ):
        found = real(to, flag_of(form), source=source)
        who, differences = compared(real)
        assert who == sides and differences.keys() == OUTPUTS[kind]
        assert max(differences.values()) < 1e-5
        assert_same_bits(found.arrays, arrays_of(kind, config))
        assert found.config == config


@pytest.mark.slow
@pytest.mark.usefixtures("both_sides")
def test_convert_grown_model_keeps_the_outputs_of_old_pieces(tmp_path: Path, real: Convert) -> None:
    vocab = grown_vocabulary(tmp_path / "vocab")
    flags = (flag_of("huggingface"), f"--vocab_file={vocab}", "--vocab_size=192")
    real(tmp_path / "theirs", *flags)
    who, differences = compared(real)
    assert who == "bert_ko before and transformers after"
    assert differences.keys() == OUTPUTS["pretraining"] and max(differences.values()) < 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("both_sides")
def test_convert_damaged_hugging_face_folder_is_noticed_by_transformers(
    model: str, tmp_path: Path, real: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = damage("bert.encoder.layer.0.attention.self.value.weight", 0.5)
    monkeypatch.setattr(
        conversion,
        "save_arrays",
        lambda path, arrays, metadata: save_arrays(path, change(arrays), metadata),
    )
    ended = real.command(flag_of("huggingface"), to=tmp_path / "theirs", from_=model)
    assert re.search(
        rf"the conversion differs from {model}/checkpoint-00000300 by \d\.\de[-+]\d\d in \w+, "
        r"more than 1e-04; nothing was written \(--nocompare writes it all the same\)\.$",
        ended.err.strip(),
    )


@pytest.mark.slow
def test_convert_tf1_checkpoint_is_restored_by_googles_way(real: Convert, tmp_path: Path) -> None:
    """A graph of TF1 with the optimizer's variables goes on where the run stood."""
    import tensorflow as tf

    prefix = str(tmp_path / "bert_model.ckpt")
    real(prefix, "--with_optimizer", "--nocompare")
    arrays = arrays_of("pretraining")
    wanted = {**arrays, **slots_of(arrays)}
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        zeros = v1.zeros_initializer()  # operations are deterministic here
        variables = {
            name: v1.get_variable(name, array.shape, initializer=zeros)
            for name, array in wanted.items()
        }
        step = v1.train.get_or_create_global_step()
        v1.train.Saver().restore(session, prefix)
        assert session.run(step) == STEP
        assert_same_bits(session.run(variables), wanted)
