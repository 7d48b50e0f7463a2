import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bert_ko.tasks.squad.predictions import Candidate
from bert_ko.tasks.squad.reader import Answer
from bert_ko.tasks.squad.trial import Pair, answer_file, converse, read_pairs

HILL, RIVER = "도서관은 언덕 위에 있다.", "강가에 종이배가 뜬다."
QUESTION = f'{{"question": "어디인가?", "context": "{HILL}"}}'


def write(folder: Path, content: str | bytes) -> str:
    path = folder / "pairs.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def refusal(path: str) -> str:
    with pytest.raises(ValueError) as error:
        read_pairs(path)
    return str(error.value)


@pytest.mark.parametrize(
    ("content", "pairs"),
    [
        (
            f"어디인가?\t{HILL}\n\n \t \n무엇이 뜨는가?\t{RIVER}\n",
            [Pair("1", "어디인가?", HILL), Pair("4", "무엇이 뜨는가?", RIVER)],
        ),
        # Only the end of the line is removed; a second tab is part of the context.
        (
            f"\ufeff 어디인가? \t  \u200e{HILL}\t\u2028{RIVER}\u00a0 \r\n",
            [Pair("1", " 어디인가? ", f"  \u200e{HILL}\t\u2028{RIVER}\u00a0 ")],
        ),
        (f"어디인가?\t{HILL}", [Pair("1", "어디인가?", HILL)]),
        # The first line decides that it is no JSON.
        (
            f"어디인가?\t{HILL}\n{{강}}이란?\t{RIVER}\n",
            [Pair("1", "어디인가?", HILL), Pair("2", "{강}이란?", RIVER)],
        ),
    ],
)
def test_read_pairs_columns_are_numbered_by_their_lines(
    content: str, pairs: list[Pair], tmp_path: Path
) -> None:
    assert read_pairs(write(tmp_path, content)) == pairs
    path = tmp_path / "pairs.txt.gz"
    path.write_bytes(gzip.compress(content.encode()))
    assert read_pairs(str(path)) == pairs


def test_read_pairs_json_ids_are_its_own_or_the_line(tmp_path: Path) -> None:
    lines = [
        f'{{"id": "ㄱ", "question": "어디인가?", "context": "{HILL}"}}',
        f' {{"context": "{RIVER}", "question": "무엇인가?", "answer": "종이배"}}',
        "",
        f'{{"id": 7, "question": "누구인가?", "context": "첫째\\n\\t{RIVER}"}}',
        f'{{"id": null, "guid": "mrc_1", "question": "언제인가?", "context": "{RIVER}"}}',
    ]
    assert read_pairs(write(tmp_path, "\r\n".join(lines))) == [
        Pair("ㄱ", "어디인가?", HILL),
        Pair("2", "무엇인가?", RIVER),
        Pair("7", "누구인가?", f"첫째\n\t{RIVER}"),
        Pair("mrc_1", "언제인가?", RIVER),
    ]


@pytest.mark.parametrize("content", ["", "\n \n\t\n", "\ufeff"])
def test_read_pairs_nothing_there_is_an_error(content: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    assert refusal(path) == f"{path} has no line with a question and a context."
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        read_pairs(str(tmp_path / "none.txt"))


@pytest.mark.parametrize(
    "line", ["어디인가?", "어디인가?\t", "\t도서관", "어디인가?\t \u00a0", "["]
)
def test_read_pairs_line_without_both_names_the_line(line: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"어디인가?\t{HILL}\n\n{line}\n")
    assert refusal(path) == f"{path}:3: expected QUESTION, a tab and CONTEXT, or a JSON object."


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "어디?"', "not JSON: Expecting ',' delimiter: line 1 column 19 (char 18)."),
        ('{"question": "어디?"} {}', "not JSON: Extra data: line 1 column 21 (char 20)."),
        ("어디?\t도서관", "not JSON: Expecting value: line 1 column 1 (char 0)."),
        ("[1]", "expected a JSON object, got a list."),
        (
            '{"id": [1], "question": "어디?", "context": "강"}',
            "record.id must be a string, got a list.",
        ),
        ('{"data": []}', "this is a dataset; --predict_file takes it."),
        ("{}", "question must be a text, got nothing."),
        ('{"question": "", "context": "강"}', "question must be a text, got nothing."),
        ('{"question": null, "context": "강"}', "question must be a text, got null."),
        ('{"question": ["어디?"], "context": "강"}', "question must be a text, got a list."),
        ('{"question": "어디?"}', "context must be a text, got nothing."),
        ('{"question": "어디?", "context": " \\n"}', "context must be a text, got nothing."),
        ('{"question": "어디?", "context": true}', "context must be a text, got true or false."),
    ],
)
def test_read_pairs_wrong_json_line_says_what_it_has(
    line: str, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, f"{QUESTION}\n{line}\n")
    assert refusal(path) == f"{path}:2: {message}"


