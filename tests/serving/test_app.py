"""A server of models of every kind: its answers, and what it does with whatever comes."""

import dataclasses
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bert_ko.serving.limits import Limits
from tests.saved_models import PIECES, TEXT, predict
from tests.serving.conftest import SECONDS, Running, read_all, serving, wait_until

ANSWER = "/models/%EB%8F%85%ED%95%B4/answer"  # 독해
CLASSIFY, TAG, FILL = "/models/topics/classify", "/models/entities/tag", "/models/model/fill_mask"


def test_answers_are_those_of_the_python_api(running_server: Running) -> None:
    post, api = running_server.post, running_server.api
    context, questions = "한글을 지었다. 세종은. 😀세종", ["누가?", "누가 지었나?"]
    reply = post(ANSWER, {"context": context, "questions": questions, "top_k": 2})
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    wanted = [dataclasses.asdict(one) for one in api["독해"].answer(questions, context)]
    assert wanted[0]["text"] == "세종"
    for found, answer in zip(reply.json["results"], wanted, strict=True):
        answer["candidates"] = [
            {name: getattr(one, name) for name in ("text", "start", "end", "probability")}
            for one in answer["candidates"][:2]
        ]
        assert found == answer
    texts = [TEXT, ["세종", "한양"], ""]
    said = api["topics"].classify([TEXT, ("세종", "한양"), ""])
    results = post(CLASSIFY, {"texts": texts}).json["results"]
    assert results == [dataclasses.asdict(one) for one in said]
    score = post("/models/scores/classify", {"texts": ["세종은"]}).json
    assert score == {"results": [{"score": api["scores"].classify("세종은").score}]}
    found = post(TAG, {"texts": [TEXT, "", "😀 세종"]}).json["results"]
    tagged = api["entities"].tag([TEXT, "", "😀 세종"])
    assert [one["entities"] for one in found] == [
        [dataclasses.asdict(entity) for entity in entities] for entities in tagged
    ]
    assert found[2]["entities"][0]["start"] == 2
    (filled,) = post(FILL, {"texts": ["세종은 [MASK]에서"], "top_k": 2}).json["results"]
    (mask,) = api["model"].fill_mask("세종은 [MASK]에서", top_k=2)
    candidates = [{"piece": one.piece, "probability": one.probability} for one in mask.candidates]
    assert filled == {"masks": [{"start": 4, "candidates": candidates}]}


def by_length(outputs: Any, arrays: Any, batch: Any) -> Any:
    """Predictions that are told apart by the length of their text."""
    found = predict(outputs, arrays, batch)
    if "probabilities" in found and found["probabilities"].shape[1:] == (3,):
        length = batch["input_mask"].sum(axis=1, keepdims=True) / np.float32(100)
        found["probabilities"] = np.concatenate([length, 1 - length, 0 * length], 1)
    return found


@pytest.fixture
def slow(folders: dict[str, str]) -> Iterator[Running]:
    """A classifier that may have two requests waiting."""
    limits = Limits(waiting=2, batch_size=2, seconds=SECONDS)
    with serving({"topics": folders["topics"]}, limits, by_length) as found:
        yield found


def hold(server: Running, text: str = "세종") -> Any:
    """Begins a request, and waits until its model is at the gate."""
    server.gate.clear()
    (first,) = server.in_background(lambda: server.post(CLASSIFY, {"texts": [text]}))
    assert server.entered.acquire(timeout=SECONDS)
    return first


def test_requests_that_come_while_a_model_computes_are_its_next_batch(
    folders: dict[str, str],
) -> None:
    texts = ["세종 " * count for count in range(1, 13)]
    with serving({"topics": folders["topics"]}, compute=by_length) as server:
        first = hold(server)
        worker = server.workers["topics"]
        asked = server.in_background(
            *(lambda text=text: server.post(CLASSIFY, {"texts": [text]}) for text in texts)  # type: ignore[misc]
        )
        wait_until(lambda: worker.waiting == len(texts))
        server.gate.set()
        found = [one.reply.json["results"][0] for one in (first, *asked)]
        batches = 0
        while server.entered.acquire(blocking=False):
            batches += 1
        wanted = [server.api["topics"].classify(text) for text in ("세종", *texts)]
    assert batches == 2  # of eight and four
    assert found == [dataclasses.asdict(one) for one in wanted]
    assert len({one["probability"] for one in found[1:]}) == len(texts)


