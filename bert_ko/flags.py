"""Command-line flags from a frozen dataclass; the only module that knows absl flags.

A command states its flags once, as the fields of its Config:

    @dataclass(frozen=True)
    class Config(Flags):
        '''Counts lines.'''

        input_file: tuple[str, ...] = flag(help="Text files; commas and globs.")
        max_lines: int | None = flag(None, help="Stop after this many lines.", at_least=1)

    def main() -> int:
        return run_command(Config, run)

Arguments (`argv`) are always without the program's name, as in `sys.argv[1:]`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import select
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from absl import flags

from bert_ko.progress import program_name, running_as

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")

REQUIRED: Final = object()

_HELP_FLAGS = frozenset({"h", "help", "helpfull", "helpshort"})
_HELP_WIDTH = 100
_KINDS: dict[object, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    tuple[str, ...]: "list",
}
_ALLOWED = {
    "str": "text",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "list": "a comma-separated list",
}


class FlagError(ValueError):
    """The command line is wrong; the message is one line that says how."""


class _Bounds(NamedTuple):
    """Which numbers a flag may have; None sets no bound."""

    at_least: float | None
    above: float | None
    at_most: float | None
    below: float | None

    def hold(self, value: float) -> bool:
        return not (
            math.isnan(value)
            or (self.at_least is not None and value < self.at_least)
            or (self.above is not None and value <= self.above)
            or (self.at_most is not None and value > self.at_most)
            or (self.below is not None and value >= self.below)
        )

    def __str__(self) -> str:
        known = [
            (name.replace("_", " "), _bound_text(bound))
            for name, bound in self._asdict().items()
            if bound is not None
        ]
        if not known:
            return "a number"
        if len(known) == 1:
            return " ".join(known[0])
        (_, low), (_, high) = known
        left = "[" if self.at_least is not None else "("
        right = "]" if self.at_most is not None else ")"
        return f"in {left}{low}, {high}{right}"


def _bound_text(bound: float) -> str:
    """Returns a bound as people write it: 1, 0.5, 1e6, 2**31."""
    if isinstance(bound, int):
        exponent = bound.bit_length() - 1
        return f"2**{exponent}" if exponent >= 31 and bound == 1 << exponent else str(bound)
    return f"{bound:.3g}".replace("e+0", "e").replace("e+", "e")


@dataclasses.dataclass(frozen=True)
class Flags:
    """Base class of every Config: it refuses numbers that are out of their flags' bounds."""

    def __post_init__(self) -> None:
        """Raises: ValueError: a number is out of its bounds or NaN, by the flag's name."""
        for field in dataclasses.fields(self):
            value, bounds = getattr(self, field.name), field.metadata["bounds"]
            if isinstance(value, (int, float)) and not bounds.hold(value):
                raise ValueError(f"--{_flag_name(field)} must be {bounds}, got {value}.")

    @classmethod
    def find_values(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values of flags that the command line has not given, as far as files it names say them.

        Args:
            given: values by field.
        """
        return {}


@dataclasses.dataclass(frozen=True)
class _FlagSpec:
    """One flag: what the dataclass field and its type say."""

    field: str  # of the dataclass
    name: str
    kind: str  # a value of _KINDS, or "enum"
    choices: tuple[str, ...]  # of an enum
    default: Any  # or REQUIRED
    help: str
    positional: bool
    affects_output: bool
    secret: bool
    bounds: _Bounds

    @property
    def is_required(self) -> bool:
        return self.default is REQUIRED

    @property
    def allowed(self) -> str:
        if self.kind == "enum":
            return "one of " + ", ".join(self.choices)
        return _ALLOWED[self.kind]


def flag(
    default: Any = REQUIRED,
    *,
    help: str,
    positional: bool = False,
    affects_output: bool = True,
    secret: bool = False,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """Declares a flag as a field of a command's Config.

    Args:
        default: The value without the flag; left out, the flag is required.
        help: What the flag does, with the unit of its value.
        positional: The field, a tuple[str, ...], takes the arguments that are not flags.
        affects_output: False for what changes no output (workers, progress): not in `output_flags`.
        secret: The value must be printed and written nowhere; it changes no output either, and it
            is not in the Config's repr. See `secret_flags`.
        at_least: The smallest value of a number; `Flags` checks all four bounds.
        above: Instead of `at_least`: the value must be larger.
        at_most: The largest value of a number.
        below: Instead of `at_most`: the value must be smaller.

    Returns:
        A keyword-only dataclass field.
    """
    metadata = {
        "help": help,
        "positional": positional,
        "affects_output": affects_output and not secret,
        "secret": secret,
        "bounds": _Bounds(at_least, above, at_most, below),
    }
    if default is REQUIRED:
        return dataclasses.field(kw_only=True, repr=not secret, metadata=metadata)
    return dataclasses.field(default=default, kw_only=True, repr=not secret, metadata=metadata)


def parse(config_class: type[C], argv: Sequence[str]) -> C:
    """Reads the arguments into a Config.

    Args:
        config_class: A dataclass whose fields are made by `flag`.
        argv: The arguments, without the program's name.

    Returns:
        The Config; a flag that is given twice has its last value.

    Raises:
        FlagError: A flag is unknown, malformed or missing, or an argument is not expected.
        ValueError: A number is out of its bounds, or from the Config's own `__post_init__`.

    Source: absl flags, for the syntax: `--x`, `--nox`, `--x=v`, `--x v`, `--flagfile`, `--undefok`.
    Differs: an empty value for a required flag counts as missing; empty items of lists are dropped.
    """
    specs = {spec.name: spec for spec in _flag_specs(config_class)}
    flag_values = _define(specs.values())
    positional_arguments = _parse_arguments(flag_values, specs, argv)
    given = {
        name: _given_value(flag_values[name].value)
        for name in flag_values
        if name in specs and flag_values[name].present
    }
    given.update(_take_positional(specs.values(), positional_arguments))
    values = {specs[name].field: value for name, value in given.items()}
    if issubclass(config_class, Flags):
        values = {**config_class.find_values(values), **values}
    _require(specs.values(), {**given, **values})
    return config_class(**values)


def help_text(config_class: type[C], program: str, description: str) -> str:
    """Returns the text of `--help`: required flags first, each in the order of the fields."""
    specs = sorted(_flag_specs(config_class), key=lambda spec: not spec.is_required)
    arguments = [f" {spec.name.upper()}..." for spec in specs if spec.positional]
    blocks = [f"usage: {program} [flags]{''.join(arguments)}"]
    if description:
        blocks.append(textwrap.fill(description, _HELP_WIDTH))
    blocks.append(
        "Flags: --name=value or --name value; --name and --noname for a bool; commas in a list;\n"
        "--flagfile=FILE reads flags from a file, one a line."
    )
    blocks += [_flag_help(spec) for spec in specs]
    return "\n\n".join(blocks) + "\n"


def run_command(
    config_class: type[C], run: Callable[[C], object], argv: Sequence[str] | None = None
) -> int:
    """Parses the flags, runs the command and turns the user's errors into one line each.

    Args:
        config_class: The command's Config; the first paragraph of its docstring describes it.
        run: The command; what it returns is ignored.
        argv: The arguments without the program's name; None takes them from `sys.argv`.

    Returns:
        The exit status: 0; 1 after an error of the user's or the machine's; 130 after Ctrl-C; 141
        when the reader of standard output has gone. Any other exception is a bug and passes.
    """
    with running_as(_program_name(config_class)):
        return _run(config_class, run, sys.argv[1:] if argv is None else argv)


def _run(config_class: type[C], run: Callable[[C], object], arguments: Sequence[str]) -> int:
    program = program_name()
    try:
        if _asks_for_help(arguments):
            print(help_text(config_class, program, _description(config_class)), end="")
        else:
            run(parse(config_class, arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError as error:
        if not _stdout_is_broken():
            return _report(error_message(error))
        _silence_stdout()
        return 141  # 128 + SIGPIPE, as the shell reports it
    except (ValueError, OSError, BrokenExecutor) as error:
        return _report(error_message(error))
    return 0


def output_flags(config: DataclassInstance) -> dict[str, Any]:
    """Returns the values of the flags that affect the output, tuples as lists."""
    return {
        spec.name: list(value) if isinstance(value := getattr(config, spec.field), tuple) else value
        for spec in _flag_specs(type(config))
        if spec.affects_output
    }


def secret_flags(config_class: type[DataclassInstance]) -> frozenset[str]:
    """Returns the fields whose values must be written nowhere."""
    return frozenset(spec.field for spec in _flag_specs(config_class) if spec.secret)


def _flag_specs(config_class: type[DataclassInstance]) -> list[_FlagSpec]:
    hints = typing.get_type_hints(config_class)
    specs = [_flag_spec(field, hints[field.name]) for field in dataclasses.fields(config_class)]
    unchecked = [spec.name for spec in specs if any(b is not None for b in spec.bounds)]
    if unchecked and not issubclass(config_class, Flags):
        raise TypeError(f"{config_class.__name__} must be a Flags, which checks {unchecked}.")
    return specs


def _flag_spec(field: dataclasses.Field[Any], hint: object) -> _FlagSpec:
    if "help" not in field.metadata:
        raise TypeError(f"Field {field.name} of a Config must be made by flag(), got {field!r}.")
    is_required = field.default is dataclasses.MISSING
    kind, choices = _kind(hint)
    if not kind or (field.metadata["positional"] and kind != "list"):
        raise TypeError(f"Flag {field.name} has a type that no flag can have: {hint!r}.")
    return _FlagSpec(
        field=field.name,
        name=_flag_name(field),
        kind=kind,
        choices=choices,
        default=REQUIRED if is_required else field.default,
        **field.metadata,
    )


def _flag_name(field: dataclasses.Field[Any]) -> str:
    return field.name.removesuffix("_")  # from_ is --from


def _kind(hint: object) -> tuple[str, tuple[str, ...]]:
    """Returns the kind of flag for a type, and an enum's choices; ("", ()) if there is none."""
    origin = typing.get_origin(hint)
    if origin is typing.Union or origin is types.UnionType:
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        return _kind(members[0]) if len(members) == 1 else ("", ())
    choices = typing.get_args(hint)
    if origin is Literal and all(isinstance(choice, str) for choice in choices):
        return "enum", choices
    return _KINDS.get(hint, ""), ()


def _define(specs: typing.Iterable[_FlagSpec]) -> flags.FlagValues:
    """Returns absl's own view of the flags; the defaults stay with the dataclass."""
    flag_values = flags.FlagValues()
    define: dict[str, Callable[..., object]] = {
        "str": flags.DEFINE_string,
        "int": flags.DEFINE_integer,
        "float": flags.DEFINE_float,
        "bool": flags.DEFINE_boolean,
        "list": flags.DEFINE_list,
    }
    for spec in specs:
        if spec.positional:
            continue
        if spec.kind == "enum":
            flags.DEFINE_enum(spec.name, None, spec.choices, spec.help, flag_values=flag_values)
        else:
            define[spec.kind](spec.name, None, spec.help, flag_values=flag_values)
    return flag_values


def _parse_arguments(
    flag_values: flags.FlagValues, specs: dict[str, _FlagSpec], argv: Sequence[str]
) -> list[str]:
    """Lets absl parse; returns the positional arguments.

    Raises:
        FlagError: In place of absl's exceptions.
    """
    try:
        return flag_values(["", *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        raise FlagError(_unknown_flag_message(error.flagname, specs.values())) from None
    except flags.IllegalFlagValueError as error:
        # absl's text is "flag --name=value: reason", with the reason as its context.
        text = str(error).removesuffix(f": {error.__context__}")
        name, _, value = text.removeprefix("flag --").partition("=")
        if name not in specs:
            raise FlagError(_one_line(error)) from None
        raise FlagError(f"--{name} must be {specs[name].allowed}, got {value!r}.") from None
    except (flags.Error, ValueError) as error:
        raise FlagError(_one_line(error)) from None


def _unknown_flag_message(name: str, specs: typing.Iterable[_FlagSpec]) -> str:
    known = ["flagfile", "help", "undefok"]
    for spec in specs:
        if not spec.positional:
            known.append(spec.name)
        if spec.kind == "bool":
            known.append(f"no{spec.name}")
    closest = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean --{closest[0]}?" if closest else "--help lists the flags."
    return f"unknown flag --{name}; {advice}"


def _given_value(value: Any) -> Any:
    """Returns the value as the Config has it: absl's lists as tuples without empty items."""
    return tuple(item for item in value if item) if isinstance(value, list) else value


def _take_positional(
    specs: typing.Iterable[_FlagSpec], arguments: list[str]
) -> dict[str, tuple[str, ...]]:
    if not arguments:
        return {}
    for spec in specs:
        if spec.positional:
            return {spec.name: tuple(arguments)}
    raise FlagError(
        f"unexpected argument {_without_secrets(arguments[0], specs)!r}: only flags are allowed, "
        "as --name=value, or --name and --noname for a bool."
    )


def _without_secrets(argument: str, specs: typing.Iterable[_FlagSpec]) -> str:
    """Cuts a URL that was meant for a flag that is secret, after "--notify_url= https://…"."""
    scheme, separator, _ = argument.partition("://")
    is_cut = separator and any(spec.secret for spec in specs)
    return f"{scheme}://..." if is_cut else argument


def _require(specs: typing.Iterable[_FlagSpec], given: dict[str, Any]) -> None:
    missing = [
        spec for spec in specs if spec.is_required and given.get(spec.name) in (None, "", ())
    ]
    if not missing:
        return
    names = ", ".join(
        spec.name.upper() if spec.positional else f"--{spec.name}" for spec in missing
    )
    got = "an empty value" if any(spec.name in given for spec in missing) else "nothing"
    noun = "this" if len(missing) == 1 else "these"
    raise FlagError(f"{names}: {noun} must be given, got {got}; see --help.")


def _flag_help(spec: _FlagSpec) -> str:
    if spec.positional:
        name = f"{spec.name.upper()}..."
    else:
        name = f"--[no]{spec.name}" if spec.kind == "bool" else f"--{spec.name}"
    kind = "|".join(spec.choices) if spec.kind == "enum" else spec.kind
    default = "required" if spec.is_required else f"default {_default_text(spec.default)}"
    indent = " " * 6
    text = textwrap.fill(spec.help, _HELP_WIDTH, initial_indent=indent, subsequent_indent=indent)
    return f"  {name} ({kind}, {default})\n{text}"


def _default_text(default: Any) -> str:
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default) if default != "" else "''"


def _asks_for_help(arguments: Sequence[str]) -> bool:
    for argument in arguments:
        if argument == "--":
            return False
        if argument.startswith("-") and argument.lstrip("-") in _HELP_FLAGS:
            return True
    return False


def _description(config_class: type[object]) -> str:
    text = config_class.__doc__ or ""
    if text.startswith(f"{config_class.__name__}("):  # what dataclass writes when there is none
        return ""
    return " ".join(text.strip().split("\n\n")[0].split())


def _program_name(config_class: type[object]) -> str:
    module = config_class.__module__
    return program_name() if module == "__main__" else module.rpartition(".")[2]


def _report(message: str) -> int:
    try:
        sys.stdout.flush()  # what the command printed comes before the error
    except OSError:
        _silence_stdout()
    print(f"{program_name()}: error: {message}", file=sys.stderr)
    return 1


def error_message(error: Exception) -> str:
    """Returns the line that a command prints after an error of the user's or the machine's."""
    if isinstance(error, BrokenExecutor):
        return (
            "a worker process ended abruptly, most likely because memory ran out; use fewer "
            "workers or a machine with more memory."
        )
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return _one_line(f"{error.filename}: {error.strerror}")
    if isinstance(error, OSError) and error.strerror:
        return _one_line(error.strerror)
    return _one_line(error) or type(error).__name__


def _one_line(message: object) -> str:
    return " ".join(line.strip() for line in str(message).splitlines() if line.strip())


def _stdout_is_broken() -> bool:
    """Returns whether the reader of standard output has gone."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))  # asked for no event, poll reports errors and hang-ups only
    except (AttributeError, OSError, ValueError):  # no poll here, or no file behind stdout
        return True


def _silence_stdout() -> None:
    """Lets the interpreter's last flush of standard output write into nothing."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass  # a stdout without a file has nothing to flush at exit
