"""`api_cache:<endpoint>:<params_hash>`: answers of external APIs, and copies of them for when that API is away."""

import hashlib
import json
import logging
import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Any, cast

from redis import Redis

from chatapp.model import timestamp
from chatapp.ports import Clock

log = logging.getLogger(__name__)

MAX_BYTES = 262_144
"""An answer that is larger is handed on and not kept: Redis is shared with the live events."""

_ENDPOINT = re.compile(r"[a-z0-9_.-]{1,64}")
_PATTERN = re.compile(r"[a-z0-9_.*?-]+(:[0-9a-f*?]+)?")
_SCAN_COUNT = 500


class ApiCache:
    """Answers by endpoint and parameters. `seconds`: how long one counts as fresh; `stale_seconds`: how long its copy is kept.

    Raises RedisError throughout: who asks decides what to do without (chatapp/live/external.py asks the API itself).
    """

    def __init__(self, redis: Redis, clock: Clock, *, seconds: float, stale_seconds: float) -> None:
        self._redis = redis
        self._clock = clock
        self._seconds = seconds
        self._stale_seconds = stale_seconds

    def get(self, endpoint: str, params: Mapping[str, Any]) -> Any | None:
        """Read a fresh answer. Returns: its JSON; None when there is none. Raises: RedisError."""
        return opened(self.read(name_of(endpoint, params)))

    def put(self, endpoint: str, params: Mapping[str, Any], value: Any) -> bool:
        """Keep an answer, JSON but not null. Returns: whether it was small enough. Raises: RedisError."""
        return self.write(name_of(endpoint, params), value)

    def invalidate(self, pattern: str) -> int:
        """Forget what matches `endpoint` or `endpoint:hash`, each a glob of `*` and `?`: fresh, stale, and what is being asked.

        Walks over the keys with SCAN, so Redis goes on to serve others. Returns: how many fresh answers were forgotten.
        Raises: ValueError, RedisError.
        """
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(f"{pattern!r} is no pattern: an endpoint, or endpoint:hash, with * and ?")
        whole = pattern if ":" in pattern else f"{pattern}:*"
        fresh, cursor = 0, 0
        while True:
            cursor, keys = cast("tuple[int, list[str]]", self._redis.scan(cursor, match=f"api_[cls]*:{whole}", count=_SCAN_COUNT))
            fresh += self._forget(keys)
            if not cursor:
                return fresh

    def _forget(self, keys: list[str]) -> int:
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.unlink(key)
        removed = pipeline.execute()
        return sum(n for key, n in zip(keys, removed, strict=True) if key.startswith("api_cache:"))

    def read(self, name: str, *, stale: bool = False) -> str | None:
        """Read what is kept under a name, as it is kept. Raises: RedisError."""
        return cast("str | None", self._redis.get((stale_key if stale else fresh_key)(name)))

    def write(self, name: str, value: Any) -> bool:
        """Keep an answer under a name. Returns: whether it was small enough. Raises: RedisError."""
        kept = {"data": value, "timestamp": timestamp(self._clock.now()), "ttl": round(self._seconds)}
        text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
        if len(text.encode()) > MAX_BYTES:
            log.warning("an answer of %s is too large to be kept: %d characters", name, len(text))
            return False
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(fresh_key(name), text, px=round(self._seconds * 1000))
        pipeline.set(stale_key(name), text, px=round(self._stale_seconds * 1000))
        pipeline.execute()
        return True


def name_of(endpoint: str, params: Mapping[str, Any]) -> str:
    """Name a question: `<endpoint>:<params_hash>`. The same parameters in any order have the same name.

    Only the hash reaches Redis, never the parameters. Raises: ValueError, TypeError for what is no parameter.
    """
    if not _ENDPOINT.fullmatch(endpoint):
        raise ValueError(f"{endpoint!r} is no name of an endpoint")
    text = json.dumps(_canonical(params), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"{endpoint}:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def fresh_key(name: str) -> str:
    """Name the key of a fresh answer."""
    return f"api_cache:{name}"


def stale_key(name: str) -> str:
    """Name the key of the copy that outlives it."""
    return f"api_stale:{name}"


def lease_key(name: str) -> str:
    """Name the key of who asks the API at this moment."""
    return f"api_lease:{name}"


def opened(text: str | None) -> Any | None:
    """Give the answer in what is kept; None for what cannot be read."""
    if text is None:
        return None
    try:
        return json.loads(text)["data"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        log.warning("a kept answer of an external API cannot be read: %r", error)
        return None


def _canonical(value: Any) -> Any:
    """Bring what means the same into one form. Types stay apart (1, "1", true): they may mean different things to an API."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return int(value) if value.is_integer() else value
        case str():
            return unicodedata.normalize("NFC", value)
        case date():
            return value.isoformat()
        case Mapping():
            return {_canonical(str(name)): _canonical(entry) for name, entry in value.items() if entry is not None}
        case list() | tuple():
            return [_canonical(entry) for entry in value]
        case _:
            raise TypeError(f"a parameter cannot be a {type(value).__name__}")
