"""extract_features and the Python API with an ELMo, beside a forward pass in numpy."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import bert_ko
from bert_ko.tokenization.word_splitting import WordSplitter
from tests import bilm_reference
from tests.bilm_reference import OPTIONS, write_published
from tests.elmo_models import write_elmo
from tests.fakes import Command
from tests.test_extract_features import REPOSITORY, Values, read_arrays, read_hdf5

LINES = ["비 가 온 뒤", "", "Seoul 2026 ! 굳는다", "삼십육계줄행랑 ㅋㅋ", "비 가 온 뒤 에 땅 이"]
SPLIT = [line.split() for line in LINES]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in bilm-tf's form, which has no vocabulary."""
    return write_published(tmp_path_factory.mktemp("published") / "elmo", OPTIONS)


@pytest.fixture
def extract(published: Path, tmp_path: Path) -> Command:
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return Command("extract_features", {
        "init_checkpoint": published, "input_file": tmp_path / "lines.txt",
        "output_file": tmp_path / "out.hdf5", "precision": "float32", "is_split_into_words": True,
    })  # fmt: skip


def reference() -> list[Values]:
    """The layers of every line, one line at a time: [3, words, H]."""
    weights = bilm_reference.random_weights(OPTIONS)
    return [bilm_reference.layers(weights, OPTIONS, words) for words in SPLIT]


# What is refused, before anything is computed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"max_seq_length": 64}, "--max_seq_length has no effect with a model of model_type elmo; "
         "leave it out."),
        ({"untrained_positions": "keep"}, "--untrained_positions has no effect with a model of "
         "model_type elmo; leave it out."),
        ({"attention": "plain"}, "--attention has no effect with a model of model_type elmo; leave "
         "it out."),
        ({"do_lower_case": False}, "--do_lower_case has no effect with a model of model_type elmo; "
         "leave it out."),
        ({"pooling": "cls"}, "--pooling=cls: a model of model_type elmo has no [CLS]; give mean or "
         "none."),
        ({"num_devices": 2}, "--num_devices=2: features of a model of model_type elmo are computed "
         "on one device; leave the flag out."),
        ({"layers": (-1, 2)}, "--layers: there is no layer 2; the model has 2, from 0 to 1 or from "
         "-1 back to -2, and -3 for the embeddings."),
    ],
)  # fmt: skip
def test_flag_without_meaning_is_refused(
    flags: Any, message: str, extract: Command, tmp_path: Path
) -> None:
    assert extract(**flags).error == message
    assert os.listdir(tmp_path) == ["lines.txt"]


def test_no_vocabulary_is_an_error(extract: Command, published: Path) -> None:
    message = extract(is_split_into_words=False).error
    assert message == (
        f"--vocab_file: no vocabulary of words in {published}, which says how text becomes words; "
        "name it, or give --is_split_into_words and texts whose words have blanks between them."
    )
    with pytest.raises(ValueError) as error:
        bert_ko.load(str(published))
    assert str(error.value) == message.replace("--", "")


def test_other_vocabulary_and_configuration_are_refused(extract: Command, tmp_path: Path) -> None:
    write_elmo(tmp_path / "a", cell_size=7)
    write_elmo(tmp_path / "b", "morpheme")
    model = {"init_checkpoint": tmp_path / "a/elmo", "is_split_into_words": None}
    message = extract(**model, vocab_file=tmp_path / "b/made").error
    assert "is not the vocabulary that" in message and message.startswith("--vocab_file: ")
    config = next((tmp_path / "b/elmo").rglob("bert_config.json"))
    message = extract(**model, bert_config_file=config).error
    assert "is not the configuration that" in message and "cell_size" in message


@pytest.mark.parametrize("kind", ["reader", "classifier", "tagger", "masked_lm"])
def test_load_other_kind_is_refused(kind: Any, published: Path) -> None:
    with pytest.raises(ValueError, match=f"can't be loaded as {kind}"):
        bert_ko.load(str(published), kind)


