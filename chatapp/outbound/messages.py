"""What is sent: the bodies of actions and deliveries. They are made when they are sent; an effect holds ids only."""

import json
from collections.abc import Mapping
from typing import Any

from chatapp.effects import OUTBOUND, Effect, EffectStatus
from chatapp.flows.extra import public
from chatapp.model import Session, Status, Turn, timestamp

SENTENCES: Mapping[str, Mapping[str, str]] = {
    "en": {
        EffectStatus.EXECUTED: "Done, registered: {what}",
        EffectStatus.FAILED: "I could not register this: {what}",
        EffectStatus.UNKNOWN: "I do not know whether this was registered, it is being checked: {what}",
        EffectStatus.CANCELLED: "All right, cancelled: {what}",
        EffectStatus.EXPIRED: "The time to confirm is over: {what}",
    },
    "pt": {
        EffectStatus.EXECUTED: "Pronto, registrado: {what}",
        EffectStatus.FAILED: "Não consegui registrar: {what}",
        EffectStatus.UNKNOWN: "Não sei se isto foi registrado, estamos verificando: {what}",
        EffectStatus.CANCELLED: "Certo, cancelado: {what}",
        EffectStatus.EXPIRED: "O prazo para confirmar acabou: {what}",
    },
}

MAX_NAMED_CHARS = 120
"""How much of an action's description names it. A note may be long; who sent it knows it by its beginning."""


def action_body(action: Effect) -> dict[str, Any]:
    """Say what is to be carried out."""
    return {
        "action_id": action.id.id,
        "name": action.name,
        "session_id": action.id.session_id,
        "user_id": action.user_id,
        "payload": dict(action.payload),
        "confirmed_at": timestamp(action.confirmed_at) if action.confirmed_at else None,
    }


def turn_message(turn: Turn, session: Session, delivery: Effect) -> dict[str, Any] | None:
    """Tell how a turn ended. Returns: None when there is nothing to tell: a note was taken, and no answer was wanted."""
    if turn.status is Status.COMPLETED and not turn.answer:
        return None
    data = {
        "job_id": str(turn.job_id),
        "session_id": turn.session_id,
        **_to(session, delivery),
        "text": turn.answer,
        "quick_replies": list(turn.quick_replies),
        "error": dict(turn.error) if turn.status is Status.FAILED and turn.error else None,
        "usage": turn.usage.as_dict() if turn.usage else None,
        "model": turn.answer_model or turn.options.model,
        "finish_reason": turn.finish_reason,
        "metadata": dict(turn.metadata),
    }
    return _message(f"message.{turn.status.value}", turn.ended_at or delivery.created_at, data)


def action_message(action: Effect, session: Session, delivery: Effect, language: str) -> dict[str, Any]:
    """Tell what became of an action, as it stood when the delivery was owed. `language`: of who has chosen none."""
    status = str(delivery.payload.get("status") or action.status_at(delivery.created_at).value)
    sentences = SENTENCES.get(str(session.state.get("Language") or language), SENTENCES["en"])
    data = {
        "session_id": session.id,
        **_to(session, delivery),
        "text": sentences[status].format(what=_in_a_line(action)) if status in sentences else None,
        "action": {**public(action, delivery.created_at), "status": status},
    }
    return _message(f"action.{status}", delivery.created_at, data)


def encoded(body: Mapping[str, Any]) -> bytes:
    """Write a body as it is signed and sent."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _in_a_line(action: Effect) -> str:
    """Say which action it is: its description in one short line; its name if a flow gave it none."""
    line = " ".join(action.description.split()) or action.name
    return line if len(line) <= MAX_NAMED_CHARS else f"{line[: MAX_NAMED_CHARS - 1].rstrip()}…"


def _to(session: Session, delivery: Effect) -> dict[str, Any]:
    return {"to": session.contact} if delivery.target == OUTBOUND else {}


def _message(kind: str, at: int, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, "timestamp": timestamp(at), "data": data}