def test_read_pairs_json_nested_too_deeply_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, '{"question": ' + "[" * 200_000)
    assert refusal(path).startswith(f"{path}:1: not JSON: ")


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
    path = write(tmp_path, f"{{{first} {QUESTION[1:]}\n{{{second} {QUESTION[1:]}\n")
    assert refusal(path) == f"{path}: the id '{name}' is used twice."


def test_read_pairs_other_encoding_names_the_line_and_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path, f"어디인가?\t{HILL}\n".encode() + "무엇인가?\t강".encode("cp949"))
    assert refusal(path) == (
        f"{path}:2: not UTF-8 text; give --input_encoding=cp949, or convert it: "
        "`iconv -f cp949 -t utf-8`."
    )


class FakeReader:
    """Answers with the first word of the context."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def answer(self, question: Any, context: Any) -> Any:
        if isinstance(question, list):
            return [self.answer(*pair) for pair in zip(question, context, strict=True)]
        self.asked.append((question, context))
        word = context.split()[0]
        candidates = [Candidate(t, 0, len(t), 0, 0.5, 0, 0) for t in (word, *"가나다라")]
        return Answer(word, 0, len(word), 0.5, tuple(candidates))


def test_answer_file_prints_a_record_for_each_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reader: Any = FakeReader()
    answer_file(reader, write(tmp_path, f"어디인가?\t{HILL}\n무엇인가?\t{RIVER}\n"))
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(record["id"], record["answer"]) for record in records] == [
        ("1", "도서관은"), ("2", "강가에"),
    ]  # fmt: skip
    assert records[0] == {
        "id": "1", "question": "어디인가?", "answer": "도서관은", "answer_start": 0,
        "answer_end": 4, "probability": 0.5,
        "others": [{"text": text, "probability": 0.5} for text in "가나다"],
    }  # fmt: skip


def test_converse_empty_line_begins_a_new_context(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "\n", f"{HILL}\n", "어디인가?\n", "무엇인가?\r\n", "\n", " \t\n", f"  {RIVER} \n",
        " 무엇이 뜨는가? ", "\n", f"{HILL}\n", "\n", f"{RIVER}\n", "누구인가?",
    ]  # fmt: skip
    reader: Any = FakeReader()
    converse(reader, lines)
    assert reader.asked == [
        ("어디인가?", HILL),
        ("무엇인가?", HILL),
        (" 무엇이 뜨는가? ", f"  {RIVER} "),
        ("누구인가?", RIVER),
    ]
    said = capsys.readouterr()
    first, answers = said.err.rstrip("\n"), said.out.splitlines()
    assert first == (
        "type a context, then questions on it; an empty line before the next context; Ctrl-D ends"
    )
    assert answers[0] == "→ 도서관은  (0.50, characters 0:4; else 가 0.50, 나 0.50, 다 0.50)"
    assert len(answers) == 4


def test_converse_answers_before_the_next_line_is_read() -> None:
    reader: Any = FakeReader()

    def lines() -> Iterator[str]:
        yield from (HILL, "어디인가?")
        assert reader.asked == [("어디인가?", HILL)]

    converse(reader, lines())
    assert len(reader.asked) == 1
