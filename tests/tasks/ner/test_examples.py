"""Tagged sentences: what each form gives, what is mended and counted, what is refused."""

import gzip
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bert_ko.tasks.ner.bio import Entity, entities, tagged_text
from bert_ko.tasks.ner.examples import (
    Dataset,
    FileFormat,
    Sentence,
    read_dataset,
    read_texts,
)

KLUE = (
    "## 주석 : ##\n"
    "## 컬럼명 : CHAR\tNE_TAG\n"
    "## a-1\t<민수:PS>는 #\n"
    "민\tB-PS\n수\tI-PS\n는\tO\n \tO\n#\tO\n\n"
    "## a-2\t<서울:LC>\n"
    "서\tB-LC\n울\tI-LC\n\n"
)
NAVER = "민수는 내일 모레 떠난다 .\tPER-B DAT-B DAT-I O O\n예\tO\n"
NAVER_ROWS = "1\t민수는\tPER_B\n2\t내일\tDAT_B\n3\t모레\tDAT_I\n4\t떠난다\t-\n\n1\t예\t-\n\n"
CONLL = "-DOCSTART- O\n\n민수 B-PER\n는 O\n간다 O\n\n서울 B-LOC\n"

KLUE_SENTENCES = (
    Sentence("a-1", "민수는 #", (0, 1, 2, 3, 4), (1, 2, 3, 4, 5),
             ("B-PS", "I-PS", "O", "O", "O")),
    Sentence("a-2", "서울", (0, 1), (1, 2), ("B-LC", "I-LC")),
)  # fmt: skip


def write(folder: Path, content: str | bytes, name: str = "data.tsv") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def read(folder: Path, content: str | bytes, file_format: FileFormat = "auto") -> Dataset:
    return read_dataset(write(folder, content), file_format)


def error_of(folder: Path, content: str | bytes, file_format: FileFormat) -> str:
    path = write(folder, content)
    with pytest.raises(ValueError) as error:
        read_dataset(path, file_format)
    assert str(error.value).startswith(path)
    return str(error.value).removeprefix(path)


def texts(dataset: Dataset) -> list[str]:
    return [sentence.text for sentence in dataset.sentences]


def tags(dataset: Dataset) -> list[str]:
    return [" ".join(sentence.tags) for sentence in dataset.sentences]


def units(sentence: Sentence) -> list[str]:
    places = zip(sentence.starts, sentence.ends, strict=True)
    return [sentence.text[start:end] for start, end in places]


@pytest.mark.parametrize("file_format", ["auto", "klue"])
def test_read_dataset_klue_gives_literal_values(file_format: FileFormat, tmp_path: Path) -> None:
    path = write(tmp_path, KLUE)
    dataset = read_dataset(path, file_format)
    assert dataset == Dataset(path, "character", KLUE_SENTENCES, {})
    assert dataset.labels == ("O", "B-LC", "I-LC", "B-PS", "I-PS")


@pytest.mark.parametrize("file_format", ["auto", "naver"])
def test_read_dataset_naver_lines_give_literal_values(
    file_format: FileFormat, tmp_path: Path
) -> None:
    path = write(tmp_path, NAVER)
    first = Sentence(
        sentence_id="1",
        text="민수는 내일 모레 떠난다 .",
        starts=(0, 4, 7, 10, 14),
        ends=(3, 6, 9, 13, 15),
        tags=("B-PER", "B-DAT", "I-DAT", "O", "O"),
    )
    second = Sentence("2", "예", (0,), (1,), ("O",))
    assert read_dataset(path, file_format) == Dataset(
        path,
        "word",
        (first, second),
        problems={},
        conversions={("PER-B", "B-PER"): 1, ("DAT-B", "B-DAT"): 1, ("DAT-I", "I-DAT"): 1},
    )


@pytest.mark.parametrize("file_format", ["auto", "naver"])
def test_read_dataset_naver_rows_are_numbered_words(
    file_format: FileFormat, tmp_path: Path
) -> None:
    dataset = read(tmp_path, NAVER_ROWS, file_format)
    assert dataset.unit == "word"
    assert texts(dataset) == ["민수는 내일 모레 떠난다", "예"]
    assert tags(dataset) == ["B-PER B-DAT I-DAT O", "O"]
    assert [s.sentence_id for s in dataset.sentences] == ["1", "6"]
    assert dataset.problems == {}


