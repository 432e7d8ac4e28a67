"""The relay: finds open work that nobody attends to and wakes a worker for it, so that no message is precious.

It runs in every worker, one at a time per fleet by a lease, but two at once are harmless (see chatapp/flows/sweep.py).
"""

import threading
from collections.abc import Iterator, Sequence

from chatapp.errors import Expired
from chatapp.flows.cancelling import Cancelling
from chatapp.flows.ending import Endings
from chatapp.flows.sweep import PAGE, Sweep
from chatapp.model import JobId, Session, Status, Turn
from chatapp.ports import Clock, Locks, Sessions, Turns, WakeUps


class Relay(Sweep[JobId, Turn]):
    """Looks at open turns."""

    lock = "relay"
    woken = "turns"

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
        super().__init__(locks=locks, clock=clock, owner=owner)
        self._turns = turns
        self._sessions = sessions
        self._endings = endings
        self._cancel = cancel
        self._wakeups = wakeups
        self._queue_seconds = queue_seconds

    def _open_work(self, shard: int) -> list[tuple[JobId, int]]:
        return self._turns.open_work(shard, now=self._clock.now(), limit=PAGE)

    def _send(self, entries: Sequence[Turn]) -> None:
        self._wakeups.send_many(entries)

    def _unsent(self, entry: Turn) -> None:
        self._turns.wake_now(entry.job_id, self._clock.now())

    def _unattended(self, found: list[tuple[JobId, int]], stop: threading.Event, *, waking: bool) -> Iterator[Turn]:
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
