"""The command: from its flags to a signal."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bert_ko.serving import server
from tests.fakes import REPOSITORY, Command, install_backend
from tests.saved_models import predict, save
from tests.serving.conftest import SECONDS, wait_until

serve = Command("serve", {"port": 0})


def post(port: int, path: str, body: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def is_ready(port: int) -> bool:
    with (
        contextlib.suppress(OSError),
        contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        ) as connection,
    ):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "host"), [(signal.SIGTERM, "127.0.0.1"), (signal.SIGINT, "0.0.0.0")]
)
def test_signal_ends_it_with_an_answer_to_whoever_has_asked(
    number: signal.Signals, host: str, folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, entered = threading.Event(), threading.Event()
    ports: list[int] = []
    bind = server.bind
    is_warm = False

    def noted(host: str, port: int) -> socket.socket:
        listener = bind(host, port)
        ports.append(listener.getsockname()[1])
        return listener

    def compute(*arguments: Any) -> Any:
        if is_warm:
            entered.set()
            assert gate.wait(SECONDS)
        return predict(*arguments)

    found: list[Any] = []

    def ask() -> None:
        nonlocal is_warm
        wait_until(lambda: ports and is_ready(ports[0]))
        is_warm = True
        path = "/models/topics/classify"
        asker = threading.Thread(target=lambda: found.append(post(ports[0], path, {"texts": [""]})))
        asker.start()
        assert entered.wait(SECONDS)
        os.kill(os.getpid(), number)
        wait_until(lambda: not is_ready(ports[0]))  # it listens no more, and still computes
        gate.set()
        asker.join(SECONDS)

    monkeypatch.setattr(server, "bind", noted)
    install_backend(monkeypatch, "bert_ko.tasks.loading").compute = compute
    client = threading.Thread(target=ask)
    client.start()
    ended = serve(folders["topics"], folders["entities"], host=host)
    client.join(SECONDS)
    assert ended.status == 0, ended.err
    assert ended.out == f"http://{host}:{ports[0]}\n"
    shared = "serve: warning: --host=0.0.0.0: whoever reaches this machine can use the server."
    lines = ended.err.splitlines()
    if host != "127.0.0.1":
        assert lines.pop(0) == shared
    assert lines[:2] == [
        f"serve: topics (classifier): POST {ended.out.strip()}/models/topics/classify",
        f"serve: entities (tagger): POST {ended.out.strip()}/models/entities/tag",
    ]
    assert lines[-1] == "serve: ended"
    assert found[0][0] == 200 and found[0][1]["results"][0]["label"] == "과학"


def test_model_that_can_not_be_compiled_ends_it(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(*arguments: Any) -> Any:
        raise MemoryError("no room for the model")

    install_backend(monkeypatch, "bert_ko.tasks.loading").compute = compute
    assert serve(folders["topics"]).error == "memory ran out. no room for the model"


@pytest.mark.parametrize(
    ("flags", "arguments", "message"),
    [
        ({}, [], "MODEL: this must be given, got nothing; see --help."),
        ({"port": 65536}, ["x"], "--port must be in [0, 65535], got 65536."),
        ({"host": "no such host"}, ["x"], "--host=no such host: {any}; give a name or address of "
         "this machine."),
        ({"host": "203.0.113.1"}, ["x"], "--host=203.0.113.1 --port=0: {any}; give another port, "
         "or 0 for a free one, or an address of this machine."),
        ({}, ["{topics}", "{topics}/"], "{topics} and {topics}/ would both be served as 'topics'; "
         "make a link to one of the folders that has another name."),
        ({}, ["a b"], "a b: a model is served under the name of its folder, of letters, digits and "
         "_.- alone, got 'a b'; make a link to the folder that has another name."),
        ({}, ["/none/x"], "nothing at /none/x: no folder with safetensors and no TF1 checkpoint "
         "(/none/x.index)."),
        ({}, ["{encoder}"], "{encoder} has no head that answers; serve takes readers, classifiers, "
         "taggers and pre-trained models that fill [MASK]."),
    ],
)  # fmt: skip
def test_what_can_not_be_served_is_one_sentence(
    flags: dict[str, Any],
    arguments: list[str],
    message: str,
    folders: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_backend(monkeypatch, "bert_ko.tasks.loading", "bert_ko.tasks.features.extraction")
    encoder = tmp_path / "encoder"
    if "{encoder}" in arguments:
        save(encoder, "encoder")

    def filled(text: str) -> str:
        return text.replace("{topics}", folders["topics"]).replace("{encoder}", str(encoder))

    error = serve(*map(filled, arguments), **flags).error
    before, _, after = filled(message).partition("{any}")
    assert error.startswith(before) and error.endswith(after)


def test_port_that_is_taken_is_one_sentence(folders: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = serve(folders["topics"], port=port).error
    assert error.startswith(f"--host=127.0.0.1 --port={port}: Address already in use; ")


def test_without_its_packages_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("bert_ko.serving", "uvicorn"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert serve("x").error == "serve needs the package uvicorn: pip install bert_ko[serve]"


@pytest.mark.parametrize(
    ("host", "is_local", "address"),
    [
        ("127.0.0.1", True, "http://127.0.0.1:"),
        ("localhost", True, "http://localhost:"),
        ("0.0.0.0", False, "http://0.0.0.0:"),
        ("::1", True, "http://[::1]:"),
    ],
)
def test_bind_knows_what_only_this_machine_reaches(host: str, is_local: bool, address: str) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        listener = server.bind(host, 0)
    except ValueError:
        assert host == "::1"  # IPv6 may be switched off
        pytest.skip("no IPv6")
    with listener:
        assert server.is_loopback(listener) is is_local
        assert server.address_of(host, listener).startswith(address)


@pytest.mark.slow
def test_answers_of_a_process_are_the_same_alone_and_together(tmp_path: Path) -> None:
    """On a real backend: the same texts, and scores within 1e-4, whatever else is in a batch."""
    paths = [
        save(tmp_path / "reader", "reader", max_query_length=16), save(tmp_path / "topics", "crf"),
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "bin" / "serve"), "--port=0", "--batch_wait=0.05",
         *paths],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        check_answers(int(process.stdout.readline().rpartition(":")[2]))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0 and err.endswith("serve: ended\n"), err
    finally:
        process.kill()
        process.communicate()


def check_answers(port: int) -> None:
    wait_until(lambda: is_ready(port))
    texts = [f"세종은 한양에서 {'한글을 ' * count}태어났다." for count in range(0, 24, 3)]
    requests = [
        ("/models/reader/answer", {"context": text, "questions": ["누가?"], "top_k": 2})
        for text in texts
    ]
    requests += [("/models/topics/tag", {"texts": [text]}) for text in texts]
    alone = [post(port, *request) for request in requests]
    together: list[Any] = [None] * len(requests)

    def ask(number: int) -> None:
        together[number] = post(port, *requests[number])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    for (status, one), (_, other) in zip(alone, together, strict=True):
        (found, scores), (wanted, others) = split_scores(one), split_scores(other)
        assert status == 200 and found == wanted
        assert scores == pytest.approx(others, abs=1e-4)


def split_scores(answer: Any) -> tuple[Any, list[float]]:
    """An answer without its probabilities, and those in their order."""
    scores: list[float] = []

    def drop(values: dict[str, Any]) -> dict[str, Any]:
        scores.append(values.pop("probability", 0.0))
        return values

    return json.loads(json.dumps(answer), object_hook=drop), scores
