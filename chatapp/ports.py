"""What the flows need of the world, where there is more than one implementation."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from chatapp.effects import Effect, EffectId
from chatapp.model import (
    Ending,
    EventId,
    IdempotencyRecord,
    JobId,
    Message,
    ModelRequest,
    Part,
    Piece,
    Session,
    SessionWrite,
    Turn,
)


class Clock(Protocol):
    """Time. Injected, so that tests and drifting machines can be told what it is."""

    def now(self) -> int:
        """Milliseconds since 1970 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump, for durations within this process."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


Interrupt: TypeAlias = Callable[[Exception, Callable[[], bool]], None]
"""Raises an exception in the thread or greenlet it was made in, if that still waits there when its turn comes."""


class Interrupts(Protocol):
    """A way to wake who waits for a model that says nothing."""

    def here(self) -> Interrupt:
        """Make an interrupt of the caller."""
        ...


class LLM(Protocol):
    """A language model behind some provider."""

    def stream(self, request: ModelRequest) -> Generator[Piece, None, None]:
        """Yield the answer as it is made, a `Finish` last. Closing the generator closes the provider's stream.

        Raises: ModelError, always one of ours.
        """
        ...


class WakeUps(Protocol):
    """The queue: it carries `look at this turn` and nothing else."""

    def send(self, job_id: JobId, *, user_id: str, traceparent: str | None = None, delay: float = 0) -> None:
        """Ask some worker to look at the turn, after `delay` seconds (900 at most).

        Raises: QueueUnavailable.
        """
        ...

    def send_many(self, turns: Sequence[Turn]) -> None:
        """Ask for a look at each of the turns, in batches.

        Raises: QueueUnavailable, with the batch that was not taken and all after it unsent.
        """
        ...


class EffectWakeUps(Protocol):
    """The queue of effects: it carries `look at this effect` and nothing else."""

    def send_effect(self, effect_id: EffectId, *, user_id: str, delay: float = 0) -> None:
        """Ask some worker to look at the effect, after `delay` seconds (900 at most).

        Raises: QueueUnavailable.
        """
        ...

    def send_effects(self, effects: Sequence[Effect]) -> None:
        """Ask for a look at each of the effects, in batches.

        Raises: QueueUnavailable, with the batch that was not taken and all after it unsent.
        """
        ...


class CallOutcome(StrEnum):
    """What a call of an effect's target came to. Only `unknown` leaves open whether the target has acted."""

    DONE = "done"
    """The target said yes. Of a status call: it says that the effect was carried out."""
    REFUSED = "refused"
    """The target said no, or there is none: the same call would be answered the same. Of a status call: it tried and failed."""
    NOT_SENT = "not_sent"
    """Nothing can have reached the target: no connection, no name, no TLS. Of a status call: it was never asked to act."""
    RETRY_LATER = "retry_later"
    """It asks to come later (429, 503 with Retry-After): it has done nothing. Of a status call: still at it, or no answer."""
    UNKNOWN = "unknown"
    """It was sent, in part at least, and no readable answer came: 5xx, cut, timed out. Of a status call: as RETRY_LATER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What a call came to. `result`: what a target that did it has said, at most a few kilobytes of JSON; None for nothing.

    `error`: for all others, `{"code": ..., "message": ...}`, safe to show to the user and the operator. `retry_after`: seconds,
    the target's word. `dead_letter`: of a refusal that an operator has to mend (no target, a wrong address or key): it goes to
    the dead-letter queue.
    """

    outcome: CallOutcome
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    retry_after: float | None = None
    dead_letter: bool = False


class Caller(Protocol):
    """The way out: it asks the targets of effects. Never raises for what a target or the network does."""

    def call(self, effect: Effect) -> Called:
        """Ask the target to act, once, in EFFECT_TIMEOUT_SECONDS at most, whatever the target does.

        A target that there is not (an action's name is not in ACTION_URLS, OUTBOUND without a URL) is REFUSED with the code
        `no_target` and `dead_letter`. The effect's id is the same for every call of it: the receiver may tell repeats by it.
        """
        ...

    def status(self, effect: Effect) -> Called | None:
        """Ask the target what became of an action whose outcome is not known, in EFFECT_TIMEOUT_SECONDS at most.

        Returns: see CallOutcome; None when the target offers no such question.
        """
        ...


class SessionEvents(Protocol):
    """The sessions' own logs. Redis being away never raises here: what they tell can be read elsewhere."""

    def tell(self, session_id: str, kind: str, /, **fields: Any) -> None:
        """Write an event of type `kind` and push it to who follows the session."""
        ...


