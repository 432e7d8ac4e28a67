"""Hop 5 of 8: a worker looks at a turn, claims it if it may, runs its flow and ends it.

A message only says "look at this turn"; what happens is decided by the turn and its session alone:

    received turn is           then
    ended                      publish its end again, wake the head, ack
    running, lease alive       ack: its attempt, or the relay, will see to it
    not the head               ack: whoever ends the head wakes the next
    head, due in the future    hide the message until then
    head, queued and due, or   claim, run, end
      running, lease lapsed
"""

import logging
import random
import secrets
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from chatapp import failpoints
from chatapp.errors import (
    BreakerOpen,
    CancelRequested,
    Crashed,
    Expired,
    FlowUnknown,
    HandBack,
    Interrupted,
    LogLost,
    NotFound,
    ProviderUnavailable,
    StaleAttempt,
    StoreUnavailable,
    TurnError,
)
from chatapp.flows.cancelling import Cancelling
from chatapp.flows.ending import Endings, insist, told
from chatapp.flows.extra import Extra
from chatapp.flows.history import estimated_usage, history_of, messages_of, trim
from chatapp.flows.lease import Lease, Leases
from chatapp.flows.port import Asked, Change, Flow, Offer, Outcome, Propose, Summarize
from chatapp.model import Finish, FinishReason, JobId, Message, ReasoningDelta, Session, Status, TextDelta, Turn
from chatapp.payloads import RESET, RETRYING, STARTED
from chatapp.ports import LLM, Clock, Context, EventLog, External, SessionActions, Sessions, TurnLog, Turns

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 256 * 1024
"""Longer answers are cut, as if the model had reached its own limit: an item holds 400 KB."""


MAX_PAUSE_SECONDS = 900
"""Longest pause before a retry, whatever a provider asks for."""

RETRY_LOOK_MS = 10_000
"""How long after its due time a turn is left to its own hidden message, before the relay looks."""


ELSEWHERE_SECONDS = 5.0
DEPLOY_MS = 600_000
"""How long a turn waits between workers that lack its flow, and how old it may be for that: half way through a deploy old workers
receive it too."""


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Bounds of a turn's run. `wait_for_breaker`: whether a fresh turn waits while the breaker is open."""

    lease_seconds: float
    queue_seconds: float
    max_failures: int
    retry_seconds: float
    max_crashes: int
    wait_for_breaker: bool
    history_turns: int
    history_tokens: int
    action_ms: int = 3_600_000
    language: str = "en"


@dataclass(frozen=True, slots=True)
class HideUntil:
    """The message is to be hidden until the turn is due: `seconds` from now; 0 gives it to the next worker at once."""

    seconds: float


