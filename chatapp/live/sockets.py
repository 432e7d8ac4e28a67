"""The registry of sockets: who is at the other end of which one, and which WebSocket process holds it.

    socket_auth:<socket_id>   a hash: userId, process, connectedAt, lastActivity, sessionId
    user_sockets:<user>       a sorted set of `<socket_id>@<process>` by the time they lapse
    ws_sockets:<process>      a hash: the process's socket ids, each with its user
    ws_processes              a sorted set of the WebSocket processes by the time until which they have shown that they live

The first three live an hour and are written again meanwhile. A process shows every few seconds that it lives; what one that was
killed left behind counts no more as soon as it has not, and the others clear it away.
"""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, ParamSpec, TypeVar, cast

from redis import Redis, RedisError
from redis.client import Pipeline
from redis.exceptions import NoScriptError

from chatapp.errors import LiveUnavailable
from chatapp.model import JobId
from chatapp.ports import Clock

TTL_SECONDS = 3_600
PROCESS_SECONDS = 30
"""How long a process counts as alive after it has last shown that it is."""

PROCESSES = "ws_processes"
_ADMIT = files("chatapp.live").joinpath("sockets_admit.lua").read_text()
_FOLLOW = files("chatapp.live").joinpath("sockets_follow.lua").read_text()

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
        self._admit = redis.register_script(_ADMIT)
        self._follow = redis.register_script(_FOLLOW)

    @property
    def ttl(self) -> int:
        """Seconds that an entry lives without being written again."""
        return self._ttl

    # --- one socket

    def set(self, entry: SocketAuth) -> None:
        """Write an entry; also to keep it alive."""
        self.write([entry])

    @fails_closed
    def get(self, socket_id: str) -> SocketAuth | None:
        """Read an entry; None when its process is gone, too."""
        fields = cast("dict[str, str]", self._redis.hgetall(_socket(socket_id)))
        if "userId" not in fields or fields["process"] not in self._living():
            return None
        return SocketAuth(
            socket_id=socket_id,
            user_id=fields["userId"],
            process=fields["process"],
            connected_at=int(fields["connectedAt"]),
            last_activity=int(fields["lastActivity"]),
            session_id=fields.get("sessionId") or None,
        )

    def remove(self, entry: SocketAuth) -> None:
        """Forget a socket."""
        self.erase([entry])

    def set_session(self, socket_id: str, session_id: str) -> None:
        """Note the session that a socket followed last."""
        self.note_sessions({socket_id: session_id})

    def remove_session(self, socket_id: str) -> None:
        """Note that a socket follows no session."""
        self.note_sessions({socket_id: None})

    @fails_closed
    def follow(self, socket_id: str, user_id: str, session_id: str, job_id: JobId) -> bool:
        """Have a socket follow a job: one round trip that checks whose it is and tells the process that holds it.

        Returns: False when the user has no such socket, or the process that held it is gone.
        """
        order = json.dumps({"socket_id": socket_id, "session_id": session_id, "job_id": str(job_id)})
        return cast("int", self._follow(keys=[_socket(socket_id)], args=[user_id, order])) > 0

    # --- many sockets in one round trip

    @fails_closed
    def write(self, entries: Sequence[SocketAuth], limit: int = 0) -> list[SocketAuth]:
        """Write entries: one round trip, as long as nobody has `limit` sockets (0: no limit) over all processes.

        Returns: those that were refused for the limit, of which nothing is left.
        """
        blocked = self._write(entries, limit, {})
        if not blocked:
            return []
        # Members of processes that are gone do not count: once more without them.
        living = self._living()
        dead = {user: [m for m in members if _process(m) not in living] for user, members in _by_user(blocked).items()}
        refused = [entry for entry, _ in self._write([entry for entry, _ in blocked], limit, dead)]
        if refused:
            self.erase(refused)
        return refused

    @fails_closed
    def erase(self, entries: Sequence[SocketAuth]) -> None:
        """Forget sockets."""
        pipeline = self._redis.pipeline(transaction=False)
        for entry in entries:
            pipeline.delete(_socket(entry.socket_id))
            pipeline.zrem(_user(entry.user_id), _member(entry))
            pipeline.hdel(_held(entry.process), entry.socket_id)
        pipeline.execute()

    @fails_closed
    def note_sessions(self, sessions: dict[str, str | None]) -> None:
        """Note which session each of these sockets followed last; None for none."""
        # If an entry has just lapsed this leaves one without a user, which nobody takes for an entry, and which lapses too.
        pipeline = self._redis.pipeline(transaction=False)
        for socket_id, session_id in sessions.items():
            pipeline.hset(_socket(socket_id), mapping={"sessionId": session_id or "", "lastActivity": self._clock.now()})
            pipeline.expire(_socket(socket_id), self._ttl)
        pipeline.execute()

    # --- processes, and what they hold

    @fails_closed
    def beat(self, process: str) -> bool:
        """Show that a process lives. Returns: whether it was known to; if not, its entries may have been cleared away."""
        now = self._clock.now()
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zscore(PROCESSES, process)
        pipeline.zadd(PROCESSES, {process: now + PROCESS_SECONDS * 1000})
        lapses, _ = pipeline.execute()
        return lapses is not None and lapses > now

    @fails_closed
    def sockets_of(self, user_id: str) -> list[str]:
        """List the ids of a user's sockets, all living processes together."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zrangebyscore(_user(user_id), f"({self._clock.now()}", "+inf")
        self._ask_living(pipeline)
        members, living = pipeline.execute()
        return [member.partition("@")[0] for member in members if _process(member) in living]

    @fails_closed
    def count(self) -> int:
        """Count all sockets of all living processes."""
        pipeline = self._redis.pipeline(transaction=False)
        for process in self._living():
            pipeline.hlen(_held(process))
        return sum(pipeline.execute())

    @fails_closed
    def clean_up(self) -> int:
        """Clear away what processes left behind that are gone. Returns: how many entries."""
        gone = cast("list[str]", self._redis.zrangebyscore(PROCESSES, "-inf", self._clock.now()))
        return sum(map(self._bury, gone))

    def healthy(self) -> bool:
        """Say whether Redis answers."""
        try:
            return bool(self._redis.ping())
        except RedisError:
            return False

    # --- within

    def _write(self, entries: Sequence[SocketAuth], limit: int, drop: dict[str, list[str]]) -> list[tuple[SocketAuth, list[str]]]:
        """Write entries. Returns: those that were not let in, with the members in their way."""
        try:
            answers = self._execute(entries, limit, drop)
        except NoScriptError:
            self._redis.script_load(_ADMIT)
            answers = self._execute(entries, limit, drop)
        return [(entry, answer) for entry, answer in zip(entries, answers, strict=True) if answer]

    def _execute(self, entries: Sequence[SocketAuth], limit: int, drop: dict[str, list[str]]) -> list[list[str]]:
        now = self._clock.now()
        pipeline = self._redis.pipeline(transaction=False)  # several slots in a cluster; each key stands for itself
        for entry in entries:
            arguments = (_member(entry), now, now + self._ttl * 1000, self._ttl, limit, *drop.get(entry.user_id, ()))
            pipeline.evalsha(self._admit.sha, 1, _user(entry.user_id), *map(str, arguments))
            pipeline.hset(_socket(entry.socket_id), mapping=_fields(entry))
            pipeline.expire(_socket(entry.socket_id), self._ttl)
            pipeline.hset(_held(entry.process), entry.socket_id, entry.user_id)
            pipeline.expire(_held(entry.process), self._ttl)
        return pipeline.execute()[::5]

    def _living(self) -> list[str]:
        pipeline = self._redis.pipeline(transaction=False)
        self._ask_living(pipeline)
        return cast("list[str]", pipeline.execute()[0])

    def _ask_living(self, pipeline: Pipeline) -> None:
        pipeline.zrangebyscore(PROCESSES, f"({self._clock.now()}", "+inf")

    def _bury(self, process: str) -> int:
        held = cast("dict[str, str]", self._redis.hgetall(_held(process)))
        self.erase([SocketAuth(socket_id, user, process, 0, 0) for socket_id, user in held.items()])
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.delete(_held(process))
        pipeline.zrem(PROCESSES, process)
        pipeline.execute()
        return len(held)


def _socket(socket_id: str) -> str:
    return f"socket_auth:{socket_id}"


def _user(user_id: str) -> str:
    return f"user_sockets:{user_id}"


def _held(process: str) -> str:
    return f"ws_sockets:{process}"


def _member(entry: SocketAuth) -> str:
    return f"{entry.socket_id}@{entry.process}"


def _process(member: str) -> str:
    return member.partition("@")[2]


def _fields(entry: SocketAuth) -> dict[Any, Any]:
    return {
        "userId": entry.user_id,
        "process": entry.process,
        "connectedAt": entry.connected_at,
        "lastActivity": entry.last_activity,
        "sessionId": entry.session_id or "",
    }


def _by_user(blocked: Sequence[tuple[SocketAuth, list[str]]]) -> dict[str, list[str]]:
    return {entry.user_id: members for entry, members in blocked}
