"""extract_features from end to end: with a model of numpy, then against transformers."""

import functools
import gzip
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from bert_ko.modeling.bert import POSITION_EMBEDDINGS, BertConfig
from bert_ko.modeling.heads import model_specs
from bert_ko.modeling.parameters import Arrays, initial_parameters
from bert_ko.tasks.features import extraction
from bert_ko.tasks.features.writers import _rounded, load_pyarrow
from bert_ko.tasks.sentences import PIECE_COLUMNS
from bert_ko.training.checkpoints import Checkpoint, save_checkpoint
from bert_ko.training.hugging_face import to_hugging_face_arrays, to_hugging_face_config
from tests.fakes import Command

REPOSITORY = Path(__file__).parents[1]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "나무", "##는", "크", "##다", "숲"]
H, LAYERS = 4, 3
LINES = ["나무는 크다", "", "숲 ||| 나무는", "큰 숲 숲 숲", "\0숲"]
IDS = [
    [2, 5, 6, 7, 8, 3], [2, 3], [2, 9, 3, 5, 6, 3], [2, 1, 9, 9, 9, 3], [2, 9, 3],
]  # fmt: skip
FORMATS = ["npz", "safetensors", "parquet"]
ALL = ["jsonl", *FORMATS, "hdf5"]
Values = np.ndarray[Any, Any]


def vectors(ids: list[int], segments: list[int], positions: list[int]) -> Values:
    """The output of the model of numpy for a sentence: [pieces, layers, H]."""
    pieces = np.array(ids) + np.arange(len(ids)) / 8 + np.array(segments) / 16
    units = np.array(positions)[:, None] / 32 + np.arange(H) / 64
    return (pieces[:, None, None] + units).astype(np.float32)


SEGMENTS = [[0] * 6, [0, 0], [0, 0, 0, 1, 1, 1], [0] * 6, [0] * 3]


def expected(*positions: int) -> list[Values]:
    return [vectors(i, s, list(positions)) for i, s in zip(IDS, SEGMENTS, strict=True)]


class NumpyBackend:
    """A backend that computes ``vectors``."""

    description, precision, num_devices, is_cpu = "1 x CPU, numpy", "float32", 1, True

    def __init__(self) -> None:
        self.batches: list[dict[str, Values]] = []
        self.arrays: Arrays = {}
        self.config: BertConfig | None = None
        self.factor = 1.0

    def predictor(self, config: BertConfig, arrays: Arrays, outputs: Any) -> Any:
        self.config, self.arrays = config, arrays
        positions, pooling = outputs

        def predict(batch: dict[str, Values]) -> dict[str, Values]:
            assert max(positions) <= config.num_hidden_layers
            self.batches.append(batch)
            rows = zip(batch["input_ids"].tolist(), batch["segment_ids"].tolist(), strict=True)
            found = np.stack([vectors(ids, segments, positions) for ids, segments in rows])
            if pooling == "cls":
                found = found[:, 0]
            if pooling == "mean":
                found = np.einsum("bl,blnh->bnh", batch["piece_weights"], found)
            return {"values": found.astype(np.float32) * np.float32(self.factor)}

        return predict


def write_model(folder: Path, pieces: list[str] = PIECES, **changes: Any) -> BertConfig:
    """A Hugging Face folder with a vocabulary."""
    sizes = {
        "hidden_size": H, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
        "intermediate_size": 8, "max_position_embeddings": 64,
    }  # fmt: skip
    config = BertConfig(vocab_size=len(pieces), **{**sizes, **changes})
    arrays = initial_parameters(model_specs(config), 0.5, 1)
    folder.mkdir(parents=True)
    theirs = to_hugging_face_arrays(config, arrays)
    contiguous = {name: np.ascontiguousarray(array) for name, array in theirs.items()}
    save_file(contiguous, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(to_hugging_face_config(config, arrays)))
    (folder / "vocab.txt").write_text("".join(p + "\n" for p in pieces), encoding="utf-8")
    return config


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features") / "model"
    write_model(folder)
    return folder


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> NumpyBackend:
    monkeypatch.setattr(extraction, "feature_outputs", lambda *outputs: outputs)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    found = NumpyBackend()
    monkeypatch.setattr(extraction, "load_backend", lambda config: found)
    return found