class SessionActions(Protocol):
    """The actions of one session, as its flow may handle them while it answers. What it does here is done at once."""

    def staged(self) -> list[Effect]:
        """Read the actions that wait for a yes, the newest first. Raises: StoreUnavailable."""
        ...

    def recent(self) -> list[Effect]:
        """Read the session's actions whatever their state, the newest first. Raises: StoreUnavailable."""
        ...

    def confirm(self, action_id: str) -> Effect:
        """Take the user's yes. Returns: the action as it stands then, confirmed or whatever it was. Raises: StoreUnavailable."""
        ...

    def cancel(self, action_id: str) -> Effect:
        """Take the user's no. Returns: the action as it stands then. Raises: StoreUnavailable."""
        ...


class External(Protocol):
    """Other APIs, asked through a cache."""

    def cached_get(self, endpoint: str, params: Mapping[str, Any]) -> Any:
        """Ask `endpoint` (a name of ours, e.g. `airports`), or answer from the cache. Returns: the API's JSON.

        Raises: ExternalUnavailable, when it cannot be asked and nothing was kept.
        """
        ...

    def recall(self, endpoint: str, params: Mapping[str, Any]) -> Any | None:
        """Read what the flow itself has kept, while it is fresh. Returns: None when there is nothing, or no cache."""
        ...

    def keep(self, endpoint: str, params: Mapping[str, Any], value: Any) -> None:
        """Keep something that was costly to make: JSON, not null. It may be forgotten at any time. Never raises for Redis."""
        ...


class DeadLetters(Protocol):
    """The dead-letter queue: what has failed for good, for an operator to look at."""

    def put(self, turn: Turn) -> None:
        """Put a failed turn's wake-up there, with reason, job and attempt as attributes.

        Raises: QueueUnavailable.
        """
        ...


class DeadEffects(Protocol):
    """The dead-letter queue of effects."""

    def put_effect(self, effect: Effect) -> None:
        """Put the wake-up of an effect that failed for good there, with its reason. Raises: QueueUnavailable."""
        ...


class Signals(Protocol):
    """A word to whoever runs a turn, wherever that is. Never the truth: it may be lost."""

    def look(self, job_id: JobId) -> None:
        """Tell the attempt that runs the turn to look at the turn now: its cancellation was asked for. Fails open."""
        ...


@dataclass(frozen=True, slots=True)
class Raced:
    """The write found the session changed; `session` is how it stands now, None when the two writes only collided."""

    session: Session | None


@dataclass(frozen=True, slots=True)
class TooLate:
    """The turn was attempted or has ended: nothing can join it any more."""


@dataclass(frozen=True, slots=True)
class Known:
    """The Idempotency-Key was used before."""

    record: IdempotencyRecord


