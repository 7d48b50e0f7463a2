import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.data.features import FeatureNames, FeatureSpec, instance_features
from bert_ko.data.records import read_records
from bert_ko.data.tfrecord import ExampleEncoder, decode_example

INT64_SPECS = (
    FeatureSpec("input_ids", "int64", 5),
    FeatureSpec("next_sentence_labels", "int64", 1),
)


def random_batch(specs: tuple[FeatureSpec, ...], rows: int, largest: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows + largest)
    return {
        spec.name: rng.random((rows, spec.length)).astype(np.float32)
        if spec.dtype == "float32"
        else rng.integers(0, largest + 1, (rows, spec.length))
        for spec in specs
    }


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


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
    path = write(tmp_path / "a", ExampleEncoder(specs, names).encode(batch).data.tobytes())
    records = [decode_example(record, specs, names) for record in read_records(path)]
    assert len(records) == 9
    for row, record in enumerate(records):
        for spec in specs:
            assert record[spec.name].tolist() == batch[spec.name][row].tolist(), spec.name


@given(st.lists(st.lists(st.integers(0, 2**20), min_size=5, max_size=5), min_size=1, max_size=9))
def test_encode_one_encoder_for_many_batches_leaves_nothing_behind(rows: list[list[int]]) -> None:
    # Bytes of an earlier, wider batch of the same size must not shine through.
    encoder = ExampleEncoder(INT64_SPECS)
    label = np.zeros((len(rows), 1), np.int64)
    for values in (np.array(rows), np.array(rows[::-1]) // 3, np.array(rows) // 200):
        batch = {"input_ids": values, "next_sentence_labels": label}
        again = encoder.encode(batch)
        fresh = ExampleEncoder(INT64_SPECS).encode(batch)
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


def one_record(tmp_path: Path, specs: tuple[FeatureSpec, ...], names: FeatureNames = "v1") -> bytes:
    data = ExampleEncoder(specs, names).encode(random_batch(specs, 1, 50)).data.tobytes()
    (record,) = read_records(write(tmp_path / "a", data))
    return record


def test_decode_example_other_length_raises(tmp_path: Path) -> None:
    record = one_record(tmp_path, instance_features(16, 4, False))
    with pytest.raises(
        ValueError, match=r"'input_ids' has 16 values, 12 were expected: max_seq_length"
    ):
        decode_example(record, instance_features(12, 4, False))
    with pytest.raises(ValueError, match=r"'masked_lm_positions' has 4 values, 5 were expected"):
        decode_example(record, instance_features(16, 5, False))


def test_decode_example_missing_feature_raises(tmp_path: Path) -> None:
    record = one_record(tmp_path, instance_features(16, 4, False), "v2")
    with pytest.raises(ValueError, match=r"'input_ids' is missing; .*'input_word_ids'"):
        decode_example(record, instance_features(16, 4, False))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 20, 40])
def test_decode_example_other_content_raises(tmp_path: Path, size: int) -> None:
    specs = instance_features(16, 4, False)
    record = one_record(tmp_path, specs)
    for wrong in (b"hello"[:size], record[:size], b"\xff" * size, b"\x0a" * size):
        with pytest.raises(ValueError, match=r"not a tf\.train\.Example|missing|were expected"):
            decode_example(wrong, specs)