def test_request_larger_than_a_batch_is_answered(running_server: Running) -> None:
    texts = [TEXT] * 19
    assert len(running_server.post(TAG, {"texts": texts}).json["results"]) == 19


def test_full_queue_is_503_and_the_waiting_are_answered(slow: Running) -> None:
    first = hold(slow)
    waiting = slow.in_background(*[lambda: slow.post(CLASSIFY, {"texts": ["한양"]})] * 2)
    wait_until(lambda: slow.workers["topics"].waiting == 2)
    reply = slow.post(CLASSIFY, {"texts": ["한글"]})
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert reply.error == "2 requests to topics are waiting; ask again later."
    slow.gate.set()
    assert [one.reply.status for one in (first, *waiting)] == [200] * 3


def test_request_that_takes_too_long_is_504_and_is_not_computed(folders: dict[str, str]) -> None:
    with serving({"topics": folders["topics"]}, Limits(seconds=0.1)) as server:
        first = hold(server)
        reply = server.post(CLASSIFY, {"texts": ["한양"]})
        assert (reply.status, first.reply.status) == (504, 504)
        assert reply.error == "topics had no answer within 0.1 seconds; ask for less at once."
        server.gate.set()
        wait_until(lambda: server.workers["topics"].waiting == 0)
        assert not server.entered.acquire(blocking=False)


