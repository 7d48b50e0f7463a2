from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from bert_ko.flags import (
    FlagError,
    Flags,
    changed_flags,
    flag,
    help_text,
    output_flags,
    parse,
    run_command,
    values_before,
)


@dataclass(frozen=True)
class Config:
    """Reads a corpus
    of Korean.

    This paragraph is for readers of the code.
    """

    input_file: tuple[str, ...] = flag(help="Text files.")
    vocab_file: str = flag(help="One token per line.")
    max_seq_length: int = flag(128, help="Length of an instance, in tokens. " * 8)
    masked_lm_prob: float = flag(0.15, help="Share of masked tokens.")
    do_lower_case: bool = flag(True, help="Lower-case the text.")
    tokenizer: Literal["mecab", "bert"] = flag("mecab", help="Finds the words.")
    split: Literal["dev", "train"] | None = flag(None, help="Which part.")
    max_lines: int | None = flag(None, help="Stop after this many lines.")
    tpu_name: str | None = flag(None, help="Not used.")
    num_workers: int = flag(1, help="Processes.", affects_output=False)

    def __post_init__(self) -> None:
        if self.max_seq_length < 5:
            raise ValueError(f"max_seq_length must be 5 or more, got {self.max_seq_length}.")


@dataclass(frozen=True)
class WordsConfig:
    words: tuple[str, ...] = flag((), positional=True, help="Words to count.")
    as_json: bool = flag(False, help="Print JSON.")


@dataclass(frozen=True)
class RequiredWordsConfig(WordsConfig):
    words: tuple[str, ...] = flag(positional=True, help="Words to count.")


@dataclass(frozen=True)
class SeedFlags:
    random_seed: int = flag(12345, help="Seed.")


@dataclass(frozen=True)
class KeywordConfig:
    """Its flags are keywords of Python."""

    from_: str = flag(help="Where from.")
    import_: tuple[str, ...] = flag((), help="Names.", positional=True)
    is_: bool = flag(True, help="Whether.")


REQUIRED = ["--input_file=a.txt,b.txt", "--vocab_file=v"]


def test_parse_required_only_gives_defaults() -> None:
    parse(Config, [*REQUIRED, "--max_seq_length=64"])  # leaves nothing behind
    assert parse(Config, REQUIRED) == Config(input_file=("a.txt", "b.txt"), vocab_file="v")


@pytest.mark.parametrize(
    ("field", "value", "forms"),
    [
        ("max_seq_length", 512,
         ["--max_seq_length=512", "--max_seq_length 512", "-max_seq_length=512",
          "--max_seq_length=64 --max_seq_length=512"]),
        ("masked_lm_prob", -2.5, ["--masked_lm_prob=-2.5", "--masked_lm_prob -2.5"]),
        ("do_lower_case", False, ["--nodo_lower_case", "--do_lower_case=false"]),
        ("do_lower_case", True, ["--do_lower_case"]),
        ("tokenizer", "bert", ["--tokenizer=bert"]),
        ("split", "dev", ["--split=dev"]),
        ("max_lines", 3, ["--max_lines=3"]),
        ("tpu_name", "", ["--tpu_name="]),
        ("input_file", ("가.txt", "나.txt"), ["--input_file=가.txt,나.txt,"]),
        ("max_seq_length", 128, ["--undefok=old_flag --old_flag=3"]),
    ],
)  # fmt: skip
def test_parse_flag_gives_value(field: str, value: object, forms: list[str]) -> None:
    for form in forms:
        assert getattr(parse(Config, REQUIRED + form.split()), field) == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input_files=x"], "unknown flag --input_files; did you mean --input_file?"),
        (["--nodo_lowercase"], "unknown flag --nodo_lowercase; did you mean --nodo_lower_case?"),
        (["--zzz"], "unknown flag --zzz; --help lists the flags."),
        (["--max_seq_length=abc"], "--max_seq_length must be an integer, got 'abc'."),
        (["--max_seq_length="], "--max_seq_length must be an integer, got ''."),
        (["--masked_lm_prob=a: b\nc"], "--masked_lm_prob must be a number, got 'a: b\\nc'."),
        (["--do_lower_case=perhaps"], "--do_lower_case must be true or false, got 'perhaps'."),
        (["--tokenizer=kkma"], "--tokenizer must be one of mecab, bert, got 'kkma'."),
        (["--vocab_file"], "Missing value for flag --vocab_file"),
        (["--nodo_lower_case=1"], "--nodo_lower_case=1 does not take an argument"),
        (["--vocab_file="], "--vocab_file: this must be given, got an empty value; see --help."),
        (["--do_lower_case", "true"], "unexpected argument 'true': only flags are allowed, as "
         "--name=value, or --name and --noname for a bool."),
    ],
)  # fmt: skip
def test_parse_wrong_flag_raises_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(FlagError) as caught:
        parse(Config, REQUIRED + arguments)
    assert str(caught.value) == message


