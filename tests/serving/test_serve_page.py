"""docs/serve.md, run as it stands there but for the port."""

import json
import re
import shutil
import subprocess

import pytest

from bert_ko.flags import parse
from bert_ko.serve import ServeConfig
from tests.fakes import REPOSITORY
from tests.serving.conftest import serving

_BLOCK = re.compile(r"```(bash|python)\n(.*?)```", re.DOTALL)
KINDS = {"reader": "독해", "entities": "entities", "topics": "topics", "model": "model"}


@pytest.mark.slow
def test_page_runs_block_by_block(
    folders: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    page = (REPOSITORY / "docs" / "serve.md").read_text(encoding="utf-8")
    (_, start), (_, curl), (_, code) = _BLOCK.findall(page)
    config = parse(ServeConfig, start.split()[1:])
    assert config.port == 8000 and set(config.model) == set(KINDS)
    with serving({name: folders[KINDS[name]] for name in config.model}) as server:
        address = f"http://127.0.0.1:{server.port}/"
        script = curl.replace("http://127.0.0.1:8000/", address).replace("curl ", "curl -sSf ")
        done = subprocess.run(
            ["bash", "-e", "-c", script], capture_output=True, text=True, check=True
        )
        exec(code.replace("http://127.0.0.1:8000/", address), {})
    health, answer, tagged = (
        json.loads(f"{part}}}") for part in re.split(r"}(?={)", done.stdout[:-1])
    )
    assert health["status"] == "ready"
    assert answer["results"][0]["text"] == "세종"
    assert [one["text"] for one in tagged["results"][0]["entities"]] == ["세종", "한양"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("세종 0 2 0.") and lines[1] == "과학"
