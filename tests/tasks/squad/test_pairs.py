import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_ko.tasks.squad.examples import Dataset, Paragraph, Question
from bert_ko.tasks.squad.pairs import Pair, converse, read_pairs, to_dataset

HILL, RIVER = "도서관은 언덕 위에 있다.", "강가에 종이배가 뜬다."


def write(folder: Path, content: str | bytes) -> str:
    path = folder / "pairs.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


# Columns


def test_read_pairs_columns_are_numbered_by_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path, f"어디인가?\t{HILL}\n\n \t \n무엇이 뜨는가?\t{RIVER}\n")
    assert read_pairs(path) == [
        Pair("1", "어디인가?", HILL),
        Pair("4", "무엇이 뜨는가?", RIVER),
    ]


def test_read_pairs_context_is_kept_character_for_character(tmp_path: Path) -> None:
    # Of a line nothing but its end is taken off; a second tab is part of the context.
    path = write(tmp_path, f"\ufeff 어디인가? \t  \u200e{HILL}\t\u2028{RIVER}\u00a0 \r\n")
    assert read_pairs(path) == [Pair("1", " 어디인가? ", f"  \u200e{HILL}\t\u2028{RIVER}\u00a0 ")]


def test_read_pairs_last_line_without_end_is_read(tmp_path: Path) -> None:
    assert read_pairs(write(tmp_path, f"어디인가?\t{HILL}")) == [Pair("1", "어디인가?", HILL)]


def test_read_pairs_compressed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt.gz"
    path.write_bytes(gzip.compress(f"어디인가?\t{HILL}\n".encode()))
    assert read_pairs(str(path)) == [Pair("1", "어디인가?", HILL)]


def test_read_pairs_columns_later_line_with_a_brace_is_no_json(tmp_path: Path) -> None:
    path = write(tmp_path, f"어디인가?\t{HILL}\n{{강}}이란?\t{RIVER}\n")
    assert read_pairs(path)[1] == Pair("2", "{강}이란?", RIVER)


# JSON lines


def test_read_pairs_json_ids_are_its_own_or_the_line(tmp_path: Path) -> None:
    lines = [
        f'{{"id": "ㄱ", "question": "어디인가?", "context": "{HILL}"}}',
        f' {{"context": "{RIVER}", "question": "무엇인가?", "answer": "종이배"}}',
        "",
        f'{{"id": 7, "question": "누구인가?", "context": "첫째\\n\\t{RIVER}"}}',
        f'{{"id": null, "question": "언제인가?", "context": "{RIVER}"}}',
        f'{{"id": null, "question": "왜인가?", "context": "{RIVER}"}}',
    ]
    assert read_pairs(write(tmp_path, "\r\n".join(lines))) == [
        Pair("ㄱ", "어디인가?", HILL),
        Pair("2", "무엇인가?", RIVER),
        Pair("7", "누구인가?", f"첫째\n\t{RIVER}"),
        Pair("5", "언제인가?", RIVER),
        Pair("6", "왜인가?", RIVER),
    ]


# What is wrong


@pytest.mark.parametrize("content", ["", "\n \n\t\n", "\ufeff"])
def test_read_pairs_nothing_there_is_an_error(content: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ValueError) as error:
        read_pairs(path)
    assert str(error.value) == f"{path} has no line with a question and a context."


@pytest.mark.parametrize(
    "line", ["어디인가?", "어디인가?\t", "\t도서관", "어디인가?\t \u00a0", "["]
)
def test_read_pairs_line_without_both_names_the_line(line: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"어디인가?\t{HILL}\n\n{line}\n")
    with pytest.raises(ValueError) as error:
        read_pairs(path)
    assert str(error.value) == f"{path}:3: expected QUESTION, a tab and CONTEXT, or a JSON object."


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "어디?"', "not JSON: Expecting ',' delimiter: line 1 column 19 (char 18)."),
        ('{"question": "어디?"} {}', "not JSON: Extra data: line 1 column 21 (char 20)."),
        ("어디?\t도서관", "not JSON: Expecting value: line 1 column 1 (char 0)."),
        ("{}", "question must be a text, got nothing."),
        ('{"question": "", "context": "강"}', "question must be a text, got nothing."),
        ('{"question": null, "context": "강"}', "question must be a text, got null."),
        ('{"question": ["어디?"], "context": "강"}', "question must be a text, got a list."),
        ('{"question": "어디?"}', "context must be a text, got nothing."),
        ('{"question": "어디?", "context": " \\n"}', "context must be a text, got nothing."),
        ('{"question": "어디?", "context": 3}', "context must be a text, got an integer."),
        ('{"question": "어디?", "context": 0.5}', "context must be a text, got a number."),
        ('{"question": "어디?", "context": true}', "context must be a text, got true or false."),
        ('{"question": "어디?", "context": {}}', "context must be a text, got an object."),
    ],
)
def test_read_pairs_json_line_that_is_none_says_what_it_has(
    line: str, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, f'{{"question": "어디인가?", "context": "{HILL}"}}\n{line}\n')
    with pytest.raises(ValueError) as error:
        read_pairs(path)
    assert str(error.value) == f"{path}:2: {message}"


