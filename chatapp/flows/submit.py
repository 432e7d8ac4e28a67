"""Hop 2 of 8: the turn is written, with its number and the idempotency record, in one transaction. From here on it is kept.

The wake-up that follows may fail: the turn is accepted all the same, and the relay sends what was not sent.
"""

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from chatapp import failpoints
from chatapp.doors import Doors
from chatapp.errors import (
    IdempotencyMismatch,
    InvalidRequest,
    NotFound,
    SessionBusy,
    SessionContended,
    StoreUnavailable,
    TooManyOpenTurns,
)
from chatapp.flows.cancelling import Cancelling
from chatapp.flows.waking import Waking
from chatapp.model import IdempotencyRecord, JobId, ModelOptions, Part, Session, State, Status, Turn, text_of
from chatapp.ports import Clock, Known, Raced, Sessions, TooLate, Turns

log = logging.getLogger(__name__)

GIVE_UP_SECONDS = 3.0
"""How long a submit tries to get a number in a session that many write to."""

DEFAULT_FLOW = "chat"
IDEMPOTENCY_MS = 24 * 3_600_000
TITLE_CHARS = 60
MAX_MERGED_BYTES = 128 * 1024
MAX_MERGED_INLINE_BYTES = 16 * 1024
"""Texts join a waiting turn up to this size: an item holds 400 KB, and a renewal pays for the one that holds the lease."""
PART_BYTES = 64
"""What a part costs beside its text."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A request's Idempotency-Key, hashed with its user and route, and a fingerprint of its payload."""

    key: str
    fingerprint: str
    life_ms: int = IDEMPOTENCY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A message to be answered; without `input` the session's flow speaks first.

    `flow`: None for the session's own. `title` and `state` are those of a new session. `callback`: see `Turn`.
    """

    user_id: str
    input: tuple[Part, ...]
    options: ModelOptions
    session_id: str | None = None
    flow: str | None = None
    title: str | None = None
    state: State = field(default_factory=dict)
    on_busy: str = "enqueue"
    restart: str = "reset"
    metadata: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None
    idempotency: Idempotency | None = None
    retry_of: int | None = None
    callback: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The turn was kept, now or (`replayed`) by an earlier request with the same key. `position` counts the turns before it.

    `merged`: the message joined a turn that was waiting already.
    """

    job_id: JobId
    status: Status
    position: int
    created_at: int
    replayed: bool = False
    merged: bool = False
    retry_of: int | None = None


@dataclass(frozen=True, slots=True)
class SubmitLimits:
    """Bounds and lifetimes, in milliseconds."""

    max_open_turns: int
    session_life_ms: int
    turn_life_ms: int
    first_look_ms: int
    phone_life_ms: int = 7 * 24 * 3_600_000


