"""Who of the whole fleet asks an external API: one process at a time for one question, by a short lease in Redis."""

import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from importlib.resources import files
from typing import Literal

from redis import Redis, RedisError

from chatapp.live.api_cache import fresh_key, lease_key

log = logging.getLogger(__name__)

LEASE_SECONDS = 3.0
"""A process that dies while it asks is waited for so long. Renewed by one that lives, however slow the API is."""

FAILED_SECONDS = 1.0
"""After an API has failed, those who wait and those who come are told so for this long, instead of each asking it too."""

_FAILED = "failed"
_SCRIPT = files("chatapp.live").joinpath("api_lease.lua").read_text()


class Look(Enum):
    """What there is to do for who finds neither an answer nor the right to ask."""

    WAIT = "somebody asks"
    FAILED = "somebody asked just now, in vain"


@dataclass(slots=True)
class Lease:
    """The right to ask. `over` ends its renewal."""

    name: str
    token: str
    over: threading.Event = field(default_factory=threading.Event)


class Leases:
    """The leases by the name of the question."""

    def __init__(self, redis: Redis, *, seconds: float = LEASE_SECONDS) -> None:
        self._redis = redis
        self._script = redis.register_script(_SCRIPT)
        self._seconds = seconds

    def look(self, name: str) -> str | Lease | Look:
        """Read the fresh answer (as it is kept); without one take the lease, if nobody has it. Raises: RedisError."""
        kept = self._redis.get(fresh_key(name))
        if kept is not None:
            return str(kept)
        token = secrets.token_hex(8)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(lease_key(name), token, nx=True, px=self._ms)
        pipeline.get(lease_key(name))
        pipeline.get(fresh_key(name))  # after the lease: whoever held it before has written the answer before he let go
        _, holder, kept = pipeline.execute()
        lease = Lease(name, token)
        if kept is not None:
            if holder == token:
                self._step(lease, "done")
            return str(kept)
        if holder == token:
            return lease
        return Look.FAILED if holder == _FAILED else Look.WAIT

    @contextmanager
    def renewed(self, lease: Lease) -> Iterator[None]:
        """Keep the lease while the block runs; unless `fail` has told how it ended, it is given back with it."""
        renewing = threading.Thread(target=self._renew, args=(lease,), name=f"api-lease-{lease.name}", daemon=True)
        try:
            renewing.start()
            yield
        finally:
            self._end(lease, "done")

    def holds(self, lease: Lease) -> bool:
        """Say whether the lease is still there: nobody else asks, nobody has invalidated the answer. Raises: RedisError."""
        return not lease.over.is_set() and self._step(lease, "renew")

    def fail(self, lease: Lease) -> None:
        """Tell those who wait that the API was asked in vain. Fails open: they ask themselves when the lease has run out."""
        self._end(lease, "failed")

    def _end(self, lease: Lease, step: Literal["failed", "done"]) -> None:
        if lease.over.is_set():
            return
        lease.over.set()
        try:
            self._step(lease, step)
        except RedisError as error:
            log.info("the lease on %s is left to run out: %s", lease.name, error)

    def _renew(self, lease: Lease) -> None:
        while not lease.over.wait(self._seconds / 3):
            try:
                if not self._step(lease, "renew"):
                    return
            except RedisError as error:
                log.info("the lease on %s was not renewed: %s", lease.name, error)

    def _step(self, lease: Lease, step: Literal["renew", "failed", "done"]) -> bool:
        ms = round(FAILED_SECONDS * 1000) if step == "failed" else self._ms
        return bool(self._script(keys=[lease_key(lease.name)], args=[lease.token, ms, step]))

    @property
    def _ms(self) -> int:
        return round(self._seconds * 1000)
