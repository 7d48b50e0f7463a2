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
import functools
import itertools
import math
import operator
import os
import select
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypedDict, TypeVar, Unpack

from absl import flags

from bert_ko.files import read_limited, refuse_no_file
from bert_ko.interrupts import INTERRUPTED, interruptible
from bert_ko.progress import program_name, running_as
from bert_ko.streams import prepare_streams, print_error, silence

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")

REQUIRED: Final = object()

_MAX_FLAGFILE = 1 << 20  # bytes
_HELP_FLAGS = frozenset({"h", "help", "helpfull", "helpshort"})
_HELP_WIDTH = 100


class FlagError(ValueError):
    """The command line is wrong; the message is one line that says how."""


class Bounds(TypedDict, total=False):
    """The values that a number may have; at most one lower and one upper bound."""

    at_least: float
    above: float
    at_most: float
    below: float


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}


def _bounds_text(bounds: Mapping[str, float]) -> str:
    """Returns bounds in words: "at least 1", "in (0, 1]"."""
    texts = [_bound_text(bounds[name]) for name in _COMPARISONS if name in bounds]
    if len(texts) < 2:
        return " ".join([*bounds, *texts]).replace("_", " ") or "a number"
    left, right = "[" if "at_least" in bounds else "(", "]" if "at_most" in bounds else ")"
    return f"in {left}{', '.join(texts)}{right}"


def _bound_text(bound: float) -> str:
    """Returns a bound in its usual notation: 1, 0.5, 1e6, 2**31."""
    if isinstance(bound, int):
        exponent = bound.bit_length() - 1
        return f"2**{exponent}" if exponent >= 31 and bound == 1 << exponent else str(bound)
    return f"{bound:.3g}".replace("e+0", "e").replace("e+", "e")


@dataclasses.dataclass(frozen=True)
class Flags:
    """Base class of every Config; it refuses numbers outside the bounds of their flags."""

    def __post_init__(self) -> None:
        """Raises: ValueError: a number is out of bounds or NaN; the message names the flag."""
        for field in dataclasses.fields(self):
            value, bounds = getattr(self, field.name), field.metadata["bounds"]
            if not isinstance(value, (int, float)):
                continue
            is_within = all(_COMPARISONS[name](value, bound) for name, bound in bounds.items())
            if math.isnan(value) or not is_within:
                name = _flag_name(field)
                raise ValueError(f"--{name} must be {_bounds_text(bounds)}, got {value}.")

    @classmethod
    def find_values(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns values of flags that are not given, by field, from files that `given` names."""
        return {}

    @classmethod
    def check_given(cls, given: Mapping[str, Any]) -> None:
        """Refuses, by a ValueError, given flags that have no meaning beside other given ones."""


class _Kind(NamedTuple):
    """What the type of a flag makes of it."""

    name: str  # as --help shows it
    allowed: str  # for an error message
    define: Callable[..., object]  # absl's function


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


_KINDS: dict[object, _Kind] = {
    str: _Kind("str", "text", flags.DEFINE_string),
    int: _Kind("int", "an integer", flags.DEFINE_integer),
    float: _Kind("float", "a number", flags.DEFINE_float),
    bool: _Kind("bool", "true or false", flags.DEFINE_boolean),
    tuple[str, ...]: _Kind("list", "a comma-separated list", _define_list),
}
_REPEATABLE = _Kind("str, repeatable", "text", flags.DEFINE_multi_string)


@dataclasses.dataclass(frozen=True)
class _FlagSpec:
    """One flag, as its dataclass field and the field's type define it."""

    field: str  # of the dataclass
    name: str
    kind: _Kind
    default: Any  # or REQUIRED
    help: str
    positional: bool
    affects_output: bool
    before: Any
    secret: bool
    repeatable: bool
    other_name: str | None
    bounds: Bounds

    @property
    def names(self) -> tuple[str, ...]:
        """All that the command line may call it."""
        return (self.name,) if self.other_name is None else (self.name, self.other_name)

    @property
    def is_required(self) -> bool:
        return self.default is REQUIRED


def flag(
    default: Any = REQUIRED,
    *,
    help: str,
    positional: bool = False,
    affects_output: bool = True,
    before: Any = None,
    secret: bool = False,
    repeatable: bool = False,
    other_name: str | None = None,
    **bounds: Unpack[Bounds],
) -> Any:
    """Declares a flag as a keyword-only field of a command's Config.

    Args:
        default: The value without the flag; without a default, the flag is required.
        help: What the flag does, with the unit of its value.
        positional: The field, a tuple[str, ...], takes the arguments that are not flags.
        affects_output: False for what changes no output (workers, progress): not in `output_flags`.
        before: What runs did before the flag existed, if that is not the default; such a run
            resumes only with this value. See `values_before`.
        secret: The value must never be printed or written. It is not in the Config's repr, and
            it doesn't affect the output. See `secret_flags`.
        repeatable: The field, a tuple[str, ...], gets an item, with its commas, each time that the
            flag is given.
        other_name: A second name on the command line; records and messages have the first.
        bounds: Limits of a number, `at_least` or `above`, `at_most` or `below`; checked by `Flags`.
    """
    metadata = {
        "help": help,
        "positional": positional,
        "affects_output": affects_output and not secret,
        "before": default if before is None else before,
        "secret": secret,
        "repeatable": repeatable,
        "other_name": other_name,
        "bounds": bounds,
    }
    if default is REQUIRED:
        return dataclasses.field(kw_only=True, repr=not secret, metadata=metadata)
    return dataclasses.field(default=default, kw_only=True, repr=not secret, metadata=metadata)


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
    specs = {spec.name: spec for spec in _flag_specs(config_class)}
    flag_values = flags.FlagValues()
    for spec in specs.values():
        for name in () if spec.positional else spec.names:  # the defaults stay with the dataclass
            spec.kind.define(name=name, default=None, help=spec.help, flag_values=flag_values)
    _check_flagfiles(argv)
    arguments = _parse_arguments(flag_values, specs, argv)
    values: dict[str, Any] = {}
    for spec in specs.values():
        if spec.positional:
            values |= {spec.field: tuple(arguments)} if arguments else {}
            continue
        given = [name for name in spec.names if flag_values[name].present]
        if len(given) > 1:
            raise FlagError(f"--{given[0]} and --{given[1]} are one flag; give it once.")
        if given:
            value: Any = flag_values[given[0]].value
            values[spec.field] = tuple(filter(None, value)) if isinstance(value, list) else value
    if issubclass(config_class, Flags):
        config_class.check_given(values)
        values = {**config_class.find_values(values), **values}
    _require(specs.values(), values)
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
        "--flagfile=FILE reads flags from a file, one per line."
    )
    blocks += [_flag_help(spec) for spec in specs]
    return "\n\n".join(blocks) + "\n"