class Extract:
    """Runs the command in this process, on LINES unless another file is given."""

    def __init__(self, model: Path, folder: Path):
        self.folder, self.input = folder, folder / "lines.txt"
        self.input.write_bytes("\n".join(LINES).encode())
        flags = {"init_checkpoint": model, "input_file": self.input, "max_seq_length": 16}
        self.command = Command("extract_features", {**flags, "tokenizer_type": "wordpiece"})

    def __call__(self, output: str, *flags: str, stdin: Any = "") -> Path:
        path = self.folder / output
        self.ended = self.command.succeed(*flags, output_file=path, stdin=stdin)
        return path

    def error(self, output: str, *flags: str) -> str:
        """Of a command that leaves nothing behind."""
        before = sorted(os.listdir(self.folder))
        ended = self.command(*flags, output_file=self.folder / output)
        assert sorted(os.listdir(self.folder)) == before
        return ended.error


@pytest.fixture
def command(model: Path, backend: NumpyBackend, tmp_path: Path) -> Extract:
    return Extract(model, tmp_path)


def read_json(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_arrays(path: Path) -> tuple[dict[str, Values], dict[str, Any]]:
    """Arrays and metadata of any compact format."""
    if path.suffix == ".npz":
        with np.load(path) as found:
            arrays = dict(found)
        return arrays, json.loads(str(arrays.pop("metadata")))
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            texts = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return arrays, {name: json.loads(text) for name, text in texts.items()}
    return read_parquet(path)


def read_hdf5(path: Path) -> tuple[list[Values], list[list[str]]]:
    """The data sets in the order of the lines, and their tokens."""
    with h5py.File(path, "r") as file:
        sets = [file[str(number)] for number in range(len(file))]
        tokens = [data.attrs["tokens"].split() for data in sets if "tokens" in data.attrs]
        return [data[()] for data in sets], tokens


def read_parquet(path: Path) -> tuple[dict[str, Values], dict[str, Any]]:
    _, arrow = load_pyarrow()
    table = arrow.read_table(path)
    texts = table.schema.metadata
    metadata = {name.decode(): json.loads(text) for name, text in texts.items()}
    columns = {name: table[name].combine_chunks() for name in table.schema.names}
    flat = {name: column.flatten().to_numpy() for name, column in columns.items()}
    layers = [flat.pop(f"layer_{layer}") for layer in metadata["layers"]]
    values = np.stack([layer.reshape(-1, metadata["hidden_size"]) for layer in layers], axis=1)
    arrays = {"values": values, **flat}
    if "input_ids" in columns:
        arrays["sentence_offsets"] = columns["input_ids"].offsets.to_numpy().astype(np.int64)
    return arrays, metadata


# JSON


def test_run_json_is_googles(command: Extract) -> None:
    records = read_json(command("out.jsonl", "--layers=-1,0"))
    assert [record["linex_index"] for record in records] == [0, 1, 2, 3, 4]
    for record, ids, values in zip(records, IDS, expected(3, 1), strict=True):
        assert list(record) == ["linex_index", "features"]
        assert [f["token"] for f in record["features"]] == [PIECES[i] for i in ids]
        for feature, piece in zip(record["features"], values, strict=True):
            assert list(feature) == ["token", "layers"]
            assert feature["layers"] == [
                {"index": layer, "values": [round(float(x), 6) for x in vector]}
                for layer, vector in zip((-1, 0), piece, strict=True)
            ]


def test_run_json_empty_line_to_the_byte(command: Extract, backend: NumpyBackend) -> None:
    backend.factor = 1 / 3
    command.input.write_text("\n")
    assert command("out.json", "--layers=-4").read_text() == (
        '{"linex_index": 0, "features": [{"token": "[CLS]", "layers": [{"index": -4, "values": '
        '[0.666667, 0.671875, 0.677083, 0.682292]}]}, {"token": "[SEP]", "layers": [{"index": -4, '
        '"values": [1.041667, 1.046875, 1.052083, 1.057292]}]}]}\n'
    )


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_run_json_pooled_has_a_vector_a_sentence(pooling: str, command: Extract) -> None:
    records = read_json(command("out.jsonl", f"--pooling={pooling}", "--layers=-1,-2"))
    for record, values in zip(records, pooled(pooling, 3, 2), strict=True):
        assert [layer["index"] for layer in record["layers"]] == [-1, -2]
        found = np.array([layer["values"] for layer in record["layers"]])
        assert found == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e6])
def test_rounded_is_pythons_round(scale: float) -> None:
    rng = np.random.default_rng(1)
    values = (rng.standard_normal(5000) * scale).astype(np.float32)
    # Halves of the last digit, which float32 holds exactly.
    halves = (np.arange(-64, 64) / 128).astype(np.float32)
    for array in (values, halves):
        assert _rounded(array) == [round(float(x), 6) for x in array]
    text = json.dumps(_rounded(np.array([-1e-9, np.nan, np.inf], np.float32)))
    assert text == "[-0.0, NaN, Infinity]"


