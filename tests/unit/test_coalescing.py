"""One of many asks, and all of them hear the answer."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatapp.coalescing import Coalescing
from chatapp.errors import ExternalRefused, ExternalUnavailable, StaleAttempt


@pytest.fixture
def pool():
    """Threads that may wait for each other."""
    with ThreadPoolExecutor(20) as made:
        yield made


class Slow:
    """A call that takes until it is let go. `said`: what it returns or raises, call by call."""

    def __init__(self, *said):
        self.said, self.calls = list(said), 0
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self):
        said = self.said[min(self.calls, len(self.said) - 1)]
        self.calls += 1
        self.begun.set()
        self.go.wait(10)
        if isinstance(said, BaseException):
            raise said
        return said


def together(pool, calls, slow, others=9):
    """Let one ask, and the others come while it does."""
    first = pool.submit(calls.call, "k", slow)
    slow.begun.wait(10)
    late = [pool.submit(calls.call, "k", slow) for _ in range(others)]
    waiting = calls._open["k"].over._cond._waiters
    while len(waiting) < others:  # all of them, or the test would prove nothing
        time.sleep(0.001)
    slow.go.set()
    return first, late


def test_many_ask_and_one_calls(pool):
    """Everybody has the same answer; the next one to come calls anew."""
    calls, slow = Coalescing(10), Slow("answer")
    first, late = together(pool, calls, slow)
    assert {f.result(10) for f in (first, *late)} == {"answer"}
    assert slow.calls == 1
    assert calls.call("k", slow) == "answer"
    assert slow.calls == 2


def test_keys_do_not_wait_for_each_other(pool):
    """A slow question holds up only itself."""
    calls, slow = Coalescing(10), Slow("slow")
    first = pool.submit(calls.call, "slow", slow)
    slow.begun.wait(10)
    assert calls.call("quick", lambda: "quick") == "quick"
    slow.go.set()
    assert first.result(10) == "slow"


def test_a_failure_is_everybodys(pool):
    """With its own kind and its word on when to come back."""
    calls, slow = Coalescing(10), Slow(ExternalRefused("no", retry_after=3))
    first, late = together(pool, calls, slow)
    for future in (first, *late):
        with pytest.raises(ExternalRefused) as caught:
            future.result(10)
        assert (caught.value.detail, caught.value.retry_after) == ("no", 3)
    assert slow.calls == 1


def test_who_is_stopped_while_it_calls_stops_nobody_else(pool):
    """One of those who wait calls in its place."""
    calls, slow = Coalescing(10), Slow(StaleAttempt("lost"), "answer")
    first, late = together(pool, calls, slow)
    with pytest.raises(StaleAttempt):
        first.result(10)
    assert {f.result(10) for f in late} == {"answer"}


def test_nobody_waits_for_ever(pool):
    """A call that does not end fails those who wait for it."""
    calls, slow = Coalescing(0.05), Slow("late")
    first = pool.submit(calls.call, "k", slow)
    slow.begun.wait(10)
    with pytest.raises(ExternalUnavailable):
        calls.call("k", slow)
    slow.go.set()
    assert first.result(10) == "late"
