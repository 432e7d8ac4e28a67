"""What the product reaches over a wire, in memory: time, the queue, Redis and the model. Each request is a point of choice."""

import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import RedisError

from chatapp.clock import AnchoredClock
from chatapp.errors import BreakerOpen, ContentRefused, ModelError, ProviderRateLimited, ProviderUnavailable, QueueUnavailable
from chatapp.live.events import Flusher, TurnLog
from chatapp.model import Finish, FinishReason, JobId, ModelRequest, Pending, Piece, TextDelta, Turn, Usage
from tests.unit.protocol.actors import reach, wait_until
from tests.unit.protocol.table import Table

VISIBILITY_MS = 30_000
BATCH = 10
RETRY_AFTER_SECONDS = 5.0


@dataclass
class Time:
    """The world's time, in milliseconds. Nothing happens at the same moment twice."""

    ms: int = 1_800_000_000_000


class DriftingClock(AnchoredClock):
    """The product's clock on a machine whose time is `drift` milliseconds ahead of the world's."""

    def __init__(self, time: Time, drift: int = 0) -> None:
        super().__init__()
        self.time = time
        self.drift = drift

    def machine(self) -> int:
        return self.time.ms + self.drift

    def monotonic(self) -> float:
        return self.time.ms / 1000

    def sleep(self, seconds: float) -> None:
        wait_until(self.monotonic() + seconds)


class Connection:
    """One process's client of the table: each answer tells the time, as the store's hooks read it from a Date header."""

    def __init__(self, table: Table, clock: DriftingClock) -> None:
        self._table = table
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        request = getattr(self._table, name)

        def ask(**given: Any) -> Any:
            asked_at = self._clock.machine()
            answered = False
            try:
                answer = request(**given)
                answered = True
            except ClientError:
                answered = True
                raise
            finally:
                if answered:
                    date = datetime.fromtimestamp(self._clock.time.ms // 1000, UTC)
                    self._clock.anchor(date, asked_at=asked_at)
            return answer

        return ask


@dataclass
class Message:
    """A wake-up in the queue."""

    number: int
    job_id: JobId
    visible_at: int
    receives: int = 0


@dataclass
class Queue:
    """The `WakeUps` port, and the queue behind it: it may give any visible message to anybody, at least once."""

    time: Time
    messages: dict[int, Message] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def send(self, job_id: JobId, *, user_id: str, traceparent: str | None = None, delay: float = 0) -> None:
        self._take([(job_id, delay)])

    def send_many(self, turns: Sequence[Turn]) -> None:
        for start in range(0, len(turns), BATCH):
            self._take([(turn.job_id, 0) for turn in turns[start : start + BATCH]])

    def _take(self, batch: list[tuple[JobId, float]]) -> None:
        fate = reach("send", str([job_id.turn for job_id, _ in batch]))
        if fate in ("ok", "lost"):
            for job_id, delay in batch:
                self.put(job_id, delay)
        if fate != "ok":
            raise QueueUnavailable

    def put(self, job_id: JobId, delay: float = 0) -> None:
        """Hold a message, visible after `delay` seconds."""
        message = Message(next(self._numbers), job_id, self.time.ms + round(delay * 1000))
        self.messages[message.number] = message

    def visible(self) -> list[Message]:
        """Give the messages that may be received."""
        return [m for m in self.messages.values() if m.visible_at <= self.time.ms]

    def receive(self, message: Message) -> None:
        """Hide a message for the visibility time."""
        message.receives += 1
        message.visible_at = self.time.ms + VISIBILITY_MS

    def hide(self, message: Message, seconds: float) -> None:
        """Let a received message come back in so many seconds."""
        if message.number in self.messages:
            message.visible_at = self.time.ms + round(seconds * 1000)

    def delete(self, message: Message) -> None:
        """Take a message as done."""
        self.messages.pop(message.number, None)


@dataclass
class DeadLetters:
    """The `DeadLetters` port."""

    held: list[JobId] = field(default_factory=list)

    def put(self, turn: Turn) -> None:
        fate = reach("dead letter", str(turn.number))
        if fate in ("ok", "lost"):
            self.held.append(turn.job_id)
        if fate != "ok":
            raise QueueUnavailable


@dataclass
class Signals:
    """The `Signals` port: every process hears it, or none does."""

    hear: Callable[[JobId], None]

    def look(self, job_id: JobId) -> None:
        if reach("signal", str(job_id.turn)) == "ok":
            self.hear(job_id)


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
    """The flusher without its thread: it sends when the scheduler says so, and when somebody waits for it."""

    def kick(self, turn_log: TurnLog, *, now: bool) -> None:
        self._dirty[id(turn_log)] = turn_log
        if not isinstance(turn_log.flushed, _Flushed):
            turn_log.flushed = _Flushed(self, turn_log)  # type: ignore[assignment]

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


@dataclass
class Model:
    """The model: three requests an answer, each of which may go wrong. `said` holds every whole answer, with
    what was asked; `mood` is the fate of every request that has no other."""

    said: dict[str, str] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    mood: str = "ok"

    def stream(self, request: ModelRequest) -> Generator[Piece, None, None]:
        self._ask("model begins", request)
        self.calls[request.job_id] += 1
        text = f"{request.job_id}/{self.calls[request.job_id]}"
        yield TextDelta(text[:10])
        if not self._ask("model goes on", request):
            return
        yield Pending()
        yield TextDelta(text[10:])
        if not self._ask("model ends", request):
            return
        self.said[text] = request.messages[-1].text
        yield Finish(FinishReason.STOP, "m", Usage(1, 1))

    def _ask(self, what: str, request: ModelRequest) -> bool:
        fate = reach(what, request.job_id.rpartition(".")[2])
        fate = self.mood if fate == "ok" else fate
        errors: dict[str, ModelError] = {
            "fail": ProviderUnavailable(),
            "conflict": ContentRefused(),
            "limited": ProviderRateLimited(retry_after=RETRY_AFTER_SECONDS),
            "breaker": BreakerOpen(retry_after=RETRY_AFTER_SECONDS),
        }
        if fate in errors:
            raise errors[fate]
        return fate != "lost"
