"""Records of words: their bytes, which sentences make one, and what a bucket becomes."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.data.bilm import build_word_bucket, plan_records
from bert_ko.data.buckets import Bucket
from bert_ko.data.records import read_records
from bert_ko.data.word_records import (
    MAX_RECORD_WORDS,
    WordRecord,
    decode_word_record,
    encode_varints,
    encode_words,
    frame_record,
)

# A document is a list of sentences, a sentence a list of words.
Document = list[list[str]]
WORDS = ["봄", "꽃", "가" * 43, "x" * 200, "긴" * 6000]


def as_bytes(words: list[str]) -> np.ndarray:
    return np.frombuffer("".join(f"{word}\n" for word in words).encode(), np.uint8)


def framed(words: list[str], ids: list[int], lengths: list[int]) -> bytes:
    text = as_bytes(words)
    offsets = np.append(0, np.flatnonzero(text == ord("\n")) + 1)
    numbers = (encode_varints(np.array(values, np.int64)) for values in (lengths, ids))
    parts = [ragged.joined(0, len(ragged.offsets) - 1) for ragged in numbers]
    return frame_record(*parts, encode_words(text, offsets).joined(0, len(words)))


def bucket_of(documents: list[Document]) -> Bucket:
    sentences = [sentence for document in documents for sentence in document]
    sizes = [len(as_bytes(sentence)) for sentence in sentences]
    pieces = as_bytes([word for sentence in sentences for word in sentence])
    offsets = [np.cumsum([0, *lengths]) for lengths in (sizes, map(len, documents))]
    return Bucket(pieces, *offsets, 0)


def build(documents: list[Document], paths: list[str], seed: int = 1) -> list[list[WordRecord]]:
    """The records of each file."""
    words = sorted({word for document in documents for words in document for word in words})
    ids = {word.encode(): number for number, word in enumerate(words, start=3) if number % 3}
    build_word_bucket(bucket_of(documents), 0, paths, seed, ids)
    return [[decode_word_record(record) for record in read_records(path)] for path in paths]


# The bytes


def test_frame_record_bytes_are_as_written_here() -> None:
    assert framed(["봄", "책을"], [3, 300], [2])[12:-4] == (
        b"\nJ"
        b"\n\x19\n\x10sentence_lengths\x12\x05\x1a\x03\n\x01\x02"
        b"\n\x13\n\x08word_ids\x12\x07\x1a\x05\n\x03\x03\xac\x02"
        b"\n\x18\n\x05words\x12\x0f\n\r\n\x03\xeb\xb4\x84\n\x06\xec\xb1\x85\xec\x9d\x84"
    )


@pytest.mark.slow
def test_frame_record_bytes_are_those_of_tensorflow() -> None:
    tf = pytest.importorskip("tensorflow")
    ids, lengths = [3, 127, 128, 2**31, 2], [1, 4]
    example = tf.train.Example()
    example.features.feature["words"].bytes_list.value.extend(word.encode() for word in WORDS)
    example.features.feature["word_ids"].int64_list.value.extend(ids)
    example.features.feature["sentence_lengths"].int64_list.value.extend(lengths)
    framed_bytes = framed(WORDS, ids, lengths)
    assert framed_bytes[12:-4] == example.SerializeToString(deterministic=True)


@given(
    st.lists(st.text("가나a\U0001f600", min_size=1, max_size=50), min_size=1, max_size=9),
    st.data(),
)
def test_record_round_trip_keeps_words_ids_and_sentences(
    words: list[str], data: st.DataObject
) -> None:
    numbers = st.lists(st.integers(0, 2**40), min_size=len(words), max_size=len(words))
    ids = data.draw(numbers)
    cut = data.draw(st.integers(1, len(words)))
    lengths = [cut, len(words) - cut] if cut < len(words) else [cut]
    found = decode_word_record(framed(words, ids, lengths)[12:-4])
    assert (found.words, found.word_ids.tolist(), found.sentence_lengths.tolist()) == (
        words, ids, lengths,
    )  # fmt: skip


RECORD = framed(["봄", "꽃"], [3, 4], [2])[12:-4]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"\x0a\x00", "not a record of words"),
        (RECORD[:-1], "not a record of words"),
        (RECORD.replace(b"words", b"worms"), "not a record of words"),
        (RECORD.replace("봄".encode(), b"\xff\xfe\xfd"), "not a record of words"),
        (framed(["봄", "꽃"], [3], [2])[12:-4], "2 words has 1 word_ids and .* add up to 2"),
        (framed(["봄", "꽃"], [3, 4], [3])[12:-4], "add up to 3; make the shard again"),
        (framed(["봄", "꽃"], [3, 4], [2, 0])[12:-4], "add up to 2; make the shard again"),
    ],
)
def test_decode_other_record_raises(record: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_word_record(record)


# Which sentences


@given(
    st.lists(
        st.lists(st.sampled_from([1, 2, 999, 1000, 1001, 2000, 2001, 4000, 4001]), min_size=1),
        min_size=1,
    )
)
def test_plan_records_runs_are_within_documents_and_as_long_as_they_can_be(
    documents: list[list[int]],
) -> None:
    lengths = [length for document in documents for length in document]
    offsets = np.cumsum([0, *lengths])
    ends = np.cumsum([0, *map(len, documents)])
    plan = plan_records(offsets, ends)
    parts = np.diff(plan.sentence_offsets)
    assert plan.cut_sentences == sum(length > MAX_RECORD_WORDS for length in lengths)
    assert parts.max() <= MAX_RECORD_WORDS and parts.min() > 0
    assert set(offsets.tolist()) <= set(plan.sentence_offsets.tolist())
    assert len(parts) == sum(-(-length // MAX_RECORD_WORDS) for length in lengths)
    begins = plan.sentence_offsets[plan.record_offsets]
    sizes = np.diff(begins)
    assert sizes.max() <= MAX_RECORD_WORDS and sizes.sum() == sum(lengths)
    starts_document = set(offsets[ends].tolist())
    assert starts_document <= set(begins.tolist())
    for record, (first, end) in enumerate(itertools.pairwise(plan.record_offsets.tolist())):
        if begins[record + 1] not in starts_document:  # another sentence would not have fitted
            assert parts[first : end + 1].sum() > MAX_RECORD_WORDS


# A bucket


def test_build_word_bucket_small_documents_are_one_record_each(tmp_path: Path) -> None:
    documents = [[["봄", "이", "왔다"], ["꽃", "이", "핀다"]], [["강", "이", "흐른다"]]]
    path = str(tmp_path / "a")
    ids = {"이".encode(): 3, "꽃".encode(): 4}
    built = build_word_bucket(bucket_of(documents), 0, [path], 1, ids)
    found = sorted(
        (record.words, record.word_ids.tolist(), record.sentence_lengths.tolist())
        for record in map(decode_word_record, read_records(path))
    )
    assert found == [
        (["강", "이", "흐른다"], [2, 3, 2], [3]),
        (["봄", "이", "왔다", "꽃", "이", "핀다"], [2, 3, 2, 4, 3, 2], [3, 3]),
    ]
    assert built.counts == {
        "duplicate_documents": 0, "records": 2, "record_words": 9, "unknown_words": 5,
        "long_sentences_cut": 0,
    }  # fmt: skip
    assert (built.shards[0].records, built.shards[0].bytes) == (2, (tmp_path / "a").stat().st_size)


def test_build_word_bucket_long_document_is_divided_and_nothing_is_lost(tmp_path: Path) -> None:
    words = [f"낱말{number}" for number in range(5500)]
    document = [words[:1500], words[1500:1900], words[1900:2100], words[2100:5500]]
    (found,) = build([document], [str(tmp_path / "a")])
    # The number of a word says where it was.
    found.sort(key=lambda record: int(record.words[0][2:]))
    assert [record.sentence_lengths.tolist() for record in found] == [
        [1500, 400], [200], [2000], [1400],
    ]  # fmt: skip
    assert [word for record in found for word in record.words] == words


def test_build_word_bucket_order_is_random_by_seed_and_dealt_to_the_files(tmp_path: Path) -> None:
    documents = [[[f"문서{number}"]] for number in range(50)]

    def order(seed: int, *names: str) -> list[list[str]]:
        paths = [str(tmp_path / name) for name in names]
        return [[r.words[0] for r in records] for records in build(documents, paths, seed)]

    (one,) = order(1, "a")
    assert sorted(one) == sorted(words[0] for (words,) in documents)
    assert one != [words[0] for (words,) in documents]
    assert order(1, "a") == [one] != order(2, "a")
    assert order(1, "a", "b", "c") == [one[0::3], one[1::3], one[2::3]]
