"""Reads what a client has missed: from the logs in Redis alone where they suffice, else with the help of the table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from redis import RedisError

from chatapp.errors import LiveUnavailable, NotFound
from chatapp.live.following import OWN_LOG, Event, just_before
from chatapp.model import EventId, JobId, Session, Status, Turn
from chatapp.payloads import CANCELLED, COMPLETED, ERROR, RETRYING, encode, terminal_event
from chatapp.ports import Turns

MAX_TURNS = 100
"""Ended turns that one subscribe replays; of more, the one resumed and the latest."""

BEGINNING = EventId(0, 0)
"""A cursor before all events of a session's own log."""

_STATUS = {COMPLETED: Status.COMPLETED, CANCELLED: Status.CANCELLED, ERROR: Status.FAILED, RETRYING: Status.QUEUED}


class Log(Protocol):
    """The logs of turns (chatapp.live.events.EventLog). Every method raises redis.RedisError."""

    def read(self, job_id: JobId, after: EventId | None = None) -> list[str]:
        """Read the events after a cursor, as JSON texts."""
        ...

    def read_many(self, session_id: str, cursors: Sequence[tuple[int, EventId | None]]) -> list[list[str]]:
        """Read the events of several turns, each after a cursor."""
        ...

    def known(self, session_id: str, first: int) -> tuple[str | None, list[int]]:
        """Say the session's owner, and which turns from `first` on have a log."""
        ...

    def last(self, job_id: JobId) -> str | None:
        """Read the last event of a log."""
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


@dataclass(frozen=True, slots=True)
class OwnPast:
    """What a session's own log holds behind `cursor`; `recovered` False says that some of that is gone."""

    cursor: EventId
    recovered: bool
    events: Sequence[Event]

    @property
    def shown(self) -> dict[str, str | bool]:
        """Give the entry `log` in `subscribed`."""
        return {"after": str(self.cursor), "recovered": self.recovered}


class Replay:
    """Reads turns for sockets. Every method raises LiveUnavailable, StoreUnavailable."""

    def __init__(self, log: Log, turns: Turns) -> None:
        self._log = log
        self._turns = turns

    def after(self, job_id: JobId, cursor: EventId | None) -> list[Event]:
        """Read the log behind a cursor."""
        try:
            return _decoded(self._log.read(job_id, cursor))
        except RedisError as error:
            raise LiveUnavailable("the events cannot be read now", retry_after=1) from error

    def own(self, session_id: str, cursor: EventId | None) -> OwnPast:
        """Read the session's own log behind a cursor; without one only where it ends.

        A log that ends before the cursor was lost, in whole or in part, and gives lower ids now: it is followed from its end.
        """
        name = JobId(session_id, OWN_LOG)
        if cursor is None:
            return OwnPast(self._end_of(name), recovered=True, events=())
        if cursor == BEGINNING:
            events = self.after(name, None)
            return OwnPast(cursor, recovered=not events or events[0].id.seq == 0, events=events)
        events = self.after(name, just_before(cursor))
        if not events:
            return OwnPast(min(cursor, self._end_of(name)), recovered=False, events=())
        held = events[0].id == cursor
        return OwnPast(cursor, recovered=held, events=events[1:] if held else events)

    def _end_of(self, log: JobId) -> EventId:
        try:
            last = self._log.last(log)
        except RedisError as error:
            raise LiveUnavailable("the events cannot be read now", retry_after=1) from error
        return Event.decode(last).id if last else BEGINNING

    def from_logs(self, session_id: str, user_id: str, first: int, cursors: Mapping[int, EventId | None]) -> list[Past] | None:
        """Read the turns from `first` on by what Redis has alone, each behind its cursor.

        Returns: None unless Redis knows that the session is this user's, and holds all that was published of every turn from
        `first` on. Turns that have not begun are not there: they come when they begin.
        """
        try:
            owner, numbers = self._log.known(session_id, first)
            # Consecutive from the one that the client knows: then Redis has forgotten none of them.
            if owner != user_id or numbers != [*range(first, first + len(numbers))] or not 0 < len(numbers) <= MAX_TURNS:
                return None
            wanted = [(n, cursors.get(n)) for n in numbers]
            texts = self._log.read_many(session_id, [(n, just_before(c) if c else None) for n, c in wanted])
            logs = [_decoded(log) for log in texts]
        except RedisError as error:
            raise LiveUnavailable("the events cannot be read now", retry_after=1) from error
        except ValueError:  # what is there is none of ours
            return None
        pasts: list[Past] = []
        for (number, cursor), events in zip(wanted, logs, strict=True):
            if not events or (cursor is not None and events[0].id != cursor):
                return None
            waiting = sum(not past.status.ended for past in pasts)
            status = _status(events[-1])
            position = 0 if status.ended else waiting
            pasts.append(Past(JobId(session_id, number), status, position, True, cursor, events[1:] if cursor else events))
        return pasts

    def past(self, session: Session, number: int, cursor: EventId | None, *, read: Turn | None = None) -> Past:
        """Read what a client that stopped at `cursor` has missed of a turn. `read`: the turn, by who has just read it.

        Raises: NotFound when there is no such turn.
        """
        job_id = JobId(session.id, number)
        held, events, last = self._logged(job_id, cursor)
        place = cursor if held else None
        if last is not None and last.terminal:
            return Past(job_id, _status(last), 0, held, place, events)
        is_open = number in session.open_turns
        if last is not None and is_open:
            return Past(job_id, _status(last), session.position(number), held, place, events)
        if is_open and number != session.head:  # only the head may run: no need to ask
            return Past(job_id, Status.QUEUED, session.position(number), held, place, events)
        turn = read or self._turns.get(job_id)
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


def _decoded(texts: Iterable[str]) -> list[Event]:
    return [Event.decode(text) for text in texts]


def _status(last: Event) -> Status:
    """Say how a turn stands by the last event of its log."""
    return _STATUS.get(last.kind, Status.RUNNING)


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
