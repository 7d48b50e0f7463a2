"""tokenize from end to end."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bert_ko import flags
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import write_folder
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS
from bert_ko.tokenize import TokenizeConfig, run

REPOSITORY = Path(__file__).parents[1]
PIECES = [*SPECIAL_TOKENS, "도서", "##관", "##에서", "책", "##을", "[이름]", "##은"]

# Arguments, and bytes of standard input, to the printed text.
Command = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("tokenize"))
    write_folder(path, PIECES, TokenizerConfig(additional_special_tokens=("[이름]",)))
    return path


@pytest.fixture
def tokenize(
    folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    def call(*arguments: str, typed: bytes = b"") -> str:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed)))
        given = [f"--vocab_file={folder}", *arguments]
        capsys.readouterr()  # of a vocabulary that was built for this test
        failed = flags.run_command(TokenizeConfig, run, given)
        printed, error = capsys.readouterr()
        assert failed == bool(error)
        return error if failed else printed

    return call


def objects(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.split("\n")[:-1]]


def test_tokenize_argument_table_shows_literal_rows(tokenize: Command) -> None:
    rows = [line.split() for line in tokenize("도서관에서 [이름]").splitlines()]
    assert rows[0] == ["piece", "id", "start", "end", "text", "eojeol", "morpheme", "pos"]
    assert rows[2:] == [
        ["도서", "5", "0", "2", "도서", "0", "0", "NNG"],
        ["##관", "6", "2", "3", "관", "0", "0"],
        ["##에서", "7", "3", "5", "에서", "0", "1", "JKB"],
        ["[이름]", "10", "6", "10", "[이름]", "1", "2", "KEPT"],
    ]


def test_tokenize_json_has_everything(tokenize: Command) -> None:
    first, second = objects(tokenize("--output_format=json", "도서관  책을", "뷁"))
    assert first == {
        "text": "도서관  책을",
        "pieces": ["도서", "##관", "책", "##을"],
        "ids": [5, 6, 8, 9],
        "offsets": [[0, 2], [2, 3], [5, 6], [6, 7]],
        "morpheme_ids": [0, 0, 1, 2],
        "eojeol_ids": [0, 0, 1, 1],
        "morphemes": [
            {"surface": "도서관", "start": 0, "end": 3, "pos": "NNG"},
            {"surface": "책", "start": 5, "end": 6, "pos": "NNG"},
            {"surface": "을", "start": 6, "end": 7, "pos": "JKO"},
        ],
    }
    assert second["pieces"] == ["[UNK]"]


def test_tokenize_file_and_standard_input_give_the_same(tokenize: Command, tmp_path: Path) -> None:
    data = "책을\r\n\n도서관\u2028책\n책".encode() + b"\xff\n"
    path = tmp_path / "texts.txt"
    path.write_bytes(data)
    printed = tokenize("--output_format=json", f"--input_file={path}")
    for arguments in (["--input_file=-"], []):
        assert tokenize("--output_format=json", *arguments, typed=data) == printed
    found = objects(printed)
    assert [value["text"] for value in found] == ["책을", "", "도서관\u2028책", "책\ufffd"]
    pieces = [["책", "##을"], [], ["도서", "##관", "책"], ["책"]]
    assert [value["pieces"] for value in found] == pieces


def test_tokenize_json_input_holds_line_breaks_in_a_text(tokenize: Command) -> None:
    texts = '"책\\n도서관\\t책"\n"책을"\n'.encode()
    first, second = objects(tokenize("--json_input", "--output_format=json", typed=texts))
    assert first["text"] == "책\n도서관\t책"
    assert first["offsets"] == [[0, 1], [2, 4], [4, 5], [6, 7]]
    assert second["text"] == "책을"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('"책"\n책\n', ":2: not JSON: "),
        ('"책"\n"을"\n["책"]\n', ":3: must be a JSON string, got list."),
        ('"책"\n\n', ":2: not JSON: "),
    ],
)
def test_tokenize_bad_json_is_named_by_its_place(
    content: str, words: str, tokenize: Command, tmp_path: Path
) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(content, encoding="utf-8")
    for place, printed in (
        (path, tokenize("--json_input", f"--input_file={path}")),
        ("standard input", tokenize("--json_input", typed=content.encode())),
        ("argument", tokenize("--json_input", *content.split("\n")[:-1])),
    ):
        assert f"tokenize: error: {place}{words}" in printed


@pytest.mark.parametrize("kind", ["table", "json"])
def test_tokenize_lone_surrogate_and_nul_are_printed_as_escapes(
    kind: str, tokenize: Command
) -> None:
    texts = ('"도\\udc80서"', '"책\\ud800\\u0000을"')
    printed = tokenize("--json_input", f"--output_format={kind}", "--", *texts)
    printed.encode()
    assert "##을" in printed
    if kind == "json":
        assert objects(printed)[1]["text"] == "책\ud800\x00을"
    else:
        assert "도\\udc80서" in printed


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_tokenize_type_without_mecab_has_no_parts_of_speech(
    kind: str, tokenize: Command, request: pytest.FixtureRequest
) -> None:
    vocabulary = f"--vocab_file={request.getfixturevalue(f'{kind}_folder')}"
    (value,) = objects(tokenize(vocabulary, "--output_format=json", "마을 도서관"))
    assert (value["text"], value["offsets"][-1][1]) == ("마을 도서관", 6)
    assert "morphemes" not in value
    assert "pos" not in tokenize(vocabulary, "책을").split("\n")[0].split()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input_file=x", "책"], "texts as arguments or --input_file, not both"),
        (["--input_file=/none/x.txt"], "/none/x.txt"),
        (["--subword_prefix_unit=morpheme", "책"], "--subword_prefix_unit=morpheme contradicts"),
        (["--vocab_file=/none/vocab.txt", "책"], "--vocab_file: no such file: /none/vocab.txt."),
    ],
)
def test_tokenize_wrong_flag_is_one_line(
    arguments: list[str], words: str, tokenize: Command
) -> None:
    error = tokenize(*arguments)
    assert error.startswith("tokenize: error: ")
    assert error.count("\n") == 1
    assert words in error


def test_tokenize_launcher_reads_standard_input(folder: str, tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "bin" / "tokenize"), f"--vocab_file={folder}"]
    done = subprocess.check_output(
        [*command, "--output_format=json"], input="책을\n".encode(), cwd=tmp_path
    )
    assert json.loads(done)["ids"] == [8, 9]
