"""What a page says of how it was made."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from bert_ko.flags import Flags, flag
from bert_ko.progress import format_bytes
from bert_ko.report.facts import (
    described_file,
    described_files,
    given_flags,
    made_facts,
    source_commit,
)
from bert_ko.report.languages import ENGLISH


@dataclass(frozen=True)
class Config(Flags):
    """Some flags."""

    rate: float = flag(0.1, help="A number.")
    fast: bool = flag(True, help="A switch.")
    input_file: tuple[str, ...] = flag((), help="Files.")
    output_dir: str = flag(help="A folder.")
    notify_url: str | None = flag(None, help="A secret.", secret=True)
    from_: str = flag("a", help="A name of Python's.")


def test_given_flags_have_no_default_no_secret_and_no_folder() -> None:
    config = Config(
        output_dir="/home/me/run", fast=False, input_file=("/home/me/a.txt", "b/*.txt"),
        notify_url="https://secret", from_="b",
    )  # fmt: skip
    assert given_flags(config) == [
        ("--fast", "false"), ("--input_file", "…/a.txt,b/*.txt"), ("--output_dir", "…/run"),
        ("--from", "b"),
    ]  # fmt: skip


def test_described_files_are_names_and_sizes(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.txt", "b.txt", "c.txt")]
    for path in paths:
        Path(path).write_bytes(b"x" * 1500)
    assert described_file(paths[0]) == "a.txt, 1.5 kB"
    assert described_file(str(tmp_path / "none")) == "none"
    assert described_files(paths) == "a.txt … c.txt (3, 4.5 kB)"
    assert described_files(paths[:1]) == "a.txt, 1.5 kB"
    assert described_files([]) == "–"


@pytest.mark.parametrize(
    ("size", "expected"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (38_529_421, "38.5 MB")]
)
def test_format_bytes_has_three_digits(size: int, expected: str) -> None:
    assert format_bytes(size) == expected


def test_source_commit_is_that_of_a_checkout_in_this_very_folder(tmp_path: Path) -> None:
    main, other = tmp_path / "main", tmp_path / "other"
    main.mkdir()
    assert source_commit(main) is None

    def git(*arguments: str) -> str:
        own = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        command = ["git", "-C", str(main), *own, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    assert source_commit(main) is None  # nothing is committed
    git("commit", "-q", "--allow-empty", "-m", "x")
    assert source_commit(main) == git("rev-parse", "HEAD")
    git("worktree", "add", "-q", "--detach", str(other))
    assert source_commit(other) == git("rev-parse", "HEAD")
    (main / "inside").mkdir()
    assert source_commit(main / "inside") is None


def test_made_facts_are_date_and_version() -> None:
    (_, date), (_, version) = made_facts(ENGLISH)
    assert len(date) == len("2026-01-01 12:00 +0900") and version.startswith("bert_ko ")
