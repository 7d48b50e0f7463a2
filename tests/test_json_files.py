import json
from pathlib import Path

from bert_ko.json_files import format_json, read_json, write_json


def test_read_json_missing_file_is_none_and_written_one_is_equal(tmp_path: Path) -> None:
    path = str(tmp_path / "manifest.json")
    assert read_json(path) is None
    write_json(path, {"이름": [1, None]})
    assert read_json(path) == {"이름": [1, None]}
    assert "이름" in Path(path).read_text(encoding="utf-8")


def test_format_json_has_hangul_and_no_surrogate() -> None:
    assert format_json({"글": '"가"\n'}) == '{"글": "\\"가\\"\\n"}'
    found = format_json({"글": "가\udc80"})
    assert found == '{"글": "가\\udc80"}'
    assert json.loads(found.encode()) == {"글": "가\udc80"}
    assert format_json([1, "가"], indent=1) == '[\n 1,\n "가"\n]'
