"""What a page says of how it was made: flags, version, date and data, without private folders."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_ko import files
from bert_ko.flags import changed_flags, secret_flags
from bert_ko.progress import format_bytes
from bert_ko.report.languages import Texts

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

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
    command = ["git", "-C", str(folder), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        top, commit = done.stdout.splitlines()
        return commit if os.path.samefile(top, folder) else None
    except (OSError, ValueError, subprocess.SubprocessError):  # no git, or nothing committed
        return None


def described_file(path: str) -> str:
    """Returns the name of a file of data and its size, if it has one."""
    try:
        return f"{base_name(path)}, {format_bytes(files.size(path))}"
    except (OSError, ValueError):
        return base_name(path)


def described_files(paths: Iterable[str]) -> str:
    """Returns the name of a file; of several the number, the first and the last, and their size."""
    found = list(paths)
    if len(found) == 1:
        return described_file(found[0])
    try:
        size = f", {format_bytes(sum(files.sizes(found)))}"
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
