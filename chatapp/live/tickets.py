"""One-time tickets for browsers, which can put no header on a WebSocket or an event stream: `ws_ticket:<ticket>`."""

import json
import secrets
from typing import cast

from redis import Redis

from chatapp.errors import Unauthenticated
from chatapp.live.sockets import fails_closed
from chatapp.model import Principal

TICKET_SECONDS = 30


class Tickets:
    """Issues and redeems tickets. Both raise LiveUnavailable when Redis is away: who is calling must be known."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @fails_closed
    def issue(self, principal: Principal) -> str:
        """Make a ticket that stands for the caller's token, once and for TICKET_SECONDS. It carries no admin's rights."""
        ticket = secrets.token_urlsafe(32)
        told = json.dumps({"user_id": principal.user_id, "expires_at": principal.expires_at})
        self._redis.set(_key(ticket), told, ex=TICKET_SECONDS)
        return ticket

    @fails_closed
    def redeem(self, ticket: str) -> Principal:
        """Say whose ticket it is; it is used up by that. Raises: Unauthenticated for one that is unknown, old or used."""
        told = cast("str | None", self._redis.getdel(_key(ticket)))
        if told is None:
            raise Unauthenticated("the ticket is unknown, has expired or was used")
        fields = json.loads(told)
        return Principal(user_id=fields["user_id"], expires_at=fields["expires_at"])


def _key(ticket: str) -> str:
    return f"ws_ticket:{ticket}"