def test_model_that_fails_is_500_for_the_request_alone(
    folders: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    def compute(outputs: Any, arrays: Any, batch: Any) -> Any:
        if (batch["input_ids"] == PIECES.index("한글")).any():
            raise MemoryError("no room")
        return predict(outputs, arrays, batch)

    with serving({"topics": folders["topics"]}, compute=compute) as server:
        first = hold(server)
        asked = server.in_background(
            lambda: server.post(CLASSIFY, {"texts": ["한글"]}),
            lambda: server.post(CLASSIFY, {"texts": ["한양"]}),
        )
        wait_until(lambda: server.workers["topics"].waiting == 2)
        server.gate.set()
        bad, good = (one.reply for one in asked)
        assert (first.reply.status, bad.status, good.status) == (200, 500, 200)
        assert bad.error == (
            "topics could not compute this (MemoryError); the server's log says more."
        )
    assert "MemoryError: no room" in capfd.readouterr().err


LONG = {"texts": ["가" * 600, "나" * 401]}
UNKNOWN = (
    "nothing at {path}; there are: POST /models/독해/answer, POST /models/topics/classify, "
    "POST /models/scores/classify, POST /models/entities/tag, POST /models/model/fill_mask, "
    "GET /health, GET /, GET /docs, GET /openapi.json."
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (TAG, b"{", 400, "the body is no JSON: Expecting property name enclosed in double quotes, "
         "character 1."),
        (TAG, b'{"texts": ["\x00"]}', 400, "the body is no JSON: Invalid control character at, "
         "character 12."),
        (TAG, b"\xff\xfe\xfd", 400, "the body is no JSON, or is nested too deeply."),
        (TAG, b"[" * 9000, 400, "the body is no JSON, or is nested too deeply."),
        (TAG, b"1" * 9000, 400, "the body is no JSON, or is nested too deeply."),
        (TAG, b"", 422, "the body: field required."),
        (TAG, b"[]", 422, "the body: input should be a valid dictionary or object to extract "
         "fields from."),
        (TAG, {"texts": "세종"}, 422, "texts: input should be a valid list."),
        (TAG, {"texts": []}, 422, "texts: list should have at least 1 item after validation, "
         "not 0."),
        (TAG, {"texts": ["가", 1]}, 422, "texts[1]: input should be a valid string."),
        (TAG, {"texts": ["가"] * 65}, 422, "texts: list should have at most 64 items after "
         "validation, not 65."),
        (TAG, {"text": "가"}, 422, "the body: unknown field 'text'; there are: texts."),
        (TAG, {"texts": ["가\0"]}, 422, "texts[0]: character 1 is NUL, which no text has."),
        (TAG, rb'{"texts": ["\ud800"]}', 422, "texts[0]: character 0 is half of a surrogate pair, "
         "which no text has."),
        ("/%00%ff" + "x" * 5000, b"", 404, UNKNOWN),
        (CLASSIFY, {"texts": [["가", "나\0"]]}, 422, "texts[0][1]: character 1 is NUL, which no "
         "text has."),
        (TAG, LONG, 413, "a request may have 1,000 characters at most, and a context counts once "
         "for each of its questions: got 1,001."),
        (ANSWER, {"context": "가" * 499, "questions": ["누가", "누가"]}, 413, "a request may have "
         "1,000 characters at most, and a context counts once for each of its questions: got "
         "1,002."),
        (ANSWER, {"context": "가"}, 422, "questions: field required."),
        (ANSWER, {"context": "가", "questions": ["누가"], "top_k": True}, 422, "top_k: input "
         "should be a valid integer."),
        (ANSWER, {"context": "가", "questions": ["누가"], "top_k": 21}, 422, "top_k: input "
         "should be less than or equal to 20."),
        (FILL, {"texts": ["세종은", "[MASK]"]}, 422, "texts[0]: no [MASK] in '세종은'."),
        (FILL, {"texts": ["[MASK]" * 17]}, 422, "texts[0]: 17 [MASK]s, more than 16."),
        (FILL, {"texts": ["[MASK]" + "한" * 400]}, 200, ""),
        (FILL, {"texts": ["[MASK]" + " 한" * 400]}, 422, "texts[0]: 401 pieces, but the model "
         "takes 78; shorten the text."),
        (CLASSIFY, {"texts": [["가", "나", "다"]]}, 422, "texts[0]: list should have at most 2 "
         "items after validation, not 3."),
        ("/models/ghost/tag", {"texts": ["가"]}, 404, UNKNOWN),
        ("/models/topics/tag", {"texts": ["가"]}, 404, UNKNOWN),
        ("/health", b"", 405, "/health takes GET, got POST."),
    ],
)  # fmt: skip
def test_bad_request_is_one_sentence(
    path: str, body: Any, status: int, message: str, running_server: Running
) -> None:
    reply = running_server.post(path, body)
    assert reply.status == status, reply.body
    if message:
        shown = path.replace("%00%ff", "\0\ufffd")[:80]
        assert reply.error == message.replace("{path}", shown)
    assert running_server.post(TAG, {"texts": [TEXT]}).status == 200


def test_body_that_is_not_called_json_is_told_how(running_server: Running) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        reply = running_server.post(TAG, {"texts": ["가"]}, **{"Content-Type": kind})
        assert reply.status == 422
        assert reply.error == "send a JSON object, with the header Content-Type: application/json."


@pytest.mark.slow
def test_large_bodies_are_one_error(running_server: Running) -> None:
    post = running_server.post
    fields = {f"x{i}": 0 for i in range(80_000)}
    assert post(TAG, fields).error.startswith("the body: unknown field 'x0';")
    assert post(TAG, {"texts": [0] * 300_000}).error.startswith("texts")

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    for body in (b" " * 10_000_000, chunks()):
        reply = post(TAG, body)
        assert (reply.status, reply.error) == (413, "a body may have 1,048,576 bytes at most.")


@pytest.fixture(scope="module")
def impatient(folders: dict[str, str]) -> Iterator[Running]:
    """A server that waits for nobody."""
    limits = Limits(header_seconds=0.5, body_seconds=0.5, send_seconds=0.5)
    with serving({"entities": folders["entities"]}, limits) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (b"GET / HT", 408, "the head of the request did not come within 0.5 seconds."),
        (
            b"POST /models/entities/tag HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
            408,
            "the body did not come within 0.5 seconds.",
        ),
        (b"\x00\x01\x02\r\n\r\n", 400, "this is no HTTP request, or its head is too long."),
        (
            b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000,
            400,
            "this is no HTTP request, or its head is too long.",
        ),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
            400,
            "this is no HTTP request, or its head is too long.",
        ),
    ],
)
def test_slow_or_broken_client_is_told_and_sent_away(
    sent: bytes, status: int, message: str, impatient: Running
) -> None:
    with impatient.connect() as client:
        client.sendall(sent)
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(body) == {"error": message}
    wait_until(lambda: impatient.num_connections == 0)


