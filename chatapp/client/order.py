"""What was delivered of one job, and what an event that arrives comes to: the rules, without I/O."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DELTA, RESET, SNAPSHOT, COMPLETED = "message_delta", "message_reset", "message_snapshot", "message_completed"
CANCELLED, ERROR = "message_cancelled", "error"
TERMINAL = frozenset({COMPLETED, CANCELLED, ERROR})
"""After one of these nothing more comes of a job."""

FORGET = "forget"
"""Made here, not sent: what was delivered of this answer cannot be gone on with. What follows stands for all of it."""

_ENVELOPE = ("type", "id", "job_id", "session_id", "attempt", "seq", "created_at")
_NEVER = (-1, -1)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a job's log, as docs/websocket.md lists them; `data` holds the fields of its type."""

    type: str
    id: str
    job_id: str
    session_id: str
    attempt: int
    seq: int
    created_at: str
    data: Mapping[str, Any]

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "Event":
        """Read an event. Raises: KeyError when it is none."""
        rest = dict(fields)
        return cls(**{name: rest.pop(name) for name in _ENVELOPE}, data=rest)

    def as_dict(self) -> dict[str, Any]:
        """Give the event as it was sent."""
        return {name: getattr(self, name) for name in _ENVELOPE} | dict(self.data)

    @property
    def terminal(self) -> bool:
        """The last event of its job."""
        return self.type in TERMINAL

    @property
    def delta(self) -> str:
        """The piece that this event adds to the answer's text; empty for any other event."""
        return str(self.data["text"]) if self.type == DELTA and self.data.get("kind") == "text" else ""


class Gap(Exception):
    """Events are missing before this one: subscribe again from the cursor."""


class Order:
    """What was delivered of one job. Decides what an event that arrives comes to: the rules, without I/O.

    `cursor` is the last id that was delivered, `text` the answer so far, `end` the terminal event.
    """

    def __init__(self, job_id: str, after: str | None = None) -> None:
        self.job_id = job_id
        self.cursor = _parse(after) if after is not None else None
        self.text = ""
        self.end: Event | None = None
        self._anew = False  # what comes first stands for all
        self._asked: tuple[int, int] | None = _NEVER  # the cursor behind which a gap was asked about

    @property
    def after(self) -> str | None:
        """The cursor as it is sent."""
        return None if self.cursor is None else "{}-{}".format(*self.cursor)

    def subscribed(self, *, recovered: bool) -> list[Event]:
        """Take the server's word on whether it goes on behind the cursor. Returns: what is to be delivered."""
        return [] if recovered or self.cursor is None or self.end else [self._forget()]

    def accept(self, event: Event) -> list[Event]:
        """Take an event. Returns: what is to be delivered; nothing for one that was.

        Raises: Gap when events before it are missing, once. Who asked again and still finds them missing cannot have them:
        then it is `FORGET`, and the event.
        """
        if self.end is not None or (self.cursor is not None and (event.attempt, event.seq) <= self.cursor):
            return []
        if self._follows(event):
            return self._deliver(event)
        if self._asked != self.cursor:
            self._asked = self.cursor
            raise Gap
        return self.skip_to(event)

    def skip_to(self, event: Event) -> list[Event]:
        """Take an event although others may be missing before it: they will not be sent any more."""
        if self.end is not None:
            return []
        nothing_lost = self.cursor is None or (event.terminal and event.data.get("text") == self.text)
        forgotten = [] if nothing_lost else [self._forget()]
        return [*forgotten, *self._deliver(event)]

    def _deliver(self, event: Event) -> list[Event]:
        self.cursor, self._anew, self._asked = (event.attempt, event.seq), False, _NEVER
        if event.type == RESET:
            self.text = ""
        elif event.terminal:
            self.end = event
        if (event.terminal or event.type == SNAPSHOT) and event.data.get("text") is not None:
            self.text = event.data["text"]
        self.text += event.delta
        return [event]

    def _follows(self, event: Event) -> bool:
        if self._anew or event.type in (SNAPSHOT, RESET):  # these replace the text that came before
            return True
        if self.cursor is None:
            return event.seq == 0
        attempt, seq = self.cursor
        return event.seq == (seq + 1 if event.attempt == attempt else 0)

    def _forget(self) -> Event:
        attempt, seq = self.cursor or (0, 0)
        made = Event(FORGET, f"{attempt}-{seq}", self.job_id, self.job_id.partition(".")[0], attempt, seq, "", {})
        self.cursor, self.text, self._anew = None, "", True
        return made


def _parse(event_id: str) -> tuple[int, int]:
    if not (match := re.fullmatch(r"(\d{1,10})-(\d{1,10})", event_id)):
        raise ValueError(f"{event_id!r} is not the id of an event")
    return int(match[1]), int(match[2])
