"""Reads what a client has missed: logs of turns from Redis, and from the turn itself where there is no log any more."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from redis import RedisError

from chatapp.errors import LiveUnavailable, NotFound
from chatapp.live.following import Event, just_before
from chatapp.model import EventId, JobId, Session, Status, Turn
from chatapp.payloads import CANCELLED, COMPLETED, ERROR, encode, terminal_event
from chatapp.ports import Turns

MAX_TURNS = 100
"""Ended turns that one subscribe replays; of more, the one resumed and the latest."""

RETRYING = "message_retrying"
_STATUS = {COMPLETED: Status.COMPLETED, CANCELLED: Status.CANCELLED, ERROR: Status.FAILED}


class Log(Protocol):
    """The logs of turns (chatapp.live.events.EventLog)."""

    def read(self, job_id: JobId, after: EventId | None = None) -> list[str]:
        """Read the events after a cursor, as JSON texts."""
        ...


@dataclass(frozen=True, slots=True)
class Past:
    """What a turn's log holds behind a client's cursor.

    `cursor` is where to go on from; `recovered` False says that the cursor could not be honoured: the client must forget
    what it has of this turn, since `events` stand for all of it.
    """

    job_id: JobId
    status: Status
    position: int
    recovered: bool
    cursor: EventId | None
    events: Sequence[Event]

    @property
    def shown(self) -> dict[str, str | int | bool]:
        """Give the turn's entry in `subscribed`."""
        return {
            "job_id": str(self.job_id),
            "status": self.status,
            "position": self.position,
            "recovered": self.recovered,
        }


class Replay:
    """Reads turns for sockets. Every method raises LiveUnavailable, StoreUnavailable."""

    def __init__(self, log: Log, turns: Turns) -> None:
        self._log = log
        self._turns = turns

    def after(self, job_id: JobId, cursor: EventId | None) -> list[Event]:
        """Read the log behind a cursor."""
        try:
            return [Event.decode(text) for text in self._log.read(job_id, cursor)]
        except RedisError as error:
            raise LiveUnavailable("the events cannot be read now", retry_after=1) from error

    def past(self, session: Session, number: int, cursor: EventId | None) -> Past:
        """Read what a client that stopped at `cursor` has missed of a turn. Raises: NotFound when there is no such turn."""
        job_id = JobId(session.id, number)
        held, events, last = self._logged(job_id, cursor)
        place = cursor if held else None
        if last is not None and last.terminal:
            return Past(job_id, _STATUS[last.kind], 0, held, place, events)
        is_open = number in session.open_turns
        if last is not None and is_open:
            status = Status.QUEUED if last.kind == RETRYING else Status.RUNNING
            return Past(job_id, status, session.position(number), held, place, events)
        if is_open and number != session.head:  # only the head may run: no need to ask
            return Past(job_id, Status.QUEUED, session.position(number), held, place, events)
        turn = self._turns.get(job_id)
        if turn is None:
            raise NotFound("There is no such turn")
        if not turn.status.ended:
            return Past(job_id, turn.status, 0, held, place, events)
        return _ended(turn, cursor, Past(job_id, turn.status, 0, held and last is not None, place, events))

    def _logged(self, job_id: JobId, cursor: EventId | None) -> tuple[bool, list[Event], Event | None]:
        """Read the log: whether it honours the cursor, what comes after it (or all), and its last event."""
        events = self.after(job_id, just_before(cursor) if cursor else None)
        if cursor is None:
            return True, events, events[-1] if events else None
        if events and events[0].id == cursor:
            return True, events[1:], events[-1]
        # The log does not hold the cursor: it is gone, or was lost and began anew.
        events = self.after(job_id, None)
        return False, events, events[-1] if events else None


def _ended(turn: Turn, cursor: EventId | None, past: Past) -> Past:
    """Add the end to what the log has of a turn that ended, unless the client has seen it."""
    end = Event.decode(encode(terminal_event(turn)))
    if cursor is not None and cursor >= end.id:
        return replace(past, recovered=True, cursor=cursor, events=[])
    return replace(past, events=[*past.events, end])


def numbers_to_replay(session: Session, resume: JobId | None) -> list[int]:
    """Choose the turns that a subscribe replays: the open ones, or all from the resumed one on.

    Raises: NotFound when the session has no such turn.
    """
    if resume is None:
        return sorted(session.open_turns)
    if resume.turn > session.turn_count:
        raise NotFound("There is no such turn")
    return _bounded(range(resume.turn, session.turn_count + 1), session)


def _bounded(numbers: range, session: Session) -> list[int]:
    latest = numbers[-MAX_TURNS:]
    waiting = (n for n in session.open_turns if n in numbers)
    return sorted({numbers[0], *latest, *waiting})


def numbers_to_catch_up(session: Session, unfinished: Iterable[int], highest: int) -> list[int]:
    """Choose the turns to look at after a gap: those that were not done, and those that began meanwhile."""
    return sorted({*unfinished, *range(highest + 1, session.turn_count + 1)})
