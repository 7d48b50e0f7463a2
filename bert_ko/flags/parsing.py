"""From arguments to a Config; the only module that knows absl flags."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from absl import flags

from bert_ko.files import read_limited, refuse_no_file
from bert_ko.flags.config_files import read_config
from bert_ko.flags.declaration import Flags, FlagSpec, Kind, flag, flag_specs
from bert_ko.flags.errors import FlagError, one_line

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")

_MAX_FLAGFILE = 1 << 20  # bytes


class _ListParser(flags.ListParser):
    """Splits at commas, but not the name of a file that has one, quotes or blanks around it."""

    def parse(self, argument: str | list[str]) -> list[str]:
        if isinstance(argument, str) and os.path.exists(argument):
            parts = argument.split(",")
            if len(parts) == 1 or not all(map(os.path.exists, parts)):
                return [argument]
        return super().parse(argument)


def _define_list(**definition: Any) -> None:
    flags.DEFINE(_ListParser(), serializer=flags.CsvListSerializer(","), **definition)


_DEFINE: dict[str, Callable[..., object]] = {
    "str": flags.DEFINE_string,
    "int": flags.DEFINE_integer,
    "float": flags.DEFINE_float,
    "bool": flags.DEFINE_boolean,
    "list": _define_list,
    "str, repeatable": flags.DEFINE_multi_string,
}


def _define(kind: Kind, **definition: Any) -> None:
    if kind.choices:
        flags.DEFINE_enum(enum_values=kind.choices, **definition)
    else:
        _DEFINE[kind.name](**definition)


@dataclasses.dataclass(frozen=True)
class CommonFlags(Flags):
    """Flags of every command, which say nothing of its work."""

    config: str | None = flag(
        None,
        help="A YAML or JSON file of flags by name, such as a run's run.json. What the command "
        "line says goes before it.",
        affects_output=False,
    )
    quiet: bool = flag(False, help="Show warnings, errors and results alone.", affects_output=False)


def parse(config_class: type[C], argv: Sequence[str]) -> C:
    """Reads the arguments into a Config.

    Args:
        config_class: A dataclass whose fields are made by `flag`.
        argv: The arguments, without the program's name; the last of repeated flags counts, but for
            repeatable ones.

    Raises:
        FlagError: A flag is unknown, malformed or missing, or an argument is not expected.
        ValueError: A number is out of bounds, or the Config's own `__post_init__` refuses it.

    Source: absl flags, for the syntax: `--x`, `--nox`, `--x=v`, `--x v`, `--flagfile`, `--undefok`.
    Differs: an empty value for a required flag counts as missing; empty items of lists are dropped.
    """
    return parse_command(config_class, argv)[0]


def parse_command(config_class: type[C], argv: Sequence[str]) -> tuple[C, CommonFlags]:
    """Reads the arguments into a Config and the flags of every command; see ``parse``."""
    specs = {spec.name: spec for spec in flag_specs(config_class)}
    common = {spec.name: spec for spec in flag_specs(CommonFlags)}
    flag_values = flags.FlagValues()
    for spec in (*specs.values(), *common.values()):
        for name in () if spec.positional else spec.names:  # the defaults stay with the dataclass
            _define(spec.kind, name=name, default=None, help=spec.help, flag_values=flag_values)
    _check_flagfiles(argv)
    arguments = _parse_arguments(flag_values, {**common, **specs}, argv)
    shared = CommonFlags(**_given_values(flag_values, common.values()))
    values = _given_values(flag_values, specs.values())
    if arguments:
        values |= {spec.field: tuple(arguments) for spec in specs.values() if spec.positional}
    if shared.config is not None:
        values = {**read_config(shared.config, specs), **values}
    if issubclass(config_class, Flags):
        config_class.check_given(values)
        values = {**config_class.find_values(values), **values}
    _require(specs.values(), values)
    return config_class(**values), shared


def _given_values(flag_values: flags.FlagValues, specs: Iterable[FlagSpec]) -> dict[str, Any]:
    """Returns the values of the flags on the command line, by field."""
    values: dict[str, Any] = {}
    for spec in specs:
        given = [] if spec.positional else [n for n in spec.names if flag_values[n].present]
        if len(given) > 1:
            raise FlagError(f"--{given[0]} and --{given[1]} are one flag; give it once.")
        if given:
            value: Any = flag_values[given[0]].value
            values[spec.field] = tuple(filter(None, value)) if isinstance(value, list) else value
    return values


def _check_flagfiles(argv: Sequence[str]) -> None:
    """Refuses what absl would read for ever, or into all of the memory."""
    for argument, following in itertools.pairwise([*argv, ""]):
        name, equals, value = argument.lstrip("-").partition("=")
        path = value if equals else following
        if name == "flagfile" and argument.startswith("-") and os.path.isfile(path):
            read_limited(path, _MAX_FLAGFILE)
        elif name == "flagfile" and argument.startswith("-") and os.path.exists(path):
            refuse_no_file(path, or_open_pipe=True)


def _parse_arguments(
    flag_values: flags.FlagValues, specs: Mapping[str, FlagSpec], argv: Sequence[str]
) -> list[str]:
    """Lets absl parse; returns the positional arguments.

    Raises:
        FlagError: In place of absl's exceptions, or an argument is not expected.
    """
    try:
        arguments = flag_values(["", *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        raise FlagError(_unknown_flag_message(error.flagname, specs.values())) from None
    except flags.IllegalFlagValueError as error:
        # absl's text is "flag --name=value: reason", with the reason as its context.
        text = str(error).removesuffix(f": {error.__context__}")
        name, _, value = text.removeprefix("flag --").partition("=")
        spec = next((spec for spec in specs.values() if name in spec.names), None)
        if spec is None:
            raise FlagError(one_line(error)) from None
        raise FlagError(f"--{name} must be {spec.kind.allowed}, got {value!r}.") from None
    except (flags.Error, ValueError) as error:
        raise FlagError(one_line(error)) from None
    if arguments and not any(spec.positional for spec in specs.values()):
        # After "--notify_url= https://…", the argument is a secret.
        scheme, separator, _ = arguments[0].partition("://")
        is_secret = separator and any(spec.secret for spec in specs.values())
        shown = f"{scheme}://..." if is_secret else arguments[0]
        raise FlagError(
            f"unexpected argument {shown!r}: only flags are allowed, "
            "as --name=value, or --name and --noname for a bool."
        )
    return arguments


def _unknown_flag_message(name: str, specs: Collection[FlagSpec]) -> str:
    known = ["flagfile", "help", "helpfull", "undefok"]
    known += [name for spec in specs if not spec.positional for name in spec.names]
    known += [f"no{spec.name}" for spec in specs if spec.kind.name == "bool"]
    closest = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean --{closest[0]}?" if closest else "--help lists the flags."
    return f"unknown flag --{name}; {advice}"


def _require(specs: Iterable[FlagSpec], values: Mapping[str, Any]) -> None:
    missing = [
        spec for spec in specs if spec.is_required and values.get(spec.field) in (None, "", ())
    ]
    if not missing:
        return
    names = (spec.name.upper() if spec.positional else f"--{spec.name}" for spec in missing)
    got = "an empty value" if any(spec.field in values for spec in missing) else "nothing"
    noun = "this" if len(missing) == 1 else "these"
    raise FlagError(f"{', '.join(names)}: {noun} must be given, got {got}; see --help.")
