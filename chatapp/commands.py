"""What a user may ask for, whichever way it comes: the HTTP views and the frames of the socket call the same methods.

What is somebody else's, deleted, expired, unknown or malformed is one and the same: NotFound.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from chatapp.effects import Effect, EffectStatus
from chatapp.errors import ActionNotOpen, InvalidRequest, ModelUnavailable, NotFound
from chatapp.flows.actions import Actions
from chatapp.flows.cancelling import Cancelling
from chatapp.flows.concluding import Concluding
from chatapp.flows.extra import public
from chatapp.flows.port import Flow
from chatapp.flows.retrying import Retrying, record_key
from chatapp.flows.submit import Accepted, Idempotency, Submission, Submit
from chatapp.live.breaker import Breakers
from chatapp.model import JobId, ModelOptions, Session, Turn, is_session_id
from chatapp.ports import Clock, Turns
from chatapp.requests import ChatRequest, NewSession
from chatapp.stores.sessions import SessionStore
from config.settings import Settings

Allow = Callable[[], None]
"""Counts the request against what its user may send. Raises: RateLimited."""

NOT_PAYLOAD = frozenset({"connection_id", "type", "id", "idempotency_key"})
"""A client whose socket reconnected sends the same message with another connection id, over HTTP or in another frame: still the
same message."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that was begun, now or (`replayed`) by an earlier request with the same key; `first`: its flow's own turn."""

    session: Session
    first: Accepted | None
    replayed: bool = False