@pytest.mark.parametrize("file_format", ["auto", "conll"])
@pytest.mark.parametrize("between", [" ", "\t", " NNG  X "])
def test_read_dataset_conll_takes_first_and_last_column(
    between: str, file_format: FileFormat, tmp_path: Path
) -> None:
    content = CONLL.replace("DOCSTART- O", "DOCSTART- -X- O").replace(" ", between)
    dataset = read(tmp_path, content, file_format)
    assert dataset.unit == "word"
    assert texts(dataset) == ["민수 는 간다", "서울"]
    assert dataset.sentences[0].starts == (0, 3, 5)
    assert dataset.sentences[0].ends == (2, 4, 7)
    assert tags(dataset) == ["B-PER O O", "B-LOC"]
    assert [s.sentence_id for s in dataset.sentences] == ["3", "7"]
    assert dataset.problems == {}


def test_read_dataset_conll_token_with_blank_stands_between_tabs(tmp_path: Path) -> None:
    (sentence,) = read(tmp_path, "김 민수\tB-PER\n씨\tO\n").sentences
    assert (sentence.text, units(sentence)) == ("김 민수 씨", ["김 민수", "씨"])


def test_read_dataset_conll_blanks_and_tabs_around_columns_are_none(tmp_path: Path) -> None:
    dataset = read(tmp_path, "김민수 \t B-PER\n씨\tO \t\n")
    assert (texts(dataset), tags(dataset)) == (["김민수 씨"], ["B-PER O"])


def test_read_dataset_conll_document_start_ends_a_sentence(tmp_path: Path) -> None:
    assert texts(read(tmp_path, "민수 B-PER\n-DOCSTART- O\n서울 B-LOC\n")) == ["민수", "서울"]


def test_read_dataset_conll_bare_types_are_one_entity_each_run(tmp_path: Path) -> None:
    content = "김 PER\n민수 PER\n와 O\n서울 LOC\n역 STATION\n역 O\n\n민수 PER\n"
    dataset = read(tmp_path, content)
    assert tags(dataset) == ["B-PER I-PER O B-LOC B-STATION O", "B-PER"]
    assert dataset.problems == {}


def test_read_dataset_iob1_is_converted_and_counted(tmp_path: Path) -> None:
    dataset = read(tmp_path, "김 I-PER\n민수 I-PER\n영희 B-PER\n와 O\n\n서울 I-LOC\n")
    assert tags(dataset) == ["B-PER I-PER B-PER O", "B-LOC"]
    assert (dataset.scheme, dataset.problems) == ("IOB1", {})
    assert dataset.conversions == {("I-PER", "B-PER"): 1, ("I-LOC", "B-LOC"): 1}
    assert dataset.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def test_read_dataset_ill_formed_tags_of_bio_name_their_line(tmp_path: Path) -> None:
    dataset = read(tmp_path, "예 민수\tO PER-B\n민수는 내일\tPER-I DAT-I\n")
    assert tags(dataset) == ["O B-PER", "B-PER B-DAT"]
    assert dataset.problems == {
        "ill_formed_tag": [
            f"{dataset.path}:2: PER-I of '민수는' continues no entity; read as B-PER",
            f"{dataset.path}:2: DAT-I of '내일' continues no entity; read as B-DAT",
        ]
    }


def test_read_dataset_naver_usual_order_is_taken_too(tmp_path: Path) -> None:
    assert tags(read(tmp_path, "민수는 내일 모레 간다\tB-PER B-DAT I-DAT -\n")) == [
        "B-PER B-DAT I-DAT O"
    ]


def test_read_dataset_naver_doubled_blanks_are_one(tmp_path: Path) -> None:
    (sentence,) = read(tmp_path, " 민수는  내\u00a0일 \tPER-B  O \n", "naver").sentences
    assert (sentence.text, units(sentence)) == ("민수는 내\u00a0일", ["민수는", "내\u00a0일"])


@pytest.mark.parametrize("character", ["\t", "\u3000", "\u2028", "\x85", "\x0c", "😀", "#", "\\"])
def test_read_dataset_klue_any_character_is_a_unit(character: str, tmp_path: Path) -> None:
    content = f"## x\t-\n{character}\tO\n가\tB-PS\n{character}\tI-PS\n"
    (sentence,) = read(tmp_path, content).sentences
    assert sentence.text == f"{character}가{character}"
    assert sentence.tags == ("O", "B-PS", "I-PS")


