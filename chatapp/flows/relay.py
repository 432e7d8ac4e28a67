"""The relay: finds open work that nobody attends to and wakes a worker for it, so that no message is precious.

It runs in every worker, one at a time per fleet by a lease, but two at once are harmless: each look is moved on by a
conditional write first, and a wake-up too many is dropped by whoever receives it.
"""

import logging
import random
from collections import defaultdict

from chatapp.errors import Expired, QueueUnavailable
from chatapp.flows.ending import Endings, told
from chatapp.model import JobId, Status, Turn
from chatapp.ports import Clock, Locks, Sessions, Turns, WakeUps
from config.resources import OPEN_SHARDS

log = logging.getLogger(__name__)

BATCH = 100
"""Turns of one shard that one pass looks at: an outage of a million turns is worked off in passes."""

NEXT_LOOK_SECONDS = (30, 60)
"""At most one message per turn in this time, spread so that a backlog does not come back as one wave."""

LOCK = "relay"


class Relay:
    """Looks at open work."""

    def __init__(
        self,
        *,
        turns: Turns,
        sessions: Sessions,
        endings: Endings,
        wakeups: WakeUps,
        locks: Locks,
        clock: Clock,
        owner: str,
        queue_seconds: float,
    ) -> None:
        self._turns = turns
        self._sessions = sessions
        self._endings = endings
        self._wakeups = wakeups
        self._locks = locks
        self._clock = clock
        self._owner = owner
        self._queue_seconds = queue_seconds

    def look(self) -> int:
        """Make one pass, if no other process of the fleet is at it.

        Returns: the wake-ups sent. Raises: StoreUnavailable.
        """
        if not self._locks.acquire(LOCK, self._owner):
            return 0
        sent = 0
        try:
            for shard in random.sample(range(OPEN_SHARDS), OPEN_SHARDS):
                sent += self._shard(shard)
        except QueueUnavailable as error:
            log.warning("the relay's pass ends at the first send that failed: %s", error)
        if sent:
            log.info("the relay woke %d turns", sent)
        return sent

    def _shard(self, shard: int) -> int:
        by_session: defaultdict[str, list[tuple[JobId, int]]] = defaultdict(list)
        for job_id, wake_at in self._turns.open_work(shard, now=self._clock.now(), limit=BATCH):
            by_session[job_id.session_id].append((job_id, wake_at))
        return sum(self._session(session_id, found) for session_id, found in by_session.items())

    def _session(self, session_id: str, found: list[tuple[JobId, int]]) -> int:
        session = self._sessions.get(session_id)
        head = session.head if session else None
        sent = 0
        for job_id, wake_at in found:
            turn = self._turns.postpone(job_id, seen=wake_at, wake_at=self._next_look())
            if turn is None:
                continue
            if turn.never_started_within(self._queue_seconds, self._clock.now()):
                self._endings.by_other(turn, Status.FAILED, error=told(Expired()))
            elif job_id.turn == head:
                sent += self._attend(turn)
        return sent

    def _attend(self, turn: Turn) -> int:
        now = self._clock.now()
        if turn.status is Status.RUNNING and turn.lease_end >= now:
            return 0
        if turn.cancel_requested:
            self._endings.by_other(turn, Status.CANCELLED)
            return 0
        if turn.due > now:
            return 0
        self._wakeups.send(turn.job_id, user_id=turn.user_id, traceparent=turn.traceparent)
        return 1

    def _next_look(self) -> int:
        return self._clock.now() + round(random.uniform(*NEXT_LOOK_SECONDS) * 1000)  # noqa: S311
