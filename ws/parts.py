"""What every socket of this process works with, and what a socket may do."""

import threading
from dataclasses import dataclass
from typing import Protocol

from chatapp.auth import Tokens
from chatapp.commands import Commands
from chatapp.live.ratelimit import RateLimiter
from chatapp.live.replay import Replay
from chatapp.live.tickets import Tickets
from chatapp.model import Principal
from chatapp.ports import Clock, Sessions
from config.settings import Settings
from ws.hub import Hub
from ws.looks import Looks
from ws.presence import Presence


@dataclass(frozen=True, slots=True)
class Limits:
    """What a socket may do."""

    auth_seconds: float
    ping_seconds: float
    max_payload: int
    """Bytes of one message of the client."""

    inbox: int
    """Frames and events that wait for the socket's worker."""

    inbox_bytes: int
    subscriptions: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What every connection works with."""

    hub: Hub
    presence: Presence
    tokens: Tokens
    tickets: Tickets
    sessions: Sessions
    replay: Replay
    commands: Commands
    limiter: RateLimiter
    clock: Clock
    limits: Limits
    settings: Settings
    looks: Looks
    lobby: threading.BoundedSemaphore
    """Places for sockets that have not said who they are."""


class Credential(Protocol):
    """What a client shows to be let in."""

    def principal(self, parts: Parts) -> Principal:
        """Say whose it is. Raises: Unauthenticated, Unavailable."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Bearer:
    """A token, from the header Authorization or from the frame `auth`."""

    token: str

    def principal(self, parts: Parts) -> Principal:
        """Verify it."""
        return parts.tokens.verify(self.token)


@dataclass(frozen=True, slots=True, repr=False)
class Ticket:
    """A one-time ticket, from the address: browsers can send no header."""

    ticket: str

    def principal(self, parts: Parts) -> Principal:
        """Use it up."""
        return parts.tickets.redeem(self.ticket)