def test_read_dataset_klue_without_ids_takes_lines(tmp_path: Path) -> None:
    dataset = read(tmp_path, "\n가\tB-PS\n \tO\n\n## 주석\n나\tO\n")
    assert [(s.sentence_id, s.text) for s in dataset.sentences] == [("2", "가 "), ("6", "나")]
    assert dataset.unit == "character"


def test_read_dataset_klue_next_id_ends_a_sentence(tmp_path: Path) -> None:
    dataset = read(tmp_path, "## a\t가\n가\tO\n## b\t나\n## 주석\n나\tO\n")
    assert [(s.sentence_id, s.text) for s in dataset.sentences] == [("a", "가"), ("b", "나")]


def test_read_dataset_klue_id_without_characters_is_counted(tmp_path: Path) -> None:
    head = "## 컬럼명 : CHAR\tNE_TAG\n\n"
    content = head + "## a\t가\n가\tO\n\n## b\t나\n\n## c\t다\n## d\t라\n라\tO\n\n## e\t마\n"
    path = write(tmp_path, content)
    dataset = read_dataset(path)
    assert [s.sentence_id for s in dataset.sentences] == ["a", "d"]
    assert dataset.problems == {
        "empty_sentence": [f"{path}:{line}: no characters follow" for line in (6, 8, 12)]
    }


def test_read_dataset_repeated_id_is_counted_and_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "## a\t가\n가\tO\n\n## a\t나\n나\tO\n")
    dataset = read_dataset(path)
    assert texts(dataset) == ["가", "나"]
    assert dataset.problems == {"repeated_id": [f"{path}:4: the id a is repeated"]}


@pytest.mark.parametrize("content", [KLUE, NAVER, NAVER_ROWS, CONLL])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\n", b"  \n"),
        lambda data: data.replace(b"\n", b" \r\n"),
        lambda data: data.rstrip(b"\n"),
        lambda data: data + b"\n\n \n",
    ],
    ids=["BOM", "CRLF", "blanks", "blanks and CRLF", "no end", "more ends"],
)
def test_read_dataset_ends_of_lines_change_nothing(
    content: str, change: object, tmp_path: Path
) -> None:
    expected = read(tmp_path, content)
    assert read(tmp_path, change(content.encode())) == expected  # type: ignore[operator]


def test_read_dataset_compressed_and_remote_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(KLUE.encode()), "data.tsv.gz")
    assert read_dataset(path).sentences == KLUE_SENTENCES
    assert read_dataset(f"file://{path}").sentences == KLUE_SENTENCES


@pytest.mark.parametrize(
    ("content", "unit"),
    [
        ("## a\t나\n나\tO\n", "character"),
        ("나\tO\n \tO\n너\tB-PS\n", "character"),
        ("나\tNP\tO\n너\tNP\tB-PS\n", "word"),  # a syllable each, but three columns
        ("나 O\n너 B-PS\n", "word"),
        ("1\tSN\tB-QT\n명\tNNB\tI-QT\n", "word"),  # a number, but not of the word
        ("1 SN B-QT\n\n2 SN B-QT\n", "word"),
        ("예\tO\n민수는 간다\tPER-B O\n", "word"),
        ("민수\tPER\n는\tO\n", "word"),
    ],
)
def test_read_dataset_auto_decides_by_content(content: str, unit: str, tmp_path: Path) -> None:
    dataset = read(tmp_path, content)
    assert dataset.unit == unit
    assert dataset.problems == {}


def test_read_dataset_auto_tells_numbers_from_tokens(tmp_path: Path) -> None:
    assert texts(read(tmp_path, "1\tSN\tB-QT\n명\tNNB\tI-QT\n")) == ["1 명"]
    assert texts(read(tmp_path, "1\tSN\tO\n\n한\tMM\tO\n명\tNNB\tO\n")) == ["1", "한 명"]
    assert texts(read(tmp_path, "1\t예\tO\n\n1\t민수\tPER_B\n2\t야\t-\n")) == ["예", "민수 야"]


@pytest.mark.parametrize(
    "content",
    ["민수는 서울에 간다 .\n", "민수\n", "O\n", "id,text\n", '{"text": "민수"}\n', "가\x00나\n"],
)
def test_read_dataset_auto_unknown_form_says_what_was_seen(content: str, tmp_path: Path) -> None:
    message = error_of(tmp_path, "\n" * 300 + content + content, "auto")
    assert message.startswith(f": can't tell the format from {content.strip()!r}; expected KLUE's")
    assert message.endswith("say which with --file_format=klue, naver or conll.")


