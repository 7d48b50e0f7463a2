"""bert_ko COMMAND, how commands are typed, and completion."""

from __future__ import annotations

import configparser
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bert_ko import __version__, completion, devices
from bert_ko.__main__ import main, overview
from bert_ko.commands import COMMANDS, TOOLS, typed

ROOT = Path(__file__).parents[1]
TEXT = "책을 읽었다."
OPTIONS = ["--vocab_file=ko-mecab-32k", "--output_format=json", TEXT]


def test_overview_lists_every_command_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = [line.split()[0] for line in lines if line.startswith("  ")]
    assert named == [*COMMANDS, *TOOLS]
    assert max(map(len, lines)) <= 100
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == overview()


def test_version_is_that_of_setup_cfg() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert setup["metadata"]["version"] == __version__


def test_main_version_and_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bert_ko {__version__}\n"
    assert main(["run_squat", "--do_train"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "bert_ko: error: unknown command 'run_squat'; did you mean run_squad?\n"
    assert main(["zzz"]) == 1
    assert capsys.readouterr().err.endswith("unknown command 'zzz'; bert_ko lists them.\n")


def test_main_command_gets_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenize", *OPTIONS]) == 0
    assert '"pieces": ["책"' in capsys.readouterr().out
    assert main(["tokenize", "--vocab_fil=x"]) == 1
    assert "tokenize: error: unknown flag --vocab_fil" in capsys.readouterr().err


@pytest.mark.slow
def test_every_way_to_start_a_command_is_the_same(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["tokenize", *OPTIONS])
    wanted = capfd.readouterr().out
    command = [sys.executable, str(ROOT / "bin" / "bert_ko"), "tokenize", *OPTIONS]
    subprocess.run(command, check=True, timeout=60)
    assert capfd.readouterr().out == wanted
    for module, arguments in (("bert_ko", ["tokenize", *OPTIONS]), ("bert_ko.tokenize", OPTIONS)):
        subprocess.run([sys.executable, "-m", module, *arguments], check=True, timeout=60, cwd=ROOT)
        assert capfd.readouterr().out == wanted


@pytest.mark.parametrize("command", [*COMMANDS, *TOOLS])
def test_python_m_starts_every_command(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{command}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "bert_ko" / f"{command}.py"), run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {command} [flags]")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("bin/tokenize", "bin/run_ner"),
        ("bin/bert_ko", "bin/bert_ko run_ner"),
        ("my bin/tokenize", "'my bin/run_ner'"),
        ("/x/bert_ko/__main__.py", "python -m bert_ko run_ner"),
        ("/x/bert_ko/tokenize.py", "python -m bert_ko.run_ner"),
        ("/x/pytest", "bert_ko run_ner"),
        ("", "bert_ko run_ner"),
    ],
)
def test_typed_is_as_the_running_command(
    path: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [path])
    assert typed("run_ner") == text


def test_typed_what_is_on_the_path_has_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, text in (("tokenize", "run_ner"), ("bert_ko", "bert_ko run_ner")):
        path = tmp_path / name
        path.touch(mode=0o755)
        monkeypatch.setattr(sys, "argv", [str(path)])
        assert typed("run_ner") == text


def test_typed_in_a_folder_that_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "argv", ["../bin/tokenize"])
    assert typed("run_ner") == "../bin/run_ner"


COMPLETE = """
source {script}
compopt() {{ :; }}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _bert_ko
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(completion.script(shell), encoding="utf-8")
    (folder / "a corpus.txt").touch()
    return folder


@pytest.mark.parametrize(
    ("words", "replies"),
    [
        ("bert_ko run_", ["run_pretraining", "run_squad", "run_classifier", "run_ner"]),
        ("bert_ko tokenize --vocab", ["--vocab_file="]),
        ("bin/run_squad --do_tr", ["--do_train"]),
        ("run_ner --nodo_t", ["--nodo_train"]),
        ("run_ner --optimizer = ada", ["adam_weight_decay", "adamw", "adagrad"]),
        ("bert_ko run_ner --optimizer ada", ["adam_weight_decay", "adamw", "adagrad"]),
        ("run_ner --optimizer =", ["adam_weight_decay", "adamw", "lamb", "adagrad"]),
        ("run_ner --train_file = 'a co'", ["a corpus.txt"]),
        ("run_ner --train_file 'a co'", ["a corpus.txt"]),
        ("tokenize 'a co'", ["a corpus.txt"]),
        ("bert_ko completion ''", ["bash", "zsh", "fish"]),
        ("run_ner --conf", ["--config_file=", "--config="]),
    ],
)
def test_completion_bash_completes(words: str, replies: list[str], scripts: Path) -> None:
    code = COMPLETE.format(script=scripts / "bash", words=words)
    found = subprocess.run(
        ["bash", "--norc", "-euc", code], cwd=scripts, capture_output=True, text=True, timeout=60
    )
    assert (found.stdout.splitlines(), found.stderr) == (replies, "")


def test_completion_zsh_and_fish_have_commands_flags_and_values(scripts: Path) -> None:
    zsh, fish = ((scripts / shell).read_text(encoding="utf-8") for shell in ("zsh", "fish"))
    assert zsh.startswith("#compdef bert_ko build_vocab ")
    for command in (*COMMANDS, *TOOLS):
        assert f"\n    {command}) _arguments " in zsh
        assert f" -a {command} -d " in fish
    assert ":optimizer:(adam_weight_decay adamw lamb adagrad)" in zsh
    assert "complete -c run_ner -l optimizer -x -a 'adam_weight_decay adamw lamb adagrad' " in fish
    assert "Share of documents cut into sequences of a random shorter length, in \\[0, 1\\]" in zsh
    for shell in filter(shutil.which, ("zsh", "fish")):
        subprocess.run([shell, "-n", scripts / shell], check=True, timeout=60)


def test_completion_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 1
    message = "completion: error: SHELL must be bash, zsh, fish, got 'csh'.\n"
    assert capsys.readouterr().err == message


def test_devices_says_what_is_missing_and_what_is_chosen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = devices.importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "jax" else real(name)
    )
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert main(["devices", "--backend=jax"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["JAX: not installed; pip install 'bert_ko[jax]'",
                         "The commands run on TensorFlow."]  # fmt: skip
    assert "bert_ko[jax-cuda]" in lines[2] and "bert_ko[tensorflow-cuda]" in lines[2]


@pytest.mark.slow
def test_devices_asks_both_backends() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    found = subprocess.run(
        [sys.executable, ROOT / "bin" / "bert_ko", "devices"],
        env=environment, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    first, second, choice, *_ = found.stdout.splitlines()
    assert first.startswith("TensorFlow: sees 1 x CPU; the commands use 1 x CPU, TensorFlow ")
    assert second.startswith("JAX: sees 1 x CPU; the commands use 1 x cpu, JAX ")
    assert choice == "The commands run on TensorFlow; KERAS_BACKEND=jax chooses JAX."
    assert found.stderr == ""
