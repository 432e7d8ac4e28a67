"""The registry of sockets: who is at the other end of which one, and which WebSocket process holds it.

`socket_auth:<socket_id>` is a hash, `user_sockets:<user>` a sorted set of a user's socket ids by the time they lapse. Both
live an hour and are written again while the socket lives, so what a killed process left behind goes away by itself.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, ParamSpec, TypeVar, cast

from redis import Redis, RedisError

from chatapp.errors import LiveUnavailable
from chatapp.model import JobId
from chatapp.ports import Clock

TTL_SECONDS = 3_600
_FOLLOW = files("chatapp.live").joinpath("sockets.lua").read_text()

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class SocketAuth:
    """One socket's entry. Times in milliseconds; `process` names the WebSocket process that holds it."""

    socket_id: str
    user_id: str
    process: str
    connected_at: int
    last_activity: int
    session_id: str | None = None


def control_channel(process: str) -> str:
    """Name the channel on which a WebSocket process takes orders."""
    return f"ws:{process}"


def fails_closed(method: Callable[P, R]) -> Callable[P, R]:
    """Declare that without Redis the operation is refused: who is at a socket must be known, not assumed."""

    @functools.wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except RedisError as error:
            raise LiveUnavailable("the registry of sockets is not available", retry_after=1) from error

    return wrapped


class SocketRegistry:
    """Reads and writes entries. Every method but `healthy` raises LiveUnavailable when Redis is away."""

    def __init__(self, redis: Redis, clock: Clock, ttl: int = TTL_SECONDS) -> None:
        self._redis = redis
        self._clock = clock
        self._ttl = ttl
        self._follow = redis.register_script(_FOLLOW)

    @property
    def ttl(self) -> int:
        """Seconds that an entry lives without being written again."""
        return self._ttl

    @fails_closed
    def set(self, entry: SocketAuth) -> None:
        """Write an entry; also to keep it alive."""
        fields: dict[Any, Any] = {
            "userId": entry.user_id,
            "process": entry.process,
            "connectedAt": entry.connected_at,
            "lastActivity": entry.last_activity,
            "sessionId": entry.session_id or "",
        }
        now = self._clock.now()
        pipeline = self._redis.pipeline(transaction=False)  # two slots in a cluster; each key stands for itself
        pipeline.hset(_socket(entry.socket_id), mapping=fields)
        pipeline.expire(_socket(entry.socket_id), self._ttl)
        pipeline.zadd(_user(entry.user_id), {entry.socket_id: now + self._ttl * 1000})
        pipeline.zremrangebyscore(_user(entry.user_id), "-inf", now)
        pipeline.expire(_user(entry.user_id), self._ttl)
        pipeline.execute()

    @fails_closed
    def get(self, socket_id: str) -> SocketAuth | None:
        """Read an entry."""
        fields = cast("dict[str, str]", self._redis.hgetall(_socket(socket_id)))
        if "userId" not in fields:
            return None
        return SocketAuth(
            socket_id=socket_id,
            user_id=fields["userId"],
            process=fields["process"],
            connected_at=int(fields["connectedAt"]),
            last_activity=int(fields["lastActivity"]),
            session_id=fields.get("sessionId") or None,
        )

    @fails_closed
    def remove(self, socket_id: str, user_id: str) -> None:
        """Forget a socket."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.delete(_socket(socket_id))
        pipeline.zrem(_user(user_id), socket_id)
        pipeline.execute()

    @fails_closed
    def set_session(self, socket_id: str, session_id: str) -> None:
        """Note the session that a socket followed last."""
        self._note(socket_id, session_id)

    @fails_closed
    def remove_session(self, socket_id: str) -> None:
        """Note that a socket follows no session."""
        self._note(socket_id, "")

    def _note(self, socket_id: str, session_id: str) -> None:
        # If the entry has just lapsed this leaves one without a user, which nobody takes for an entry, and which lapses too.
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hset(_socket(socket_id), mapping={"sessionId": session_id, "lastActivity": self._clock.now()})
        pipeline.expire(_socket(socket_id), self._ttl)
        pipeline.execute()

    @fails_closed
    def sockets_of(self, user_id: str) -> list[str]:
        """List the ids of a user's sockets, all processes together."""
        return cast("list[str]", self._redis.zrangebyscore(_user(user_id), f"({self._clock.now()}", "+inf"))

    @fails_closed
    def count(self) -> int:
        """Count all sockets. Walks the key space: for operators, not for requests."""
        return sum(1 for _ in self._redis.scan_iter(match=_socket("*"), count=1_000))

    @fails_closed
    def follow(self, socket_id: str, user_id: str, session_id: str, job_id: JobId) -> bool:
        """Have a socket follow a job: one round trip that checks whose it is and tells the process that holds it.

        Returns: False when the user has no such socket, or the process that held it is gone.
        """
        order = json.dumps({"socket_id": socket_id, "session_id": session_id, "job_id": str(job_id)})
        return cast("int", self._follow(keys=[_socket(socket_id)], args=[user_id, order])) > 0

    def healthy(self) -> bool:
        """Say whether Redis answers."""
        try:
            return bool(self._redis.ping())
        except RedisError:
            return False


def _socket(socket_id: str) -> str:
    return f"socket_auth:{socket_id}"


def _user(user_id: str) -> str:
    return f"user_sockets:{user_id}"