def test_parse_error_of_the_config_passes() -> None:
    with pytest.raises(ValueError, match=r"^max_seq_length must be 5 or more, got 2\.$"):
        parse(Config, [*REQUIRED, "--max_seq_length=2"])


@pytest.mark.parametrize(
    ("config_class", "arguments", "message"),
    [
        (Config, [], "--input_file, --vocab_file: these must be given, got nothing; see --help."),
        (RequiredWordsConfig, ["--as_json"], "WORDS: this must be given, got nothing; see --help."),
        (KeywordConfig, ["--from_=here"], "unknown flag --from_; did you mean --from?"),
        (KeywordConfig, [], "--from: this must be given, got nothing; see --help."),
    ],
)
def test_parse_missing_flags_are_named(
    config_class: type[Any], arguments: list[str], message: str
) -> None:
    with pytest.raises(FlagError) as caught:
        parse(config_class, arguments)
    assert str(caught.value) == message


def test_parse_nested_flagfile_is_read(tmp_path: Path) -> None:
    inner = tmp_path / "inner.flags"
    inner.write_text("// 주석\n--max_seq_length=256\n", encoding="utf-8")
    outer = tmp_path / "outer.flags"
    outer.write_text(f"# comment\n\n--input_file=가.txt\n--flagfile={inner}\n", encoding="utf-8")
    config = parse(Config, [f"--flagfile={outer}", "--vocab_file=v"])
    assert (config.input_file, config.max_seq_length) == (("가.txt",), 256)
    with pytest.raises(FlagError, match="no_such_file"):
        parse(Config, ["--flagfile=no_such_file"])


@pytest.mark.parametrize("name", ["서울, 부산.txt", 'a"b.txt', " a.txt ", "a,b"])
def test_parse_list_file_with_a_comma_in_its_name_is_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("x")
    assert parse(Config, [f"--input_file={name}", "--vocab_file=v"]).input_file == (name,)
    for part in ("a", "b"):
        Path(part).write_text("x")
    both = parse(Config, ["--input_file=a,b", "--vocab_file=v"]).input_file
    assert both == ("a", "b")  # of two meanings, the documented one


@pytest.mark.parametrize("form", [["--flagfile={}"], ["--flagfile", "{}"], ["-flagfile={}"]])
def test_parse_flagfile_that_is_none_or_endless_is_refused(form: list[str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"#" * (1 << 20) + b"x")
    for path, message in (
        ("/dev/zero", "/dev/zero is a device, not a file to read"),
        (str(tmp_path / "fifo"), "is a pipe"),
        (str(tmp_path / "large"), "more than 1,048,576 bytes"),
    ):
        with pytest.raises(ValueError, match=message):
            parse(Config, [part.format(path) for part in form])


def test_parse_positional_takes_arguments_between_flags() -> None:
    config = parse(WordsConfig, ["책을", "--as_json", "빌린다", "--", "--x"])
    assert config == WordsConfig(words=("책을", "빌린다", "--x"), as_json=True)


def test_parse_field_with_a_trailing_underscore_is_the_flag_without() -> None:
    found = parse(KeywordConfig, ["--from=here", "--nois", "가", "나"])
    assert found == KeywordConfig(from_="here", import_=("가", "나"), is_=False)
    assert output_flags(found) == {"from": "here", "import": ["가", "나"], "is": False}

    text = help_text(KeywordConfig, "move", "")
    assert text.startswith("usage: move [flags] IMPORT...\n")
    assert "\n  --from (str, required)\n" in text
    assert "\n  --[no]is (bool, default true)\n" in text
    assert "_" not in text


@dataclass(frozen=True)
class BoundedConfig(Flags):
    steps: int | None = flag(None, help="", at_least=1)
    hours: float | None = flag(None, help="", above=0)
    lines: int = flag(0, help="", at_most=9)
    share: float = flag(0.5, help="", above=0, below=1)
    decay: float = flag(1.0, help="", above=0, at_most=1)
    epochs: float = flag(3.0, help="", at_least=0, below=1e6)
    seed: int = flag(1, help="", at_least=0, below=1 << 31)
    threshold: float = flag(0.0, help="")
    from_: int = flag(3, help="", below=4)


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "--steps must be at least 1, got 0."),
        ({"hours": 0.0}, "--hours must be above 0, got 0.0."),
        ({"hours": NAN}, "--hours must be above 0, got nan."),
        ({"lines": 10}, "--lines must be at most 9, got 10."),
        ({"share": 0.0}, "--share must be in (0, 1), got 0.0."),
        ({"share": 1}, "--share must be in (0, 1), got 1."),
        ({"share": NAN}, "--share must be in (0, 1), got nan."),
        ({"decay": 1.5}, "--decay must be in (0, 1], got 1.5."),
        ({"epochs": INFINITY}, "--epochs must be in [0, 1e6), got inf."),
        ({"seed": 1 << 31}, "--seed must be in [0, 2**31), got 2147483648."),
        ({"threshold": NAN}, "--threshold must be a number, got nan."),
        ({"from_": 4}, "--from must be below 4, got 4."),
    ],
)
def test_flags_out_of_bounds_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as made:
        BoundedConfig(**values)  # type: ignore[arg-type]
    with pytest.raises(ValueError) as parsed:
        parse(BoundedConfig, [f"--{name.strip('_')}={value}" for name, value in values.items()])
    assert str(made.value) == message
    assert str(parsed.value).rpartition(", got ")[0] == message.rpartition(", got ")[0]


