"""The text of --help: what everyone gives is described, the rest is named by groups."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bert_ko.flags.declaration import MAIN, FlagSpec, flag_specs

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_LINES = 60  # of --help, a screen
_HELP_FLAGS = frozenset({"h", "help", "helpshort"})
_FULL_FLAG = "helpfull"
_WIDTH = 100  # columns
_INDENT = " " * 6


def asks_for_help(arguments: Sequence[str]) -> str | None:
    """Returns the flag of help that is among the arguments, without dashes; None without one."""
    before = itertools.takewhile(lambda argument: argument != "--", arguments)
    names = [item.lstrip("-") for item in before if item.startswith("-")]
    return next((name for name in names if name in {*_HELP_FLAGS, _FULL_FLAG}), None)


def help_text(
    config_class: type[DataclassInstance], program: str, description: str, *, full: bool = False
) -> str:
    """Returns the text of `--help`, or of `--helpfull`: all flags, required and main ones first.

    Args:
        config_class: of the command.
        program: its name.
        description: what it does.
        full: describes all flags; else the main ones alone, where all would take more than a
            screen, and the others are named by their groups.
    """
    specs = flag_specs(config_class)
    head = _head(specs, program, description)
    text = _join([head, *_described_groups(specs)])
    if full or text.count("\n") <= MAX_LINES:
        return text
    main, others = [spec for spec in specs if spec.group == MAIN], _named_groups(specs)
    text = _join([head, "\n".join(map(_described, _required_first(main))), others])
    if text.count("\n") <= MAX_LINES:
        return text
    return _join([head, "\n".join(map(_in_a_line, _required_first(main))), others])


def describe(config_class: type[object]) -> str:
    """Returns the first paragraph of a Config's docstring on one line."""
    text = config_class.__doc__ or ""
    if text.startswith(f"{config_class.__name__}("):  # what dataclass writes when there is none
        return ""
    return " ".join(text.strip().split("\n\n")[0].split())


def first_sentence(text: str) -> str:
    """Returns the first sentence of a flag's help."""
    return text.partition(". ")[0].rstrip(".") + "."


def _join(blocks: Sequence[str]) -> str:
    return "\n\n".join(filter(None, blocks)) + "\n"


def _head(specs: Sequence[FlagSpec], program: str, description: str) -> str:
    arguments = [f" {spec.name.upper()}..." for spec in specs if spec.positional]
    syntax = (
        "Flags: --name=value or --name value; --name and --noname for a bool; commas in a list.\n"
        "--flagfile=FILE reads flags from a file, one per line; --config=FILE from YAML or JSON, "
        "such as a\nrun's run.json. --quiet shows warnings, errors and results alone."
    )
    usage = f"usage: {program} [flags]{''.join(arguments)}"
    return _join([usage, textwrap.fill(description, _WIDTH), syntax]).rstrip("\n")


def _required_first(specs: Sequence[FlagSpec]) -> list[FlagSpec]:
    return sorted(specs, key=lambda spec: not spec.is_required)


def _groups(specs: Sequence[FlagSpec]) -> Iterator[tuple[str, list[FlagSpec]]]:
    """Yields each group with its flags, in the order of the fields, the main one first."""
    names = dict.fromkeys([MAIN, *(spec.group for spec in specs)])
    for name in names:
        members = [spec for spec in specs if spec.group == name]
        if members:
            yield name, _required_first(members)


def _described_groups(specs: Sequence[FlagSpec]) -> Iterator[str]:
    for name, members in _groups(specs):
        if name != MAIN:
            yield f"{name}:"
        yield from map(_described, members)


def _named_groups(specs: Sequence[FlagSpec]) -> str:
    lines = ["More flags, which --helpfull describes:"]
    for name, members in _groups(specs):
        if name != MAIN:
            # A name is not broken at its own hyphens, of which it has two.
            flags = " ".join(f"--{spec.name}" for spec in members)
            lines.append(
                textwrap.fill(
                    f"  {name}: {flags}",
                    _WIDTH,
                    subsequent_indent="    ",
                    break_on_hyphens=False,
                )
            )
    return "\n".join(lines) if len(lines) > 1 else ""


def _described(spec: FlagSpec) -> str:
    text = textwrap.fill(spec.help, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return f"{_title(spec)}\n{text}"


def _in_a_line(spec: FlagSpec) -> str:
    """The flag, and what fits beside it of its help."""
    text = f"{_title(spec)}  {first_sentence(spec.help)}"
    return text if len(text) <= _WIDTH else text[: _WIDTH - 2].rsplit(" ", 1)[0] + " …"


def _title(spec: FlagSpec) -> str:
    if spec.positional:
        name = f"{spec.name.upper()}..."
    else:
        no = "[no]" if spec.kind.name == "bool" else ""
        name = ", ".join(f"--{no}{one}" for one in spec.names)
    default = "required" if spec.is_required else f"default {_default_text(spec.default)}"
    return f"  {name} ({spec.kind.name}, {default})"


def _default_text(default: Any) -> str:
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(default) if isinstance(default, tuple) else str(default) or "''"
