"""Folders of transformers: what is missing, untied or of another model is said."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bert_ko.modeling.bert import WORD_EMBEDDINGS
from bert_ko.modeling.heads import CLASS_WEIGHTS, OUTPUT_BIAS, model_specs
from bert_ko.training.hugging_face import to_hugging_face_arrays, to_hugging_face_config
from bert_ko.training.initialization import describe, initialize, read_source
from bert_ko.training.model_files import ModelFlags, open_model
from tests.small_models import CONFIG, arrays_of, assert_same_bits, specs_of, write_vocabulary

DECODER = "cls.predictions.decoder."
WORDS = "bert.embeddings.word_embeddings.weight"
INDEX = "model.safetensors.index.json"


def theirs(kind: str = "pretraining") -> dict[str, Any]:
    found = to_hugging_face_arrays(CONFIG, arrays_of(kind))
    return {name: np.ascontiguousarray(array) for name, array in found.items()}


def write(folder: Path, arrays: dict[str, Any], **config: Any) -> Path:
    """The folder, as transformers writes it."""
    write_vocabulary(folder)
    values = to_hugging_face_config(CONFIG, arrays_of("pretraining"))
    (folder / "config.json").write_text(json.dumps({**values, **config}))
    if arrays:
        save_file(arrays, folder / "model.safetensors")
    return folder


def write_parts(folder: Path, count: int = 3) -> Path:
    """With an index."""
    items = list(theirs().items())
    write(folder, {})
    weight_map = {}
    for number in range(count):
        name = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        part = dict(items[number::count])
        save_file(part, folder / name)
        weight_map.update(dict.fromkeys(part, name))
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        read_source(str(folder))
    message = str(error.value)
    assert message.startswith("--init_checkpoint: ") and "\n" not in message
    return message


# Parts


def test_read_source_parts_of_an_index_are_the_whole_model(tmp_path: Path) -> None:
    assert_same_bits(read_source(str(write_parts(tmp_path))).arrays, arrays_of("pretraining"))


@pytest.mark.parametrize("has_index", [True, False])
def test_read_source_missing_part_is_named(has_index: bool, tmp_path: Path) -> None:
    write_parts(tmp_path)
    missing = tmp_path / "model-00002-of-00003.safetensors"
    missing.unlink()
    if not has_index:
        (tmp_path / INDEX).unlink()
    assert refusal(tmp_path).startswith(
        f"--init_checkpoint: {missing} is missing, one of 3 files with the weights (1 missing) by "
    )


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("../model.safetensors", "names '../model.safetensors'; only safetensors files beside it"),
        ("/etc/x.safetensors", "names '/etc/x.safetensors'; only safetensors files beside it"),
        ("pytorch_model.bin", "names 'pytorch_model.bin'; only safetensors files beside it"),
        (7, "names 7; only safetensors files beside it are read."),
    ],
)
def test_read_source_index_names_files_beside_it_alone(
    name: Any, part: str, tmp_path: Path
) -> None:
    write_parts(tmp_path)
    values = json.loads((tmp_path / INDEX).read_text())
    values["weight_map"][WORDS] = name
    (tmp_path / INDEX).write_text(json.dumps(values))
    assert part in refusal(tmp_path)


@pytest.mark.parametrize("weight_map", [None, [], {}, "x"])
def test_read_source_index_without_a_map_is_an_error(weight_map: Any, tmp_path: Path) -> None:
    write_parts(tmp_path)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert f"{INDEX}: weight_map must be an object of names and files." in refusal(tmp_path)


def test_read_source_part_of_another_model_is_noticed(tmp_path: Path) -> None:
    write_parts(tmp_path)
    part = tmp_path / "model-00001-of-00003.safetensors"
    save_file({"classifier.weight": np.zeros((2, 16), np.float32)}, part)
    assert "other than model.safetensors.index.json says; it is of another model" in refusal(
        tmp_path
    )


def test_read_source_parts_of_two_models_are_refused(tmp_path: Path) -> None:
    write_parts(tmp_path)
    (tmp_path / INDEX).unlink()
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    assert "has parts of several models: of 00002 and of 00003; delete one's." in refusal(tmp_path)


# Files that are no weights


def test_read_source_lfs_pointer_says_how_to_fetch_it(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 442\n"
    for name in ("model.safetensors", "pytorch_model.bin", "tf_model.h5"):
        folder = write(tmp_path / name, {})
        (folder / name).write_text(pointer)
        for path in (folder, folder / name):
            assert refusal(path) == (
                f"--init_checkpoint: {folder / name} is a Git LFS pointer, not the file itself; "
                "fetch it with `git lfs pull`."
            )


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("tf_model.h5", "is Keras's form of weights, which is not read. Load it with transformers"),
        ("model.weights.h5", "is Keras's form of weights"),
        ("flax_model.msgpack", "is Flax's form of weights, which is not read."),
        ("rust_model.ot", "is rust-bert's form of weights"),
        ("model.onnx", "is an exported model, whose weights are not read."),
    ],
)
def test_read_source_other_formats_are_named_with_a_remedy(
    name: str, part: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, {})
    (folder / name).write_bytes(b"\x89HDF")
    for path in (folder, folder / name):
        assert f"{folder / name} {part}" in refusal(path)


def test_read_source_broken_link_and_other_safetensors_are_said(tmp_path: Path) -> None:
    folder = write(tmp_path, {})
    save_file(theirs(), folder / "adapter_model.safetensors")
    found = "adapter_model.safetensors, config.json, tokenizer_config.json, vocab.txt"
    assert refusal(folder).endswith(f"no weights in the folder {folder}; found: {found}.")
    message = "adapter_model.safetensors: give its folder, where model.safetensors holds"
    assert message in refusal(folder / "adapter_model.safetensors")
    (folder / "model.safetensors").symlink_to(folder / "blob")
    assert "model.safetensors links to a file that is missing; download it" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"<!DOCTYPE html><html>404</html>", "is an HTML page, not a safetensors file."),
        (b"PK\x03\x04" + b"\0" * 60, "is a zip archive, not a safetensors file."),
        (b"", "is damaged or not a safetensors file ("),
    ],
)
def test_read_source_something_else_under_the_name_is_said(
    content: bytes, part: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, {})
    (folder / "model.safetensors").write_bytes(content)
    assert f"{folder}/model.safetensors {part}" in refusal(folder)


def test_read_source_pipe_or_folder_instead_of_weights_is_said(tmp_path: Path) -> None:
    folder = write(tmp_path, {})
    os.mkfifo(folder / "model.safetensors")
    assert "model.safetensors is a pipe, not a file to read." in refusal(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert "model.safetensors is a folder, not a file to read." in refusal(folder)


# Names


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module."])
def test_read_source_wrapped_names_are_the_same_model(prefix: str, tmp_path: Path) -> None:
    wrapped = {f"{prefix}{name}": array for name, array in theirs().items()}
    assert_same_bits(read_source(str(write(tmp_path, wrapped))).arrays, arrays_of("pretraining"))


def test_read_source_wrapped_encoder_and_its_head_are_read(tmp_path: Path) -> None:
    wrapped = {
        f"model.{name.removeprefix('bert.')}": array for name, array in theirs("spans").items()
    }
    assert_same_bits(read_source(str(write(tmp_path, wrapped))).arrays, arrays_of("spans"))


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("bert.", "roberta.", "its weights are named roberta.embeddings.word_embeddings.weight."),
        ("bert.embeddings.", "bert.embedding.", "have no embeddings.word_embeddings.weight, but"),
        ("attention.self.query", "attention.self.q", "lacks bert/encoder/layer_0/attention/self/"),
        ("encoder.layer.1.", "encoder.layer.2.", "lacks bert/encoder/layer_1/attention/self/query"),
    ],
)
def test_read_source_other_model_is_refused(old: str, new: str, part: str, tmp_path: Path) -> None:
    renamed = {name.replace(old, new): array for name, array in theirs().items()}
    assert part in refusal(write(tmp_path, renamed))


def test_read_source_encoder_in_part_is_refused_and_two_are_too(tmp_path: Path) -> None:
    bias = "bert.encoder.layer.1.output.dense.bias"
    part = {name: array for name, array in theirs().items() if name != bias}
    assert "lacks bert/encoder/layer_1/output/dense/bias, which the encoder has by" in refusal(
        write(tmp_path / "part", part)
    )
    more = {**theirs(), "bert.encoder.layer.2.output.dense.bias": theirs()[bias]}
    assert "has bert/encoder/layer_2/output/dense/bias, which the encoder lacks by" in refusal(
        write(tmp_path / "more", more)
    )
    two = {**theirs(), "decoder.embeddings.word_embeddings.weight": theirs()[WORDS]}
    assert "its weights have 2 encoders: bert.embeddings.word_embeddings" in refusal(
        write(tmp_path / "two", two)
    )


def test_read_source_positions_of_another_model_are_refused(tmp_path: Path) -> None:
    usual = {
        "bert.embeddings.position_ids": np.arange(40)[None],
        "bert.embeddings.token_type_ids": np.zeros((1, 40), np.int64),
    }
    source = read_source(str(write(tmp_path, {**theirs(), **usual})))
    assert_same_bits(source.arrays, arrays_of("pretraining"))
    write(tmp_path, {**theirs(), "bert.embeddings.position_ids": np.arange(2, 42)[None]})
    assert "bert.embeddings.position_ids is not what BERT has; such a model" in refusal(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_read_source_numbers_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    arrays = theirs()
    arrays[WORDS][3, 1] = value
    assert f"{WORD_EMBEDDINGS} has numbers that are not finite; it is damaged." in refusal(
        write(tmp_path, arrays)
    )


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (
            {"model_type": "distilbert"},
            "model_type 'distilbert' is not known; known are bert, elmo.",
        ),
        ({"model_type": "albert"}, "model_type 'albert' is not known"),
        ({"is_decoder": True}, "config.json: is_decoder is True, but only False is computed."),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"layer_norm_eps": None}, "config.json: layer_norm_eps is None, but BERT's is 1e-12."),
        ({"architectures": 5}, "config.json: architectures must be a list of names, got 5."),
    ],
)
def test_open_model_configuration_of_something_else_is_refused(
    config: Any, part: str, tmp_path: Path
) -> None:
    assert part in refusal(write(tmp_path, theirs(), **config))


# The masked-LM head


def read_head(folder: Path) -> Any:
    model = open_model(ModelFlags(init_checkpoint=str(folder)))
    return model.arrays(specs_of("masked_lm"))


def test_read_source_decoder_bias_is_the_output_bias(tmp_path: Path) -> None:
    arrays = theirs()
    arrays[f"{DECODER}bias"] = arrays.pop("cls.predictions.bias")
    source = read_source(str(write(tmp_path, arrays)))
    assert_same_bits(source.arrays, arrays_of("pretraining"))
    assert not source.left_out


@pytest.mark.parametrize("config", [{}, {"tie_word_embeddings": False}])
def test_read_source_decoder_that_is_a_copy_is_passed_over(config: Any, tmp_path: Path) -> None:
    copies = {
        f"{DECODER}weight": theirs()[WORDS],
        f"{DECODER}bias": theirs()["cls.predictions.bias"],
    }
    folder = write(tmp_path, {**theirs(), **copies}, **config)
    source = read_source(str(folder))
    assert_same_bits(source.arrays, arrays_of("pretraining"))
    assert read_head(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "config", "reason"),
    [
        ({"weight": theirs()[WORDS] + 1}, {"tie_word_embeddings": False},
         "cls.predictions.decoder.weight is not the word embeddings (tie_word_embeddings in "
         "config.json)"),
        ({"weight": theirs()[WORDS][:-1]}, {},
         "cls.predictions.decoder.weight is not the word embeddings (tie_word_embeddings in "
         "config.json)"),
        ({}, {"tie_word_embeddings": False},
         "tie_word_embeddings is false in config.json, but cls.predictions.decoder.weight is "
         "missing"),
        ({"bias": theirs()["cls.predictions.bias"] + 1}, {},
         "cls.predictions.decoder.bias and cls.predictions.bias are one variable, but differ"),
    ],
)  # fmt: skip
def test_read_source_untied_head_is_left_out_with_its_reason(
    changes: Any, config: Any, reason: str, tmp_path: Path
) -> None:
    more = {f"{DECODER}{name}": array for name, array in changes.items()}
    folder = write(tmp_path, {**theirs(), **more}, **config)
    with pytest.raises(ValueError) as error:
        read_head(folder)
    assert str(error.value) == f"--init_checkpoint: {folder}: {reason}."
    # What doesn't use the head goes on, and says so.
    source = read_source(str(folder))
    found = initialize(model_specs(CONFIG), {}, source, "x")
    assert_same_bits(found.arrays, {name: arrays_of("encoder")[name] for name in found.arrays})
    assert f"  not used ({reason}): cls/predictions/" in describe(found, source)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"architectures": ["BertForMultipleChoice"]},
         "the classifier is one of ForMultipleChoice by config.json"),
        ({"problem_type": "multi_label_classification"},
         "problem_type is multi_label_classification in config.json"),
    ],
)  # fmt: skip
def test_read_source_classifier_of_another_meaning_is_left_out(
    config: Any, reason: str, tmp_path: Path
) -> None:
    source = read_source(str(write(tmp_path, theirs("classes"), **config)))
    assert CLASS_WEIGHTS not in source.arrays
    assert source.left_out == dict.fromkeys((CLASS_WEIGHTS, "output_bias"), reason)


@pytest.mark.slow
@pytest.mark.parametrize("bias", ["cls.predictions.bias", f"{DECODER}bias"])
def test_masked_lm_logits_are_those_of_transformers(bias: str, tmp_path: Path) -> None:
    """Either name of the output bias, and a decoder that is a copy."""
    import torch
    import transformers

    from bert_ko.tasks.conversion.comparison import our_outputs

    arrays = {**theirs("masked_lm"), f"{DECODER}weight": theirs()[WORDS]}
    arrays[bias] = arrays.pop("cls.predictions.bias")
    folder = write(tmp_path, arrays, architectures=["BertForMaskedLM"])
    ids = np.arange(20, dtype=np.int32).reshape(2, 10)
    batch = {"input_ids": ids, "input_mask": np.ones_like(ids), "segment_ids": ids % 2}
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        wanted = model(
            input_ids=torch.from_numpy(ids).long(),
            token_type_ids=torch.from_numpy(batch["segment_ids"]).long(),
        ).logits.numpy()
    found = our_outputs(read_head(folder), CONFIG, batch)["masked_lm_logits"]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert OUTPUT_BIAS in read_head(folder)
