"""What a socket is told from within: by the hub, by the audience, never by its client."""

from dataclasses import dataclass

from chatapp.live.following import Event
from chatapp.model import JobId


@dataclass(frozen=True, slots=True)
class Live:
    """An event was published."""

    event: Event


@dataclass(frozen=True, slots=True)
class Gap:
    """Events of a session may have been lost on the way here."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Follow:
    """The API asks that this socket follows a job."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class Push:
    """A frame for the user, whatever the socket follows. One object for all the sockets that get it."""

    text: str


Notice = Live | Gap | Follow | Push