def test_head_that_drips_is_not_waited_for(impatient: Running) -> None:
    stop = threading.Event()
    with impatient.connect() as client:
        # A first request that is answered, so that the timer is that of the second one.
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")

        def drip() -> None:
            while not stop.wait(0.05):
                try:
                    client.sendall(b"G")
                except OSError:
                    return

        dripper = threading.Thread(target=drip)
        dripper.start()
        assert b"HTTP/1.1 408 " in read_all(client)
        stop.set()
        dripper.join()


@pytest.mark.slow
def test_client_that_does_not_take_its_answers_is_cut_off(impatient: Running) -> None:
    with impatient.connect(4096) as client:
        client.settimeout(0.2)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with pytest.raises(OSError):  # the server reads no more, then it goes
            while True:
                client.sendall(request * 100)
        wait_until(lambda: impatient.num_connections == 0)


def test_client_that_takes_its_answers_late_gets_them_all(running_server: Running) -> None:
    connections, count = running_server.server.server_state.connections, 60
    with running_server.connect(1 << 16) as client:
        wait_until(lambda: len(connections) == 1)
        (connection,) = connections
        ours = connection.transport.get_extra_info("socket")  # type: ignore[union-attr]
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * count)
        wait_until(lambda: connection.flow.write_paused)  # type: ignore[union-attr]
        found = b""
        while found.count(b"HTTP/1.1 200 OK") < count:
            found += client.recv(1 << 20)


def test_fault_of_our_own_is_500(running_server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_server.workers["topics"], "submit", lambda request: 1 / 0)
    reply = running_server.post(CLASSIFY, {"texts": ["가"]})
    assert (reply.status, reply.error) == (500, "internal error; the server's log says more.")


def test_too_many_connections_are_503(running_server: Running) -> None:
    limit = Limits().connections(len(running_server.workers))
    clients = [running_server.connect() for _ in range(limit + 1)]
    found = read_all(clients[-1])
    assert found.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1\r\n" in found
    for client in clients:
        client.close()
    wait_until(lambda: running_server.num_connections == 0)


def test_health_is_ready_when_the_models_are_compiled(folders: dict[str, str]) -> None:
    gate = threading.Event()

    def compute(*arguments: Any) -> Any:
        assert gate.wait(SECONDS)
        return predict(*arguments)

    chosen = {name: folders[name] for name in ("topics", "독해")}
    with serving(chosen, compute=compute, ready=False) as server:
        reply = server.ask("GET", "/health")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.json["status"] == "starting"
        refused = server.post(CLASSIFY, {"texts": ["가"]})
        assert (refused.status, refused.error) == (503, "topics is being compiled; ask again soon.")
        gate.set()
        wait_until(lambda: server.ask("GET", "/health").status == 200)
        reply = server.ask("GET", "/health")
    assert reply.json == {
        "status": "ready",
        "models": [
            {"name": "topics", "kind": "classifier", "ready": True, "waiting": 0},
            {"name": "독해", "kind": "reader", "ready": True, "waiting": 0},
        ],
    }


def test_openapi_says_what_each_model_takes_and_gives(running_server: Running) -> None:
    schema = running_server.ask("GET", "/openapi.json").json
    assert set(schema["paths"]) == {
        "/models/독해/answer", "/models/topics/classify", "/models/scores/classify",
        "/models/entities/tag", "/models/model/fill_mask", "/health",
    }  # fmt: skip
    one = schema["paths"]["/models/독해/answer"]["post"]
    assert one["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith(
        "/ReaderRequest"
    )
    assert set(one["responses"]) == {"200", *map(str, (400, 408, 413, 422, 500, 503, 504))}
    assert schema["components"]["schemas"]["ReaderRequest"]["additionalProperties"] is False