def run_command(
    config_class: type[C], run: Callable[[C], object], argv: Sequence[str] | None = None
) -> int:
    """Parses the flags, runs the command and prints the user's errors as one line each.

    Args:
        config_class: The command's Config; the first paragraph of its docstring describes it.
        run: The command; its return value is ignored.
        argv: The arguments without the program's name; None takes them from `sys.argv`.

    Returns:
        The exit status: 0; 1 after an error of the user's or the machine's; 130 after Ctrl-C; 141
        when the reader of standard output has gone. Any other exception is a bug and passes.
    """
    arguments = sys.argv[1:] if argv is None else argv
    module = config_class.__module__
    program = program_name() if module == "__main__" else module.rpartition(".")[2]
    prepare_streams()
    with running_as(program), interruptible():
        try:
            if _asks_for_help(arguments):
                print(help_text(config_class, program, _description(config_class)), end="")
            else:
                run(parse(config_class, arguments))
            sys.stdout.flush()
        except KeyboardInterrupt:
            print_error(f"{program}: interrupted")
            return INTERRUPTED
        except (ValueError, OSError, MemoryError, BrokenExecutor) as error:
            if isinstance(error, BrokenPipeError) and _stdout_is_broken():
                silence(sys.stdout)
                return 141  # 128 + SIGPIPE, as the shell reports it
            return _report(error_message(error))
    return 0


def output_flags(config: DataclassInstance) -> dict[str, Any]:
    """Returns the values of the flags that affect the output, tuples as lists."""
    return {
        spec.name: list(value) if isinstance(value := getattr(config, spec.field), tuple) else value
        for spec in _flag_specs(type(config))
        if spec.affects_output
    }


def changed_flags(config: DataclassInstance) -> list[str]:
    """Returns the names of the fields that are not at their defaults."""
    fields = dataclasses.fields(config)
    return [field.name for field in fields if getattr(config, field.name) != field.default]


def values_before(config_class: type[DataclassInstance]) -> dict[str, Any]:
    """Returns what a run did that lacks a flag in its record because it began before the flag.

    A record of `output_flags` is completed with it before it is compared, so that a new flag stops
    no run that is resumed with what it did from its beginning: the flag's `before`, or else its
    default. A flag whose default depends on other flags is best recorded by what it comes to.
    """
    return {
        spec.name: list(value) if isinstance(value := spec.before, tuple) else value
        for spec in _flag_specs(config_class)
        if spec.affects_output and not spec.is_required
    }


def secret_flags(config_class: type[DataclassInstance]) -> frozenset[str]:
    """Returns the fields whose values must never be written."""
    return frozenset(spec.field for spec in _flag_specs(config_class) if spec.secret)


