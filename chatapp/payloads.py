"""What travels: the body of a wake-up, and the events of a turn's log.

Events are plain dicts, `{type, id, job_id, session_id, attempt, seq, created_at, ...}`, made once and sent as they are
to the log, the channel and the socket. Clients ignore types and fields they do not know.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from chatapp.model import EventId, JobId, Status, Turn, timestamp

STARTED = "message_started"
DELTA = "message_delta"
RETRYING = "message_retrying"
RESET = "message_reset"
SNAPSHOT = "message_snapshot"
COMPLETED = "message_completed"
CANCELLED = "message_cancelled"
ERROR = "error"

OPENING = frozenset({STARTED, RESET, SNAPSHOT})
"""What a log may begin with. Any other event finds the log missing: it was lost."""

TERMINAL = frozenset({COMPLETED, CANCELLED, ERROR})
"""After one of these a turn's log says nothing more."""

MAX_EVENT_TEXT = 48 * 1024
"""Bytes of text in one event, as JSON writes it. Larger ones overflow a subscriber's buffer in Redis, and are dropped with it."""


def event(kind: str, job_id: JobId, event_id: EventId, created_at: int, /, **fields: Any) -> dict[str, Any]:
    """Make an event of type `kind`."""
    return {
        "type": kind,
        "id": str(event_id),
        "job_id": str(job_id),
        "session_id": job_id.session_id,
        "attempt": event_id.attempt,
        "seq": event_id.seq,
        "created_at": timestamp(created_at),
        **fields,
    }


def encode(value: dict[str, Any]) -> str:
    """Write an event as JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def text_so_far(events: Iterable[str]) -> str:
    """Join the answer so far from a turn's events (JSON texts, in order): what came after the last reset or snapshot."""
    text = ""
    for made in map(json.loads, events):
        if made["type"] == RESET:
            text = ""
        elif made["type"] == SNAPSHOT:
            text = made["text"]
        elif made["type"] == DELTA and made["kind"] == "text":
            text += made["text"]
    return text


def terminal_event(turn: Turn) -> dict[str, Any]:
    """Make the terminal event of an ended turn from its item: the same one however often it is made.

    Raises: ValueError when the turn has not ended.
    """
    if turn.end_id is None or turn.ended_at is None:
        raise ValueError(f"{turn.job_id} has not ended")
    if turn.status is Status.FAILED:
        return event(ERROR, turn.job_id, turn.end_id, turn.ended_at, **(turn.error or {}))
    fields: dict[str, Any] = _text_or_digest(turn.answer or "")
    fields["usage"] = turn.usage.as_dict() if turn.usage else None
    if turn.status is Status.CANCELLED:
        return event(CANCELLED, turn.job_id, turn.end_id, turn.ended_at, **fields)
    fields |= {"model": turn.answer_model, "finish_reason": turn.finish_reason}
    if turn.quick_replies:
        fields["quick_replies"] = list(turn.quick_replies)
    return event(COMPLETED, turn.job_id, turn.end_id, turn.ended_at, **fields)


def _text_or_digest(text: str) -> dict[str, Any]:
    if len(json.dumps(text, ensure_ascii=False).encode()) <= MAX_EVENT_TEXT:
        return {"text": text}
    return {"text": None, "text_length": len(text), "text_sha256": hashlib.sha256(text.encode()).hexdigest()}
