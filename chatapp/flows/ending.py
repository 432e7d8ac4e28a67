"""The one place where a turn ends: store the end, publish it, wake the new head. Used by worker, cancel and relay."""

import logging
import random
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from chatapp import failpoints
from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.errors import ChatappError, QueueUnavailable, StoreUnavailable, TurnError, Unavailable
from chatapp.flows.extra import Extra
from chatapp.flows.history import estimated_usage
from chatapp.flows.waking import Waking
from chatapp.model import Ending, EventId, JobId, Status, Turn
from chatapp.ports import Clock, DeadLetters, EffectWakeUps, EventLog, Raced, SessionEvents, Sessions, TurnLog, Turns

log = logging.getLogger(__name__)

T = TypeVar("T")

DELIVER_LOOK_MS = 10_000
"""How long an owed delivery is left to its own message, before the relay looks."""


def told(error: ChatappError) -> dict[str, Any]:
    """Say an error as turns store it and clients see it."""
    return {"code": error.code, "message": error.detail, "retryable": error.retryable}


def insist(write: Callable[[], T], *, seconds: float, clock: Clock) -> T:
    """Write, and again while the store is away or busy, for so many seconds. Raises: StoreUnavailable."""
    give_up = clock.monotonic() + seconds
    while True:
        try:
            return write()
        except Unavailable as error:
            if clock.monotonic() >= give_up:
                raise StoreUnavailable("what became of the turn could not be stored") from error
            clock.sleep(random.uniform(0.005, 0.05))  # noqa: S311  spreads the writers, guards nothing


class Endings:
    """Ends turns."""

    def __init__(
        self,
        *,
        turns: Turns,
        sessions: Sessions,
        events: EventLog,
        session_events: SessionEvents,
        wake: Waking,
        effect_wakeups: EffectWakeUps,
        dead_letters: DeadLetters,
        clock: Clock,
    ) -> None:
        self._turns = turns
        self._sessions = sessions
        self._events = events
        self._session_events = session_events
        self._wake = wake
        self._effect_wakeups = effect_wakeups
        self._dead_letters = dead_letters
        self._clock = clock

    def by_holder(
        self, turn: Turn, turn_log: TurnLog, status: Status, *, seconds: float, extra: Extra | None = None, **fields: Any
    ) -> Turn | None:
        """End a turn for the attempt that runs it. `seconds`: how long to try, which is what is left of the lease.

        `extra`: what the flow wants stored with the end. Returns: the ended turn, or None when somebody else was first.
        Raises: StoreUnavailable; StateTooLarge, and then nothing is stored.
        """
        end_id = turn_log.settle()
        ending = Ending(status=status, end_id=end_id, at=self._clock.now(), by=turn.claim_id or "", holder=True, **fields)
        ended = self._store(turn, ending, seconds, extra)
        if ended is None:
            turn_log.abandon()
            return None
        failpoints.hit("turn.stored")
        turn_log.finish(ended)
        failpoints.hit("turn.published")
        self._follow_up(ended)
        if extra is not None:
            extra.tell(self._session_events)
        failpoints.hit("turn.woken")
        return ended

    def by_other(
        self, turn: Turn, status: Status, *, error: TurnError | None = None, seconds: float = 3, alone: bool = True
    ) -> Turn | None:
        """End a turn that nobody runs, or that somebody else does: the end raises `attempt`, so the old worker is fenced.

        `alone` False: one of several that are ended together; nobody is woken and Redis is not waited for. Returns: the
        ended turn, or None when it is no longer as `turn` says. Raises: StoreUnavailable.
        """
        fields: dict[str, Any] = {}
        if error is not None:
            fields = {"error": told(error), "dlq_pending": error.dead_letter}
        elif turn.attempt and (said := self._events.said(turn.job_id)):
            fields = {"answer": said, "usage": estimated_usage(turn, said)}
        end_id = EventId(turn.attempt + 1, 0)
        by = secrets.token_hex(8)
        ended = self._store(
            turn, Ending(status=status, end_id=end_id, at=self._clock.now(), by=by, holder=False, **fields), seconds
        )
        if ended is not None:
            self._events.publish_end(ended, wait=1 if alone else 0)
            if alone:
                self._follow_up(ended)
        return ended

    def again(self, turn: Turn) -> None:
        """Do once more what follows the end of a turn: a crash may have left it undone."""
        self._events.publish_end(turn)
        self._follow_up(turn)

    def wake_head(self, session_id: str) -> None:
        """Wake the session's head, if it has one. A send that fails is left to the relay."""
        session = self._sessions.get(session_id)
        if session is None or session.head is None:
            return
        self._wake(JobId(session_id, session.head), user_id=session.user_id)

    def bury(self, turn: Turn) -> bool:
        """Put a turn that failed for good into the dead-letter queue. What cannot be done now is left to the relay.

        Returns: whether it is there.
        """
        try:
            self._dead_letters.put(turn)
        except QueueUnavailable as error:
            log.warning("%s is not in the dead-letter queue yet, the relay will see to it: %s", turn.job_id, error)
            return False
        self._turns.buried(turn.job_id)
        return True

    def _follow_up(self, ended: Turn) -> None:
        self.wake_head(ended.session_id)
        if ended.callback is not None:
            self._deliver(ended)
        if ended.dlq_pending:
            self.bury(ended)

    def _deliver(self, ended: Turn) -> None:
        try:
            self._effect_wakeups.send_effect(EffectId.reply(ended.session_id, ended.number), user_id=ended.user_id)
        except QueueUnavailable as error:
            log.warning("the delivery of %s waits for the relay: %s", ended.job_id, error)

    def _store(self, turn: Turn, ending: Ending, seconds: float, extra: Extra | None = None) -> Turn | None:
        owed = [_delivery(turn, ending.at)] if turn.callback is not None else []
        effects = [*owed, *(extra.effects if extra else ())]
        give_up = self._clock.monotonic() + seconds
        while True:
            write = extra.write() if extra else None
            end = partial(self._turns.end, turn, ending, write=write, effects=effects)
            done = insist(end, seconds=give_up - self._clock.monotonic(), clock=self._clock)
            if not isinstance(done, Raced):
                won, now = done
                return now if won else None
            # Somebody changed the session's state: the flow's change is applied to what they made of it.
            if extra is None or done.session is None or self._clock.monotonic() >= give_up:
                raise StoreUnavailable("the session's state changes faster than it can be written")
            extra.rebase(done.session)


def _delivery(turn: Turn, now: int) -> Effect:
    return Effect(
        id=EffectId.reply(turn.session_id, turn.number),
        user_id=turn.user_id,
        name="turn",
        status=EffectStatus.CONFIRMED,
        payload={"turn": turn.number},
        target=turn.callback,
        created_at=now,
        expires_at=now,
        due=now,
        wake_at=now + DELIVER_LOOK_MS,
    )
