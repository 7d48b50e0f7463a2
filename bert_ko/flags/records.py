"""What files record of flags."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from bert_ko.flags.declaration import FlagSpec, flag_specs

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def output_flags(config: DataclassInstance) -> dict[str, Any]:
    """Returns the values of the flags that affect the output, tuples as lists."""
    return {
        spec.name: list(value) if isinstance(value := getattr(config, spec.field), tuple) else value
        for spec in flag_specs(type(config))
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
        for spec in flag_specs(config_class)
        if spec.affects_output and not spec.is_required
    }


def secret_flags(config_class: type[DataclassInstance]) -> frozenset[str]:
    """Returns the fields whose values must never be written."""
    return frozenset(spec.field for spec in flag_specs(config_class) if spec.secret)


def command_arguments(config: DataclassInstance) -> list[str]:
    """Returns the arguments that make a Config; those that are secret have no value."""
    arguments, rest = [], []
    for spec in flag_specs(type(config)):
        value = getattr(config, spec.field)
        if spec.positional:
            rest = list(value)
        elif value != spec.default:
            arguments += _arguments(spec, value)
    return [*arguments, *(["--"] if any(item.startswith("-") for item in rest) else []), *rest]


def _arguments(spec: FlagSpec, value: Any) -> list[str]:
    if spec.secret:
        return [f"--{spec.name}=..."]
    if spec.kind.name == "bool":
        return [f"--{spec.name}" if value else f"--no{spec.name}"]
    if spec.repeatable:
        return [f"--{spec.name}={item}" for item in value]
    text = ",".join(value) if isinstance(value, tuple) else value
    return [f"--{spec.name}={text}"]
