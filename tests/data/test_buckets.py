import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko.data.buckets import (
    assign_buckets,
    choose_num_buckets,
    read_bucket,
    read_spill_notes,
    spill_path,
    write_spill,
)
from bert_ko.data.documents import EncodedDocuments, Notes

# A document is a list of sentences, a sentence a list of pieces.
Document = list[list[int]]
DOCUMENTS = st.lists(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=3),
    max_size=8,
)


def encode(documents: list[Document]) -> EncodedDocuments:
    sentences = [sentence for document in documents for sentence in document]
    digests = [hashlib.md5(repr(document).encode()).digest() for document in documents]
    notes = Notes()
    notes.counts["documents"] = len(documents)
    notes.add("invalid_utf8_lines", "한글.txt:3")
    return EncodedDocuments(
        np.array([piece for sentence in sentences for piece in sentence], np.uint32),
        np.array(list(map(len, sentences)), np.int32),
        np.array(list(map(len, documents)), np.int32),
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16),
        notes,
    )


def decode(paths: list[str], bucket: int, num_buckets: int, drop: bool) -> list[Document]:
    found = read_bucket(paths, bucket, num_buckets, drop)
    sentences = [
        found.pieces[start:end].tolist()
        for start, end in zip(found.sentence_offsets, found.sentence_offsets[1:], strict=False)
    ]
    return [
        sentences[start:end]
        for start, end in zip(found.document_offsets, found.document_offsets[1:], strict=False)
    ]


@pytest.mark.slow
@settings(max_examples=60)
@given(
    st.lists(DOCUMENTS, min_size=1, max_size=3), st.integers(1, 5), st.integers(0, 2**63 - 1),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_read_bucket_round_trip_keeps_every_document_in_order(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[list[Document]], num_buckets: int, seed:
    int, by_content: bool, drop: bool,
) -> None:  # fmt: skip
    folder = str(tmp_path_factory.mktemp("spill"))
    wanted: dict[int, list[Document]] = {bucket: [] for bucket in range(num_buckets)}
    paths = [spill_path(folder, number) for number in range(len(chunks))]
    for number, documents in enumerate(chunks):
        encoded = encode(documents)
        owners = assign_buckets(encoded, number, num_buckets, seed, by_content)
        write_spill(paths[number], encoded, owners, num_buckets)
        for document, owner in zip(documents, owners.tolist(), strict=True):
            if not (drop and document in wanted[owner]):
                wanted[owner].append(document)
    for bucket in range(num_buckets):
        assert decode(paths, bucket, num_buckets, drop) == wanted[bucket]
        if by_content and drop:
            others = [d for other in range(bucket) for d in wanted[other]]
            assert not [document for document in wanted[bucket] if document in others]


def test_read_bucket_duplicates_are_counted(tmp_path: Path) -> None:
    path = spill_path(str(tmp_path), 0)
    encoded = encode([[[1, 2]], [[3]], [[1, 2]], [[1, 2]]])
    write_spill(path, encoded, np.zeros(4, np.int64), 1)
    assert read_bucket([path], 0, 1, True).duplicates == 2
    assert read_bucket([path], 0, 1, False).duplicates == 0
    assert decode([path], 0, 1, True) == [[[1, 2]], [[3]]]


def test_read_bucket_cut_off_file_raises_with_its_name(tmp_path: Path) -> None:
    path = spill_path(str(tmp_path), 0)
    write_spill(path, encode([[[1, 2]], [[3]]]), np.zeros(2, np.int64), 1)
    data = Path(path).read_bytes()
    for size in (10, 30, data.index(b"{") - 2):  # in the head, the index and the pieces
        Path(path).write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"spill-000000\.bin: cut off"):
            read_bucket([path], 0, 1, False)
    with pytest.raises(ValueError, match=r"spill-000000\.bin: cut off"):
        list(read_spill_notes([path]))


def test_read_spill_notes_round_trip(tmp_path: Path) -> None:
    path = spill_path(str(tmp_path), 0)
    write_spill(path, encode([[[1]]]), np.zeros(1, np.int64), 1)
    notes = {
        "counts": {"documents": 1, "invalid_utf8_lines": 1},
        "examples": {"invalid_utf8_lines": ["한글.txt:3"]},
    }
    assert list(read_spill_notes([path, path])) == [notes, notes]


def test_assign_buckets_equal_texts_meet_by_content_and_spread_by_place() -> None:
    encoded = encode([[[7]]] * 400)
    by_content = assign_buckets(encoded, 0, 4, 1, by_content=True)
    assert len(set(by_content.tolist())) == 1
    by_place = assign_buckets(encoded, 0, 4, 1, by_content=False)
    # Binomial(400, 1/4) has a standard deviation of 8.7.
    assert all(60 < count < 140 for count in np.bincount(by_place, minlength=4))


def test_assign_buckets_seed_and_chunk_decide() -> None:
    encoded = encode([[[7]]] * 50)
    draws = [
        assign_buckets(encoded, chunk, 1000, seed, by_content=False).tolist()
        for chunk, seed in ((0, 1), (0, 1), (1, 1), (0, 2))
    ]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) == 3


@pytest.mark.parametrize(
    ("text_bytes", "num_shards", "expected"),
    [(0, 4, 1), (100, 4, 1), (101, 1, 2), (1000, 1, 10), (1000, 4, 12), (1000, 10, 10),
     (1000, 16, 16), (1000, 80, 80), (1000, 81, 10), (10**9, 1, 4096)],
)  # fmt: skip
def test_choose_num_buckets_sizes_decide(text_bytes: int, num_shards: int, expected: int) -> None:
    assert choose_num_buckets(text_bytes, num_shards, bucket_bytes=100) == expected
