"""The right of an attempt to run: taken with the claim, renewed while it lives, and the only authority there is."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from chatapp.errors import StaleAttempt, StoreUnavailable
from chatapp.model import Turn
from chatapp.ports import Clock, Turns

log = logging.getLogger(__name__)


class Lease:
    """One attempt's lease, by this process's monotonic clock: it has run out here no later than it has in the store."""

    def __init__(self, turn: Turn, clock: Clock, *, taken_at: float, seconds: float) -> None:
        self.turn = turn
        self.cancel_requested = False
        self._clock = clock
        self._seconds = seconds
        self._ends = taken_at + seconds
        self._refused = False

    @property
    def left(self) -> float:
        """Seconds until it runs out; 0 when it was refused."""
        return 0 if self._refused else max(0, self._ends - self._clock.monotonic())

    def check(self) -> None:
        """Raise StaleAttempt once the lease was refused or has run out."""
        if self._refused:
            raise StaleAttempt("the lease was refused")
        if self._clock.monotonic() >= self._ends:
            raise StaleAttempt("the lease has run out")

    def renewed(self, asked_at: float) -> None:
        """Take a renewal, as of the moment it was asked for."""
        self._ends = asked_at + self._seconds

    def refuse(self) -> None:
        """Take the store's refusal: somebody else holds the turn or has ended it."""
        self._refused = True


class Leases:
    """The leases of the turns in flight in this process."""

    def __init__(self, turns: Turns, clock: Clock, *, seconds: float) -> None:
        self._turns = turns
        self._clock = clock
        self._seconds = seconds
        self._held: dict[int, Lease] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="renew")

    @contextmanager
    def holding(self, turn: Turn, taken_at: float) -> Iterator[Lease]:
        """Keep a claimed turn's lease among those that are renewed. `taken_at`: monotonic time before the claim."""
        lease = Lease(turn, self._clock, taken_at=taken_at, seconds=self._seconds)
        with self._lock:
            self._held[id(lease)] = lease
        try:
            yield lease
        finally:
            with self._lock:
                del self._held[id(lease)]

    def renew_all(self) -> None:
        """Renew every lease in flight, a few at a time."""
        with self._lock:
            held = list(self._held.values())
        for renewal in [self._pool.submit(self.renew, lease) for lease in held]:
            renewal.result()

    def renew(self, lease: Lease) -> None:
        """Renew one lease. A store that is away changes nothing: the lease then runs out by its own clock."""
        asked_at, lease_end = self._clock.monotonic(), self._clock.now() + round(self._seconds * 1000)
        try:
            turn = self._turns.renew(lease.turn, lease_end=lease_end)
        except StoreUnavailable as error:
            log.warning("the lease of %s was not renewed: %s", lease.turn.job_id, error)
            return
        if turn is None:
            lease.refuse()
        else:
            lease.cancel_requested = turn.cancel_requested
            lease.renewed(asked_at)
