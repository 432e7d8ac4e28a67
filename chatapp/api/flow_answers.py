"""What clients are given of a session's flow: its state, its actions, its result."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from chatapp.model import Session

ActionStatus = Literal["staged", "confirmed", "executing", "executed", "failed", "unknown", "cancelled", "expired"]


class StateView(BaseModel):
    """The state of a session's flow. `version` counts its changes; the header `ETag` holds the same."""

    session_id: str
    flow: str
    version: int
    state: dict[str, Any]

    @classmethod
    def of(cls, session: Session) -> "StateView":
        """Show the state of a session."""
        return cls(session_id=session.id, flow=session.flow, version=session.version, state=dict(session.state))


class ResultView(BaseModel):
    """What a session came to."""

    session_id: str
    flow: str
    result: dict[str, Any] = Field(description="As its flow tells it; of an interview the profile.")

    @classmethod
    def of(cls, session: Session) -> "ResultView":
        """Show an ended session."""
        return cls(session_id=session.id, flow=session.flow, result=dict(session.result or {}))


class ActionView(BaseModel):
    """Something that a flow has proposed to do. It is done once it was confirmed, and at most once."""

    action_id: str
    name: str
    description: str
    status: ActionStatus = Field(
        description="`staged` waits for a yes. `unknown`: whether it was carried out cannot be told; an operator sees to it."
    )
    payload: dict[str, Any]
    requested_at: str
    expires_at: str = Field(description="Until when a staged one can be confirmed.")
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class ActionsView(BaseModel):
    """The actions of a session, the newest first: the latest 100."""

    session_id: str
    actions: list[ActionView]