def test_read_pairs_json_nested_too_deeply_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, '{"question": ' + "[" * 200_000)
    with pytest.raises(ValueError, match=rf"^{path}:1: not JSON: "):
        read_pairs(path)


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ('"id": "ㄱ",', '"id": "ㄱ",', "ㄱ"),
        ('"id": 3,', '"id": "3",', "3"),
        ('"id": "2",', "", "2"),
    ],
)
def test_read_pairs_id_twice_is_an_error(
    first: str, second: str, name: str, tmp_path: Path
) -> None:
    rest = f'"question": "어디인가?", "context": "{HILL}"}}'
    path = write(tmp_path, f"{{{first} {rest}\n{{{second} {rest}\n")
    with pytest.raises(ValueError) as error:
        read_pairs(path)
    assert str(error.value) == f"{path}: the id '{name}' stands there twice."


def test_read_pairs_other_encoding_names_the_line_and_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path, f"어디인가?\t{HILL}\n".encode() + "무엇인가?\t강".encode("cp949"))
    with pytest.raises(ValueError) as error:
        read_pairs(path)
    assert str(error.value) == f"{path}:2: not UTF-8 text (CP949? `iconv -f cp949 -t utf-8`)."


def test_read_pairs_no_such_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        read_pairs(str(tmp_path / "none.txt"))


# Datasets


def question(qas_id: str, text: str) -> Question:
    return Question(qas_id, text, (), False)


def test_to_dataset_neighbours_share_their_context() -> None:
    pairs = [
        Pair("1", "어디인가?", HILL),
        Pair("ㄴ", "무엇인가?", HILL),
        Pair("3", "무엇이 뜨는가?", RIVER),
        Pair("4", "누구인가?", HILL),
        Pair("5", "어디인가?", f"{HILL} "),
    ]
    assert to_dataset(pairs) == Dataset(
        "",
        (
            Paragraph("", HILL, (question("1", "어디인가?"), question("ㄴ", "무엇인가?"))),
            Paragraph("", RIVER, (question("3", "무엇이 뜨는가?"),)),
            Paragraph("", HILL, (question("4", "누구인가?"),)),
            Paragraph("", f"{HILL} ", (question("5", "어디인가?"),)),
        ),
        (),
    )
    found = [q.qas_id for _, q in to_dataset(pairs).questions()]
    assert found == ["1", "ㄴ", "3", "4", "5"]  # as they were asked
    assert to_dataset(pairs).golds() == {}


def test_to_dataset_no_pairs_is_empty() -> None:
    assert to_dataset([]) == Dataset("", (), ())


# A person


def test_converse_empty_line_begins_a_new_context() -> None:
    lines = [
        "\n", f"{HILL}\n", "어디인가?\n", "무엇인가?\r\n", "\n", " \t\n", f"  {RIVER} \n",
        " 무엇이 뜨는가? ", "\n", f"{HILL}\n", "\n", f"{RIVER}\n", "누구인가?",
    ]  # fmt: skip
    assert list(converse(iter(lines))) == [
        Pair("1", "어디인가?", HILL),
        Pair("2", "무엇인가?", HILL),
        Pair("3", " 무엇이 뜨는가? ", f"  {RIVER} "),
        Pair("4", "누구인가?", RIVER),
    ]


def test_converse_answers_before_the_next_line_is_read() -> None:
    read: list[str] = []

    def lines() -> Iterator[str]:
        for line in (HILL, "어디인가?", "무엇인가?"):
            read.append(line)
            yield line

    pairs = converse(lines())
    assert next(pairs).question == "어디인가?"
    assert read == [HILL, "어디인가?"]


def test_converse_nothing_typed_is_nothing() -> None:
    assert list(converse(iter([]))) == []
    assert list(converse(iter([HILL]))) == []
