"""Redis in memory, and the flusher of the turns' logs, stepped by the scheduler instead of by a thread."""

# ruff: noqa: ARG002  these have the interface of the real ones

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import RedisError

from chatapp.live.events import Flusher, TurnLog
from tests.unit.protocol.actors import reach


class Redis:
    """Redis, as far as the log of a turn and the cached history need it. `watch` is told of every event that is appended."""

    def __init__(self) -> None:
        self.away = False
        self.lose_answers = False
        self.streams: dict[str, list[tuple[tuple[int, int], str]]] = {}
        self.kept: dict[str, str] = {}
        self.watch: Callable[[str, str], None] = lambda _key, _event: None

    def restart_empty(self) -> None:
        """Forget everything."""
        self.streams.clear()
        self.kept.clear()

    def _ask(self, what: str) -> None:
        reach(what)
        if self.away:
            raise RedisAway

    def get(self, key: str) -> str | None:
        if self.away:
            raise RedisAway
        return self.kept.get(key)

    def set(self, key: str, value: str, ex: int) -> None:
        self._ask("cache")
        self.kept[key] = value

    def delete(self, *keys: str) -> None:
        self._ask("forget")
        for key in keys:
            self.kept.pop(key, None)
            self.streams.pop(key, None)

    def zrange(self, key: str, _first: int, _last: int) -> list[str]:
        if self.away:
            raise RedisAway
        prefix = "events:" + key.removeprefix("turns:") + "."
        return [k.removeprefix(prefix) for k in self.streams if k.startswith(prefix)]

    def xrange(self, key: str, min: str) -> list[tuple[str, dict[str, str]]]:  # noqa: A002  redis-py's name
        if self.away:
            raise RedisAway
        return [(f"{a}-{s}", {"e": event}) for (a, s), event in self.streams.get(key, [])]

    # --- append.lua

    def register_script(self, _text: str) -> Any:
        return SimpleNamespace(sha="append")

    def pipeline(self, *, transaction: bool) -> "_Pipeline":
        return _Pipeline(self)

    def append(self, key: str, attempt: int, opens: bool, pairs: list[tuple[int, str]]) -> str:
        """Do what append.lua does."""
        stream, written = self.streams.get(key), -1
        if stream:
            last, last_seq = stream[-1][0]
            if last > attempt:
                return "STALE"
            written = last_seq if last == attempt else -1
        elif not opens:
            return "LOST"
        for seq, event in pairs:
            if seq > written:
                self.streams.setdefault(key, []).append(((attempt, seq), event))
                self.watch(key, event)
        return "OK"


class _Pipeline:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._calls: list[tuple[Any, ...]] = []

    def evalsha(self, _sha: str, _count: int, *words: str) -> None:
        self._calls.append(words)

    def execute(self, *, raise_on_error: bool) -> list[Any]:
        if self._redis.away:
            raise RedisAway
        answers = []
        for key, _turns, _owner, _channel, _turn, _user, attempt, opens, _life, *words in self._calls:
            pairs = [(int(seq), event) for seq, event in zip(words[::2], words[1::2], strict=True)]
            answers.append(self._redis.append(key, int(attempt), opens == "1", pairs))
        if self._redis.lose_answers:
            self._redis.lose_answers = False
            raise RedisAway
        return answers


class SteppedFlusher(Flusher):
    """The flusher without its thread: it sends what is to go out now, what is waited for, and the rest when it is told to."""

    def kick(self, turn_log: TurnLog, *, now: bool) -> None:
        self._dirty[id(turn_log)] = turn_log
        if not isinstance(turn_log.flushed, _Flushed):
            turn_log.flushed = _Flushed(self, turn_log)  # type: ignore[assignment]
        if now and not turn_log._lock.locked():
            self.beat()

    @property
    def idle(self) -> bool:
        """Say whether there is nothing to send."""
        return not self._dirty

    def beat(self) -> None:
        """Do what the thread does at a tick."""
        batch, self._dirty = list(self._dirty.values()), {}
        try:
            self.flush(batch)
        except RedisError as error:
            self._keep(batch, error)


class _Flushed:
    """The condition on which a turn's log waits for the flusher: waiting is a point of choice, then the flusher has its tick."""

    def __init__(self, flusher: SteppedFlusher, turn_log: TurnLog) -> None:
        self._flusher, self._log = flusher, turn_log

    def notify_all(self) -> None:
        """Nobody waits in a thread."""

    def wait_for(self, done: Callable[[], bool], timeout: float) -> bool:
        self._log._lock.release()
        try:
            if timeout and not done():
                self._flusher._redis.lose_answers = reach("flush") == "lost"  # type: ignore[attr-defined]
                self._flusher.beat()
            if not done() and timeout and not self._flusher._redis.away:  # type: ignore[attr-defined]
                self._flusher.beat()
        finally:
            self._log._lock.acquire()
        return done()
