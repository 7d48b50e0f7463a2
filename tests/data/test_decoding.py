"""Records decoded together must equal records decoded one by one, byte for byte of the input."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko.data.decoding import DamagedRecordError, ExampleDecoder
from bert_ko.data.features import FeatureNames, FeatureSpec, instance_features
from bert_ko.data.tfrecord import ExampleEncoder, decode_example

Specs = tuple[FeatureSpec, ...]
INTS, FLOATS, BYTES = 3, 2, 1
SPECS = (FeatureSpec("input_ids", "int64", 3), FeatureSpec("masked_lm_weights", "float32", 2))
# The widest number that is decoded together has four bytes.
LARGEST_TOGETHER = 2**28 - 1


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    groups = [value & 127]
    while value := value >> 7:
        groups[-1] |= 128
        groups.append(value & 127)
    return bytes(groups)


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def ints(*values: int) -> bytes:
    return message(INTS, message(1, b"".join(map(varint, values))))


def floats(*values: float) -> bytes:
    return message(FLOATS, message(1, np.array(values, "<f4").tobytes()))


def example(*features: tuple[str, bytes]) -> bytes:
    entries = [message(1, message(1, key.encode()) + message(2, value)) for key, value in features]
    return message(1, b"".join(entries))


def small(ids: Sequence[int] = (1, 2, 3), weights: Sequence[float] = (1.0, 0.0)) -> bytes:
    return example(("input_ids", ints(*ids)), ("masked_lm_weights", floats(*weights)))


def random_records(
    specs: Specs, names: FeatureNames, rows: int, largest: int, seed: int = 0
) -> list[bytes]:
    """Records of the encoder; each row has its own largest value."""
    rng = np.random.default_rng(seed)
    batch = {
        spec.name: rng.random((rows, spec.length)).astype(np.float32)
        if spec.dtype == "float32"
        else rng.integers(0, rng.integers(0, largest + 1, (rows, 1)) + 1, (rows, spec.length))
        for spec in specs
    }
    encoded = ExampleEncoder(specs, names).encode(batch)
    ends = np.cumsum(encoded.lengths).tolist()
    data = encoded.data.tobytes()
    return [data[a + 12 : b - 4] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def assert_equals_reference(
    records: list[bytes], specs: Specs = SPECS, names: FeatureNames = "v1"
) -> None:
    found = ExampleDecoder(specs, names).decode(records)
    assert list(found) == [spec.name for spec in specs]
    for spec in specs:
        values = found[spec.name]
        assert values.dtype == ("float32" if spec.dtype == "float32" else "int32")
        assert values.shape == (len(records), spec.length)
    for row, record in enumerate(records):
        for name, values in decode_example(record, specs, names).items():
            assert found[name][row].tolist() == values.tolist(), (row, name)


def refuse(*arguments: Any) -> Any:
    raise AssertionError("decoded one by one")


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Fails a test whose records are not decoded together."""
    monkeypatch.setattr(ExampleDecoder, "_decode_each", refuse)
    return monkeypatch


def test_decode_worked_example_is_literal(together: pytest.MonkeyPatch) -> None:
    found = ExampleDecoder(SPECS).decode([small((1, 300, 5)), small((7, 8, 70_000), (0.5, -2.0))])
    assert found["input_ids"].tolist() == [[1, 300, 5], [7, 8, 70_000]]
    assert found["masked_lm_weights"].tolist() == [[1.0, 0.0], [0.5, -2.0]]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from(["v1", "v2"]),
    st.sampled_from([0, 1, 127, 128, 16_383, 16_384, 32_000, 2**21, LARGEST_TOGETHER]),
    st.integers(1, 9),
    st.integers(0, 2**32),
)
def test_decode_any_records_of_the_encoder_together_equal_reference(
    length: int, predictions: int, dynamic: bool, names: FeatureNames, largest: int, rows: int,
    seed: int,
) -> None:  # fmt: skip
    specs = instance_features(length, predictions, dynamic)
    records = random_records(specs, names, rows, largest, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExampleDecoder, "_decode_each", refuse)
        found = ExampleDecoder(specs, names).decode(records)
        assert_equals_reference(records, specs, names)
    assert ("input_ids" in found) and (("morpheme_ids" in found) == dynamic)


