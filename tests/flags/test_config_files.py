from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from bert_ko.flags import FlagError, Flags, flag, parse


@dataclass(frozen=True)
class Config(Flags):
    input_file: tuple[str, ...] = flag(help="Text files.")
    from_: str = flag("here", help="Where from.", other_name="source")
    max_lines: int | None = flag(None, help="Lines.", at_least=1)
    rate: float = flag(0.5, help="Rate.")
    do_lower_case: bool = flag(True, help="Lower-case.")
    tokenizer: Literal["mecab", "bert"] = flag("mecab", help="Finds the words.")


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


YAML = """
# 주석
input_file: [가.txt, "나, 다.txt"]
from: there
max_lines: 3
rate: 1
do_lower_case: false
tokenizer: bert
"""


def test_config_yaml_and_json_give_the_same_flags(tmp_path: Path) -> None:
    wanted = Config(input_file=("가.txt", "나, 다.txt"), from_="there", max_lines=3, rate=1.0,
                    do_lower_case=False, tokenizer="bert")  # fmt: skip
    values = {"input_file": ["가.txt", "나, 다.txt"], "source": "there", "max_lines": 3,
              "rate": 1, "do_lower_case": False, "tokenizer": "bert"}  # fmt: skip
    assert parse(Config, [f"--config={write(tmp_path, 'a.yaml', YAML)}"]) == wanted
    assert parse(Config, ["--config", write(tmp_path, "a.json", json.dumps(values))]) == wanted


def test_config_command_line_goes_before_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", YAML)
    flagfile = write(tmp_path, "a.flags", "--rate=2\n")
    found = parse(
        Config,
        ["--input_file=b", f"--config={path}", "--do_lower_case", f"--flagfile={flagfile}"],
    )
    assert (found.input_file, found.do_lower_case, found.rate) == (("b",), True, 2.0)
    assert (found.from_, found.max_lines) == ("there", 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"input_files": ["x"]}', "a.json: 'input_files' is no flag of this command; did you mean "
         "input_file?"),
        ('{"zzz": 1}', "a.json: 'zzz' is no flag of this command; --helpfull lists the flags."),
        ('{"max_lines": "3"}', "a.json: max_lines must be an integer, got '3'."),
        ('{"max_lines": true}', "a.json: max_lines must be an integer, got True."),
        ('{"rate": "fast"}', "a.json: rate must be a number, got 'fast'."),
        ('{"do_lower_case": 1}', "a.json: do_lower_case must be true or false, got 1."),
        ('{"tokenizer": "kkma"}', "a.json: tokenizer must be one of mecab, bert, got 'kkma'."),
        ('{"input_file": [1]}', "a.json: input_file must be a list of texts, got [1]."),
        ('{"from": "a", "source": "b"}', "a.json: source and --from are one flag; give it once."),
        ("[1]", "a.json must have names of flags, each with its value."),
        ("{", "a.json can't be read: Expecting property name"),
        ("{}", "--input_file: this must be given, got nothing; see --help."),
    ],
)  # fmt: skip
def test_config_wrong_file_names_the_file_and_the_key(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(FlagError) as caught:
        parse(Config, [f"--config={write(tmp_path, 'a.json', text)}"])
    assert message in str(caught.value)


def test_config_out_of_bounds_or_broken_yaml_or_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^--max_lines must be at least 1, got 0\.$"):
        text = "input_file: a\nmax_lines: 0\n"
        parse(Config, [f"--config={write(tmp_path, 'a.yml', text)}"])
    with pytest.raises(FlagError, match=r"b\.yml can't be read: .*line 1"):
        parse(Config, [f"--config={write(tmp_path, 'b.yml', 'a: [1')}"])
    with pytest.raises(FileNotFoundError):
        parse(Config, [f"--config={tmp_path / 'none.json'}"])


def test_config_run_json_gives_what_the_run_was_told(tmp_path: Path) -> None:
    seen: list[Any] = []

    @dataclass(frozen=True)
    class Checked(Config):
        @classmethod
        def check_given(cls, given: Any) -> None:
            seen.append(sorted(given))

    flags = {"input_file": ["a"], "from_": "here", "max_lines": 3, "rate": 0.5, "do_lower_case":
             True, "tokenizer": "mecab"}  # fmt: skip
    run = write(tmp_path, "run.json", json.dumps({"format": 1, "flags": flags, "identity": {}}))
    found = parse(Checked, [f"--config={run}", "--max_lines=4"])
    assert found == Checked(input_file=("a",), max_lines=4)
    assert seen == [["input_file", "max_lines"]]  # the defaults were not given


def test_config_json_does_not_import_yaml(tmp_path: Path) -> None:
    code = """
import sys
from tests.flags.test_config_files import Config, parse
parse(Config, [f"--config={sys.argv[1]}"])
assert "yaml" not in sys.modules
"""
    path = write(tmp_path, "a.json", '{"input_file": "a"}')
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=60)
