"""Other APIs, asked through a cache in Redis: one call for many who wait, and an old answer rather than none.

fresh answer?  yes -> it
| no
the lease on the question: free -> ask the API -> keep the answer, hand it on
|                                    '- failed -> the stale copy, or ExternalUnavailable
'- taken -> wait for the answer, for the news that it failed, or for the lease to run out
"""

import json
import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from redis import RedisError

from chatapp.coalescing import Coalescing
from chatapp.errors import BreakerOpen, ExternalRefused, ExternalUnavailable
from chatapp.live.api_cache import ApiCache, name_of, opened
from chatapp.live.api_lease import Lease, Leases, Look
from chatapp.live.breaker import SharedBreaker
from chatapp.ports import Clock

log = logging.getLogger(__name__)

Fetch = Callable[[Mapping[str, Any]], Any]
"""Asks an API. Takes the parameters. Returns: its JSON, not null. Raises: ExternalUnavailable. Ends within CALL_SECONDS."""

CALL_SECONDS = 30.0
"""The longest call of an API, a new token and a second try included: what its adapter must keep to."""

WAIT_SECONDS = CALL_SECONDS + 5.0
"""The longest wait for somebody else's call: one that began just before, and the lease of a process that has died."""

POLL_SECONDS = (0.02, 0.2)
"""Pause before the next look at a question that somebody asks, and the longest one. One of each process looks."""

AWAY_SECONDS = 2.0
"""How long a Redis that failed is left alone: its time-out is paid by one call in a while and not by each."""


class CachedApis:
    """Implements the port `External` over endpoints by name."""

    def __init__(self, endpoints: Mapping[str, Fetch], cache: ApiCache, leases: Leases, clock: Clock) -> None:
        self._endpoints = endpoints
        self._cache = cache
        self._leases = leases
        self._clock = clock
        self._calls: Coalescing[str] = Coalescing(WAIT_SECONDS)
        self._away_until = 0.0

    def cached_get(self, endpoint: str, params: Mapping[str, Any]) -> Any:
        """Ask an endpoint, or answer from the cache. Fails open: without Redis the API itself is asked.

        Raises: ExternalUnavailable.
        """
        fetch = self._endpoints.get(endpoint)
        if fetch is None:
            raise ExternalUnavailable(f"No API is configured for `{endpoint}`")
        name = name_of(endpoint, params)
        return json.loads(self._calls.call(name, lambda: json.dumps(self._answer(name, lambda: fetch(params)))))

    def recall(self, endpoint: str, params: Mapping[str, Any]) -> Any | None:
        """Read what was kept under these words, if it is fresh. Fails open: without Redis there is nothing."""
        try:
            return None if self._away() else self._cache.get(endpoint, params)
        except RedisError as error:
            self._leave(error)
            return None

    def keep(self, endpoint: str, params: Mapping[str, Any], value: Any) -> None:
        """Keep something of one's own, JSON but not null. Fails open: without Redis nothing is kept."""
        try:
            if not self._away():
                self._cache.put(endpoint, params, value)
        except RedisError as error:
            self._leave(error)

    def _answer(self, name: str, ask: Callable[[], Any]) -> Any:
        until, pause = monotonic() + WAIT_SECONDS, POLL_SECONDS[0]
        while monotonic() < until:
            found = self._look(name)
            if isinstance(found, Lease):
                return self._lead(found, ask)
            if isinstance(found, str) and (kept := opened(found)) is not None:
                return kept
            if found is Look.FAILED:
                return self._stale(name, ExternalUnavailable("It could not be asked a moment ago"))
            if found is not Look.WAIT:  # no Redis, or nothing that can be read
                return ask()
            self._clock.sleep(pause)
            pause = min(pause * 1.5, POLL_SECONDS[1])
        return self._stale(name, ExternalUnavailable("Nobody has heard an answer in time"))

    def _look(self, name: str) -> str | Lease | Look | None:
        """Find the answer, or what there is to do. Returns: None while Redis is away."""
        try:
            return None if self._away() else self._leases.look(name)
        except RedisError as error:
            self._leave(error)
            return None

    def _lead(self, lease: Lease, ask: Callable[[], Any]) -> Any:
        with self._leases.renewed(lease):
            try:
                answer = ask()
            except ExternalRefused:
                raise
            except ExternalUnavailable as error:
                self._leases.fail(lease)
                return self._stale(lease.name, error)
            try:
                if self._leases.holds(lease):
                    self._cache.write(lease.name, answer)
            except RedisError as error:
                self._leave(error)
            return answer

    def _stale(self, name: str, error: ExternalUnavailable) -> Any:
        try:
            kept = None if self._away() else opened(self._cache.read(name, stale=True))
        except RedisError as away:
            self._leave(away)
            kept = None
        if kept is None:
            raise error
        log.warning("%s is answered with a stale copy: %s", name, error)
        return kept

    def _away(self) -> bool:
        return monotonic() < self._away_until

    def _leave(self, error: RedisError) -> None:
        if not self._away():  # one line per pause, however many calls were waiting
            log.warning("redis is away, external APIs are asked without a cache: %s", error)
        self._away_until = monotonic() + AWAY_SECONDS


def behind(breaker: SharedBreaker, fetch: Fetch) -> Fetch:
    """Put a breaker in front of an API: while it is open nobody asks."""

    def ask(params: Mapping[str, Any]) -> Any:
        try:
            return breaker.call(fetch, params)
        except BreakerOpen as error:
            raise ExternalUnavailable(f"{breaker.name} is not asked for now", retry_after=error.retry_after) from error

    return ask


def opens(kind: type[BaseException], error: BaseException) -> bool:
    """Say whether an error speaks for an API that is away. A refused question does not, nor does a word to slow down."""
    del kind
    return isinstance(error, ExternalUnavailable) and not isinstance(error, ExternalRefused) and error.retry_after is None