@pytest.mark.parametrize("value", [2**31, 2**32 + 5, -1, -(2**63)])
def test_decode_number_that_is_no_id_raises(value: int) -> None:
    with pytest.raises(DamagedRecordError, match=r"input_ids must be from 0 to") as caught:
        ExampleDecoder(SPECS).decode([small(), small((1, value, 3))])
    assert caught.value.index == 1
    assert f"got {value:,}." in caught.value.reason


def test_decode_another_order_of_features_together_equals_reference(
    together: pytest.MonkeyPatch,
) -> None:
    records = [
        example(("masked_lm_weights", floats(i, 1)), ("input_ids", ints(i, 2, 3))) for i in range(5)
    ]
    assert_equals_reference(records)


@pytest.mark.parametrize(
    "extra",
    [
        ("설명", message(BYTES, message(1, "한글".encode()))),
        ("input_mask", ints(1, 1, 1)),
        ("score", floats(0.5)),
        ("empty", b""),
        ("", ints(1)),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_decode_unknown_feature_is_passed_over(
    extra: tuple[str, bytes], place: int, together: pytest.MonkeyPatch
) -> None:
    records = []
    for i in range(3):
        features = [("input_ids", ints(i, 200, 3)), ("masked_lm_weights", floats(1, i))]
        records.append(example(*features[:place], extra, *features[place:]))
    assert_equals_reference(records)


IDS, IDS2 = ("input_ids", ints(1, 2, 3)), ("input_ids2", ints(1, 2, 3))
WEIGHTS = ("masked_lm_weights", floats(5, 6))
NO_INTS, NO_EXAMPLE = "'input_ids' is not a list of int64", r"not a tf\.train\.Example"
TURNED = example(WEIGHTS, ("input_ids", ints(300, 2, 3)))
TITLED = example(
    ("title", message(BYTES, message(1, b"\xff\xff"))), ("input_ids", ints(300, 2, 3)), WEIGHTS
)
TWICE = example(("input_ids", ints(9, 9, 9)), WEIGHTS, ("input_ids", ints(1, 2, 3)))
TITLES = [message(BYTES, message(1, b"x" * size)) for size in range(4)]


@pytest.mark.parametrize(
    "records",
    [
        [small(), TURNED, small()],
        [TURNED, small()],
        [small(), TITLED, small()],
        [example(("title", title), IDS, WEIGHTS) for title in TITLES],
        [TWICE, TWICE],  # the last one counts
        [small((4, 5, 6)), TWICE],
        [small((1, LARGEST_TOGETHER + 1, 3)), small()],
        [small(), small((1, 2**31 - 1, 3)), small()],
    ],
)
def test_decode_records_that_are_not_alike_equal_reference(records: list[bytes]) -> None:
    assert_equals_reference(records)


def test_decode_list_in_two_parts_equals_reference() -> None:
    parts = message(INTS, message(1, varint(1) + varint(300)) + message(1, varint(7)))
    split = example(("input_ids", parts), ("masked_lm_weights", floats(1, 0)))
    assert_equals_reference([small(), split])
    assert ExampleDecoder(SPECS).decode([split])["input_ids"].tolist() == [[1, 300, 7]]


@pytest.mark.parametrize(("row", "rows"), [(0, 3), (1, 3), (2, 3), (0, 1)])
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (small((1, 2)), r"^feature 'input_ids' has 2 values, 3 were expected: .* differ"),
        (small((1, 2, 3, 4)), r"^feature 'input_ids' has 4 values, 3 were expected: .* differ"),
        (small((1, 300)), r"^feature 'input_ids' has 2 values, 3 were expected: .* differ"),
        (small(()), r"^feature 'input_ids' has 0 values, 3 were expected: .* differ"),
        (small(weights=(1,)), r"^feature 'masked_lm_weights' has 1 values, 2 were expected"),
        (small(weights=()), r"^feature 'masked_lm_weights' has 0 values, 2 were expected"),
        (example(IDS), r"'masked_lm_weights' is missing; .*'input_ids'"),
        (example(IDS2, WEIGHTS), "'input_ids' is missing"),
        (example(("input_ids", floats(1, 2, 3)), WEIGHTS), NO_INTS),
        (
            example(IDS, ("masked_lm_weights", ints(1, 0))),
            "'masked_lm_weights' is not a list of fl",
        ),
        (example(("input_ids", message(BYTES, message(1, b"\1\2\3")))), NO_INTS),
        (example(("input_ids", message(INTS, message(1, b"\1\2\3\x80")))), NO_INTS),
        (
            example(("input_ids", message(INTS, message(1, b"\1\2" + b"\x80" * 10 + b"\1")))),
            NO_INTS,
        ),
        # The first part alone has the right length already.
        (
            example(("input_ids", message(INTS, message(1, b"\1\2\3") + message(1, b"\4")))),
            "has 4 values, 3 were expected",
        ),
        (b"", r"'input_ids' is missing; the record has \[\]"),
        (b"\x0a", NO_EXAMPLE),
        (b"\xff" * 40, NO_EXAMPLE),
        ("그냥 글일 뿐이다.".encode(), NO_EXAMPLE),
        (small() + b"\0", NO_EXAMPLE),
        (small()[:-1], NO_EXAMPLE),
        # An entry that leaves its record.
        (message(1, small()[2:] + b"\x0a\x7f" + message(1, b"x")), NO_EXAMPLE),
        # A size of ten bytes, negative if read into 64 bits: walking would go in a circle.
        (message(1, b"\x0a" + varint(-11) + message(1, b"x")), NO_EXAMPLE),
    ],
    ids=lambda value: value if isinstance(value, str) else "record",
)
def test_decode_wrong_record_raises_with_index_and_reason(
    wrong: bytes, reason: str, row: int, rows: int
) -> None:
    records = [small()] * rows
    records[row] = wrong
    with pytest.raises(DamagedRecordError, match=reason) as caught:
        ExampleDecoder(SPECS).decode(records)
    assert caught.value.index == row