# Compact formats


def pooled(pooling: str, *positions: int) -> list[Values]:
    """By the definition; a sentence without text has no mean and gives zeros."""
    if pooling == "cls":
        return [values[0] for values in expected(*positions)]
    zeros = np.zeros((len(positions), H))
    return [
        np.mean([v for v, i in zip(values, ids, strict=True) if i not in (2, 3)] or [zeros], axis=0)
        for values, ids in zip(expected(*positions), IDS, strict=True)
    ]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_run_compact_formats_read_back_the_same(ending: str, dtype: str, command: Extract) -> None:
    path = command(f"out.{ending}", "--layers=-1,1,-4", f"--dtype={dtype}")
    arrays, metadata = read_arrays(path)
    assert sorted(arrays) == sorted(["values", "sentence_offsets", *PIECE_COLUMNS])
    assert arrays["values"].dtype == dtype and arrays["values"].shape == (23, 3, H)
    assert np.array_equal(arrays["values"], np.concatenate(expected(3, 2, 0)).astype(dtype))
    assert arrays["sentence_offsets"].tolist() == [0, 6, 8, 14, 20, 23]
    assert arrays["input_ids"].tolist() == [i for ids in IDS for i in ids]
    assert arrays["segment_ids"].tolist() == [i for ids in SEGMENTS for i in ids]
    texts = [
        line[arrays["starts"][i] : arrays["ends"][i]]
        for line, start, end in zip(LINES, [0, 6, 8, 14, 20], [6, 8, 14, 20, 23], strict=True)
        for i in range(start, end)
    ]
    assert texts == [
        "", "나무", "는", "크", "다", "", "", "", "", "숲", "", "나무", "는", "",
        "", "큰", "숲", "숲", "숲", "", "", "숲", "",
    ]  # fmt: skip
    assert arrays["eojeol_ids"].tolist() == [
        -1, 0, 0, 1, 1, -1, -1, -1, -1, 0, -1, 1, 1, -1, -1, 0, 1, 2, 3, -1, -1, 0, -1,
    ]  # fmt: skip
    assert {arrays[name].dtype for name in PIECE_COLUMNS} == {np.dtype(np.int32)}
    assert metadata["format"] == "bert_ko features 1"
    assert metadata["layers"] == [-1, 1, -4] and metadata["pooling"] == "none"
    assert metadata["model"]["config"]["hidden_size"] == H
    assert len(metadata["model"]["tokenizer_fingerprint"]) > 8
    assert sorted(os.listdir(command.folder)) == sorted(["lines.txt", f"out.{ending}"])


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_run_pooled_formats_read_back_the_same(ending: str, pooling: str, command: Extract) -> None:
    arrays, metadata = read_arrays(command(f"out.{ending}", f"--pooling={pooling}"))
    assert list(arrays) == ["values"] and metadata["pooling"] == pooling
    assert arrays["values"] == pytest.approx(np.array(pooled(pooling, 3, 2, 1, 0)), abs=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_run_hdf5_has_a_data_set_a_line(dtype: str, command: Extract) -> None:
    path = command("out.h5", "--layers=-1,1,-4", f"--dtype={dtype}")
    found, tokens = read_hdf5(path)
    assert len(found) == 5
    for values, wanted in zip(found, expected(3, 2, 0), strict=True):
        assert values.dtype == dtype and values.shape == (3, len(wanted), H)
        assert np.array_equal(values, wanted.transpose(1, 0, 2).astype(dtype))
    assert tokens == [[PIECES[i] for i in ids] for ids in IDS]
    with h5py.File(path, "r") as file:
        assert json.loads(file.attrs["layers"]) == [-1, 1, -4]
        assert json.loads(file.attrs["model"])["config"]["hidden_size"] == H
    pooled_values, no_tokens = read_hdf5(command("mean.hdf5", "--pooling=mean"))
    assert no_tokens == []
    assert np.array(pooled_values) == pytest.approx(np.array(pooled("mean", 3, 2, 1, 0)), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ALL)
def test_run_order_and_blocks_change_nothing(
    ending: str, command: Extract, backend: NumpyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    lines = [" ".join(["숲"] * count) for count in rng.integers(0, 14, 60)]
    command.input.write_text("\n".join(lines) + "\n", encoding="utf-8")
    whole = command(f"whole.{ending}")
    assert len(backend.batches) == 2 and backend.batches[0]["input_ids"].shape == (32, 16)
    lengths = [batch["input_mask"].sum(axis=1).max() for batch in backend.batches]
    assert lengths == sorted(lengths, reverse=True)
    for sentences, size in ((7, 1 << 28), (4096, 20 * 4 * 4 * H)):
        monkeypatch.setattr(extraction, "_BLOCK_SENTENCES", sentences)
        monkeypatch.setattr(extraction, "_BLOCK_BYTES", size)
        backend.batches.clear()
        path = command(f"parts.{ending}", "--batch_size=3")
        assert len(backend.batches) > 20
        if ending == "parquet":
            first, second = read_parquet(whole)[0], read_parquet(path)[0]
            assert all(np.array_equal(first[name], second[name]) for name in first)
        else:
            assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("ending", ALL)
def test_run_no_lines_give_an_empty_file(ending: str, command: Extract) -> None:
    command.input.write_bytes(b"")
    path = command(f"out.{ending}")
    assert command.ended.warnings == [f"{command.input} has no lines."]
    if ending == "hdf5":
        assert read_hdf5(path) == ([], [])
    elif ending == "jsonl":
        assert path.read_bytes() == b""
    elif ending == "parquet":
        assert load_pyarrow()[1].read_table(path).num_rows == 0
    else:
        assert read_arrays(path)[0]["values"].shape == (0, 4, H)


def test_run_float16_overflow_is_counted(command: Extract, backend: NumpyBackend) -> None:
    backend.factor = 30000
    command("out.npz", "--dtype=float16")
    assert command.ended.warnings == ["5 of 5 lines have values that are not finite as float16."]


# Input


def test_run_long_lines_are_cut_and_counted(command: Extract) -> None:
    command.input.write_text("숲 " * 30 + "\n숲\n" + "나무 ||| " + "숲 " * 30, encoding="utf-8")
    arrays, _ = read_arrays(command("out.npz", "--max_seq_length=5"))
    assert arrays["input_ids"].tolist() == [2, 9, 9, 9, 3, 2, 9, 3, 2, 5, 3, 9, 3]
    assert command.ended.warnings == [
        "2 of 3 lines have more than --max_seq_length=5 pieces and were cut."
    ]
    assert "── npz: 3 sentences, 13 pieces ──" in command.ended.err


def test_run_damaged_lines_are_counted(command: Extract) -> None:
    command.input.write_bytes("숲\n".encode() + b"\xed\xa0\x80\xff" + "숲\r\n".encode())
    arrays, _ = read_arrays(command("out.npz"))
    assert arrays["input_ids"].tolist() == [2, 9, 3, 2, 9, 3]
    assert arrays["starts"].tolist() == [-1, 0, -1, -1, 4, -1]  # behind four of U+FFFD
    assert command.ended.warnings == ["1 of 2 lines are damaged; unreadable bytes became U+FFFD."]


def test_run_compressed_remote_and_standard_input(command: Extract) -> None:
    plain = command("plain.json", "--output_format=npz").read_bytes()
    data, path = command.input.read_bytes(), command.folder / "lines.gz"
    path.write_bytes(gzip.compress(data))
    for source in (path, f"file://{path}", "-"):
        other = command("other.npz", f"--input_file={source}", stdin=data)
        assert other.read_bytes() == plain


@pytest.mark.parametrize("ending", ALL)
def test_run_writes_remote_files_without_seeking(ending: str, command: Extract) -> None:
    import fsspec

    command("x", f"--output_file=memory://out.{ending}", f"--input_file={command.input}")
    path = command.folder / f"copy.{ending}"
    path.write_bytes(fsspec.filesystem("memory").cat(f"/out.{ending}"))
    plain = command(f"plain.{ending}")
    if ending in ("jsonl", "safetensors", "hdf5"):
        assert path.read_bytes() == plain.read_bytes()
    else:
        first, second = read_arrays(path)[0], read_arrays(plain)[0]
        assert all(np.array_equal(first[name], second[name]) for name in first)


# The model


def test_run_layers_above_are_not_computed(command: Extract, backend: NumpyBackend) -> None:
    command("out.npz", "--layers=-2,0")
    assert backend.config is not None and backend.config.num_hidden_layers == 2
    assert not [name for name in backend.arrays if "layer_2" in name or "pooler" in name]
    command("out.npz", "--layers=-4")
    assert backend.config.num_hidden_layers == 1  # the least that a model may have


@pytest.mark.parametrize(
    ("flags", "count"), [(["--max_seq_length=6"], 64), ([], 6),
                         (["--untrained_positions=keep"], 64)],
)  # fmt: skip
def test_run_untrained_positions_are_the_trained_ones_repeated(
    flags: list[str], count: int, command: Extract, backend: NumpyBackend, tmp_path: Path
) -> None:
    config = write_model(tmp_path / "ours")
    arrays = initial_parameters(model_specs(config), 0.5, 1)
    state = {"step": 1, "trained_positions": 6}
    save_checkpoint(str(tmp_path / "ours"), 1, Checkpoint(arrays, {}, state), config, 0)
    wanted = arrays[POSITION_EMBEDDINGS][np.arange(64) % count].copy()
    command("out.npz", f"--init_checkpoint={tmp_path}/ours", *flags)
    assert backend.arrays[POSITION_EMBEDDINGS].tobytes() == wanted.tobytes()


def test_run_missing_weights_are_an_error(command: Extract, model: Path) -> None:
    folder = Path(shutil.copytree(model, command.folder / "model"))
    with safe_open(model / "model.safetensors", "np") as file:
        names = [n for n in file.keys() if "layer.1.output" not in n]  # noqa: SIM118
        save_file({name: file.get_tensor(name) for name in names}, folder / "model.safetensors")
    message = command.error("out.npz", f"--init_checkpoint={folder}")
    assert message == (
        f"--init_checkpoint: {folder} lacks bert/encoder/layer_1/output/dense/kernel, "
        "bert/encoder/layer_1/output/dense/bias and 2 more, which the encoder has by the "
        f"configuration of {folder}. Use the configuration of these weights (num_hidden_layers …), "
        "or whole weights."
    )


def test_run_no_vocabulary_is_an_error(command: Extract, model: Path) -> None:
    folder = Path(shutil.copytree(model, command.folder / "model"))
    (folder / "vocab.txt").unlink()
    assert command.error("out.npz", f"--init_checkpoint={folder}") == (
        f"--vocab_file: no vocabulary in {folder}; name it."
    )
    command("out.npz", f"--init_checkpoint={folder}", f"--vocab_file={model}/vocab.txt")


# What is refused


@pytest.mark.parametrize(
    ("output", "flag", "message"),
    [
        ("o.npz", "--layers=", "--layers must be different integers such as -1,-2, got ''."),
        ("o.npz", "--layers=3",
         "--layers: there is no layer 3; the model has 3, from 0 to 2 or from -1 back to -3, and "
         "-4 for the embeddings."),
        ("o.npz", "--max_seq_length=2", "--max_seq_length must be at least 3, got 2."),
        ("o.npz", "--batch_size=0", "--batch_size must be at least 1, got 0."),
        ("o.jsonl", "--dtype=float16",
         "--dtype=float16 has no effect on JSON; choose another --output_format, or leave the "
         "flag out."),
        ("o.hdf5", "--is_split_into_words",
         "--is_split_into_words has no effect with a model of model_type bert; leave it out."),
        ("o.npz", "--pooling=max", "--pooling must be one of none, cls, mean, got 'max'."),
    ],
)  # fmt: skip
def test_run_bad_flags_are_refused(output: str, flag: str, message: str, command: Extract) -> None:
    assert command.error(output, flag) == message


def test_run_bad_paths_are_refused(command: Extract, backend: NumpyBackend) -> None:
    path, folder = command.input, command.folder
    assert command.error("o.npz", "--max_seq_length=65", f"--init_checkpoint={folder}") == (
        f"--init_checkpoint: no weights in the folder {folder}; found: lines.txt."
    )
    assert "but the model has 64 positions" in command.error("o.npz", "--max_seq_length=65")
    assert command.error("lines.txt") == f"--output_file={path} is --input_file; name another."
    assert command.error("o.json.gz") == (
        f"--output_file={folder}/o.json.gz would not be compressed; give another name."
    )
    assert command.error("no/o.npz") == f"{folder}/no/o.npz: its folder does not exist"
    assert (
        command.error("o.npz", f"--input_file={folder}/x")
        == f"{folder}/x: No such file or directory"
    )
    assert command.error("o.npz", f"--input_file={folder}") == f"{folder}: Is a directory"
    assert command.error("o.npz", "--input_file=") == (
        "--input_file: this must be given, got an empty value; see --help."
    )
    backend.num_devices = 3
    assert command.error("o.npz") == "--batch_size=32 must be a multiple of the 3 devices."


def test_run_parquet_without_its_package_is_refused(
    command: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert command.error("o.parquet", "--init_checkpoint=/nowhere") == (
        "--output_format=parquet needs the package pyarrow: pip install bert_ko[parquet]"
    )


@pytest.mark.parametrize("ending", ALL)
def test_run_failure_leaves_what_was_there(
    ending: str, command: Extract, backend: NumpyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = command.folder / f"out.{ending}"
    path.write_text("before")

    def fail(*model: Any) -> Any:
        return lambda batch: (_ for _ in ()).throw(OSError(28, "No space left on device"))

    monkeypatch.setattr(backend, "predictor", fail)
    ended = command.command(output_file=path)
    assert ended.error == f"{path}: No space left on device"
    assert sorted(os.listdir(command.folder)) == ["lines.txt", path.name]
    assert path.read_text() == "before"


@pytest.mark.slow
def test_command_help_imports_no_framework() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from bert_ko.extract_features import main\n"
        "assert main() == 0\n"
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch', 'pyarrow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "use_one_hot_embeddings" in done.stdout


# With TensorFlow and JAX


SIZES = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def large_model(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the vocabulary of the sample."""
    folder = tmp_path_factory.mktemp("large") / "model"
    pieces = (Path(vocab_folder) / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    write_model(folder, pieces, **SIZES)
    shutil.copy(Path(vocab_folder) / "tokenizer_config.json", folder)
    return folder


def start(backend: str, *flags: str) -> None:
    command = [sys.executable, str(REPOSITORY / "bin" / "extract_features"), *flags]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, sample_lines: list[str]) -> Path:
    path = tmp_path_factory.mktemp("sample") / "lines.txt"
    lines = [*sample_lines[:90], "", f"{sample_lines[0]} ||| {sample_lines[1]}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def hidden_states(folder: Path, arrays: dict[str, Values]) -> Iterator[tuple[int, int, Values]]:
    """Of transformers, sentence by sentence: [layers and embeddings, pieces, H]."""
    import torch
    import transformers

    theirs = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    offsets = arrays["sentence_offsets"].tolist()
    for begin, end in itertools.pairwise(offsets):
        ids, segments = (
            torch.tensor(arrays[name][None, begin:end].astype(np.int64))
            for name in ("input_ids", "segment_ids")
        )
        with torch.no_grad():
            found = theirs(input_ids=ids, token_type_ids=segments, output_hidden_states=True)
        yield begin, end, np.stack([layer[0].numpy() for layer in found.hidden_states])


@pytest.mark.slow
def test_command_values_are_those_of_transformers(
    large_model: Path, sample: Path, tmp_path: Path
) -> None:
    flags = [
        f"--init_checkpoint={large_model}", f"--input_file={sample}", "--precision=float32",
        "--max_seq_length=48", "--batch_size=8",
    ]  # fmt: skip
    extract = functools.partial(start, "jax", *flags)
    extract(f"--output_file={tmp_path}/all.safetensors", "--layers=-1,-2,-3,-4,0")
    extract(f"--output_file={tmp_path}/low.npz", "--layers=-3,-4", "--dtype=float16")
    extract(f"--output_file={tmp_path}/cls.npz", "--pooling=cls", "--layers=-2,-1")
    extract(f"--output_file={tmp_path}/mean.npz", "--pooling=mean", "--layers=-2,-1")
    arrays, metadata = read_arrays(tmp_path / "all.safetensors")
    assert len(arrays["sentence_offsets"]) == 93 and metadata["hidden_size"] == 16
    low, cls, mean = (
        read_arrays(tmp_path / f"{name}.npz")[0]["values"] for name in ("low", "cls", "mean")
    )
    assert low.dtype == np.float16
    for number, (begin, end, states) in enumerate(hidden_states(large_model, arrays)):
        found = arrays["values"][begin:end].transpose(1, 0, 2)
        assert np.abs(found - states[[3, 2, 1, 0, 1]]).max() < 1e-5
        assert low[begin:end].transpose(1, 0, 2) == pytest.approx(states[[1, 0]], abs=2e-3)
        assert np.abs(cls[number] - states[[2, 3], 0]).max() < 1e-5
        is_text = arrays["eojeol_ids"][begin:end] >= 0
        text = states[[2, 3]][:, is_text]
        wanted = text.mean(axis=1) if is_text.any() else np.zeros((2, 16))
        assert np.abs(mean[number] - wanted).max() < 1e-5
