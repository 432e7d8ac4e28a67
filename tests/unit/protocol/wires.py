"""What the product reaches over a wire, in memory: time, the queue and the model. Each request is a point of choice."""

# ruff: noqa: ARG002  these have the interface of the real ones

import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from chatapp.clock import AnchoredClock
from chatapp.errors import BreakerOpen, ContentRefused, ModelError, ProviderRateLimited, ProviderUnavailable, QueueUnavailable
from chatapp.model import Finish, FinishReason, JobId, ModelRequest, Pending, Piece, TextDelta, Turn, Usage
from config.resources import VISIBILITY_SECONDS
from tests.unit.protocol.actors import reach, wait_until
from tests.unit.protocol.table import Table

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
        message.visible_at = self.time.ms + VISIBILITY_SECONDS * 1000

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


@dataclass
class Model:
    """The model: three requests an answer, each of which may go wrong.

    `said` holds every whole answer, with what was asked; `mood` is the fate of every request that has no other.
    """

    said: dict[str, str] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    mood: str = "ok"

    def stream(self, request: ModelRequest) -> Generator[Piece, None, None]:
        self._ask("model_begins", request)
        self.calls[request.job_id] += 1
        text = f"{request.job_id}/{self.calls[request.job_id]}"
        yield TextDelta(text[:10])
        if not self._ask("model_goes_on", request):
            return
        yield Pending()
        yield TextDelta(text[10:])
        if not self._ask("model_ends", request):
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
