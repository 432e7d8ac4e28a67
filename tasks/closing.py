"""Why a worker stops receiving: it is told to stop, DynamoDB is away, an operator has paused its queue."""

import logging
from collections.abc import Callable, Sequence
from time import monotonic

from chatapp.flows.lease import Leases
from chatapp.stores.pauses import Pauses
from tasks.gate import Gate

log = logging.getLogger(__name__)

SHUTDOWN = "shutdown"
STORE_AWAY = "store away"
PAUSED = "paused"


class Shutdown:
    """What SIGTERM does: nothing more is received, turns may finish for a while, then what still runs goes back to the queue."""

    def __init__(self, leases: Leases, gate: Gate, *, grace_seconds: float) -> None:
        self._leases = leases
        self._gate = gate
        self._grace_seconds = grace_seconds
        self._began: float | None = None
        self._said = False

    def begin(self) -> None:
        """Begin to stop. Called by a signal's handler, where nothing may wait: all else is done by `look`."""
        self._gate.close(SHUTDOWN)

    def look(self) -> None:
        """Look whether it is time to hand back: again and again, since a turn may have been claimed a moment ago.

        Celery waits for the tasks that run, so the process ends when the last one has.
        """
        if SHUTDOWN not in self._gate.reasons:
            return
        self._began = self._began or monotonic()
        if monotonic() - self._began >= self._grace_seconds:
            count = self._leases.hand_back()
            if count and not self._said:
                log.warning("the grace time is over: %d turns go back to the queue", count)
                self._said = True


class StoreWatch:
    """Closes the gate while DynamoDB is away: without it a message can only be received in vain."""

    def __init__(self, answers: Callable[[], bool], gate: Gate) -> None:
        self._answers = answers
        self._gate = gate

    def away(self) -> None:
        """Take note that DynamoDB did not answer. Unless it was one item that is contended, receive nothing until it does."""
        if STORE_AWAY in self._gate.reasons or self._answers():
            return
        if STORE_AWAY not in self._gate.reasons:  # others asked at the same moment
            self._gate.close(STORE_AWAY)
            log.warning("DynamoDB is away: nothing is received until it is back")

    def look(self) -> None:
        """Look whether it is back, if it was away."""
        if STORE_AWAY in self._gate.reasons and self._answers():
            self._gate.open(STORE_AWAY)
            log.warning("DynamoDB is back")


class PauseWatch:
    """Knows which queues an operator has paused, and closes the gate while this worker's own is."""

    def __init__(self, pauses: Pauses, gate: Gate, queues: Sequence[str]) -> None:
        self._pauses = pauses
        self._gate = gate
        self._queues = queues
        self._paused: frozenset[str] = frozenset()
        self.own: str | None = None
        """The queue that this worker consumes; set at its start."""

    def is_paused(self, queue: str) -> bool:
        """Say whether a queue was paused when that was last looked at."""
        return queue in self._paused

    def look(self) -> None:
        """Look once. Raises: StoreUnavailable, and then all stays as it is."""
        self._paused = frozenset(q for q in self._queues if self._pauses.paused(q) is not None)
        paused, closed = self.own in self._paused, PAUSED in self._gate.reasons
        if paused and not closed:
            self._gate.close(PAUSED)
            log.warning("queue %s is paused: nothing is received until it is resumed", self.own)
        elif closed and not paused:
            self._gate.open(PAUSED)
            log.warning("queue %s is resumed", self.own)