@pytest.mark.parametrize(
    ("file_format", "content", "message"),
    [
        ("klue", "가\tO\n나\n", ":2: expected CHARACTER, a tab and TAG (KLUE's form), got '나'."),
        ("klue", "가\tO\n \t\n", ":2: expected CHARACTER, a tab and TAG"),
        ("klue", "가\tO\n\u3000\n", ":2: expected CHARACTER, a tab and TAG"),
        ("klue", "가 O\n", ":1: expected CHARACTER, a tab and TAG"),
        ("klue", "가나\tO\n", ":1: expected CHARACTER, a tab and TAG"),
        ("klue", "가\tNNG\tO\n", ":1: expected CHARACTER, a tab and TAG"),
        ("klue", "가\tO\n나\tX-PS\n", ":2: the tag 'X-PS' fits no scheme; expected O, B-TYPE and"),
        ("klue", "가\tPS\n", ":1: in the whole file no tag is O, and none has a mark"),
        ("klue", "가\tB-\n", ":1: the tag 'B-' fits no scheme"),
        ("klue", "가\tb-PS\n", ":1: the tag 'b-PS' fits no scheme"),
        ("auto", KLUE + "## c\t가\n가\tX-PS\n", ":15: the tag 'X-PS' fits no scheme"),
        ("naver", "가 나\tO O\n가 나\n", ":2: expected SENTENCE, a tab and TAGS (Naver's form)"),
        ("naver", "가 나\tO O\t1\n나\tO\n가\tO\n\n", ":1: expected NUMBER, WORD and TAG with tabs"),
        ("naver", "가\tO\n가 나\tO O\t1\n", ":2: expected SENTENCE, a tab and TAGS"),
        ("naver", "가 나\tO O\n\n가 나 다\tO O\n",
         ":3: expected a tag for each word (Naver's form), got 3 words and 2 tags."),
        ("naver", "\tO\n", ":1: expected a tag for each word"),
        ("naver", "가 나\tO PER-X\n", ":1: the tag 'PER-X' fits no scheme"),
        ("naver", "가\t-B\n", ":1: the tag '-B' fits no scheme"),
        ("naver", "1\t가\t-\n2\t나\n", ":2: expected NUMBER, WORD and TAG with tabs (Naver's"),
        ("naver", "1\t가\t-\nx\t나\t-\n", ":2: expected NUMBER, WORD and TAG"),
        ("naver", "1\t가\t-\n2\t\t-\n", ":2: expected NUMBER, WORD and TAG"),
        ("naver", "1\t가\tPER\n", ":1: in the whole file no tag is O"),
        ("conll", "가다\n", ":1: expected two or more columns, from token to tag (CoNLL's form)"),
        ("conll", "가다 O\n나\n", ":2: expected 2 columns, as above, from token to tag"),
        ("conll", "가다 NNG O\n나 O\n", ":2: expected 3 columns, as above"),
        ("conll", "가다\tO\n\tO\n", ":2: expected 2 columns, as above"),
        ("conll", "가다 O\n나 X-PS\n", ":2: the tag 'X-PS' fits no scheme"),
        ("conll", "가다 O\n나 0\n", ":2: the tag '0' fits no scheme"),
        ("conll", "가다 O\n나 -\n", ":2: the tag '-' fits no scheme"),
        ("conll", "가다 O\n나 o\n", ":2: the tag 'o' fits no scheme"),
    ],
)  # fmt: skip
def test_read_dataset_wrong_line_is_named(
    file_format: FileFormat, content: str, message: str, tmp_path: Path
) -> None:
    assert error_of(tmp_path, content, file_format).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", " is empty; expected tagged sentences."),
        (b" \r\n\n", " is empty; expected tagged sentences."),
        (b"\xef\xbb\xbf", " is empty; expected tagged sentences."),
        ("## 주석\n## a\t가\n".encode(), " has no sentence; expected tagged sentences."),
        (b"-DOCSTART- O\n\n", " has no sentence; expected tagged sentences."),
        (
            "## a\t가\n가\tO\n".encode("cp949"),
            ": not UTF-8 text but CP949; give --input_encoding=cp949, or convert it: ",
        ),
        (b"a\tO\nb\tO\n" + "가\tO\n".encode("cp949"), ": not UTF-8 text but CP949; "),
    ],
)
def test_read_dataset_other_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    assert error_of(tmp_path, content, "auto").startswith(message)


