"""What the relays of turns and of effects have in common: a bounded look through an index of open work, and wake-ups.

One process of the fleet at a time looks, by a lease, but two at once are harmless: each look is moved on by a conditional write
first, and a wake-up too many is dropped by whoever receives it.
"""

import logging
import random
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Generic, Protocol, TypeVar

from chatapp.errors import QueueUnavailable
from chatapp.ports import Clock, Locks
from config.resources import OPEN_SHARDS

log = logging.getLogger(__name__)

PAGE = 100
"""Entries of one shard that are read at a time."""

CHUNK = 10
"""Sessions that are attended to together, and wake-ups that SQS takes in one request."""

THREADS = 8
PASS_SECONDS = 10.0
"""A pass that finds more and more goes on for so long, and then the next one does."""

NEXT_LOOK_SECONDS = (30, 60)
"""At most one message per entry in this time, spread so that a backlog does not come back as one wave."""


class OfSession(Protocol):
    """What is known by an id within its session."""

    @property
    def session_id(self) -> str:
        """The session."""
        ...


K = TypeVar("K", bound=OfSession)
T = TypeVar("T")


class Sweep(ABC, Generic[K, T]):
    """Looks at open work. `K` names it, `T` is what is woken."""

    lock: ClassVar[str]
    """Name of the lease."""
    woken: ClassVar[str]
    """What is woken, for the log."""

    def __init__(self, *, locks: Locks, clock: Clock, owner: str) -> None:
        self._locks = locks
        self._clock = clock
        self._owner = owner

    def look(self, *, waking: bool = True) -> int:
        """Make one pass, if no other process of the fleet is at it.

        `waking` False: wake nobody (the queue is paused), do the rest. Returns: the wake-ups sent. Raises: StoreUnavailable.
        """
        until, sent = self._clock.monotonic() + PASS_SECONDS, 0
        while self._locks.acquire(self.lock, self._owner):
            woken, more = self._round(waking=waking)
            sent += woken
            if not more or self._clock.monotonic() >= until:
                break
        if sent:
            log.info("the relay woke %d %s", sent, self.woken)
        return sent

    def _round(self, *, waking: bool) -> tuple[int, bool]:
        """Attend to one page of every shard. Returns: the wake-ups sent, and whether it is worth going on."""
        found, more = self._all_open_work()
        stop = threading.Event()
        with ThreadPoolExecutor(THREADS, thread_name_prefix="relay") as pool:
            sent = sum(pool.map(lambda chunk: self._chunk(chunk, stop, waking=waking), list(_chunks(found))))
        return sent, more and not stop.is_set()

    def _all_open_work(self) -> tuple[list[list[tuple[K, int]]], bool]:
        by_session: defaultdict[str, list[tuple[K, int]]] = defaultdict(list)
        more = False
        for shard in random.sample(range(OPEN_SHARDS), OPEN_SHARDS):
            page = self._open_work(shard)
            more = more or len(page) == PAGE
            for key, wake_at in page:
                by_session[key.session_id].append((key, wake_at))
        return list(by_session.values()), more

    def _chunk(self, chunk: Sequence[list[tuple[K, int]]], stop: threading.Event, *, waking: bool) -> int:
        if stop.is_set():
            return 0
        unattended = [entry for found in chunk for entry in self._unattended(found, stop, waking=waking)]
        if not unattended or not waking:
            return 0
        try:
            self._send(unattended)
        except QueueUnavailable as error:
            stop.set()
            log.warning("the relay's pass ends at the first send that failed: %s", error)
            for entry in unattended:
                self._unsent(entry)
            return 0
        return len(unattended)

    @abstractmethod
    def _open_work(self, shard: int) -> list[tuple[K, int]]:
        """Read a page of a shard: what is open there, with the time at which it was to be looked at."""

    @abstractmethod
    def _unattended(self, found: list[tuple[K, int]], stop: threading.Event, *, waking: bool) -> Iterator[T]:
        """Do what is to be done for one session's open work. `stop` ends the pass. Yields: what is to be woken."""

    @abstractmethod
    def _send(self, entries: Sequence[T]) -> None:
        """Wake. Raises: QueueUnavailable."""

    @abstractmethod
    def _unsent(self, entry: T) -> None:
        """Let the next pass find again what could not be woken."""

    def _next_look(self) -> int:
        return self._clock.now() + round(random.uniform(*NEXT_LOOK_SECONDS) * 1000)  # noqa: S311


def _chunks(found: Sequence[list[tuple[K, int]]]) -> Iterator[Sequence[list[tuple[K, int]]]]:
    for start in range(0, len(found), CHUNK):
        yield found[start : start + CHUNK]
