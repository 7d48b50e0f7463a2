from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bert_ko.commands import COMMANDS, TOOLS
from bert_ko.completion import config_of
from bert_ko.flags import Flags, flag, help_text
from bert_ko.flags.declaration import flag_specs
from bert_ko.flags.help import MAX_LINES, asks_for_help, describe


@pytest.mark.parametrize("command", [*COMMANDS, *TOOLS])
def test_help_text_is_a_screen_and_names_every_flag(command: str) -> None:
    config = config_of(command)
    short = help_text(config, command, describe(config))
    full = help_text(config, command, describe(config), full=True)
    lines = short.splitlines()
    assert len(lines) <= MAX_LINES
    assert max(map(len, [*lines, *full.splitlines()])) <= 100
    for spec in flag_specs(config):
        if not spec.positional:
            assert re.search(rf"--(\[no\])?{spec.name}\b", short), spec.name
            assert re.search(rf"^  --(\[no\])?{spec.name}[, ].*\(", full, re.M), spec.name
        if spec.is_required:
            title = spec.name.upper() if spec.positional else f"--{spec.name}"
            assert re.search(rf"^  {title}\b.*required\)", short, re.M)


@dataclass(frozen=True)
class GroupedFlags(Flags):
    group = "Of the group"

    second: int = flag(1, help="Second. And more.")
    main: int = flag(1, help="Main.", main=True)


@dataclass(frozen=True)
class OtherFlags(GroupedFlags):
    required: str = flag(help="Required.")
    third: int = flag(1, help="Third.")


@dataclass(frozen=True)
class LongFlags(OtherFlags):
    group = "Long"

    fourth: int = flag(1, help="Long. " * 1000)


def test_help_text_short_shows_all_in_groups() -> None:
    text = help_text(OtherFlags, "prog", "")
    titles = re.findall(r"^  --(\w+)|^(\w.*):$", text, re.M)
    assert [one or other for one, other in titles] == [
        "required", "main", "Of the group", "second", "third",
    ]  # fmt: skip
    assert help_text(OtherFlags, "prog", "", full=True) == text


def test_help_text_long_describes_the_main_flags_and_names_the_rest() -> None:
    text = help_text(LongFlags, "prog", "")
    assert text.endswith(
        "More flags, which --helpfull describes:\n"
        "  Of the group: --second --third\n"
        "  Long: --fourth\n"
    )
    assert "Long. Long." in help_text(LongFlags, "prog", "", full=True)


def test_help_text_too_many_main_flags_have_a_line_each() -> None:
    fields = {
        f"flag_{i}": (int, flag(1, help=f"Number {i}, which is explained. " * 9, main=True))
        for i in range(20)
    }
    made = dataclasses.make_dataclass(
        "Made", [(n, t, f) for n, (t, f) in fields.items()], bases=(Flags,), frozen=True
    )
    lines = help_text(made, "prog", "").splitlines()
    assert len(lines) <= MAX_LINES
    assert "  --flag_19 (int, default 1)  Number 19, which is explained." in lines


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [(["--help"], "help"), (["-h"], "h"), (["a", "--helpfull"], "helpfull"), (["--", "-h"], None),
     (["help"], None), ([], None)],
)  # fmt: skip
def test_asks_for_help_is_what_was_asked(arguments: list[str], asked: str | None) -> None:
    assert asks_for_help(arguments) == asked


HEAVY = ("tensorflow", "keras", "jax", "torch", "scipy", "sklearn", "h5py", "jinja2",
         "rich.console", "pyspark", "asyncio", "fsspec", "sentencepiece", "yaml")  # fmt: skip
LOADED = "import sys, {0}; print(*sorted(set(sys.modules) & set({1!r})))"


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = LOADED.format(
        ", ".join(f"bert_ko.{name}" for name in ("__main__", *COMMANDS, *TOOLS)), HEAVY
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True,
        text=True, timeout=120, check=True,
    )  # fmt: skip
    assert found.stdout.split() == []