def _flag_specs(config_class: type[DataclassInstance]) -> list[_FlagSpec]:
    hints = typing.get_type_hints(config_class)
    specs = [_flag_spec(field, hints[field.name]) for field in dataclasses.fields(config_class)]
    unchecked = [spec.name for spec in specs if spec.bounds]
    if unchecked and not issubclass(config_class, Flags):
        raise TypeError(f"{config_class.__name__} must be a Flags, which checks {unchecked}.")
    return specs


def _flag_spec(field: dataclasses.Field[Any], hint: object) -> _FlagSpec:
    if "help" not in field.metadata:
        raise TypeError(f"Field {field.name} of a Config must be made by flag(), got {field!r}.")
    default = REQUIRED if field.default is dataclasses.MISSING else field.default
    kind = _kind(hint)
    is_list = field.metadata["positional"] or field.metadata["repeatable"]
    if not kind or (is_list and kind.name != "list"):
        raise TypeError(f"Flag {field.name} has an unsupported type: {hint!r}.")
    kind = _REPEATABLE if field.metadata["repeatable"] else kind
    return _FlagSpec(field.name, _flag_name(field), kind, default, **field.metadata)


def _flag_name(field: dataclasses.Field[Any]) -> str:
    return field.name.removesuffix("_")  # from_ is --from


def _kind(hint: object) -> _Kind | None:
    """Returns the kind of flag for a type; None for an unsupported type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        members = [member for member in arguments if member is not type(None)]
        return _kind(members[0]) if len(members) == 1 else None
    if origin is Literal and all(isinstance(choice, str) for choice in arguments):
        define = functools.partial(flags.DEFINE_enum, enum_values=arguments)
        return _Kind("|".join(arguments), f"one of {', '.join(arguments)}", define)
    return _KINDS.get(hint)


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
    flag_values: flags.FlagValues, specs: Mapping[str, _FlagSpec], argv: Sequence[str]
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
            raise FlagError(_one_line(error)) from None
        raise FlagError(f"--{name} must be {spec.kind.allowed}, got {value!r}.") from None
    except (flags.Error, ValueError) as error:
        raise FlagError(_one_line(error)) from None
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


def _unknown_flag_message(name: str, specs: Collection[_FlagSpec]) -> str:
    known = ["flagfile", "help", "undefok"]
    known += [name for spec in specs if not spec.positional for name in spec.names]
    known += [f"no{spec.name}" for spec in specs if spec.kind.name == "bool"]
    closest = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean --{closest[0]}?" if closest else "--help lists the flags."
    return f"unknown flag --{name}; {advice}"


def _require(specs: Iterable[_FlagSpec], values: Mapping[str, Any]) -> None:
    missing = [
        spec for spec in specs if spec.is_required and values.get(spec.field) in (None, "", ())
    ]
    if not missing:
        return
    names = (spec.name.upper() if spec.positional else f"--{spec.name}" for spec in missing)
    got = "an empty value" if any(spec.field in values for spec in missing) else "nothing"
    noun = "this" if len(missing) == 1 else "these"
    raise FlagError(f"{', '.join(names)}: {noun} must be given, got {got}; see --help.")


def _flag_help(spec: _FlagSpec) -> str:
    if spec.positional:
        name = f"{spec.name.upper()}..."
    else:
        no = "[no]" if spec.kind.name == "bool" else ""
        name = ", ".join(f"--{no}{one}" for one in spec.names)
    default = "required" if spec.is_required else f"default {_default_text(spec.default)}"
    indent = " " * 6
    text = textwrap.fill(spec.help, _HELP_WIDTH, initial_indent=indent, subsequent_indent=indent)
    return f"  {name} ({spec.kind.name}, {default})\n{text}"


def _default_text(default: Any) -> str:
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(default) if isinstance(default, tuple) else str(default) or "''"


def _asks_for_help(arguments: Sequence[str]) -> bool:
    before = itertools.takewhile(lambda argument: argument != "--", arguments)
    return any(item.startswith("-") and item.lstrip("-") in _HELP_FLAGS for item in before)


def _description(config_class: type[object]) -> str:
    text = config_class.__doc__ or ""
    if text.startswith(f"{config_class.__name__}("):  # what dataclass writes when there is none
        return ""
    return " ".join(text.strip().split("\n\n")[0].split())


def _report(message: str) -> int:
    try:
        sys.stdout.flush()  # what the command printed comes before the error
    except OSError:
        silence(sys.stdout)
    print_error(f"{program_name()}: error: {message}")
    return 1


def error_message(error: Exception) -> str:
    """Returns the line that a command prints after an error of the user's or the machine's."""
    if isinstance(error, BrokenExecutor):
        return (
            "a worker process ended abruptly, most likely because memory ran out; use fewer "
            "workers or a machine with more memory."
        )
    if isinstance(error, MemoryError):
        return _one_line(f"memory ran out. {error}")
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f"{error.filename}: "
        return _one_line(f"{place}{error.strerror}")
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
