"""One-time tickets for browsers, which can put no header on a WebSocket or an event stream: `ws_ticket:<ticket>`."""

import json
import re
import secrets
from typing import cast

from redis import Redis

from chatapp.errors import Unauthenticated
from chatapp.live.sockets import fails_closed
from chatapp.model import Principal
from chatapp.ports import Clock

TICKET_SECONDS = 30
_BYTES = 32
_TICKET = re.compile(r"[A-Za-z0-9_-]{43}")


class Tickets:
    """Issues and redeems tickets. Both raise LiveUnavailable when Redis is away: who is calling must be known."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock

    def life_ms(self, principal: Principal) -> int:
        """Say how long a ticket for this caller lives: TICKET_SECONDS, and no longer than the token behind it."""
        left = TICKET_SECONDS * 1_000
        return left if principal.expires_at is None else min(left, principal.expires_at - self._clock.now())

    @fails_closed
    def issue(self, principal: Principal) -> str:
        """Make a ticket that stands for the caller's token, once. It carries no admin's rights.

        Raises: Unauthenticated when the token has expired meanwhile.
        """
        if (life_ms := self.life_ms(principal)) <= 0:
            raise Unauthenticated("the token has expired")
        ticket = secrets.token_urlsafe(_BYTES)
        told = json.dumps({"user_id": principal.user_id, "expires_at": principal.expires_at})
        self._redis.set(_key(ticket), told, px=life_ms)
        return ticket

    @fails_closed
    def redeem(self, ticket: str) -> Principal:
        """Say whose ticket it is; it is used up by that. Raises: Unauthenticated for one that is unknown, old or used."""
        told = cast("str | None", self._redis.getdel(_key(ticket))) if _TICKET.fullmatch(ticket) else None
        if told is None:
            raise Unauthenticated("the ticket is unknown, has expired or was used")
        fields = json.loads(told)
        return Principal(user_id=fields["user_id"], expires_at=fields["expires_at"])


def _key(ticket: str) -> str:
    return f"ws_ticket:{ticket}"