def test_flags_at_their_bounds_are_accepted() -> None:
    found = BoundedConfig(steps=1, hours=1e-9, lines=9, decay=1.0, epochs=0.0, threshold=-INFINITY)
    assert (found.steps, found.lines, found.share) == (1, 9, 0.5)


@dataclass(frozen=True)
class DerivedConfig(BoundedConfig, SeedFlags):
    def __post_init__(self) -> None:
        super().__post_init__()


def test_flags_subclass_with_rules_of_its_own_inherits_flags_and_bounds() -> None:
    found = parse(DerivedConfig, ["--random_seed=1", "--steps=2"])
    assert found == DerivedConfig(random_seed=1, steps=2)
    with pytest.raises(ValueError, match=r"^--steps must be at least 1, got 0\.$"):
        DerivedConfig(steps=0)


@dataclass(frozen=True)
class UncheckedConfig:
    size: int = flag(3, help="", at_least=1)


@dataclass(frozen=True)
class PlainConfig:
    size: int = 3


@dataclass(frozen=True)
class DictConfig:
    size: dict[str, int] = flag(help="")


@pytest.mark.parametrize(
    ("config_class", "message"),
    [
        (UncheckedConfig, r"^UncheckedConfig must be a Flags, which checks \['size'\]\.$"),
        (PlainConfig, r"^Field size of a Config must be made by flag\(\)"),
        (DictConfig, "^Flag size has an unsupported type: dict"),
    ],
)
def test_parse_wrong_config_raises_type_error(config_class: type[Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        parse(config_class, [])


def test_help_text_lists_flags_in_order_within_100_columns() -> None:
    text = help_text(Config, "prog", "Reads a corpus.")
    heads = [line for line in text.splitlines() if line.startswith("  --")]
    assert heads == [
        "  --input_file (list, required)",
        "  --vocab_file (str, required)",
        "  --max_seq_length (int, default 128)",
        "  --masked_lm_prob (float, default 0.15)",
        "  --[no]do_lower_case (bool, default true)",
        "  --tokenizer (mecab|bert, default mecab)",
        "  --split (dev|train, default none)",
        "  --max_lines (int, default none)",
        "  --tpu_name (str, default none)",
        "  --num_workers (int, default 1)",
    ]
    assert text.startswith("usage: prog [flags]\n\nReads a corpus.\n")
    assert max(map(len, text.splitlines())) <= 100


def test_output_flags_leaves_out_what_changes_no_output() -> None:
    values = output_flags(parse(Config, REQUIRED))
    assert values["input_file"] == ["a.txt", "b.txt"]
    assert values["max_lines"] is None
    assert "num_workers" not in values


def test_changed_flags_are_those_that_are_not_at_their_defaults() -> None:
    config = parse(Config, [*REQUIRED, "--max_seq_length=128", "--nodo_lower_case"])
    assert changed_flags(config) == ["input_file", "vocab_file", "do_lower_case"]


@dataclass(frozen=True)
class GivenConfig(Flags):
    kind: Literal["long", "short"] = flag("long", help="Which.")
    length: int = flag(3, help="Of the long one.")

    @classmethod
    def check_given(cls, given: Mapping[str, Any]) -> None:
        if given.get("kind") == "short" and "length" in given:
            raise ValueError("--length has no meaning.")


def test_parse_check_given_sees_flags_that_are_given_at_their_defaults() -> None:
    assert parse(GivenConfig, ["--kind=short"]).length == 3
    with pytest.raises(ValueError, match=r"--length has no meaning\."):
        parse(GivenConfig, ["--kind=short", "--length=3"])


def test_values_before_are_defaults_where_nothing_else_is_said() -> None:
    @dataclass(frozen=True)
    class Later(Config):
        overflow: Literal["carry", "cut"] = flag("carry", before="cut", help="What is too long.")
        folders: tuple[str, ...] = flag(("a",), help="Where.")

    values = values_before(Later)
    assert (values["overflow"], values["folders"], values["max_seq_length"]) == ("cut", ["a"], 128)
    assert values["max_lines"] is None
    assert not {"input_file", "num_workers"} & values.keys()


@pytest.mark.parametrize("argument", ["--help", "-h", "--helpfull"])
def test_run_command_help_prints_description(
    argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(Config, pytest.fail, ["--zzz", argument]) == 0
    assert "\n\nReads a corpus of Korean.\n\n" in capsys.readouterr().out


def raising(error: BaseException) -> Callable[[object], None]:
    def run(config: object) -> None:
        raise error

    return run


def test_run_command_success_returns_zero() -> None:
    seen: list[WordsConfig] = []
    assert run_command(WordsConfig, seen.append, ["가"]) == 0
    assert seen == [WordsConfig(words=("가",))]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (ValueError(), "ValueError"),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a.txt"), "a.txt: No such"),
        (FileNotFoundError("no file matches 'x'."), "no file matches 'x'."),
        (PermissionError(errno.EACCES, "Permission denied", "b.txt"), "b.txt: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (BrokenProcessPool("x"), "a worker process ended abruptly"),
    ],
)
def test_run_command_users_error_prints_one_line(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(WordsConfig, raising(error), []) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"test_flags: error: {message}")
    assert captured.err.count("\n") == 1


def test_run_command_wrong_flag_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(Config, pytest.fail, ["--zzz"]) == 1
    message = "test_flags: error: unknown flag --zzz; --help lists the flags.\n"
    assert capsys.readouterr().err == message


def test_run_command_interrupt_returns_130_and_a_bug_passes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(WordsConfig, raising(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr().err == "test_flags: interrupted\n"
    with pytest.raises(KeyError):
        run_command(WordsConfig, raising(KeyError("ours")), [])


SCRIPT = """
import sys
from dataclasses import dataclass
from bert_ko.flags import flag, run_command
@dataclass(frozen=True)
class Config:
    lines: int = flag(help="Lines to print.")
def run(config):
    for line in range(config.lines):
        print("줄", line)
sys.exit(run_command(Config, run))
"""


def run_script(arguments: str, python_flags: str = "") -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[1])
    command = f'set -o pipefail; "$0" {python_flags} -c "$1" {arguments}'
    return subprocess.run(
        ["bash", "-c", command, sys.executable, SCRIPT],
        env={**os.environ, "PYTHONPATH": root, "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_run_command_reader_gone_is_quiet() -> None:
    finished = run_script("--lines=200000 | head -n 1")
    assert (finished.stdout, finished.stderr, finished.returncode) == ("줄 0\n", "", 141)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_run_command_full_disk_prints_one_line() -> None:
    finished = run_script("--lines=3 > /dev/full")
    assert finished.stderr == "-c: error: No space left on device\n"
    assert finished.returncode == 1


def test_run_command_help_imports_no_heavy_package() -> None:
    finished = run_script("--help", "-X importtime")
    modules = {line.rpartition("|")[2].strip() for line in finished.stderr.splitlines()}
    assert "absl.flags" in modules
    heavy = {"numpy", "tensorflow", "keras", "multiprocessing", "fsspec", "rich", "jinja2"}
    assert not modules & heavy


@dataclass(frozen=True)
class TwoNamed(Flags):
    """Has a flag of two names."""

    old_file: str | None = flag(None, help="A file.", other_name="file")
    size: int = flag(1, help="A size.", other_name="count")


def test_other_name_means_the_same_flag() -> None:
    for argument in ("--old_file=a", "--file=a"):
        assert parse(TwoNamed, [argument]) == TwoNamed(old_file="a")
    assert output_flags(parse(TwoNamed, ["--file=a"])) == {"old_file": "a", "size": 1}
    assert "--old_file, --file (str, default none)" in help_text(TwoNamed, "x", "")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--file=a", "--old_file=b"], "--old_file and --file are one flag; give it once."),
        (["--count=x"], "--count must be an integer, got 'x'."),
        (["--fiel=a"], "unknown flag --fiel; did you mean --file?"),
    ],
)
def test_other_name_wrong_use_is_refused(argv: list[str], message: str) -> None:
    with pytest.raises(FlagError) as error:
        parse(TwoNamed, argv)
    assert str(error.value) == message
