"""tokenize from end to end."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bert_ko import flags
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import write_folder
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS
from bert_ko.tokenize import TokenizeConfig, run

REPOSITORY = Path(__file__).parents[1]
PIECES = [*SPECIAL_TOKENS, "도서", "##관", "##에서", "책", "##을", "[이름]", "##은"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("tokenize"))
    write_folder(path, PIECES, TokenizerConfig(additional_special_tokens=("[이름]",)))
    return path


def tokenize(folder: str, *arguments: str) -> int:
    return flags.run_command(TokenizeConfig, run, [f"--vocab_file={folder}", *arguments])


def type_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def objects(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.split("\n")[:-1]]


def test_tokenize_argument_table_shows_literal_rows(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokenize(folder, "도서관에서 [이름]") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["piece", "id", "start", "end", "text", "eojeol", "morpheme", "pos"]
    assert rows[2:] == [
        ["도서", "5", "0", "2", "도서", "0", "0", "NNG"],
        ["##관", "6", "2", "3", "관", "0", "0"],
        ["##에서", "7", "3", "5", "에서", "0", "1", "JKB"],
        ["[이름]", "10", "6", "10", "[이름]", "1", "2", "KEPT"],
    ]


def test_tokenize_json_has_everything(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokenize(folder, "--output_format=json", "도서관  책을", "뷁") == 0
    first, second = objects(capsys)
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


def test_tokenize_file_and_standard_input_give_the_same(
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = "책을\r\n\n도서관\u2028책".encode()
    path = tmp_path / "texts.txt"
    path.write_bytes(data)
    found = []
    assert tokenize(folder, f"--input_file={path}", "--output_format=json") == 0
    found.append(objects(capsys))
    for arguments in (["--input_file=-"], []):
        type_in(monkeypatch, data)
        assert tokenize(folder, "--output_format=json", *arguments) == 0
        found.append(objects(capsys))
    assert found[0] == found[1] == found[2]
    assert [value["text"] for value in found[0]] == ["책을", "", "도서관\u2028책"]
    assert [value["pieces"] for value in found[0]] == [
        ["책", "##을"], [], ["도서", "##관", "책"],
    ]  # fmt: skip


def test_tokenize_json_input_holds_line_breaks_in_a_text(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('"책\\n도서관\\t책"\n"책을"\n', encoding="utf-8")
    assert tokenize(folder, f"--input_file={path}", "--json_input", "--output_format=json") == 0
    first, second = objects(capsys)
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
def test_tokenize_bad_json_line_is_named_by_its_number(
    content: str, words: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(content, encoding="utf-8")
    assert tokenize(folder, f"--input_file={path}", "--json_input") == 1
    assert f"tokenize: error: {path}{words}" in capsys.readouterr().err


def test_tokenize_bad_json_argument_and_standard_input_are_named(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokenize(folder, "--json_input", '"책"', "책") == 1
    assert "tokenize: error: argument:2: not JSON" in capsys.readouterr().err
    type_in(monkeypatch, b"1\n")
    assert tokenize(folder, "--json_input") == 1
    assert "standard input:1: must be a JSON string, got int." in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["table", "json"])
def test_tokenize_lone_surrogate_and_nul_are_printed_as_escapes(
    kind: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '"책\\ud800\\u0000을"'
    assert tokenize(folder, "--json_input", f"--output_format={kind}", "--", text) == 0
    printed = capsys.readouterr().out
    printed.encode()
    assert "##을" in printed
    if kind == "json":
        assert json.loads(printed)["text"] == "책\ud800\x00을"


def test_tokenize_slice_over_a_surrogate_is_printable(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokenize(folder, "--json_input", '"도\\udc80서"') == 0
    printed = capsys.readouterr().out
    printed.encode()
    assert "도\\udc80서" in printed


def test_tokenize_invalid_utf8_line_is_replaced(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_in(monkeypatch, "책을".encode() + b"\xff\n")
    assert tokenize(folder, "--output_format=json") == 0
    assert objects(capsys)[0]["pieces"] == ["책", "##을"]


def test_tokenize_type_without_mecab_has_no_parts_of_speech(
    wordpiece_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokenize(wordpiece_folder, "--output_format=json", "책을") == 0
    assert "morphemes" not in objects(capsys)[0]
    assert tokenize(wordpiece_folder, "책을") == 0
    assert "pos" not in capsys.readouterr().out.split("\n")[0].split()


def test_tokenize_sentencepiece_type_runs(
    sentencepiece_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokenize(sentencepiece_folder, "--output_format=json", "마을 도서관") == 0
    (value,) = objects(capsys)
    assert value["text"] == "마을 도서관"
    assert value["offsets"][-1][1] == 6  # type: ignore[index]


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
    arguments: list[str], words: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokenize(folder, *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("tokenize: error: ")
    assert error.count("\n") == 1
    assert words in error


def test_tokenize_launcher_reads_standard_input(folder: str, tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "bin" / "tokenize"), f"--vocab_file={folder}"]
    done = subprocess.run(
        [*command, "--output_format=json"],
        input="책을\n".encode(),
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    assert json.loads(done.stdout)["ids"] == [8, 9]
