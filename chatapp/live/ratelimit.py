"""How much a user may send: one Lua call per request, in Redis, for all processes together."""

import logging
import threading
import time
from dataclasses import dataclass
from importlib.resources import files
from typing import cast

from redis import Redis, RedisError

from chatapp.errors import RateLimited

log = logging.getLogger(__name__)

PAUSE_SECONDS = 2.0
"""How long a Redis that failed is left alone, so that its time-out is paid by one request in a while and not by each."""

_MICROSECONDS = 1_000_000
_TAKE = files("chatapp.live").joinpath("ratelimit.lua").read_text()


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a request was told. `limit` requests per `window` seconds; 0 means that no limit was applied.

    `reset` is the seconds until the whole limit is free again, `retry_after` the seconds until one more request is allowed.
    """

    allowed: bool = True
    limit: int = 0
    window: float = 0
    remaining: int = 0
    reset: float = 0
    retry_after: float = 0


UNLIMITED = Allowance()


class RateLimiter:
    """Counts requests per user. `requests` 0 switches it off."""

    def __init__(self, redis: Redis, *, requests: int, seconds: float) -> None:
        self._take = redis.register_script(_TAKE)
        self._requests = requests
        self._seconds = seconds
        self._lock = threading.Lock()
        self._ask_again_at = 0.0

    def take(self, user_id: str) -> Allowance:
        """Take one request from what the user may send. One round trip (two more when Redis does not know the script yet).

        Fails open: a limit guards our costs, and a Redis that is away must not turn users away (DESIGN section 5).
        """
        if self._requests == 0 or time.monotonic() < self._ask_again_at:
            return UNLIMITED
        try:
            answer = self._take(keys=[f"ratelimit:{user_id}"], args=[self._requests, round(self._seconds * _MICROSECONDS)])
        except RedisError as error:
            self._pause(error)
            return UNLIMITED
        allowed, remaining, reset, retry = cast("list[int]", answer)
        return Allowance(
            allowed=bool(allowed),
            limit=self._requests,
            window=self._seconds,
            remaining=remaining,
            reset=reset / _MICROSECONDS,
            retry_after=retry / _MICROSECONDS,
        )

    def allow(self, user_id: str) -> None:
        """Take one request, for who has no headers to tell the allowance in. Raises: RateLimited."""
        taken = self.take(user_id)
        if not taken.allowed:
            raise RateLimited(retry_after=taken.retry_after)

    def _pause(self, error: RedisError) -> None:
        with self._lock:
            said = time.monotonic() < self._ask_again_at
            self._ask_again_at = time.monotonic() + PAUSE_SECONDS
        if not said:  # one line per pause, however many requests were waiting
            log.warning("redis is away, requests are not limited: %s", error)
