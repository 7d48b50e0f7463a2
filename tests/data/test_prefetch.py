"""Items made ahead in a thread: all of them, in order, and nothing left behind."""

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bert_ko.data.prefetch import Prefetcher


def numbered(count: int, seen: list[int], error: Exception | None = None) -> Iterator[Any]:
    """Counts; notes what was asked for, and -1 when it is closed."""
    try:
        for number in range(count):
            seen.append(number)
            yield number
        if error is not None:
            raise error
    finally:
        seen.append(-1)


def test_prefetcher_gives_everything_in_order_and_ends() -> None:
    seen: list[int] = []
    with Prefetcher(numbered(100, seen)) as items:
        assert list(items) == list(range(100))
        assert list(items) == []  # and does not wait for more
    assert seen == [*range(100), -1]
    nothing: Iterator[int] = iter([])
    with Prefetcher(nothing) as items:
        assert list(items) == []


def test_prefetcher_passes_an_exception_on_behind_the_items_before_it() -> None:
    error = ValueError("a.tfrecord: record 3: its checksum is wrong")
    got = []
    with Prefetcher(numbered(3, [], error)) as items:
        with pytest.raises(ValueError, match="record 3") as caught:
            for item in items:
                got.append(item)
        assert list(items) == []
    assert got == [0, 1, 2]
    assert caught.value is error


@pytest.mark.parametrize("ahead", [1, 3])
def test_prefetcher_reads_a_few_ahead_and_no_more(ahead: int) -> None:
    seen: list[int] = []
    with Prefetcher(numbered(1000, seen), ahead) as items:
        for taken, _ in enumerate(itertools.islice(items, 4), 1):
            # Those that wait, and one in the hand of the thread.
            wanted = taken + ahead + 1
            for _ in range(500):
                if len(seen) == wanted:
                    break
                time.sleep(0.01)
            time.sleep(0.02)
            assert len(seen) == wanted


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_prefetcher_left_early_ends_its_thread_and_closes_the_generator(taken: int) -> None:
    seen: list[int] = []
    before = threading.active_count()
    with Prefetcher(numbered(10**9, seen), 2) as items:
        for item in items if taken else ():
            if item + 1 == taken:
                break
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert seen[-1] == -1
    assert list(items) == []


def test_prefetcher_iterator_that_is_no_generator_is_left_as_it_is() -> None:
    items = iter(range(10**6))
    with Prefetcher(items, 2) as ahead:
        assert list(itertools.islice(ahead, 3)) == [0, 1, 2]
    assert 3 <= next(items) <= 6  # those that waited are lost, the rest can be taken


def test_prefetcher_error_while_the_generator_closes_is_raised() -> None:
    def items() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("cannot be closed")

    with (
        pytest.raises(OSError, match="cannot be closed"),
        Prefetcher(items()) as ahead,
    ):
        list(ahead)


def test_prefetcher_outside_its_block_is_refused() -> None:
    with pytest.raises(AssertionError, match="a Prefetcher is a context manager"):
        list(Prefetcher(iter([1])))


def test_prefetcher_works_while_its_items_are_used() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    with Prefetcher(items()) as ahead:
        assert next(iter(ahead)) == 1
        assert made.wait(10)  # though nobody has asked for the second one
