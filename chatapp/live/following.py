"""What one follower has seen of one session: the rules, without I/O, that make resuming gapless."""

import json
from dataclasses import dataclass

from chatapp.model import EventId, JobId, is_session_id
from chatapp.payloads import OPENING, TERMINAL

FIRST = EventId(1, 0)
"""The id of the first event of a turn that never failed: the only one that nothing can stand before."""

OWN_LOG = 0
"""Stands for a turn's number in the name of a session's own log, `<session_id>.0`, which is never closed."""

_OWN = f".{OWN_LOG}"


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it goes to the client (`text`), and what of it decides where it goes."""

    job_id: JobId
    id: EventId
    kind: str
    text: str

    @property
    def terminal(self) -> bool:
        """The last event of its turn."""
        return self.kind in TERMINAL and self.job_id.turn != OWN_LOG

    @property
    def whole(self) -> bool:
        """Makes sense without those before it: it tells all the text so far, or that there is none."""
        return self.kind in OPENING or self.terminal or self.job_id.turn == OWN_LOG

    @classmethod
    def decode(cls, text: str) -> "Event":
        """Read an event's JSON. Raises: ValueError for anything that is not an event of a turn, or of a session's own log."""
        try:
            fields = json.loads(text)
            job_id, event_id, kind = _log_of(fields["job_id"]), EventId.parse(fields["id"]), fields["type"]
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError("not an event") from error
        if job_id is None or event_id is None or not isinstance(kind, str):
            raise ValueError("not an event of a log")
        return cls(job_id, event_id, kind, text)


def _log_of(name: str) -> JobId | None:
    session_id = name.removesuffix(_OWN)
    if session_id != name:
        return JobId(session_id, OWN_LOG) if is_session_id(session_id) else None
    return JobId.parse(name)


def just_before(cursor: EventId) -> EventId:
    """Give a cursor from which a log is read so that `cursor` itself comes first, if the log still holds it."""
    return EventId(cursor.attempt, cursor.seq - 1) if cursor.seq else EventId(max(cursor.attempt - 1, 0), 9_999_999_999)


class Follower:
    """What one socket has seen of one session: a cursor for every turn that has not ended, and one for the session's own log.

    Events arrive twice (from the log and live), late, or not at all (Redis' pub/sub loses silently: whoever is cut off
    and comes back is told nothing). `accept` passes each event once and in order; `gap_before` says when one is missing,
    so that the log is read first. Turns up to `highest` that are not open here have ended, or were not asked for.
    """

    def __init__(self, highest: int) -> None:
        self.highest = highest
        self._cursors: dict[int, EventId | None] = {}

    def open(self, turn: int, cursor: EventId | None) -> None:
        """Follow a turn from behind `cursor`; None is from its first event."""
        self._cursors[turn] = cursor
        self._know(turn)

    def expect(self, turn: int) -> None:
        """Follow a turn, and all between, from their first events; nothing changes for one that is known."""
        self._know(turn)

    def close(self, turn: int) -> None:
        """Expect no more of a turn: it has ended, and its end was passed on or seen before."""
        self._cursors.pop(turn, None)

    def cursor(self, turn: int) -> EventId | None:
        """Say the last event of an open turn that was passed on."""
        return self._cursors.get(turn)

    @property
    def head(self) -> int | None:
        """The first turn of which more is to come: the one that should speak, since turns run in order."""
        return min((turn for turn in self._cursors if turn != OWN_LOG), default=None)

    def unfinished(self) -> list[int]:
        """List the turns of which more is to come, in turn order."""
        return sorted(turn for turn in self._cursors if turn != OWN_LOG)

    def gap_before(self, event: Event) -> bool:
        """Say whether events may be missing before this one: the log must then be read from the cursor first.

        The first event of a later attempt counts as such too, since only the log knows how the earlier one ended.
        """
        turn = event.job_id.turn
        if turn <= self.highest and turn not in self._cursors:
            return False
        cursor = self._cursors.get(turn)
        if cursor is None:
            return event.id != FIRST
        return event.id > cursor and event.id != EventId(cursor.attempt, cursor.seq + 1)

    def accept(self, event: Event) -> bool:
        """Move the cursor to an event; False when it must not be passed on.

        That is: it was passed on before, or belongs to a turn that is not followed, or what it goes on from is lost with its
        log (Redis restarted). Whoever writes the log then begins it anew, with all the text so far.
        """
        turn = event.job_id.turn
        self._know(turn)
        if turn not in self._cursors:
            return False
        cursor = self._cursors[turn]
        if cursor is not None and event.id <= cursor:
            return False
        if self.gap_before(event) and not event.whole:
            return False
        if event.terminal:
            del self._cursors[turn]
        else:
            self._cursors[turn] = event.id
        return True

    def _know(self, turn: int) -> None:
        # A later turn can speak first (cancelled while it waited), so those between are expected as well.
        for number in range(self.highest + 1, turn + 1):
            self._cursors.setdefault(number, None)
        self.highest = max(self.highest, turn)
