"""A model's own thread: which requests are computed together."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from types import SimpleNamespace
from typing import Any

import pytest

from bert_ko.serving.bodies import TaggerRequest
from bert_ko.serving.limits import Limits
from bert_ko.serving.served import Served
from bert_ko.serving.worker import Failed, Overloaded, Worker
from tests.serving.conftest import SECONDS, wait_until

FIRST = "first"


class Held(Served[Any, TaggerRequest]):
    """Keeps its batches; the one of FIRST waits at the gate."""

    lengths = (8,)

    def __init__(self) -> None:
        super().__init__("held", SimpleNamespace(kind="tagger"))
        self.gate = threading.Event()
        self.batches: list[list[list[str]]] = []

    def warm_up(self, batch_size: int) -> Iterator[list[TaggerRequest]]:
        return iter(())

    def example(self, text: str) -> TaggerRequest:
        return TaggerRequest(texts=[text])

    def compute(self, requests: Sequence[TaggerRequest]) -> list[Any]:
        self.batches.append([one.texts for one in requests])
        if requests[0].texts == [FIRST]:
            assert self.gate.wait(SECONDS)
        if any("bad" in one.texts for one in requests):
            raise RuntimeError("bad")
        return ["".join(one.texts) for one in requests]


@pytest.fixture
def held() -> Held:
    return Held()


def asked(held: Held, limits: Limits, *texts: list[str]) -> list[Future[Any]]:
    """Answers to FIRST and to requests that came while it was computed."""
    worker = Worker(held, limits)
    worker.start()
    futures = [worker.submit(TaggerRequest(texts=[FIRST]))]
    wait_until(lambda: held.batches)
    futures += [worker.submit(TaggerRequest(texts=one)) for one in texts]
    held.gate.set()
    wait_until(lambda: all(one.done() for one in futures))
    worker.stop()
    return futures


def test_batches_have_as_many_texts_as_they_may(held: Held) -> None:
    limits = Limits(batch_size=3, batch_wait=0)
    found = asked(held, limits, ["a"], ["b"], ["c", "d"], ["e"], ["f"] * 5, ["g"])
    assert held.batches[1:] == [[["a"], ["b"]], [["c", "d"], ["e"]], [["f"] * 5], [["g"]]]
    assert [one.result() for one in found] == [FIRST, "a", "b", "cd", "e", "fffff", "g"]


def test_batches_have_as_many_characters_as_one_request_may(held: Held) -> None:
    asked(held, Limits(characters=5, batch_wait=0), ["abc"], ["de"], ["f"], ["ghijk"])
    assert held.batches[1:] == [[["abc"], ["de"]], [["f"]], [["ghijk"]]]


def test_idle_model_waits_for_more(held: Held) -> None:
    worker = Worker(held, Limits(batch_size=2, batch_wait=60))
    worker.start()
    held.gate.set()
    futures = [worker.submit(TaggerRequest(texts=[text])) for text in ("a", "b")]
    assert [one.result(SECONDS) for one in futures] == ["a", "b"]
    worker.stop()
    assert held.batches == [[["a"], ["b"]]]


def test_batch_that_fails_is_computed_one_by_one(
    held: Held, capsys: pytest.CaptureFixture[str]
) -> None:
    first, good, bad = asked(held, Limits(batch_wait=0), ["good"], ["bad"])
    assert (first.result(), good.result()) == (FIRST, "good")
    assert isinstance(bad.exception(), Failed) and str(bad.exception()) == "RuntimeError"
    assert held.batches[1:] == [[["good"], ["bad"]], [["good"]], [["bad"]]]
    assert "RuntimeError: bad" in capsys.readouterr().err


def test_stop_cancels_what_waits_and_a_full_queue_refuses(held: Held) -> None:
    worker = Worker(held, Limits(waiting=2))
    worker.start()
    first = worker.submit(TaggerRequest(texts=[FIRST]))
    wait_until(lambda: held.batches)
    waiting = [worker.submit(TaggerRequest(texts=["a"])) for _ in range(2)]
    with pytest.raises(Overloaded):
        worker.submit(TaggerRequest(texts=["b"]))
    assert worker.waiting == 2 and waiting[1].cancel()
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    held.gate.set()
    stopper.join(SECONDS)
    assert first.result() == FIRST
    with pytest.raises(CancelledError):
        waiting[0].result(SECONDS)
    assert len(held.batches) == 1


def test_model_that_can_not_be_compiled_says_why() -> None:
    class Broken(Held):
        def warm_up(self, batch_size: int) -> Iterator[list[TaggerRequest]]:
            yield [TaggerRequest(texts=["bad"])]

    worker = Worker(Broken(), Limits())
    worker.start()
    wait_until(lambda: worker.error)
    worker.stop()
    assert str(worker.error) == "bad" and not worker.is_ready


def test_stop_while_it_is_compiled_ends_it_with_that_batch() -> None:
    class Long(Held):
        def warm_up(self, batch_size: int) -> Iterator[list[TaggerRequest]]:
            yield from [[self.example(FIRST)]] * 2

    held = Long()
    worker = Worker(held, Limits())
    worker.start()
    wait_until(lambda: held.batches)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    wait_until(lambda: worker._stops.is_set())
    held.gate.set()
    stopper.join(SECONDS)
    assert len(held.batches) == 1 and not worker.is_ready and worker.error is None
