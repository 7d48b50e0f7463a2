"""What a page says of how it was made: flags, version, date and data, without private folders."""

from __future__ import annotations

import datetime
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_ko import files
from bert_ko.flags import changed_flags, secret_flags
from bert_ko.report.languages import Texts

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_UNITS = ("B", "kB", "MB", "GB", "TB")
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
Facts = list[tuple[str, str]]


def given_flags(config: DataclassInstance) -> list[tuple[str, str]]:
    """Returns the flags that are not at their defaults, with values as on a command line.

    Secret ones are left out, and of absolute paths the folders: a page is shown to others.
    """
    secrets = secret_flags(type(config))
    return [
        (f"--{name.removesuffix('_')}", _written(getattr(config, name)))
        for name in changed_flags(config)
        if name not in secrets
    ]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(_written, value))
    return (
        f"…/{base_name(value)}" if isinstance(value, str) and os.path.isabs(value) else str(value)
    )


def made_facts(t: Texts) -> Facts:
    """Returns when a page is made, and by which version."""
    now = datetime.datetime.now().astimezone()
    package = sys.modules[__name__.partition(".")[0]]  # which it must not import: it is above
    commit = source_commit(Path(__file__).parents[2])
    version = f"bert_ko {package.__version__}"
    return [
        (t("date"), now.strftime("%Y-%m-%d %H:%M %z")),
        (t("version"), f"{version}, {t('commit')} {commit[:12]}" if commit else version),
    ]


def source_commit(folder: Path) -> str | None:
    """Returns the commit of a checkout of git; None if there is none in this very folder."""
    try:
        place = folder / ".git"
        if place.is_file():  # of a further work tree
            place = folder / place.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (place / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref:"):
            return head if _COMMIT.fullmatch(head) else None
        name = head.removeprefix("ref:").strip()
        common = place / "commondir"
        if common.is_file():
            place = place / common.read_text(encoding="utf-8").strip()
        if (place / name).is_file():
            found = (place / name).read_text(encoding="utf-8").strip()
            return found if _COMMIT.fullmatch(found) else None
        lines = (place / "packed-refs").read_text(encoding="utf-8").splitlines()
        found = next((line.split()[0] for line in lines if line.endswith(f" {name}")), "")
        return found if _COMMIT.fullmatch(found) else None
    except (OSError, UnicodeDecodeError):
        return None


def described_file(path: str) -> str:
    """Returns the name of a file of data and its size, if it has one."""
    try:
        return f"{base_name(path)}, {byte_size(files.size(path))}"
    except (OSError, ValueError):
        return base_name(path)


def described_files(paths: Iterable[str]) -> str:
    """Returns the name of a file; of several the number, the first and the last, and their size."""
    found = list(paths)
    if len(found) == 1:
        return described_file(found[0])
    try:
        size = f", {byte_size(sum(files.sizes(found)))}"
    except (OSError, ValueError):
        size = ""
    if not found:
        return "–"
    return f"{base_name(found[0])} … {base_name(found[-1])} ({len(found):,}{size})"


def base_name(path: str) -> str:
    """Returns the last part of a path, which says nothing of where on a machine it is."""
    if not files.is_remote(path):
        path = os.path.abspath(path)
    return path.rstrip("/").rpartition("/")[2] or path


def byte_size(size: float) -> str:
    """Returns a number of bytes in a unit of which there are less than a thousand."""
    unit = 0
    while size >= 1000 and unit + 1 < len(_UNITS):
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {_UNITS[unit]}" if unit else f"{size:,.0f} B"