class Answer:
    """Answers turns. Called with a job id; the caller acks the message when it returns None."""

    def __init__(
        self,
        *,
        turns: Turns,
        sessions: Sessions,
        events: EventLog,
        context: Context,
        leases: Leases,
        endings: Endings,
        cancel: Cancelling,
        flows: Mapping[str, Flow],
        llm: LLM,
        actions: Callable[[Session], SessionActions],
        external: External,
        clock: Clock,
        limits: TurnLimits,
    ) -> None:
        self._turns = turns
        self._sessions = sessions
        self._events = events
        self._context = context
        self._leases = leases
        self._endings = endings
        self._cancel = cancel
        self._flows = flows
        self._llm = llm
        self._actions = actions
        self._external = external
        self._clock = clock
        self._limits = limits

    def __call__(self, job_id: JobId) -> HideUntil | None:
        """Look at a turn and do what there is to do.

        Returns: None when the message has served its purpose. Raises: StoreUnavailable, and then the message must not be acked;
        NotFound, when there is no such turn.
        """
        session, history = self._load(job_id)
        if session is not None and session.interrupted:
            self._cancel.before(session, session.cancel_before)
            session = self._sessions.get(job_id.session_id)
        if session is None or job_id.turn > session.turn_count:
            raise NotFound(f"{job_id} is unknown")
        if job_id.turn not in session.open_turns:
            self._ended(job_id)
            return None
        if session.head != job_id.turn:
            return None
        return self._claim(job_id, session, history)

    def _load(self, job_id: JobId) -> tuple[Session | None, tuple[Message, ...]]:
        before = job_id.turn - 1
        cached = self._context.get(job_id.session_id) if before else (0, ())
        if cached is not None and cached[0] == before:
            return self._sessions.load(job_id.session_id, ())[0], cached[1]
        first = max(1, job_id.turn - self._limits.history_turns)
        session, turns = self._sessions.load(job_id.session_id, range(first, job_id.turn))
        return session, trim(history_of(turns), self._limits.history_tokens)

    def _history_without(self, superseded: int, job_id: JobId) -> tuple[Message, ...]:
        """Read the history that a retry is shown: as if the turn it takes up again had not been."""
        first = max(1, job_id.turn - self._limits.history_turns)
        _, turns = self._sessions.load(job_id.session_id, range(first, job_id.turn))
        return trim(history_of(turns, superseded), self._limits.history_tokens)

    def _ended(self, job_id: JobId) -> None:
        turn = self._turns.get(job_id)
        if turn is not None and turn.status.ended:
            self._endings.again(turn)

    def _claim(self, job_id: JobId, session: Session, history: tuple[Message, ...]) -> HideUntil | None:
        now, taken_at = self._clock.now(), self._clock.monotonic()
        lease_end = now + round(self._limits.lease_seconds * 1000)
        claimed, turn = self._turns.claim(job_id, claim_id=secrets.token_hex(8), now=now, lease_end=lease_end)
        if turn is None:
            log.error("%s is open in its session and has no item: the session goes on without it", job_id)
            self._turns.close_gap(job_id)
            self._endings.wake_head(job_id.session_id)
        elif claimed:
            if turn.retry_of is not None:
                history = self._history_without(turn.retry_of, job_id)
            with self._leases.holding(turn, taken_at) as lease:
                return self._attempt(turn, session, history, lease)
        elif turn.status.ended:
            self._endings.again(turn)
        elif turn.status is Status.RUNNING and turn.lease_end >= now:
            return None  # its attempt sees to it, also to a cancel that was asked for
        elif turn.cancel_requested:
            self._endings.by_other(turn, Status.CANCELLED)
        elif turn.status is Status.QUEUED and turn.due > now:
            return HideUntil((turn.due - now) / 1000)
        return None

    def _attempt(self, turn: Turn, session: Session, history: tuple[Message, ...], lease: Lease) -> HideUntil | None:
        turn_log = self._events.open(turn)
        try:
            failpoints.hit("turn.claimed")
            self._refuse(turn, session)
            self._run(turn, session, history, lease, turn_log)
        except StaleAttempt as stale:
            log.warning("attempt %d of %s stops: %s", turn.attempt, turn.job_id, stale.detail)
            turn_log.abandon()
        except CancelRequested:
            partial: dict[str, Any] = {"answer": turn_log.text or None, "usage": estimated_usage(turn, turn_log.text, history)}
            self._endings.by_holder(turn, turn_log, Status.CANCELLED, seconds=lease.left, **partial)
        except HandBack:
            log.info("attempt %d of %s goes back to the queue: this process stops", turn.attempt, turn.job_id)
            return self._again(turn, turn_log, lease, seconds=0, counted="hand_backs")
        except TurnError as error:
            asked = "found the breaker open" if isinstance(error, BreakerOpen) else "failed"
            log.warning("attempt %d of %s %s: %s", turn.attempt, turn.job_id, asked, error.code)
            return self._fail(turn, turn_log, error, lease)
        except StoreUnavailable:
            turn_log.abandon()
            raise
        except Exception:
            log.exception("attempt %d of %s failed by a fault of ours", turn.attempt, turn.job_id)
            return self._fail(turn, turn_log, TurnError("Something went wrong while the turn was answered"), lease)
        return None

    def _refuse(self, turn: Turn, session: Session) -> None:
        """End the turn before anything is asked of a model, if there is a reason to."""
        if session.deleted_at is not None:
            raise CancelRequested
        if turn.crashes >= self._limits.max_crashes:
            raise Crashed(f"{turn.crashes} attempts ended without a word")
        if turn.attempt == 1 and self._clock.now() - turn.created_at > self._limits.queue_seconds * 1000:
            raise Expired
        if turn.attempt > 1 and turn.restart == "fail" and self._events.said(turn.job_id):
            raise Interrupted

    def _run(self, turn: Turn, session: Session, history: tuple[Message, ...], lease: Lease, turn_log: TurnLog) -> None:
        """Let the flow answer, and store what it said."""
        if turn.attempt == 1:
            turn_log.emit(STARTED, model=turn.options.model)
        else:
            reason = turn.error["code"] if turn.error else "interrupted"
            turn_log.emit(RESET, model=turn.options.model, reason=reason)
        finish, size, aside = None, 0, 0
        flow, outcome = self._flow(turn), Outcome()
        with closing(flow.run(self._asked(turn, session, history))) as steps:
            for piece in lease.during(steps):
                self._check(lease, turn_log)
                failpoints.hit("turn.token")
                if isinstance(piece, TextDelta):
                    size += len(piece.text.encode())
                    if size > MAX_ANSWER_BYTES:
                        finish = Finish(FinishReason.LENGTH, turn.options.model, None)
                        break
                    turn_log.delta(piece.text)
                elif isinstance(piece, ReasoningDelta):
                    aside += len(piece.text.encode())
                    if aside <= MAX_ANSWER_BYTES:
                        turn_log.delta(piece.text, kind="reasoning")
                elif isinstance(piece, Finish):
                    finish = piece
                elif isinstance(piece, Change | Propose | Offer | Summarize):
                    outcome.take(piece)
        if finish is None:
            raise ProviderUnavailable("The answer ended without a reason")
        extra = Extra(flow, turn, session, outcome, now=self._clock.now(), action_ms=self._limits.action_ms)
        self._complete(turn, turn_log, finish, history=history, lease=lease, extra=extra)

    def _flow(self, turn: Turn) -> Flow:
        try:
            return self._flows[turn.flow]
        except KeyError:
            raise FlowUnknown(f"This worker has no flow `{turn.flow}`") from None

    def _asked(self, turn: Turn, session: Session, history: tuple[Message, ...]) -> Asked:
        return Asked(
            turn=turn,
            session=session,
            history=history,
            llm=self._llm,
            actions=self._actions(session),
            external=self._external,
            now=self._clock.now(),
            language=self._limits.language,
            ended_at=lambda number: self._ended_at(JobId(session.id, number)),
        )

    def _ended_at(self, job_id: JobId) -> int | None:
        turn = self._turns.get(job_id)
        return turn.ended_at if turn is not None else None

    def _check(self, lease: Lease, turn_log: TurnLog) -> None:
        """Stop here if the attempt must, before anything more is written or paid for."""
        lease.check()
        try:
            turn_log.check()
        except LogLost:
            # Redis lost its memory. Only who still holds the turn may begin the log anew.
            self._leases.renew(lease)
            lease.check()
            turn_log.reseed()

    def _complete(
        self, turn: Turn, turn_log: TurnLog, finish: Finish, *, history: tuple[Message, ...], lease: Lease, extra: Extra
    ) -> None:
        failpoints.hit("turn.streamed")
        text = turn_log.text
        usage = finish.usage or estimated_usage(turn, text, history)
        answer: dict[str, Any] = {
            "answer": text,
            "answer_model": finish.model,
            "finish_reason": finish.reason.value,
            "usage": usage,
        }
        answer["quick_replies"] = extra.quick_replies
        ended = self._endings.by_holder(turn, turn_log, Status.COMPLETED, seconds=lease.left, extra=extra, **answer)
        if ended is not None:
            self._remember(ended, history)

    def _fail(self, turn: Turn, turn_log: TurnLog, error: TurnError, lease: Lease) -> HideUntil | None:
        """Have the turn tried again if that may help, else end it."""
        failures = turn.failures + 1
        if isinstance(error, BreakerOpen):
            # Nobody was asked, so it costs the turn nothing. Fresh ones fail at once; who failed before was promised more.
            too_old = self._clock.now() - turn.created_at > self._limits.queue_seconds * 1000
            if not too_old and (turn.failures or self._limits.wait_for_breaker):
                # A moment after it half-opens: fresh turns probe first, lest what fails by itself keeps it open for all.
                pause = (error.retry_after or 1) * random.uniform(1.1, 1.5)  # noqa: S311  as in `_spread`
                return self._again(turn, turn_log, lease, seconds=pause, counted=None, error=error)
        elif isinstance(error, FlowUnknown) and self._clock.now() - turn.created_at < DEPLOY_MS:
            return self._again(turn, turn_log, lease, seconds=_spread(ELSEWHERE_SECONDS), counted=None)
        elif error.transient and failures < self._limits.max_failures and not (turn.restart == "fail" and turn_log.text):
            pause = _spread(self._limits.retry_seconds * 2**turn.failures)
            pause = max(pause, min(error.retry_after or 0, MAX_PAUSE_SECONDS))
            return self._again(turn, turn_log, lease, seconds=pause, counted="failures", error=error)
        dead = error.dead_letter and not (error.transient and failures < self._limits.max_failures)
        counted = {"failures": failures} if error.transient else {}
        ended: dict[str, Any] = {"error": told(error), "dlq_pending": dead, **counted}
        if self._endings.by_holder(turn, turn_log, Status.FAILED, seconds=lease.left, **ended) is not None:
            log.warning("%s has failed for good: %s%s", turn.job_id, error.code, ", a dead letter" if dead else "")
        return None

    def _again(
        self, turn: Turn, turn_log: TurnLog, lease: Lease, *, seconds: float, counted: str | None, error: TurnError | None = None
    ) -> HideUntil | None:
        """Give the turn back to the queue, due in `seconds`."""
        due = self._clock.now() + round(seconds * 1000)
        reason = told(error) if error and counted else None  # who waits for the breaker keeps what it failed of
        queued = insist(
            lambda: self._turns.requeue(turn, due=due, wake_at=due + RETRY_LOOK_MS, counted=counted, error=reason),
            seconds=lease.left,
            clock=self._clock,
        )
        if queued is None:
            turn_log.abandon()
            return None
        if error is not None:
            turn_log.emit(RETRYING, retry_in=round(seconds, 3), reason=error.code, failures=queued.failures)
        turn_log.settle()
        if queued.cancel_requested:
            self._cancel(queued)
            return None
        return HideUntil(seconds)

    def _remember(self, ended: Turn, history: tuple[Message, ...]) -> None:
        messages = trim((*history, *messages_of(ended)), self._limits.history_tokens)
        self._context.put(ended.session_id, ended.number, messages)


def _spread(seconds: float) -> float:
    """Add up to a quarter, so that what failed together does not come back together."""
    return seconds * random.uniform(1, 1.25)  # noqa: S311  spreads retries, guards nothing
