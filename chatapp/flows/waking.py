"""Waking a worker for a turn. A send that fails is left to the relay, which is told to look at once."""

import logging

from chatapp.errors import QueueUnavailable
from chatapp.model import JobId
from chatapp.ports import Clock, Turns, WakeUps

log = logging.getLogger(__name__)


class Waking:
    """Wakes workers."""

    def __init__(self, *, turns: Turns, wakeups: WakeUps, clock: Clock) -> None:
        self._turns = turns
        self._wakeups = wakeups
        self._clock = clock

    def __call__(self, job_id: JobId, *, user_id: str, traceparent: str | None = None) -> None:
        """Send a wake-up. Raises: StoreUnavailable, when it could not be sent and the relay could not be told."""
        try:
            self._wakeups.send(job_id, user_id=user_id, traceparent=traceparent)
        except QueueUnavailable as error:
            log.warning("the wake-up of %s was not sent, the relay will send it: %s", job_id, error)
            self._turns.wake_now(job_id, self._clock.now())
