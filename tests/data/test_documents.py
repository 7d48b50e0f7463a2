import json

import pytest

from bert_ko.data import documents as documents_module
from bert_ko.data.corpus import Chunk, Part
from bert_ko.data.documents import Notes, encode_documents, read_documents
from bert_ko.data.settings import PipelineFlags
from bert_ko.tokenization.encoder import ID_MASK, LineEncoder
from bert_ko.tokenization.tokenizer import Tokenizer


def chunk_of(data: str | bytes, kind: str = "text", columns: tuple[str, ...] = ()) -> Chunk:
    data = data.encode() if isinstance(data, str) else data
    first_line = 2 if columns else 1
    return Chunk(0, (Part("a.file", kind, first_line, columns, data),))


def flags(**values: object) -> PipelineFlags:
    return PipelineFlags(input_file=("a.file",), output_file=("b",), **values)  # type: ignore[arg-type]


def read(
    chunk: Chunk, tokenizer: Tokenizer, config: PipelineFlags | None = None
) -> tuple[list[list[str]], Notes]:
    notes = Notes()
    return list(read_documents(chunk, config or flags(), tokenizer, notes)), notes


@pytest.mark.parametrize(
    "text",
    [
        "하나.\n둘.\n\n셋.\n",
        "하나.\n둘.\n\n셋.",
        "\n\n하나.\n둘.\n\n\n\n셋.\n\n",
        "하나.\r\n둘.\r\n\r\n셋.\r\n",
        "하나.\n둘.\n \t \n셋.\n",
        "하나.\n둘.\n\u3000\n셋.\n",
        "\ufeff하나.\n  둘.  \n\n셋.\n",
    ],
    ids=["plain", "open_end", "many_blank", "crlf", "blanks", "wide_blank", "bom"],
)
def test_read_documents_blank_lines_are_boundaries(text: str, tokenizer: Tokenizer) -> None:
    assert read(chunk_of(text), tokenizer)[0] == [["하나.", "둘."], ["셋."]]


@pytest.mark.parametrize("invisible", ["\u200d", "\u200b\u200d", "\ufeff", "\x00", "\u00ad"])
def test_read_documents_invisible_line_is_no_boundary_and_counted(
    invisible: str, tokenizer: Tokenizer
) -> None:
    found, notes = read(chunk_of(f"하나.\n{invisible}\n둘.\n\n{invisible}\n\n셋.\n"), tokenizer)
    assert found == [["하나.", "둘."], ["셋."]]
    assert notes.counts["lines_without_text"] == 2


def test_read_documents_decomposed_hangul_is_composed(tokenizer: Tokenizer) -> None:
    decomposed = "\u1112\u1161\u11ab\u1100\u1173\u11af"
    assert read(chunk_of(decomposed), tokenizer)[0] == [["한글"]]


def test_read_documents_rule_splitter_splits_lines(tokenizer: Tokenizer) -> None:
    text = "비가 왔다. 우산이 없었다.\n그래서 뛰었다.\n"
    by_rule = read(chunk_of(text), tokenizer, flags(sentence_splitter="rule"))[0]
    assert by_rule == [["비가 왔다.", "우산이 없었다.", "그래서 뛰었다."]]
    assert read(chunk_of(text), tokenizer)[0] == [["비가 왔다. 우산이 없었다.", "그래서 뛰었다."]]


def test_read_documents_invalid_utf8_is_replaced_and_counted(tokenizer: Tokenizer) -> None:
    data = "하나.\n".encode() + b"\xff\xfe\n" + "둘".encode() + b"\xea\xb0\n" + "\n셋.".encode()
    found, notes = read(chunk_of(data), tokenizer)
    assert found == [["하나.", "둘"], ["셋."]]
    assert notes.counts["invalid_utf8_lines"] == 2
    assert notes.examples["invalid_utf8_lines"] == ["a.file:2", "a.file:3"]


def test_read_documents_invalid_utf8_strict_raises_with_the_line(tokenizer: Tokenizer) -> None:
    data = "하나.\n둘.\n".encode() + "글방".encode("cp949")
    with pytest.raises(ValueError, match=r"^a\.file:3: invalid UTF-8 .* --strict"):
        read(chunk_of(data), tokenizer, flags(strict=True))


def test_read_documents_many_bad_lines_keep_five_places(tokenizer: Tokenizer) -> None:
    notes = read(chunk_of(b"\xff\n" * 9), tokenizer)[1]
    assert notes.counts["invalid_utf8_lines"] == 9
    assert notes.examples["invalid_utf8_lines"] == [f"a.file:{i}" for i in range(1, 6)]


def test_read_documents_long_line_is_cut_into_sentences(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents_module, "MAX_LINE_CHARS", 10)
    found, notes = read(chunk_of("해가 떴다. 달이 졌다. " + "가" * 25 + " " * 30 + "나"), tokenizer)
    assert found[0][:2] == ["해가 떴다.", "달이 졌다."]
    assert "".join(found[0][2:]).replace(" ", "") == "가" * 25 + "나"
    assert all(0 < len(sentence) <= 10 for sentence in found[0])
    assert notes.counts["long_lines_cut"] == 1