class Submit:
    """Accepts messages."""

    def __init__(
        self, *, turns: Turns, sessions: Sessions, wake: Waking, cancel: Cancelling, clock: Clock, limits: SubmitLimits
    ) -> None:
        self._turns = turns
        self._sessions = sessions
        self._waking = wake
        self._cancel = cancel
        self._clock = clock
        self._limits = limits
        self._doors = Doors(lambda: SessionContended(retry_after=1))

    def __call__(self, submission: Submission) -> Accepted:
        """Keep the message as a turn, and wake a worker.

        Raises: NotFound (the session is unknown, another's, or over), SessionBusy, TooManyOpenTurns, IdempotencyMismatch,
        SessionContended, StoreUnavailable.
        """
        give_up = self._clock.monotonic() + GIVE_UP_SECONDS
        if submission.session_id is None:
            accepted = self._write(submission, None, give_up)
        else:
            with self._doors.through(submission.session_id, seconds=GIVE_UP_SECONDS):
                accepted = self._write(submission, self._sessions.get(submission.session_id), give_up)
        if not accepted.replayed:
            failpoints.hit("api.stored")
            if submission.on_busy == "interrupt" and accepted.position:
                self._interrupt(accepted.job_id)
            self._wake(accepted.job_id, submission)
            failpoints.hit("api.sent")
        return accepted

    def _write(self, submission: Submission, found: Session | None, give_up: float) -> Accepted:
        while True:
            now = self._clock.now()
            try:
                session = self._session(submission, found, now)
            except (NotFound, SessionBusy, TooManyOpenTurns):
                # What was accepted once is answered the same, whatever became of the session since.
                if submission.idempotency and (record := self._turns.record(submission.idempotency.key)):
                    return _replay(submission.idempotency, record)
                raise
            outcome = self._join(submission, session, now) if submission.on_busy == "merge" else TooLate()
            if isinstance(outcome, TooLate):
                outcome = self._append(submission, session, now)
            if isinstance(outcome, Accepted):
                return outcome
            if isinstance(outcome, Known) and submission.idempotency:
                return _replay(submission.idempotency, outcome.record)
            if self._clock.monotonic() > give_up:
                raise SessionContended(retry_after=1)
            if isinstance(outcome, Raced) and outcome.session:
                found = outcome.session
            self._clock.sleep(random.uniform(0.001, 0.02))  # noqa: S311  spreads the writers, guards nothing

    def _append(self, submission: Submission, session: Session, now: int) -> Accepted | Raced | Known:
        """Write the message as a turn of its own."""
        turn = self._turn(submission, session, now)
        position = session.position(turn.number)
        if submission.on_busy == "interrupt" and position:
            session = replace(session, cancel_before=turn.number)
        record = _record(submission.idempotency, turn.job_id, position, now)
        exclusive = submission.on_busy == "reject"
        outcome = self._turns.add(turn, session, new=submission.session_id is None, exclusive=exclusive, record=record)
        return outcome or Accepted(turn.job_id, turn.status, position, now)

    def _join(self, submission: Submission, session: Session, now: int) -> Accepted | Raced | Known | TooLate:
        """Add the message to the session's last turn, if that still waits for its first attempt and has the same flow."""
        last = session.turn_count
        if last not in session.open_turns or session.cancel_before > last:
            return TooLate()
        turn = self._turns.get(JobId(session.id, last))
        if turn is None or turn.status is not Status.QUEUED or turn.attempt or turn.callback != submission.callback:
            return TooLate()
        if (turn.options, turn.restart) != (submission.options, submission.restart) or submission.metadata:
            return TooLate()  # one answer cannot be made by two sets of wishes
        most = MAX_MERGED_BYTES if turn.input_apart else MAX_MERGED_INLINE_BYTES
        if _size(turn.input) + _size(submission.input) > most:
            return TooLate()
        position = session.position(last)
        record = _record(submission.idempotency, turn.job_id, position, now, merged=True)
        outcome = self._turns.merge(turn, session, submission.input, record=record)
        return outcome or Accepted(turn.job_id, turn.status, position, turn.created_at, merged=True)

    def _interrupt(self, job_id: JobId) -> None:
        try:
            session = self._sessions.get(job_id.session_id)
            if session is not None:
                self._cancel.before(session, job_id.turn)
        except StoreUnavailable as error:
            # Whoever looks at the session next does it: the word stands in it.
            log.warning("what %s interrupts was not cancelled yet: %s", job_id, error)

    def _session(self, submission: Submission, found: Session | None, now: int) -> Session:
        """Say how the session is to be before this turn is in it."""
        title = submission.title or _title(submission.input)
        if submission.session_id is None:
            life_ms, flow = self._limits.session_life_ms, submission.flow or DEFAULT_FLOW
            more = {"title": title, "state": submission.state}
            return Session.begin(user_id=submission.user_id, flow=flow, now=now, life_ms=life_ms, **more)
        if found is None or found.user_id != submission.user_id or found.deleted_at is not None:
            raise NotFound("There is no such session")
        if not found.alive(now) and submission.retry_of is None:
            raise NotFound("There is no such session")
        if submission.flow not in (None, found.flow):
            raise InvalidRequest(errors=[{"pointer": "/flow", "detail": f"the session's flow is `{found.flow}`"}])
        if submission.on_busy == "reject" and found.open_turns:
            raise SessionBusy(f"The session has {len(found.open_turns)} open turns", retry_after=1)
        if len(found.open_turns) >= self._limits.max_open_turns and submission.on_busy != "interrupt":
            raise TooManyOpenTurns(
                f"The session has {len(found.open_turns)} open turns; wait until some have ended", retry_after=5
            )
        life_ms = self._limits.phone_life_ms if found.contact else self._limits.session_life_ms
        return replace(found, updated_at=now, expires_at=now + life_ms, title=found.title or title)

    def _turn(self, submission: Submission, session: Session, now: int) -> Turn:
        return Turn(
            session_id=session.id,
            number=session.turn_count + 1,
            user_id=submission.user_id,
            flow=session.flow,
            input=submission.input,
            options=submission.options,
            created_at=now,
            expires_at=now + self._limits.turn_life_ms,
            wake_at=now + self._limits.first_look_ms,
            restart=submission.restart,
            metadata=submission.metadata,
            traceparent=submission.traceparent,
            retry_of=submission.retry_of,
            callback=submission.callback,
        )

    def _wake(self, job_id: JobId, submission: Submission) -> None:
        try:
            self._waking(job_id, user_id=submission.user_id, traceparent=submission.traceparent)
        except StoreUnavailable as error:
            # The relay looks at the turn anyway, at the time that was stored with it.
            log.warning("the relay could not be told of %s: %s", job_id, error)


def _title(parts: tuple[Part, ...]) -> str | None:
    words = " ".join(text_of(parts).split())
    return (words[: TITLE_CHARS - 1] + "…" if len(words) > TITLE_CHARS else words) or None


def _size(parts: tuple[Part, ...]) -> int:
    return len(text_of(parts).encode()) + len(parts) * PART_BYTES


def _record(
    idempotency: Idempotency | None, job_id: JobId, position: int, now: int, *, merged: bool = False
) -> IdempotencyRecord | None:
    if idempotency is None:
        return None
    expires_at = now + idempotency.life_ms
    return IdempotencyRecord(idempotency.key, idempotency.fingerprint, job_id, position, now, expires_at, merged)


def _replay(idempotency: Idempotency, record: IdempotencyRecord) -> Accepted:
    if record.fingerprint != idempotency.fingerprint:
        raise IdempotencyMismatch("This Idempotency-Key was used with another payload; take a new key for a new message")
    return Accepted(record.job_id, Status.QUEUED, record.position, record.created_at, replayed=True, merged=record.merged)