class Turns(Protocol):
    """The truth about turns. Every write is conditional; each raises StoreUnavailable when the store is away."""

    def add(
        self, turn: Turn, session: Session, *, new: bool, exclusive: bool, record: IdempotencyRecord | None
    ) -> Raced | Known | None:
        """Write a queued turn, its number into the session and the idempotency record, in one transaction.

        `session` is as it was before the turn, but for its new title and end of life; `exclusive` asks that no turn be
        open. Returns: None when it is written, else what stood in the way.
        """
        ...

    def merge(
        self, turn: Turn, session: Session, parts: Sequence[Part], *, record: IdempotencyRecord | None
    ) -> Raced | Known | TooLate | None:
        """Add parts to the input of the session's last turn, if that was never attempted, in one transaction.

        `session` as in `add`. Returns: None when it is written, else what stood in the way.
        """
        ...

    def record(self, key: str) -> IdempotencyRecord | None:
        """Read what is kept under an Idempotency-Key."""
        ...

    def get(self, job_id: JobId) -> Turn | None:
        """Read a turn, consistently."""
        ...

    def claim(self, job_id: JobId, *, claim_id: str, now: int, lease_end: int) -> tuple[bool, Turn | None]:
        """Take the turn: attempt + 1, if it is queued and due or its lease has lapsed, and no cancel was asked for.

        Returns: (True, the turn as claimed), or (False, the turn as it stands; None if there is none).
        """
        ...

    def renew(self, turn: Turn, *, lease_end: int) -> Turn | None:
        """Move the lease on. Returns: the turn, or None when this attempt has lost it."""
        ...

    def end(
        self, turn: Turn, ending: Ending, *, write: SessionWrite | None = None, effects: Sequence[Effect] = ()
    ) -> tuple[bool, Turn | None] | Raced:
        """End the turn, take it out of its session's open turns, and store what comes with it, in one transaction.

        `write`: what changes in the session; `effects`: new actions and deliveries. Returns: (True, the turn as ended);
        (False, the turn as it stands), when somebody else was first; Raced, when the session's state was changed meanwhile.
        """
        ...

    def requeue(
        self, turn: Turn, *, due: int, wake_at: int, counted: str | None, error: Mapping[str, Any] | None = None
    ) -> Turn | None:
        """Give a running turn back to the queue, for the attempt that holds it.

        `counted`: what it came to, `failures` or `hand_backs`; None costs nothing. `error`: what the next attempt is due to.
        Returns: the turn, or None when this attempt has lost it.
        """
        ...

    def buried(self, job_id: JobId) -> None:
        """Take note that the dead-letter queue has the turn's message."""
        ...

    def close_gap(self, job_id: JobId) -> None:
        """Take a turn that has no item out of its session's open turns: it would block the session for ever."""
        ...

    def postpone(self, job_id: JobId, *, seen: int, wake_at: int) -> Turn | None:
        """Move the relay's next look from `seen` to `wake_at`. Returns: the turn, None when another relay was first."""
        ...

    def wake_now(self, job_id: JobId, now: int) -> None:
        """Let the relay look at once: the turn's message could not be sent."""
        ...

    def request_cancel(self, job_id: JobId) -> Turn | None:
        """Leave word that the turn is to be cancelled, for the attempt that holds it or the next claimer.

        Returns: the turn as it stands; no word is left when it has ended.
        """
        ...

    def open_work(self, shard: int, *, now: int, limit: int) -> list[tuple[JobId, int]]:
        """Read a shard of the index of open work: (job, wake_at) whose time has come. A hint, perhaps stale."""
        ...


class Sessions(Protocol):
    """The truth about sessions."""

    def get(self, session_id: str) -> Session | None:
        """Read a session, consistently; also one that is deleted or has expired: the caller looks."""
        ...

    def load(self, session_id: str, history: Sequence[int]) -> tuple[Session | None, list[Turn]]:
        """Read a session and, in the same request, earlier turns by number."""
        ...


class Buriable(Protocol):
    """Sessions that can be deleted."""

    def bury(self, session_id: str, *, user_id: str) -> Session:
        """Mark a session as deleted. Raises: NotFound."""
        ...


class TurnLog(Protocol):
    """What one attempt has to say. Writing never raises and never waits."""

    @property
    def text(self) -> str:
        """The answer so far."""
        ...

    def check(self) -> None:
        """Raise StaleAttempt or LogLost if what was written has been refused."""
        ...

    def emit(self, kind: str, /, **fields: Any) -> None:
        """Write an event."""
        ...

    def delta(self, text: str, kind: str = "text") -> None:
        """Write a piece of the answer."""
        ...

    def reseed(self) -> None:
        """Begin a lost log anew with all the text so far."""
        ...

    def settle(self, wait: float = ...) -> EventId:
        """Send what is left. Returns: the id that the terminal event will have."""
        ...

    def finish(self, ended: Turn, wait: float = ...) -> bool:
        """Publish the end that was stored."""
        ...

    def abandon(self) -> None:
        """Drop what was not sent."""
        ...


class EventLog(Protocol):
    """The logs of turns. Redis being away never raises here: events are lost then, answers are not."""

    def open(self, turn: Turn) -> TurnLog:
        """Begin to write the log of a claimed turn."""
        ...

    def forget(self, session_id: str) -> None:
        """Delete what is kept of a session, its cached history included."""
        ...

    def said(self, job_id: JobId) -> str:
        """Give the text that clients have seen of an answer so far, as far as the log knows."""
        ...

    def publish_end(self, turn: Turn, wait: float = ...) -> bool:
        """Publish the end of a turn from its item."""
        ...


class Context(Protocol):
    """A cache of recent history. Fails open: it may forget at any time."""

    def get(self, session_id: str) -> tuple[int, tuple[Message, ...]] | None:
        """Read (the last turn it holds, the messages)."""
        ...

    def put(self, session_id: str, through: int, messages: Sequence[Message]) -> None:
        """Keep the messages up to and with turn `through`."""
        ...


class Locks(Protocol):
    """Leases on named things, for the whole fleet."""

    def acquire(self, resource: str, owner: str) -> int | None:
        """Take or renew a lease. Returns: its fencing token, None while somebody else holds it."""
        ...
