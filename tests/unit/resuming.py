"""What the tests of resuming share: events, sessions and turns of one session, and its logs in memory."""

from typing import Any

from redis import ConnectionError as RedisConnectionError

from chatapp.live.following import Event
from chatapp.model import EventId, JobId, ModelOptions, Session, Status, Turn
from chatapp.payloads import encode, event

SID = "0123456789abcdef" * 2
OTHER = "f" * 32


def made(turn: int, attempt: int, seq: int, kind: str = "message_delta", **fields: Any) -> Event:
    """Make an event of the session under test."""
    return Event.decode(encode(event(kind, JobId(SID, turn), EventId(attempt, seq), 1_000, **fields)))


def session(count: int, open_turns: frozenset[int] = frozenset(), user: str = "ann", expires_at: int = 10_000) -> Session:
    """Make the session under test."""
    return Session(
        id=SID,
        user_id=user,
        flow="chat",
        created_at=0,
        updated_at=0,
        expires_at=expires_at,
        turn_count=count,
        open_turns=open_turns,
    )


def stored(number: int, status: Status, end_id: EventId | None = None) -> Turn:
    """Make a turn as the store has it."""
    return Turn(
        session_id=SID,
        number=number,
        user_id="ann",
        flow="chat",
        input=(),
        options=ModelOptions("m"),
        created_at=0,
        expires_at=10_000,
        status=status,
        answer="all of it" if status.ended else None,
        end_id=end_id,
        ended_at=1 if end_id else None,
    )


class Logs:
    """What Redis keeps of the session, in memory. `before_read` runs before each read; `away` is Redis down."""

    def __init__(self) -> None:
        self.events: dict[int, list[Event]] = {}
        self.owner: str | None = None
        self.before_read = lambda: None
        self.away = False
        self.reads = 0

    def _reading(self) -> None:
        self.reads += 1
        self.before_read()
        if self.away:
            raise RedisConnectionError

    def read(self, job_id, after=None):
        self._reading()
        return self._after(job_id.turn, after)

    def read_many(self, _session_id, cursors):
        self._reading()
        return [self._after(turn, after) for turn, after in cursors]

    def known(self, _session_id, first):
        self._reading()
        return self.owner, sorted(turn for turn in self.events if turn >= max(first, 1))

    def last(self, job_id):
        self._reading()
        log = self.events.get(job_id.turn)
        return log[-1].text if log else None

    def _after(self, turn, after):
        return [e.text for e in self.events.get(turn, []) if after is None or e.id > after]


def ids(events):
    """The ids of events."""
    return [str(e.id) for e in events]