def test_decode_lengths_that_differ_but_add_up_raise() -> None:
    # Six values of two records, but not three each; in one byte and in two.
    for ids in ((1, 2, 3, 4), (1, 300, 3, 4)):
        with pytest.raises(DamagedRecordError, match="has 4 values, 3 were expected"):
            ExampleDecoder(SPECS).decode([small(ids), small((5, 6))])
    with pytest.raises(DamagedRecordError, match="'masked_lm_weights' has 1 values"):
        ExampleDecoder(SPECS).decode([small(weights=(1,)), small(weights=(1, 2, 3))])


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_decode_damaged_bytes_equal_reference_or_raise_both(data: st.DataObject) -> None:
    records = [small((1, 300, 3)), small((7, 128, 90), (0.5, 2.0)), small()]
    row = data.draw(st.integers(0, 2))
    damaged = bytearray(records[row])
    for _ in range(data.draw(st.integers(1, 2))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    records[row] = bytes(damaged[: data.draw(st.integers(len(damaged) - 2, len(damaged)))])
    try:
        reference = decode_example(records[row], SPECS)
    except ValueError:
        reference = None
    if reference is None or reference["input_ids"].min() < 0:
        with pytest.raises(DamagedRecordError) as caught:
            ExampleDecoder(SPECS).decode(records)
        assert caught.value.index == row
        return
    found = ExampleDecoder(SPECS).decode(records)
    for name, values in reference.items():
        assert found[name][row].tobytes() == values.astype(found[name].dtype).tobytes()
