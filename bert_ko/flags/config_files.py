"""Flags from a file of YAML or JSON: a mapping of names to values, or the run.json of a run."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from bert_ko.files import read_limited
from bert_ko.flags.declaration import REQUIRED, FlagSpec
from bert_ko.flags.errors import FlagError, one_line

_MAX_BYTES = 1 << 20
_YAML = (".yaml", ".yml")
_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}


def read_config(path: str, specs: Mapping[str, FlagSpec]) -> dict[str, Any]:
    """Returns the values that a file gives, by field.

    Args:
        path: local; of YAML if its name ends so, else of JSON. In a run.json, which has all flags
            of its run, those at their defaults count as not given.
        specs: the flags that there are, by name.

    Raises:
        FlagError: the file is damaged, or a key is no flag, or its value none of the flag.
        OSError: it can't be read.
    """
    content = _load(path)
    is_run = {"flags", "identity"} <= content.keys() and isinstance(content["flags"], dict)
    if is_run:
        content = content["flags"]
    known = {name: spec for spec in specs.values() for name in (*spec.names, spec.field)}
    values: dict[str, Any] = {}
    for key, given in content.items():
        spec = known.get(key)
        if spec is None:
            raise FlagError(f"{path}: {_unknown(key, known)}")
        value = _value(spec, given, f"{path}: {key}")
        if value is None or (is_run and value == spec.default is not REQUIRED):
            continue
        if spec.field in values:
            raise FlagError(f"{path}: {key} and --{spec.name} are one flag; give it once.")
        values[spec.field] = value
    return values


def _load(path: str) -> dict[str, Any]:
    text = read_limited(path, _MAX_BYTES)
    try:
        if path.lower().endswith(_YAML):
            import yaml  # it takes long, and most files are JSON

            content = yaml.safe_load(text)
        else:
            content = json.loads(text)
    except Exception as error:  # of a decoder, of JSON or of YAML, which has a base of its own
        raise FlagError(f"--config: {path} can't be read: {one_line(error)}.") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise FlagError(f"--config: {path} must have names of flags, each with its value.")
    return content


def _unknown(key: str, known: Mapping[str, FlagSpec]) -> str:
    closest = difflib.get_close_matches(key, known, n=1)
    advice = f"did you mean {closest[0]}?" if closest else "--helpfull lists the flags."
    return f"{key!r} is no flag of this command; {advice}"


def _value(spec: FlagSpec, given: Any, place: str) -> Any:
    """The value of a flag, as the command line would give it; None if there is none."""
    if given is None:
        return None
    kind = spec.kind
    if kind.name in ("list", "str, repeatable"):
        values = [given] if isinstance(given, str) else given
        if isinstance(values, list) and all(isinstance(item, str) for item in values):
            return tuple(filter(None, values))
        raise FlagError(f"{place} must be a list of texts, got {given!r}.")
    types = _TYPES.get(kind.name, (str,))
    # To Python, true is a number.
    fits = isinstance(given, types) and (bool in types or not isinstance(given, bool))
    if not fits or (kind.choices and given not in kind.choices):
        raise FlagError(f"{place} must be {kind.allowed}, got {given!r}.")
    return float(given) if kind.name == "float" else given
