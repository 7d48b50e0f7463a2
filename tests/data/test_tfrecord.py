"""Encoded records: their bytes, and as TensorFlow and Google's own training code read them."""

import importlib.util
import struct
import sys
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko.create_pretraining_data import CreatePretrainingDataConfig, run
from bert_ko.data import tfrecord
from bert_ko.data.features import FeatureNames, FeatureSpec, file_name, instance_features
from bert_ko.data.records import read_records
from bert_ko.data.tfrecord import ExampleEncoder, decode_example

Specs = tuple[FeatureSpec, ...]
INT64_SPECS = (
    FeatureSpec("input_ids", "int64", 5),
    FeatureSpec("next_sentence_labels", "int64", 1),
)
BLOCK = 1024


def random_batch(specs: Specs, rows: int, largest: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Each row has its own largest value."""
    rng = np.random.default_rng([rows, largest, seed])
    return {
        spec.name: rng.random((rows, spec.length)).astype(np.float32)
        if spec.dtype == "float32"
        else rng.integers(0, rng.integers(0, largest + 1, (rows, 1)) + 1, (rows, spec.length))
        for spec in specs
    }


# RFC 3720, B.4, and the check value of the catalogues of checksums.
@pytest.mark.parametrize("crc32c", [google_crc32c.value, tfrecord.numpy_crc32c])
@pytest.mark.parametrize(
    ("data", "known"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_known_vectors_are_met(crc32c: Any, data: bytes, known: int) -> None:
    assert crc32c(data) == known


@settings(deadline=None)
@given(st.binary(max_size=50), st.integers(0, 2 * BLOCK + 10))
def test_numpy_crc32c_any_bytes_equals_google_crc32c(data: bytes, size: int) -> None:
    for content in (data, (data or b"\x80" * 7) * (1 + size // 7)):
        assert tfrecord.numpy_crc32c(content) == google_crc32c.value(content)


@pytest.mark.parametrize("size", [*range(9), BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 3, 3 * BLOCK])
def test_numpy_crc32c_every_block_border_equals_google_crc32c(size: int) -> None:
    data = bytes((7 * i + 13) % 256 for i in range(size))
    assert tfrecord.numpy_crc32c(data) == google_crc32c.value(data)


def test_crc32c_is_numpys_only_without_google_crc32c(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tfrecord.crc32c is google_crc32c.value
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    spec = importlib.util.spec_from_file_location("tfrecord_alone", tfrecord.__file__)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.crc32c is module.numpy_crc32c


def test_encode_worked_example_is_the_known_bytes() -> None:
    specs = (FeatureSpec("b", "int64", 2), FeatureSpec("a", "float32", 1))
    batch = {"b": np.array([[1, 300]]), "a": np.array([[1.0]], np.float32)}
    feature_a = b"\x0a\x0d" + b"\x0a\x01a" + b"\x12\x08\x12\x06\x0a\x04\x00\x00\x80\x3f"
    feature_b = b"\x0a\x0c" + b"\x0a\x01b" + b"\x12\x07\x1a\x05\x0a\x03\x01\xac\x02"
    content = b"\x0a\x1d" + feature_a + feature_b
    encoded = ExampleEncoder(specs).encode(batch)
    data = encoded.data.tobytes()
    assert data[:8] == struct.pack("<Q", len(content))
    assert data[12:-4] == content
    assert encoded.lengths.tolist() == [len(data)]


@pytest.mark.parametrize("names", ["v1", "v2"])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("largest", [1, 127, 128, 32_000, 70_000, 2**31 - 1, 2**40])
def test_decode_example_round_trip(
    tmp_path: Path, names: FeatureNames, dynamic: bool, largest: int
) -> None:
    specs = instance_features(37, 6, dynamic)
    batch = random_batch(specs, 9, largest)
    (tmp_path / "a").write_bytes(ExampleEncoder(specs, names).encode(batch).data.tobytes())
    records = list(read_records(str(tmp_path / "a")))
    assert len(records) == 9
    for row, record in enumerate(records):
        decoded = decode_example(record, specs, names)
        for spec in specs:
            assert decoded[spec.name].tolist() == batch[spec.name][row].tolist(), spec.name


@pytest.mark.slow
@given(st.lists(st.lists(st.integers(0, 2**20), min_size=5, max_size=5), min_size=1, max_size=9))
def test_encode_one_encoder_for_many_batches_leaves_nothing_behind(rows: list[list[int]]) -> None:
    # Bytes of an earlier, wider batch of the same size must not shine through.
    encoder = ExampleEncoder(INT64_SPECS)
    label = np.zeros((len(rows), 1), np.int64)
    for values in (np.array(rows), np.array(rows[::-1]) // 3, np.array(rows) // 200):
        batch = {"input_ids": values, "next_sentence_labels": label}
        again, fresh = encoder.encode(batch), ExampleEncoder(INT64_SPECS).encode(batch)
        assert again.data.tobytes() == fresh.data.tobytes()
        assert again.lengths.tolist() == fresh.lengths.tolist()


def test_encode_row_bytes_do_not_depend_on_the_batch() -> None:
    specs = instance_features(20, 4, False)
    batch = random_batch(specs, 6, 70_000)
    encoder = ExampleEncoder(specs)
    together = encoder.encode(batch).data.tobytes()
    alone = [
        encoder.encode({name: values[row : row + 1] for name, values in batch.items()})
        for row in range(6)
    ]
    assert together == b"".join(one.data.tobytes() for one in alone)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 20, 40])
def test_decode_example_other_content_raises(size: int) -> None:
    specs = instance_features(16, 4, False)
    record = ExampleEncoder(specs).encode(random_batch(specs, 1, 50)).data.tobytes()[12:-4]
    for wrong in (b"hello"[:size], record[:size], b"\xff" * size, b"\x0a" * size):
        with pytest.raises(ValueError, match=r"not a tf\.train\.Example|missing|were expected"):
            decode_example(wrong, specs)


def tf_example(tf: Any, specs: Specs, names: FeatureNames, row: Any) -> bytes:
    features = {}
    for spec in specs:
        values = row[spec.name].tolist()
        features[file_name(spec.name, names)] = (
            tf.train.Feature(float_list=tf.train.FloatList(value=values))
            if spec.dtype == "float32"
            else tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        )
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from(["v1", "v2"]),
    st.sampled_from([0, 1, 127, 128, 16_383, 16_384, 32_000, 2_097_152, 2**31 - 1, 2**35]),
    st.integers(0, 2**32),
)
def test_encode_any_batch_equals_tensorflows_bytes(
    length: int, predictions: int, dynamic: bool, names: FeatureNames, largest: int, seed: int
) -> None:
    tf = pytest.importorskip("tensorflow")
    specs = instance_features(length, predictions, dynamic)
    batch = random_batch(specs, 3, largest, seed)
    encoded = ExampleEncoder(specs, names).encode(batch)
    starts = np.cumsum([0, *encoded.lengths]).tolist()
    for row in range(3):
        wanted = tf_example(tf, specs, names, {key: values[row] for key, values in batch.items()})
        framed = encoded.data[starts[row] : starts[row + 1]].tobytes()
        assert framed[12:-4] == wanted


@pytest.mark.slow
@pytest.mark.parametrize("names", ["v1", "v2"])
@pytest.mark.parametrize(("name", "compression"), [("a.tfrecord", ""), ("a.tfrecord.gz", "GZIP")])
def test_shards_googles_schema_parses_every_record(
    tmp_path: Path, vocab_folder: str, names: FeatureNames, name: str, compression: str
) -> None:
    tf = pytest.importorskip("tensorflow")
    text = "".join(f"{i}번 우체통은 파랗다.\n편지는 {i}시에 걷는다.\n끝.\n\n" for i in range(40))
    (tmp_path / "corpus.txt").write_text(text, encoding="utf-8")
    path = f"{tmp_path}/{name}"
    config = CreatePretrainingDataConfig(
        input_file=(f"{tmp_path}/corpus.txt",), output_file=(path,), vocab_file=vocab_folder,
        max_seq_length=32, max_predictions_per_seq=5, dupe_factor=2, num_workers=1,
        feature_names=names,
    )  # fmt: skip
    run(config)
    ids, segments = ("input_ids", "segment_ids") if names == "v1" else (
        "input_word_ids", "input_type_ids",
    )  # fmt: skip
    schema = {
        ids: tf.io.FixedLenFeature([32], tf.int64),
        "input_mask": tf.io.FixedLenFeature([32], tf.int64),
        segments: tf.io.FixedLenFeature([32], tf.int64),
        "masked_lm_positions": tf.io.FixedLenFeature([5], tf.int64),
        "masked_lm_ids": tf.io.FixedLenFeature([5], tf.int64),
        "masked_lm_weights": tf.io.FixedLenFeature([5], tf.float32),
        "next_sentence_labels": tf.io.FixedLenFeature([1], tf.int64),
    }
    records = list(tf.data.TFRecordDataset(path, compression_type=compression).as_numpy_iterator())
    assert records == list(read_records(path)) and len(records) > 50
    specs = instance_features(32, 5, False)
    for record in records:
        parsed = tf.io.parse_single_example(record, schema)
        own = decode_example(record, specs, names)
        for spec in specs:
            key = file_name(spec.name, names)
            assert parsed[key].numpy().tolist() == own[spec.name].tolist()
        example = tf.train.Example.FromString(record)
        assert set(example.features.feature) == set(schema)
        assert example.SerializeToString(deterministic=True) == record