class Commands:
    """What users may do."""

    def __init__(
        self,
        settings: Settings,
        *,
        submit: Submit,
        cancel: Cancelling,
        retry: Retrying,
        turns: Turns,
        sessions: SessionStore,
        actions: Actions,
        conclude: Concluding,
        flows: Mapping[str, Flow],
        breakers: Breakers,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._submit = submit
        self._cancel = cancel
        self._retry = retry
        self._turns = turns
        self._sessions = sessions
        self._actions = actions
        self._conclude = conclude
        self._flows = flows
        self._breakers = breakers
        self._clock = clock

    def chat(
        self, user_id: str, asked: ChatRequest, *, allow: Allow, key: str | None = None, traceparent: str | None = None
    ) -> Accepted:
        """Keep a message, to be answered. `key` is the Idempotency-Key as the client wrote it.

        Raises: RateLimited, ModelUnavailable, and whatever Submit raises.
        """
        record = _idempotency(user_id, "POST /chat", key, asked, NOT_PAYLOAD) if key else None
        submission = Submission(
            user_id=user_id,
            input=tuple(part.model_dump() for part in asked.message),
            options=ModelOptions(
                model=asked.model or self._settings.llm_model,
                instructions=asked.instructions,
                temperature=asked.temperature,
                max_output_tokens=asked.max_output_tokens or self._settings.max_output_tokens,
            ),
            session_id=asked.session_id,
            flow=asked.flow if asked.flow or asked.session_id else next(iter(self._flows)),
            on_busy=asked.on_busy,
            restart=asked.restart,
            metadata=asked.metadata,
            traceparent=traceparent,
            idempotency=record,
            callback=asked.callback_url,
        )
        self._need_flow(asked.flow)
        allow()
        self._need_a_model(submission.options.model, record.key if record else None)
        return self._submit(submission)

    def begin(
        self, user_id: str, asked: NewSession, *, allow: Allow, key: str | None = None, traceparent: str | None = None
    ) -> Begun:
        """Begin a session, and with it the turn with which its flow speaks first. `key` is the Idempotency-Key of the client.

        Raises: RateLimited, InvalidRequest, IdempotencyMismatch, ModelUnavailable, StoreUnavailable; NotFound when what the
        key stands for is gone.
        """
        self._need_flow(asked.flow)
        state: dict[str, Any] = {"Language": asked.language} if asked.language else {}
        record = _idempotency(user_id, "POST /sessions", key, asked, frozenset()) if key else None
        allow()
        if not self._flows[asked.flow].opens:
            session, replayed = self._sessions.create_once(
                record, user_id=user_id, flow=asked.flow, title=asked.title, state=state
            )
            return Begun(session, None, replayed=replayed)
        options = ModelOptions(model=self._settings.llm_model, max_output_tokens=self._settings.max_output_tokens)
        self._need_a_model(options.model, record.key if record else None)
        submission = Submission(
            user_id=user_id,
            input=(),
            options=options,
            flow=asked.flow,
            title=asked.title,
            state=state,
            traceparent=traceparent,
            idempotency=record,
        )
        accepted = self._submit(submission)
        begun = self._sessions.get(accepted.job_id.session_id)
        if begun is None:
            raise NotFound
        return Begun(begun, accepted, replayed=accepted.replayed)

    def _need_flow(self, flow: str | None) -> None:
        if flow is not None and flow not in self._flows:
            known = ", ".join(self._flows)
            raise InvalidRequest(errors=[{"pointer": "/flow", "detail": f"must be one of: {known}"}])

    def cancel(self, user_id: str, job_id: str) -> tuple[Turn, Session]:
        """Stop a job. Not counted against the limit: who may post nothing more must still be able to stop what runs.

        Returns: its turn as it stands, and its session. Raises: NotFound, StoreUnavailable.
        """
        turn, session = self.own_turn(user_id, job_id)
        now = self._cancel(turn)
        if now is None:
            raise NotFound
        return now, session

    def retry(self, user_id: str, job_id: str, *, allow: Allow, traceparent: str | None = None) -> Accepted:
        """Ask again what an ended job was asked, in a new job; once for each job.

        Raises: RateLimited, NotFound, NotEnded, ModelUnavailable, and whatever Submit raises.
        """
        allow()
        turn, _ = self.own_turn(user_id, job_id)
        self._need_a_model(turn.options.model, record_key(turn.job_id))
        return self._retry(turn, traceparent=traceparent)

    def actions(self, user_id: str, session_id: str) -> list[dict[str, Any]]:
        """Read the actions that the session's flow has proposed, the newest first. Raises: NotFound, StoreUnavailable."""
        found, now = self._actions.of(self.own_session(user_id, session_id)), self._clock.now()
        return [public(action, now) for action in found]

    def confirm(self, user_id: str, session_id: str, action_id: str, *, by: str) -> dict[str, Any]:
        """Confirm an action that a flow has proposed; harmless when that was done before. `by`: `http` or `socket`.

        Returns: the action as it is shown then. Raises: NotFound, ActionNotOpen, StoreUnavailable.
        """
        action = self._actions.confirm(self.own_session(user_id, session_id), action_id, by=by)
        return self._unless(action, EffectStatus.CANCELLED, EffectStatus.EXPIRED)

    def cancel_action(self, user_id: str, session_id: str, action_id: str) -> dict[str, Any]:
        """Cancel an action that waits for its yes; harmless when that was done before.

        Returns: the action as it is shown then. Raises: NotFound, ActionNotOpen, StoreUnavailable.
        """
        action = self._actions.cancel(self.own_session(user_id, session_id), action_id)
        return self._unless(action, *(set(EffectStatus) - {EffectStatus.CANCELLED}))

    def _unless(self, action: Effect, *gone: EffectStatus) -> dict[str, Any]:
        now = self._clock.now()
        if (status := action.status_at(now)) in gone:
            raise ActionNotOpen(f"The action is {status.value}")
        return public(action, now)

    def end(self, user_id: str, session_id: str, *, allow: Allow) -> Session:
        """End a session: what its flow came to is kept with it, and it cannot be reached any more but by this.

        Returns: it, with its `result`: the same one however often this is asked. Raises: RateLimited, NotFound,
        SessionContended, StoreUnavailable.
        """
        allow()
        found = self._sessions.get(session_id) if is_session_id(session_id) else None
        if found is None or found.user_id != user_id:
            raise NotFound
        if found.result is not None:
            return found
        if not found.alive(self._clock.now()):
            raise NotFound
        return self._conclude(found)  # not read again: if another request ends it now, its result is ours as well

    def own_session(self, user_id: str, session_id: str) -> Session:
        """Find the user's living session. Raises: NotFound, StoreUnavailable."""
        session = self._sessions.get(session_id) if is_session_id(session_id) else None
        if session is None or session.user_id != user_id or not session.alive(self._clock.now()):
            raise NotFound
        return session

    def own_turn(self, user_id: str, job_id: str) -> tuple[Turn, Session]:
        """Find the user's turn, and its session. A turn outlives its session's last use, but not its deletion.

        Raises: NotFound, StoreUnavailable.
        """
        parsed = JobId.parse(job_id)
        turn = self._turns.get(parsed) if parsed else None
        if turn is None or not self.visible(user_id, turn):
            raise NotFound
        session = self._sessions.get(turn.session_id)
        if session is None or session.deleted_at is not None:
            raise NotFound
        return turn, session

    def visible(self, user_id: str, turn: Turn) -> bool:
        """Say whether the user may see a turn: it stores its owner, and DynamoDB may keep it longer than it lives."""
        return turn.user_id == user_id and self._clock.now() < turn.expires_at

    def _need_a_model(self, model: str, key: str | None) -> None:
        """Refuse what would fail at once: every provider's breaker is open. What was accepted once is answered the same again."""
        if self._settings.on_breaker_open == "wait":
            return
        wait = self._breakers.wait(model)
        if wait is None or (key and self._turns.record(key)):
            return
        raise ModelUnavailable(retry_after=wait)


def _idempotency(user_id: str, route: str, key: str, asked: BaseModel, besides: frozenset[str]) -> Idempotency:
    # Hashed with user and route, so that nobody meets another's key.
    return Idempotency(_digest(user_id, route, key), fingerprint(asked, besides))


def fingerprint(asked: BaseModel, besides: frozenset[str] = frozenset()) -> str:
    """Hash a parsed request: the same for every way of writing the same one.

    Fields at their default are left out, so that a field that a later version adds changes no fingerprint.
    """
    payload = asked.model_dump(mode="json", exclude=set(besides), exclude_defaults=True)
    return _digest(json.dumps(payload, sort_keys=True, separators=(",", ":")))


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()
