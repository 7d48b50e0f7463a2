"""The records as TensorFlow and Google's own training code see them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko.create_pretraining_data import CreatePretrainingDataConfig, run
from bert_ko.data.features import FeatureNames, FeatureSpec, file_name, instance_features
from bert_ko.data.records import read_records
from bert_ko.data.tfrecord import ExampleEncoder, decode_example

# Importing TensorFlow alone takes seconds.
pytestmark = pytest.mark.slow

SENTENCES = "".join(
    f"{i}번 우체통은 파란 대문 옆에 있다.\n편지는 {i}시에 걷어 간다.\n늦으면 다음 날 간다.\n\n"
    for i in range(40)
)


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow")


def tf_example(tf: Any, specs: tuple[FeatureSpec, ...], names: FeatureNames, row: Any) -> bytes:
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
    tf: Any,
    max_seq_length: int,
    max_predictions: int,
    dynamic: bool,
    names: FeatureNames,
    largest: int,
    seed: int,
) -> None:
    specs = instance_features(max_seq_length, max_predictions, dynamic)
    rng = np.random.default_rng(seed)
    batch = {
        spec.name: rng.integers(0, 2, (3, spec.length)).astype(np.float32)
        if spec.dtype == "float32"
        else rng.integers(0, rng.integers(0, largest + 1, (3, 1)) + 1, (3, spec.length))
        for spec in specs
    }
    encoded = ExampleEncoder(specs, names).encode(batch)
    starts = np.cumsum([0, *encoded.lengths]).tolist()
    for row in range(3):
        wanted = tf_example(tf, specs, names, {key: values[row] for key, values in batch.items()})
        framed = encoded.data[starts[row] : starts[row + 1]].tobytes()
        assert framed[12:-4] == wanted


def shards(tmp_path: Path, vocab_folder: str, name: str, **flags: Any) -> list[str]:
    (tmp_path / "corpus.txt").write_text(SENTENCES, encoding="utf-8")
    config = CreatePretrainingDataConfig(
        input_file=(f"{tmp_path}/corpus.txt",), output_file=(f"{tmp_path}/out/{name}",),
        vocab_file=vocab_folder, max_seq_length=32, max_predictions_per_seq=5, dupe_factor=2,
        num_workers=1, **flags,
    )  # fmt: skip
    run(config)
    return sorted(str(path) for path in (tmp_path / "out").glob("*tfrecord*"))


@pytest.mark.parametrize("names", ["v1", "v2"])
@pytest.mark.parametrize(("name", "compression"), [("a.tfrecord", ""), ("a.tfrecord.gz", "GZIP")])
def test_shards_googles_schema_parses_every_record(
    tf: Any, tmp_path: Path, vocab_folder: str, names: FeatureNames, name: str, compression: str
) -> None:
    (path,) = shards(tmp_path, vocab_folder, name, feature_names=names)
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
