"""What a page says of how it was made."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from bert_ko.flags import Flags, flag
from bert_ko.report.facts import (
    byte_size,
    described_file,
    described_files,
    given_flags,
    made_facts,
    source_commit,
)
from bert_ko.report.languages import ENGLISH

COMMIT = "0123456789abcdef0123456789abcdef01234567"


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
def test_byte_size_has_three_digits(size: int, expected: str) -> None:
    assert byte_size(size) == expected


def test_source_commit_is_that_of_a_checkout_in_this_very_folder(tmp_path: Path) -> None:
    assert source_commit(tmp_path) is None
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert source_commit(tmp_path) is None  # nothing is committed
    (git / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n")
    assert source_commit(tmp_path) == COMMIT
    (git / "refs" / "heads" / "main").write_text(f"{COMMIT[::-1]}\n")
    assert source_commit(tmp_path) == COMMIT[::-1]
    (git / "HEAD").write_text(f"{COMMIT}\n")
    assert source_commit(tmp_path) == COMMIT
    (git / "HEAD").write_text("<b>\n")
    assert source_commit(tmp_path) is None
    (tmp_path / "inside").mkdir()
    assert source_commit(tmp_path / "inside") is None


def test_source_commit_of_a_further_work_tree(tmp_path: Path) -> None:
    own = tmp_path / "main" / ".git" / "worktrees" / "b"
    heads = tmp_path / "main" / ".git" / "refs" / "heads"
    (tmp_path / "b").mkdir()
    own.mkdir(parents=True)
    heads.mkdir(parents=True)
    (tmp_path / "b" / ".git").write_text(f"gitdir: {own}\n")
    (own / "HEAD").write_text("ref: refs/heads/b\n")
    (own / "commondir").write_text("../..\n")
    (heads / "b").write_text(f"{COMMIT}\n")
    assert source_commit(tmp_path / "b") == COMMIT


def test_made_facts_are_date_and_version() -> None:
    (_, date), (_, version) = made_facts(ENGLISH)
    assert len(date) == len("2026-01-01 12:00 +0900") and version.startswith("bert_ko ")
