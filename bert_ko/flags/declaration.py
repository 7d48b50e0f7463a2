"""Flags as the fields of a frozen dataclass, and what each field says of its flag."""

from __future__ import annotations

import dataclasses
import inspect
import math
import operator
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, TypedDict, Unpack

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

REQUIRED: Final = object()
MAIN: Final = "main"  # the group of required flags and of those that everyone gives


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

    # The heading in --help of the flags that a class declares, but for the main ones.
    group: ClassVar[str] = "Other flags"

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


class Kind(NamedTuple):
    """What the type of a flag makes of it."""

    name: str  # as --help shows it
    allowed: str  # for an error message
    choices: tuple[str, ...] = ()  # all that are allowed, if they are few


_KINDS: dict[object, Kind] = {
    str: Kind("str", "text"),
    int: Kind("int", "an integer"),
    float: Kind("float", "a number"),
    bool: Kind("bool", "true or false"),
    tuple[str, ...]: Kind("list", "a comma-separated list"),
}
_REPEATABLE = Kind("str, repeatable", "text")


@dataclasses.dataclass(frozen=True)
class FlagSpec:
    """One flag, as its dataclass field and the field's type define it."""

    field: str  # of the dataclass
    name: str
    group: str  # under which --help lists it; MAIN comes first
    kind: Kind
    default: Any  # or REQUIRED
    help: str
    positional: bool
    affects_output: bool
    before: Any
    secret: bool
    repeatable: bool
    other_name: str | None
    main: bool
    bounds: Bounds

    @property
    def names(self) -> tuple[str, ...]:
        """All that the command line may call it."""
        return (self.name,) if self.other_name is None else (self.name, self.other_name)

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
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
    main: bool = False,
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
        main: Everyone gives it: --help describes it before the groups, next to the required ones.
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
        "main": main,
        "bounds": bounds,
    }
    if default is REQUIRED:
        return dataclasses.field(kw_only=True, repr=not secret, metadata=metadata)
    return dataclasses.field(default=default, kw_only=True, repr=not secret, metadata=metadata)


def flag_specs(config_class: type[DataclassInstance]) -> list[FlagSpec]:
    """Returns the flags of a Config, in the order of its fields."""
    hints = typing.get_type_hints(config_class)
    fields = dataclasses.fields(config_class)
    specs = [_flag_spec(config_class, field, hints[field.name]) for field in fields]
    unchecked = [spec.name for spec in specs if spec.bounds]
    if unchecked and not issubclass(config_class, Flags):
        raise TypeError(f"{config_class.__name__} must be a Flags, which checks {unchecked}.")
    return specs


def _flag_spec(
    config_class: type[DataclassInstance], field: dataclasses.Field[Any], hint: object
) -> FlagSpec:
    if "help" not in field.metadata:
        raise TypeError(f"Field {field.name} of a Config must be made by flag(), got {field!r}.")
    default = REQUIRED if field.default is dataclasses.MISSING else field.default
    kind = _kind(hint)
    is_list = field.metadata["positional"] or field.metadata["repeatable"]
    if not kind or (is_list and kind.name != "list"):
        raise TypeError(f"Flag {field.name} has an unsupported type: {hint!r}.")
    kind = _REPEATABLE if field.metadata["repeatable"] else kind
    group = (
        MAIN if default is REQUIRED or field.metadata["main"] else _group(config_class, field.name)
    )
    return FlagSpec(field.name, _flag_name(field), group, kind, default, **field.metadata)


def _group(config_class: type[DataclassInstance], name: str) -> str:
    """Returns the group of the class that declares a flag, or declares it anew."""
    declaring = next(base for base in config_class.__mro__ if name in inspect.get_annotations(base))
    return str(getattr(declaring, "group", Flags.group))


def _flag_name(field: dataclasses.Field[Any]) -> str:
    return field.name.removesuffix("_")  # from_ is --from


def _kind(hint: object) -> Kind | None:
    """Returns the kind of flag for a type; None for an unsupported type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        members = [member for member in arguments if member is not type(None)]
        return _kind(members[0]) if len(members) == 1 else None
    if origin is Literal and all(isinstance(choice, str) for choice in arguments):
        return Kind("|".join(arguments), f"one of {', '.join(arguments)}", arguments)
    return _KINDS.get(hint)