# With TensorFlow and JAX


@pytest.mark.slow
def test_hdf5_is_bilm_tfs_and_equals_numpy(extract: Command, tmp_path: Path) -> None:
    ended = extract.succeed()
    assert "hdf5: 5 sentences, 17 words" in ended.err
    assert ended.warnings == ["1 of 17 words have more than 10 characters and were cut."]
    with h5py.File(tmp_path / "out.hdf5", "r") as file:
        assert sorted(file) == ["0", "1", "2", "3", "4"]
        assert file["1"].shape == (3, 0, 12) and file["0"].dtype == np.float32
        assert json.loads(file.attrs["layers"]) == [-3, -2, -1]
        assert "max_seq_length" not in file.attrs
    found, tokens = read_hdf5(tmp_path / "out.hdf5")
    assert tokens == SPLIT
    for values, wanted in zip(found, reference(), strict=True):
        np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_jax_without_tensorflow_equals_numpy(extract: Command, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from bert_ko.extract_features import main; sys.exit(main())"
    )
    flags = extract.arguments(batch_size=5)
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", code, *flags],
        capture_output=True, text=True, env=environment, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, _ = read_hdf5(tmp_path / "out.hdf5")
    for values, wanted in zip(found, reference(), strict=True):
        np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_line_does_not_depend_on_its_neighbours(published: Path) -> None:
    load = {"is_split_into_words": True}
    together = bert_ko.load(str(published), "features", batch_size=5, **load).features(LINES)
    others = bert_ko.load(str(published), batch_size=2, **load).features(LINES[::-1])[::-1]
    for words, one, other, wanted in zip(SPLIT, together, others, reference(), strict=True):
        assert one.pieces == tuple(words)
        np.testing.assert_allclose(one.layers, wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(one.layers, other.layers, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.mix(), wanted.mean(axis=0), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_formats_have_the_words_of_the_model(extract: Command, tmp_path: Path) -> None:
    config = write_elmo(tmp_path, "morpheme")
    lines = ["숲에서 나무가 자란다.", "", "큰 숲 ||| 나무"]
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    wanted = [WordSplitter("morpheme").split(line) for line in lines]
    extract = extract.having(init_checkpoint=tmp_path / "elmo", is_split_into_words=None)
    extract.succeed(output_file=tmp_path / "out.jsonl", layers=-1)
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [[f["token"] for f in record["features"]] for record in records] == wanted
    assert [layer["index"] for layer in records[0]["features"][0]["layers"]] == [-1]
    values = []
    for ending in ("npz", "safetensors", "parquet"):
        extract.succeed(output_file=tmp_path / f"out.{ending}", layers=(-1, 0))
        arrays, metadata = read_arrays(tmp_path / f"out.{ending}")
        values.append(arrays["values"])
        assert arrays["values"].shape == (sum(map(len, wanted)), 2, config.hidden_size)
        assert "input_ids" not in arrays and metadata["model"]["tokenizer_fingerprint"]
        first = zip(arrays["starts"], arrays["ends"], strict=True)
        texts = [lines[0][start:end] for start, end in list(first)[: len(wanted[0])]]
        assert texts == wanted[0] and arrays["eojeol_ids"][len(wanted[0]) - 1] == 2
        if ending != "parquet":
            offsets = np.cumsum([0, *map(len, wanted)])
            assert arrays["sentence_offsets"].tolist() == offsets.tolist()
    assert all(np.array_equal(values[0], other) for other in values)
    shutil.rmtree(tmp_path / "made")
    extract.succeed(output_file=tmp_path / "mean.npz", pooling="mean", layers=(-1, 0))
    (means, *_) = read_arrays(tmp_path / "mean.npz")[0].values()
    assert means[0] == pytest.approx(values[0][: len(wanted[0])].mean(axis=0), abs=1e-5)
    assert not means[1].any()
