"""What a flow wants stored with the end of its turn: the session's new state, and the actions that it proposes."""

import json
from typing import Any

from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.errors import StateTooLarge
from chatapp.flows.port import Flow, Outcome, Propose
from chatapp.model import MAX_STATE_BYTES, Session, SessionWrite, State, Turn, timestamp
from chatapp.ports import SessionEvents

ACTION_REQUESTED = "action_requested"


class Extra:
    """The outcome of one attempt, on the session as it is known to stand."""

    def __init__(self, flow: Flow, turn: Turn, session: Session, outcome: Outcome, *, now: int, action_ms: int) -> None:
        self._flow = flow
        self._session = session
        self._outcome = outcome
        self._state: State | None = None
        self.quick_replies = outcome.quick_replies
        self.effects = [
            _staged(turn, session, number, proposal, now=now, action_ms=action_ms)
            for number, proposal in enumerate(outcome.proposals)
        ]

    def rebase(self, session: Session) -> None:
        """Go on from the session as somebody else has changed it."""
        self._session = session

    def write(self) -> SessionWrite | None:
        """Say what is to be written into the session; None for nothing. Raises: StateTooLarge."""
        summary = self._outcome.summary
        told = [(summary.text, dict(summary.facts))] if summary else []
        proposed = [(e.description, dict(e.payload)) for e in self.effects]
        if any(json_bytes(part) > MAX_STATE_BYTES for part in (*told, *proposed)):
            raise StateTooLarge(f"The flow's summary or a proposal would have over {MAX_STATE_BYTES} bytes")
        self._state = self._outcome.state_after(self._session.state)
        if self._state is None and self._outcome.summary is None:
            return None
        if self._state is not None and json_bytes(self._state) > MAX_STATE_BYTES:
            raise StateTooLarge(f"The flow's state would have over {MAX_STATE_BYTES} bytes")
        return SessionWrite(seen=self._session.version, state=self._state, summary=self._outcome.summary)

    def tell(self, events: SessionEvents) -> None:
        """Tell those who follow the session what was stored."""
        tell_state(events, self._flow, self._session, self._state)
        for effect in self.effects:
            events.tell(self._session.id, ACTION_REQUESTED, **public(effect, effect.created_at))


def tell_state(events: SessionEvents, flow: Flow, session: Session, state: State | None) -> None:
    """Tell a new state of a session whose version was `session.version`, if its flow has an event for it."""
    told = flow.told(state) if state is not None else None
    if told is not None:
        kind, fields = told
        events.tell(session.id, kind, version=session.version + 1, **fields)


def json_bytes(value: Any) -> int:
    """Measure a value as JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def public(effect: Effect, now: int) -> dict[str, Any]:
    """Show an action to its user: in events, over HTTP and in frames."""
    shown: dict[str, Any] = {
        "action_id": effect.id.id,
        "name": effect.name,
        "description": effect.description,
        "status": effect.status_at(now).value,
        "payload": dict(effect.payload),
        "requested_at": timestamp(effect.created_at),
        "expires_at": timestamp(effect.expires_at),
    }
    if effect.result is not None:
        shown["result"] = dict(effect.result)
    if effect.error is not None:
        shown["error"] = dict(effect.error)
    return shown


def _staged(turn: Turn, session: Session, number: int, proposal: Propose, *, now: int, action_ms: int) -> Effect:
    return Effect(
        id=EffectId.action(turn.session_id, turn.number, number),
        user_id=turn.user_id,
        name=proposal.name,
        status=EffectStatus.STAGED,
        payload=proposal.payload,
        description=proposal.description,
        reply=session.contact is not None,
        created_at=now,
        expires_at=now + action_ms,
    )
