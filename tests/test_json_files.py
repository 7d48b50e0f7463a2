import bz2
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_ko import json_files
from bert_ko.json_files import format_json, load_json, read_json, write_json

DAMAGED = {
    "cut": (b'{"a": 1,\n"b', ":2: not JSON: "),
    "deep": (b"[" * 3000, "nested too deeply"),
    "deep object": (b'{"a":' * 3000, "nested too deeply"),
    "table": (b"\n id,question\n1,a\n", ":2: not JSON: it begins with id,question."),
    "digits": (b'{"a": ' + b"9" * 5000 + b"}", "not JSON to use: Exceeds"),
    "cp949": ('{"글": 1}'.encode("cp949"), ": not UTF-8 text"),
    "empty": (b"", "is empty"),
}


def test_read_json_missing_file_is_none_and_written_one_is_equal(tmp_path: Path) -> None:
    path = str(tmp_path / "manifest.json")
    assert read_json(path) is None
    write_json(path, {"이름": [1, None]})
    assert read_json(path) == {"이름": [1, None]}
    assert "이름" in Path(path).read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("read", [read_json, load_json])
def test_damaged_file_is_one_line_with_its_name(read: object, damage: str, tmp_path: Path) -> None:
    path, (content, message) = tmp_path / "manifest.json", DAMAGED[damage]
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read(str(path))  # type: ignore[operator]
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)


def test_read_json_list_or_large_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("[1]")
    with pytest.raises(ValueError, match=r"state\.json: the whole must be an object, got a list\."):
        read_json(str(path))
    path.write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"state\.json has more than 7 bytes"):
        read_json(str(path), 7)


def test_load_json_bomb_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_files, "_SMALL", 1 << 20)
    monkeypatch.setattr(json_files, "_PART", 1 << 18)
    path = tmp_path / "data.json.bz2"
    path.write_bytes(bz2.compress(b"[" + b" " * (2 << 20) + b"]"))
    with pytest.raises(ValueError, match=r"data\.json\.bz2 has \d+ bytes but expands to more than"):
        load_json(str(path))
    path.write_bytes(bz2.compress(b" " * (1 << 18) + b"[]"))
    with pytest.raises(ValueError, match="of blanks"):
        load_json(str(path))
    path.write_bytes(bz2.compress(b"[" + b" " * (1 << 19) + b"]"))
    assert load_json(str(path)) == []


def test_load_json_device_or_named_pipe_is_refused_and_an_open_pipe_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, kind in ((str(tmp_path / "fifo"), "a pipe"), ("/dev/zero", "a device")):
        with pytest.raises(ValueError, match=f"^{path} is {kind}, not a file"):
            load_json(path)
    script = "from bert_ko.json_files import load_json; print(load_json('/dev/stdin'))"
    done = subprocess.run(
        [sys.executable, "-c", script], input=b'{"a": 1}', capture_output=True, check=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.stdout == b"{'a': 1}\n"


def test_format_json_has_hangul_and_no_surrogate() -> None:
    assert format_json({"글": '"가"\n'}) == '{"글": "\\"가\\"\\n"}'
    found = format_json({"글": "가\udc80"})
    assert found == '{"글": "가\\udc80"}'
    assert json.loads(found.encode()) == {"글": "가\udc80"}
    assert format_json([1, "가"], indent=1) == '[\n 1,\n "가"\n]'