def test_read_dataset_no_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_dataset(str(tmp_path / "none.tsv"))


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.characters(codec="utf-8", exclude_characters="\n\r"),
                st.sampled_from(["O", "B-PS", "B-LC"]),
            ),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_read_dataset_klue_written_is_read_back(
    tmp_path: Path, rows: list[list[tuple[str, str]]]
) -> None:
    content = "".join(
        f"## s{i}\t-\n" + "".join(f"{text}\t{tag}\n" for text, tag in sentence) + "\n"
        for i, sentence in enumerate(rows)
    )
    dataset = read(tmp_path, content)
    assert [list(zip(units(s), s.tags, strict=True)) for s in dataset.sentences] == rows
    assert texts(dataset) == ["".join(text for text, _ in sentence) for sentence in rows]
    assert dataset.problems == {}


def test_sentence_spans_are_characters_of_the_text(tmp_path: Path) -> None:
    (first, _) = read(tmp_path, NAVER).sentences
    spans = first.spans(first.tags)
    assert spans == [Entity("PER", 0, 3), Entity("DAT", 4, 9)]
    assert [first.text[start:end] for _, start, end in spans] == ["민수는", "내일 모레"]
    assert first.spans(["O", "O", "I-X", "I-X", "I-X"]) == [Entity("X", 7, 15)]


def test_read_texts_lines_keep_their_characters(tmp_path: Path) -> None:
    content = "\ufeff 민수는  \t간다 \r\n\n \n서울\u2028\x85\ufeff\r\r\n\ufeff끝"
    assert list(read_texts(write(tmp_path, content))) == [
        Sentence("1", " 민수는  \t간다 ", tuple(range(10)), tuple(range(1, 11)), ()),
        Sentence("4", "서울\u2028\x85\ufeff", tuple(range(5)), tuple(range(1, 6)), ()),
        Sentence("5", "\ufeff끝", (0, 1), (1, 2), ()),
    ]


def test_read_texts_answers_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO("민수\n서울\n".encode() + b"\xb0\xa1\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    found = read_texts("-")
    assert [next(found).text, next(found).text] == ["민수", "서울"]
    with pytest.raises(ValueError, match=r"^standard input:3: not UTF-8 text"):
        next(found)


def test_read_texts_empty_file_gives_nothing_and_no_file_raises(tmp_path: Path) -> None:
    assert list(read_texts(write(tmp_path, ""))) == []
    with pytest.raises(FileNotFoundError):
        list(read_texts(str(tmp_path / "none.txt")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sentences", "found", "mended"),
    [
        ("klue-ner/train", 3400, 9703, 0),
        ("klue-ner/dev", 800, 2205, 0),
        ("klue-ner/hclt2016_extra_train", 3555, 10208, 0),
        ("naver-ner/train", 6919, 22975, 80),
        ("naver-ner/dev", 1000, 3207, 2),
    ],
)
def test_read_dataset_real_file_gives_known_counts(
    name: str, sentences: int, found: int, mended: int, data_folder: Path
) -> None:
    dataset = read_dataset(str(data_folder / f"{name}.tsv"))
    assert len(dataset.sentences) == sentences
    assert sum(len(entities(sentence.tags)) for sentence in dataset.sentences) == found
    counts = {kind: len(details) for kind, details in dataset.problems.items()}
    assert counts == ({"ill_formed_tag": mended} if mended else {})
    gap = "" if dataset.unit == "character" else " "
    for sentence in dataset.sentences:
        assert gap.join(units(sentence)) == sentence.text
        assert len(sentence.tags) == len(sentence.starts)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "dev", "hclt2016_extra_train"])
def test_read_dataset_real_file_is_as_its_own_comments_say(name: str, data_folder: Path) -> None:
    path = data_folder / "klue-ner" / f"{name}.tsv"
    lines = path.read_text(encoding="utf-8").split("\n")
    heads = [line[3:].split("\t", 1) for line in lines if line.startswith("## ") and "\t" in line]
    assert [
        [sentence.sentence_id, tagged_text(sentence.text, sentence.spans(sentence.tags))]
        for sentence in read_dataset(str(path)).sentences
    ] == heads[1:]  # the first one names the columns