JSON_LINES = "\n".join(
    json.dumps(record, ensure_ascii=False)
    for record in (
        {"title": "제목", "content": "첫 줄.\n\n둘째 줄.", "n": 1},
        {"title": "다음", "content": "\u200d\n"},
        {"title": "", "content": " "},
    )
)


def test_read_documents_json_fields_are_joined_into_one_document(tokenizer: Tokenizer) -> None:
    config = flags(text_field=("title", "content"))
    found, notes = read(chunk_of(JSON_LINES + "\n\n", "jsonl"), tokenizer, config)
    assert found == [["제목", "첫 줄.", "둘째 줄."], ["다음"]]
    assert notes.counts["empty_records"] == 1


def test_read_documents_json_missing_field_raises_with_line_and_keys(tokenizer: Tokenizer) -> None:
    text = '{"text": "가"}\n\n{"body": "나", "n": 1}\n'
    with pytest.raises(ValueError, match=r"^a\.file:3: no text in field 'text'.*: body, n\.$"):
        read(chunk_of(text, "jsonl"), tokenizer)


@pytest.mark.parametrize("line", ['["가"]', '{"text": 3}', "7"])
def test_read_documents_json_without_a_string_raises(line: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"^a\.file:1: no text in field 'text'"):
        read(chunk_of(line, "jsonl"), tokenizer)


BAD_JSON = ["{", "가나다", '{"text": "가"} {"text": "나"}', "[" * 100_000, "1" * 5000]


@pytest.mark.parametrize("line", BAD_JSON, ids=["open", "text", "two", "deep", "digits"])
def test_read_documents_bad_json_is_counted_or_strict(line: str, tokenizer: Tokenizer) -> None:
    chunk = chunk_of(f'{{"text": "가"}}\n{line}\n{{"text": "나"}}\n', "jsonl")
    found, notes = read(chunk, tokenizer)
    assert found == [["가"], ["나"]]
    assert notes.counts["bad_records"] == 1
    assert notes.examples["bad_records"] == ["a.file:2"]
    with pytest.raises(ValueError, match=r"^a\.file:2: not JSON: .* --strict"):
        read(chunk, tokenizer, flags(strict=True))


def test_read_documents_csv_fields_are_joined_in_the_typed_order(tokenizer: Tokenizer) -> None:
    config = flags(text_field=("b", "a"))
    chunk = chunk_of('"첫\n줄",1,둘\r\n\r\n"말 ""인용""",2,끝\n', "csv", ("a", "n", "b"))
    assert read(chunk, tokenizer, config)[0] == [["둘", "첫", "줄"], ["끝", '말 "인용"']]


@pytest.mark.parametrize(("kind", "comma"), [("csv", ","), ("tsv", "\t")])
def test_read_documents_short_row_is_counted_or_strict(
    kind: str, comma: str, tokenizer: Tokenizer
) -> None:
    text = comma.join(["1", "가"]) + "\n" + "2\n" + comma.join(["3", "나"]) + "\n"
    chunk = chunk_of(text, kind, ("n", "text"))
    found, notes = read(chunk, tokenizer)
    assert found == [["가"], ["나"]]
    assert (notes.counts["bad_records"], notes.examples["bad_records"]) == (1, ["a.file:3"])
    with pytest.raises(ValueError, match=r"^a\.file:3: 1 fields where the header has 2"):
        read(chunk, tokenizer, flags(strict=True))


def test_read_documents_tsv_quotes_are_characters(tokenizer: Tokenizer) -> None:
    chunk = chunk_of('"가\t1\n나"\t2\r\n', "tsv", ("text", "n"))
    assert read(chunk, tokenizer)[0] == [['"가'], ['나"']]


def test_encode_documents_pieces_equal_the_tokenizer(tokenizer: Tokenizer) -> None:
    chunk = chunk_of("비가 왔다.\n우산이 없었다.\n\n그래서 뛰었다.\n")
    encoded = encode_documents(chunk, flags(), tokenizer, LineEncoder(tokenizer))
    lines = ["비가 왔다.", "우산이 없었다.", "그래서 뛰었다."]
    ids = [tokenizer.encode(line).ids for line in lines]
    all_ids = [piece for line in ids for piece in line]
    assert (encoded.pieces & ID_MASK).tolist() == all_ids
    assert encoded.sentence_lengths.tolist() == list(map(len, ids))
    assert encoded.document_lengths.tolist() == [2, 1]
    counts = encoded.notes.counts
    assert (counts["documents"], counts["sentences"], counts["pieces"]) == (2, 3, len(all_ids))


def test_encode_documents_nothing_in_it_is_empty(tokenizer: Tokenizer) -> None:
    encoded = encode_documents(chunk_of("\n\n \n"), flags(), tokenizer, LineEncoder(tokenizer))
    assert [len(array) for array in encoded[:4]] == [0, 0, 0, 0]
    assert encoded.digests.shape == (0, 16)


def test_encode_documents_digest_tells_texts_apart(tokenizer: Tokenizer) -> None:
    texts = ["가.\n나.", "가.\n나. ", "가. 나.", "가.\n다."]
    config = flags(drop_duplicate_documents=True)
    encoded = encode_documents(
        chunk_of("\n\n".join(texts)), config, tokenizer, LineEncoder(tokenizer)
    )
    digests = [digest.tobytes() for digest in encoded.digests]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
