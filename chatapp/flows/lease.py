"""The right of an attempt to run: taken with the claim, renewed while it lives, and the only authority there is."""

import logging
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from chatapp.errors import AttemptTimedOut, CancelRequested, ChatappError, HandBack, StaleAttempt, StoreUnavailable
from chatapp.model import JobId, Turn
from chatapp.ports import Clock, Interrupt, Interrupts, Turns

log = logging.getLogger(__name__)

T = TypeVar("T")

CLOCKS_DIFFER_SECONDS = 2.0
"""What two processes may disagree on: each knows the time of DynamoDB to the second."""


RENEWING = 64
"""Renewals at a time: 500 turns in flight renew 62 leases a second, and a DynamoDB under load may take half a second for each."""


class Lease:
    """One attempt's lease, by this process's monotonic clock: it has run out here before anybody finds it lapsed in the store.

    `stop` may be called from anywhere. Whoever runs the attempt learns of it from `check`, and at once while it waits for the
    model within `during`.
    """

    def __init__(
        self, turn: Turn, clock: Clock, interrupt: Interrupt, *, taken_at: float, seconds: float, attempt_seconds: float
    ) -> None:
        self.turn = turn
        self.renew_at = taken_at
        self.renewing = False
        self._clock = clock
        self._interrupt = interrupt
        self._seconds = seconds - min(CLOCKS_DIFFER_SECONDS, seconds / 4)
        self._ends = taken_at + self._seconds
        self._deadline = taken_at + attempt_seconds
        self._reason: ChatappError | None = None
        self._waits = False

    @property
    def left(self) -> float:
        """Seconds until it runs out; 0 when it was refused."""
        return 0 if isinstance(self._reason, StaleAttempt) else max(0, self._ends - self._clock.monotonic())

    def check(self) -> None:
        """Raise what stops the attempt, if something does: StaleAttempt, CancelRequested, HandBack or AttemptTimedOut."""
        if self._reason is None:
            now = self._clock.monotonic()
            if now >= self._ends:
                self._reason = StaleAttempt("the lease has run out")
            elif now >= self._deadline:
                self._reason = AttemptTimedOut()
        if self._reason is not None:
            raise self._reason

    def stop(self, reason: ChatappError) -> None:
        """Stop the attempt. The first reason counts, but for a lost lease, after which nothing else does."""
        if self._reason is None or isinstance(reason, StaleAttempt):
            self._reason = reason
        self._interrupt(self._reason, lambda: self._waits)

    def watch(self) -> None:
        """Stop the attempt if its time is over: it may be waiting for a model that says nothing."""
        try:
            self.check()
        except ChatappError as reason:
            self.stop(reason)

    def during(self, pieces: Iterable[T]) -> Iterator[T]:
        """Yield the pieces. While the next one is waited for, `stop` raises its reason there."""
        waited = iter(pieces)
        while True:
            self._waits = True
            try:
                piece = next(waited)
            except StopIteration:
                return
            finally:
                self._waits = False
            yield piece

    def renewed(self, asked_at: float) -> None:
        """Take a renewal, as of the moment it was asked for."""
        self._ends = asked_at + self._seconds


class Leases:
    """The leases of the turns in flight in this process."""

    def __init__(
        self, turns: Turns, clock: Clock, interrupts: Interrupts, *, seconds: float, renew_seconds: float, attempt_seconds: float
    ) -> None:
        self._turns = turns
        self._clock = clock
        self._interrupts = interrupts
        self._seconds = seconds
        self._renew_seconds = renew_seconds
        self._attempt_seconds = attempt_seconds
        self._held: dict[int, Lease] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=RENEWING, thread_name_prefix="renew")

    @contextmanager
    def holding(self, turn: Turn, taken_at: float) -> Iterator[Lease]:
        """Keep a claimed turn's lease among those that are renewed. `taken_at`: monotonic time before the claim."""
        interrupt = self._interrupts.here()
        times = {"seconds": self._seconds, "attempt_seconds": self._attempt_seconds}
        lease = Lease(turn, self._clock, interrupt, taken_at=taken_at, **times)
        lease.renew_at = taken_at + self._renew_seconds
        with self._lock:
            self._held[id(lease)] = lease
        try:
            yield lease
        finally:
            with self._lock:
                del self._held[id(lease)]

    def beat(self) -> None:
        """Stop the attempts whose time is over, and have the leases renewed whose turn it is. Does not wait."""
        now = self._clock.monotonic()
        for lease in self._all():
            lease.watch()
            if lease.renew_at <= now and not lease.renewing:  # or a slow store would have more and more to do
                lease.renew_at, lease.renewing = now + self._renew_seconds, True
                self._pool.submit(self.renew, lease)

    def look(self, job_id: JobId) -> None:
        """Renew the lease of one turn now, if it is held here: something was asked of its attempt. Does not wait."""
        for lease in self._all():
            if lease.turn.job_id == job_id:
                self._pool.submit(self.renew, lease)

    def hand_back(self) -> int:
        """Have every turn in flight given back to the queue. Returns: how many there are."""
        held = self._all()
        for lease in held:
            lease.stop(HandBack())
        return len(held)

    def renew(self, lease: Lease) -> None:
        """Renew one lease. A store that is away changes nothing: the lease then runs out by its own clock."""
        asked_at, lease_end = self._clock.monotonic(), self._clock.now() + round(self._seconds * 1000)
        lease.renewing = False
        try:
            turn = self._turns.renew(lease.turn, lease_end=lease_end)
        except StoreUnavailable as error:
            log.warning("the lease of %s was not renewed: %s", lease.turn.job_id, error)
        except Exception:  # in a pool: nobody else would hear of it
            log.exception("the lease of %s was not renewed", lease.turn.job_id)
        else:
            if turn is None:
                lease.stop(StaleAttempt("the lease was refused"))
                return
            lease.renewed(asked_at)
            if turn.cancel_requested:
                lease.stop(CancelRequested())

    def _all(self) -> list[Lease]:
        with self._lock:
            return list(self._held.values())
