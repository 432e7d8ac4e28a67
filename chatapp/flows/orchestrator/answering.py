"""The answer to one message while it is made: what is said, what is proposed, and the state that comes of it."""

from functools import cached_property
from typing import Any

from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.errors import NotFound
from chatapp.flows.orchestrator.state import Frame, OrchestratorState
from chatapp.flows.orchestrator.sub_flows import draft_of, sub_flow
from chatapp.flows.orchestrator.subflow import Said
from chatapp.flows.port import Asked, Propose

TAKEN = (EffectStatus.CONFIRMED, EffectStatus.EXECUTING, EffectStatus.EXECUTED, EffectStatus.FAILED, EffectStatus.UNKNOWN)
"""The states of an action that has got its yes."""


class Answering:
    """One answer. `lines` are its paragraphs; `said` is the message; actions are confirmed and cancelled at once."""

    def __init__(self, state: OrchestratorState, said: Said, asked: Asked) -> None:
        self.state = state
        self.said = said
        self.texts = said.texts
        self.turn = asked.turn
        self.lines: list[str] = []
        self.proposal: Propose | None = None
        self.offers: tuple[str, ...] = ()
        self._actions = asked.actions
        self._ended_at = asked.ended_at

    def set(self, **fields: Any) -> None:
        """Change fields of the state."""
        self.state = self.state.model_copy(update=fields)

    def say(self, text: str, **filled: object) -> None:
        """Add a paragraph, its blanks filled."""
        self.lines.append(text.format(**filled) if filled else text)

    def propose(self, frame: Frame, description: str) -> str:
        """Propose what a sub-flow wants written. Returns: the id that the action will have."""
        payload = sub_flow(frame).payload(draft_of(frame), self.state).json_object()
        self.proposal = Propose(frame.flow, payload, description)
        return EffectId.action(self.turn.session_id, self.turn.number, 0).id

    @cached_property
    def recent(self) -> dict[str, Effect]:
        """The session's actions by id, the newest first. Raises: StoreUnavailable."""
        return {action.id.id: action for action in self._actions.recent()}

    def confirm(self, action_id: str) -> Effect | None:
        """Take a yes. Returns: the action as it stands then; None if its item is gone. Raises: StoreUnavailable."""
        try:
            return self._actions.confirm(action_id)
        except NotFound:
            return None

    def cancel(self, action_id: str) -> Effect | None:
        """Take a no. Returns: the action as it stands then; None if its item is gone. Raises: StoreUnavailable."""
        try:
            return self._actions.cancel(action_id)
        except NotFound:
            return None

    def seen(self, frame: Frame) -> bool:
        """Whether the message was sent after a sub-flow's question: it is out when its turn has ended. Raises: StoreUnavailable.

        A turn takes its time, so that a message may be sent after it has begun and before it says anything.
        """
        out = self._ended_at(frame.asked_in) if frame.asked_in else None
        return self.said.sent_at >= (frame.asked_at if out is None else out)

    def overtaken(self, frame: Frame) -> bool:
        """Whether a template that asks for something was sent since the nurse was last shown a sub-flow's question."""
        template = self.state.last_template
        if template is None or template.opens is None:
            return False
        return template.sent_at > max(frame.asked_at, frame.shown_at)

    def status(self, action: Effect | None) -> EffectStatus:
        """Say how an action stands now. One whose item is gone has expired."""
        return EffectStatus.EXPIRED if action is None else action.status_at(self.said.now)
