"""Small files of the user's, byte for byte."""

from collections.abc import Callable
from pathlib import Path

import pytest

WriteFile = Callable[[str, str | bytes], str]


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    """(name, content) to the path of a new file; text is written as UTF-8, line ends as given."""

    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write
