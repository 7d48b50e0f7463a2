"""An object store on this machine: a server of S3 in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping

import pytest

_TENTHS = 600  # that the server may take to start


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment with which any program finds the server."""
    log = tmp_path_factory.mktemp("object_store") / "log"
    command = [sys.executable, "-c", "from moto.server import main; main()", "-p", "0"]
    with log.open("wb") as stream, subprocess.Popen(command, stderr=stream) as server:
        try:
            for _ in range(_TENTHS):
                if found := re.search(rb"Running on (http://\S+:\d+)", log.read_bytes()):
                    break
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
            assert found, log.read_text()
            yield {
                "AWS_ENDPOINT_URL": found[1].decode(), "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            }  # fmt: skip
        finally:
            server.kill()


@pytest.fixture
def bucket(object_store: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket."""
    for name, value in object_store.items():
        monkeypatch.setenv(name, value)
    return make_bucket()


def make_bucket() -> str:
    """Makes a bucket on the server that the environment names; returns its URL."""
    from s3fs import S3FileSystem

    name = f"test-{uuid.uuid4().hex}"
    S3FileSystem().mkdir(name)
    return f"s3://{name}"
