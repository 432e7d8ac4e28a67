"""The way out of effects: an action goes to its URL, a delivery to the session's webhook or to the callback URL of its turn."""

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from chatapp.effects import OUTBOUND, Effect, EffectId, Kind
from chatapp.model import JobId, Session, Turn
from chatapp.outbound import verdicts
from chatapp.outbound.client import Answer, HttpClient
from chatapp.outbound.failures import CallFailed
from chatapp.outbound.messages import action_body, action_message, encoded, turn_message
from chatapp.outbound.signing import Signer
from chatapp.ports import Called, CallOutcome, Clock
from config.actions import ActionTarget

JSON = {"Content-Type": "application/json"}
NOTHING_TO_TELL = Called(outcome=CallOutcome.DONE)


class Turns(Protocol):
    """Turns as they are stored."""

    def get(self, job_id: JobId) -> Turn | None:
        """Read a turn."""
        ...


class Sessions(Protocol):
    """Sessions as they are stored."""

    def get(self, session_id: str) -> Session | None:
        """Read a session; also one that is deleted."""
        ...


class Effects(Protocol):
    """Effects as they are stored."""

    def get(self, effect_id: EffectId) -> Effect | None:
        """Read an effect."""
        ...


class HttpCaller:
    """Implements the port `Caller`. Raises StoreUnavailable when what is to be told cannot be read."""

    def __init__(
        self,
        *,
        client: HttpClient,
        signer: Signer,
        targets: Mapping[str, ActionTarget],
        outbound_url: str | None,
        private: bool,
        turns: Turns,
        sessions: Sessions,
        effects: Effects,
        clock: Clock,
        language: str,
    ) -> None:
        """`targets`: where actions are carried out, by name; `outbound_url`: where replies to webhook sessions go.

        `private`: callback URLs may lead to private addresses; the operator's own always may. `language`: of sessions that
        have chosen none.
        """
        self._client = client
        self._signer = signer
        self._targets = targets
        self._outbound_url = outbound_url
        self._private = private
        self._turns = turns
        self._sessions = sessions
        self._effects = effects
        self._clock = clock
        self._language = language

    def call(self, effect: Effect) -> Called:
        """Ask the target to act, once. Raises: StoreUnavailable."""
        if not self._signer.ready:
            return _no_target("There is no secret to sign with: OUTBOUND_WEBHOOK_SECRETS is not set")
        return self._act(effect) if effect.id.kind is Kind.ACTION else self._deliver(effect)

    def status(self, effect: Effect) -> Called | None:
        """Ask the target what became of an action. Returns: None when the target offers no such question."""
        target = self._targets.get(effect.name)
        if target is None or target.status_url is None:
            return None
        key = str(effect.id)
        query = urlencode({"idempotency_key": key})
        url = target.status_url + ("&" if urlsplit(target.status_url).query else "?") + query
        try:
            answer = self._client.send(
                "GET", url, headers={"Idempotency-Key": key, **self._signer.headers(key, b"")}, public=False
            )
        except CallFailed as failure:
            error = verdicts.of_failure(failure).error
            return Called(outcome=CallOutcome.RETRY_LATER, error=error)
        return verdicts.of_status(answer)

    def _act(self, action: Effect) -> Called:
        target = self._targets.get(action.name)
        if target is None:
            return _no_target("ACTION_URLS names no target for the action")
        key = {"Idempotency-Key": str(action.id)}
        try:
            answer = self._post(target.url, action, encoded(action_body(action)), public=False, more=key)
        except CallFailed as failure:
            return verdicts.of_failure(failure)
        return verdicts.of_action(answer, self._clock.now())

    def _deliver(self, delivery: Effect) -> Called:
        url = self._outbound_url if delivery.target == OUTBOUND else delivery.target
        if url is None:
            return _no_target("OUTBOUND_WEBHOOK_URL is not set")
        body = self._message(delivery)
        if body is None:
            return NOTHING_TO_TELL
        public = delivery.target != OUTBOUND and not self._private
        try:
            answer = self._post(url, delivery, body, public=public)
        except CallFailed as failure:
            return verdicts.of_failure(failure)
        return verdicts.of_delivery(answer, self._clock.now())

    def _message(self, delivery: Effect) -> bytes | None:
        """Say what is to be told; None for nothing, as when it was deleted meanwhile."""
        session_id = delivery.id.session_id
        session = self._sessions.get(session_id)
        if session is None or (session.deleted_at is not None and session.result is None):
            return None  # of a session that was ended, its user took the result: what was owed of it before is owed still
        if "turn" in delivery.payload:
            turn = self._turns.get(JobId(session_id, delivery.payload["turn"]))
            message = turn_message(turn, session, delivery) if turn else None
        else:
            action = self._effects.get(EffectId(session_id, delivery.payload["action_id"]))
            message = action_message(action, session, delivery, self._language) if action else None
        return encoded(message) if message else None

    def _post(self, url: str, effect: Effect, body: bytes, *, public: bool, more: Mapping[str, str] | None = None) -> Answer:
        headers = {**JSON, **self._signer.headers(str(effect.id), body), **(more or {})}
        return self._client.send("POST", url, headers=headers, body=body, public=public)


def _no_target(message: str) -> Called:
    return Called(outcome=CallOutcome.REFUSED, error={"code": "no_target", "message": message}, dead_letter=True)
