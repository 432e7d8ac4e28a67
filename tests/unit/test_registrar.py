"""The thread that writes the sockets of a process into the registry: nobody waits for ever, and nothing is left behind."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from chatapp.errors import LiveUnavailable, RateLimited
from ws.registrar import Registrar

CLOCK = SimpleNamespace(now=lambda: 1_000, monotonic=time.monotonic)


class Registry:
    """A registry in memory, that can be away, slow, or forget everything."""

    def __init__(self):
        self.entries = {}
        self.calls = []
        self.away = False
        self.known = False
        self.gate = threading.Event()
        self.gate.set()
        self.ttl = 3_600

    def _called(self, name, count):
        assert self.gate.wait(10)
        self.calls.append((name, count))
        if self.away:
            raise LiveUnavailable("away")

    def beat(self, _process):
        self._called("beat", 1)
        known, self.known = self.known, True
        return known

    def clean_up(self):
        return 0

    def write(self, entries, limit=0):
        self._called("write", len(entries))
        refused = []
        for entry in entries:
            others = [e for e in self.entries.values() if e.user_id == entry.user_id and e.socket_id != entry.socket_id]
            if limit and len(others) >= limit:
                refused.append(entry)
            else:
                self.entries[entry.socket_id] = entry
        return refused

    def erase(self, entries):
        self._called("erase", len(entries))
        for entry in entries:
            self.entries.pop(entry.socket_id, None)

    def note_sessions(self, sessions):
        self._called("note", len(sessions))


@pytest.fixture
def registry():
    """The registry beneath."""
    return Registry()


@pytest.fixture
def registrar(registry):
    """The registrar under test: a user may have three sockets."""
    return Registrar(registry, CLOCK, "p1", limit=3)


def until(condition):
    """Wait until a condition holds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_who_is_admitted_is_in_the_registry_and_who_is_dismissed_is_not(registry, registrar):
    """When the call returns."""
    registrar.admit("s1", "ann")
    assert set(registry.entries) == {"s1"}
    registrar.dismiss("s1")
    registrar.dismiss("s1")
    assert not registry.entries


def test_the_one_too_many_is_refused(registry, registrar):
    """And leaves nothing behind when it goes."""
    for n in range(3):
        registrar.admit(f"s{n}", "ann")
    with pytest.raises(RateLimited):
        registrar.admit("s3", "ann")
    registrar.dismiss("s3")
    assert len(registry.entries) == 3


def test_who_comes_together_is_written_together(registry, registrar):
    """A thousand clients that come back at once are a few round trips."""
    registrar.admit("first", "ann")
    registry.gate.clear()
    with ThreadPoolExecutor(50) as pool:
        waits = [pool.submit(registrar.admit, f"s{n}", f"user-{n}") for n in range(50)]
        until(lambda: len(registrar._arrivals) >= 49)
        registry.gate.set()
        for wait in waits:
            wait.result()
    assert len(registry.entries) == 51
    assert len([name for name, _ in registry.calls if name == "write"]) <= 4  # one for all entries: nobody had known us


def test_without_redis_nobody_is_admitted(registry, registrar):
    """At once, and again when it is back."""
    registry.away = True
    with pytest.raises(LiveUnavailable):
        registrar.admit("s1", "ann")
    registry.away = False
    registrar.admit("s1", "ann")
    assert set(registry.entries) == {"s1"}


def test_what_could_not_be_erased_is_erased_later(registry, registrar):
    """As long as its process lives a forgotten entry would count."""
    registrar.admit("s1", "ann")
    registry.away = True
    registrar.dismiss("s1")
    assert set(registry.entries) == {"s1"}
    registry.away = False
    until(lambda: not registry.entries)


def test_an_entry_that_is_written_too_late_is_taken_away_again(registry, registrar, monkeypatch):
    """Nobody waits for it any more."""
    monkeypatch.setattr("ws.registrar.WAIT_SECONDS", 0.05)
    registry.gate.clear()
    with pytest.raises(LiveUnavailable):
        registrar.admit("s1", "ann")
    registry.gate.set()
    until(lambda: ("erase", 1) in registry.calls and not registry.entries)


def test_everything_is_written_again_when_redis_may_have_forgotten_it(registry, registrar):
    """And when the registry does not know that this process lives."""
    for n in range(3):
        registrar.admit(f"s{n}", "ann")
    registrar.note("s1", "a" * 32)
    registry.entries.clear()
    registrar.restore()
    until(lambda: len(registry.entries) == 3)
    assert registry.entries["s1"].session_id == "a" * 32


def test_a_note_is_taken_back_only_for_the_session_that_was_noted(registry, registrar):
    """The last one that was followed stands."""
    registrar.admit("s1", "ann")
    registrar.note("s1", "a")
    registrar.note("s1", "b")
    registrar.note_end("s1", "a")
    assert registrar._entries["s1"].session_id == "b"
    registrar.note_end("s1", "b")
    assert registrar._entries["s1"].session_id is None
