"""The relay: finds open work that nobody attends to and wakes a worker for it, so that no message is precious.

It runs in every worker, one at a time per fleet by a lease, but two at once are harmless: each look is moved on by a
conditional write first, and a wake-up too many is dropped by whoever receives it.
"""

import logging
import random
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from chatapp.errors import Expired, QueueUnavailable
from chatapp.flows.cancelling import Cancelling
from chatapp.flows.ending import Endings
from chatapp.model import JobId, Session, Status, Turn
from chatapp.ports import Clock, Locks, Sessions, Turns, WakeUps
from config.resources import OPEN_SHARDS

log = logging.getLogger(__name__)

PAGE = 100
"""Turns of one shard that are read at a time."""

CHUNK = 10
"""Sessions that are attended to together, and wake-ups that SQS takes in one request."""

THREADS = 8
PASS_SECONDS = 10.0
"""A pass that finds more and more goes on for so long, and then the next one does."""

NEXT_LOOK_SECONDS = (30, 60)
"""At most one message per turn in this time, spread so that a backlog does not come back as one wave."""

LOCK = "relay"

Found = list[tuple[JobId, int]]
"""Turns of one session whose time has come, with the time at which they were to be looked at."""


class Relay:
    """Looks at open work."""

    def __init__(
        self,
        *,
        turns: Turns,
        sessions: Sessions,
        endings: Endings,
        cancel: Cancelling,
        wakeups: WakeUps,
        locks: Locks,
        clock: Clock,
        owner: str,
        queue_seconds: float,
    ) -> None:
        self._turns = turns
        self._sessions = sessions
        self._endings = endings
        self._cancel = cancel
        self._wakeups = wakeups
        self._locks = locks
        self._clock = clock
        self._owner = owner
        self._queue_seconds = queue_seconds

    def look(self, *, waking: bool = True) -> int:
        """Make one pass, if no other process of the fleet is at it.

        `waking` False: wake nobody (the queue is paused), do the rest. Returns: the wake-ups sent. Raises: StoreUnavailable.
        """
        until, sent = self._clock.monotonic() + PASS_SECONDS, 0
        while self._locks.acquire(LOCK, self._owner):
            woken, more = self._round(waking=waking)
            sent += woken
            if not more or self._clock.monotonic() >= until:
                break
        if sent:
            log.info("the relay woke %d turns", sent)
        return sent

    def _round(self, *, waking: bool) -> tuple[int, bool]:
        """Attend to one page of every shard. Returns: the wake-ups sent, and whether it is worth going on."""
        found, more = self._open_work()
        stop = threading.Event()
        with ThreadPoolExecutor(THREADS, thread_name_prefix="relay") as pool:
            sent = sum(pool.map(lambda chunk: self._chunk(chunk, stop, waking=waking), list(_chunks(found))))
        return sent, more and not stop.is_set()

    def _open_work(self) -> tuple[list[Found], bool]:
        by_session: defaultdict[str, Found] = defaultdict(list)
        more = False
        for shard in random.sample(range(OPEN_SHARDS), OPEN_SHARDS):
            page = self._turns.open_work(shard, now=self._clock.now(), limit=PAGE)
            more = more or len(page) == PAGE
            for job_id, wake_at in page:
                by_session[job_id.session_id].append((job_id, wake_at))
        return list(by_session.values()), more

    def _chunk(self, chunk: Sequence[Found], stop: threading.Event, *, waking: bool) -> int:
        if stop.is_set():
            return 0
        unattended = [turn for found in chunk for turn in self._session(found, stop, waking=waking)]
        if not unattended or not waking:
            return 0
        try:
            self._wakeups.send_many(unattended)
        except QueueUnavailable as error:
            stop.set()
            log.warning("the relay's pass ends at the first send that failed: %s", error)
            for turn in unattended:
                self._turns.wake_now(turn.job_id, self._clock.now())
            return 0
        return len(unattended)

    def _session(self, found: Found, stop: threading.Event, *, waking: bool) -> Iterator[Turn]:
        """Do what is to be done for one session. Yields: the turns to be woken."""
        session = self._sessions.get(found[0][0].session_id)
        if session is not None and session.interrupted:
            # Who submitted the interrupting turn has died before it told the running one.
            self._cancel.before(session, session.cancel_before)
            session = self._sessions.get(session.id)
        for job_id, wake_at in found:
            if stop.is_set():
                return
            turn = self._turns.postpone(job_id, seen=wake_at, wake_at=self._next_look())
            if turn is None:
                continue
            if turn.status.ended:
                if turn.dlq_pending and not self._endings.bury(turn):
                    stop.set()
            elif turn.never_started_within(self._queue_seconds, self._clock.now()):
                self._endings.by_other(turn, Status.FAILED, error=Expired(), alone=waking)
            elif session is not None and self._is_unattended(turn, session):
                yield turn

    def _is_unattended(self, turn: Turn, session: Session) -> bool:
        now = self._clock.now()
        if turn.status is Status.RUNNING and turn.lease_end >= now:
            return False
        if turn.cancel_requested or session.deleted_at is not None:
            self._cancel(turn)
            return False
        return turn.number == session.head and turn.due <= now

    def _next_look(self) -> int:
        return self._clock.now() + round(random.uniform(*NEXT_LOOK_SECONDS) * 1000)  # noqa: S311


def _chunks(found: Sequence[Found]) -> Iterator[Sequence[Found]]:
    for start in range(0, len(found), CHUNK):
        yield found[start : start + CHUNK]
