"""How turns, sessions and idempotency records are stored: values to items and back."""

import hashlib
import json
from typing import Any

from chatapp.model import EventId, IdempotencyRecord, JobId, ModelOptions, Session, Status, Summary, Turn, Usage
from chatapp.stores.dynamo import ALL_OLD, call
from config.resources import OPEN_SHARDS

INLINE_BYTES = 4_096
"""Content over this size (input, instructions, metadata) has an item of its own: a renewal pays for the item it writes."""


def shard_of(session_id: str) -> int:
    """Say in which part of the index of open work a session's turns stand."""
    return hashlib.sha256(session_id.encode()).digest()[0] % OPEN_SHARDS


def turn_key(job_id: JobId) -> dict[str, Any]:
    """Make the key of a turn's item."""
    return {"SessionId": job_id.session_id, "Turn": job_id.turn}


def input_key(job_id: JobId) -> dict[str, Any]:
    """Make the key of the item that holds a turn's big input: the same number, negative, so no range of turns meets it."""
    return {"SessionId": job_id.session_id, "Turn": -job_id.turn}


def turn_items(turn: Turn) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Write a queued turn: its item and, for a big input, the item of its input."""
    content = {
        "Input": [dict(p) for p in turn.input] or None,
        "Instructions": turn.options.instructions,
        "Metadata": dict(turn.metadata) or None,
    }
    big = len(json.dumps(content, ensure_ascii=False).encode()) > INLINE_BYTES
    item = {
        **turn_key(turn.job_id),
        "UserId": turn.user_id,
        "Flow": turn.flow,
        "Status": turn.status.value,
        "Attempt": turn.attempt,
        "Failures": turn.failures,
        "Crashes": turn.crashes,
        "HandBacks": turn.hand_backs,
        "Due": turn.due,
        "OpenShard": shard_of(turn.session_id),
        "WakeAt": turn.wake_at,
        "Model": turn.options.model,
        "Temperature": turn.options.temperature,
        "MaxOutputTokens": turn.options.max_output_tokens,
        "Restart": turn.restart,
        "RetryOf": turn.retry_of,
        "Traceparent": turn.traceparent,
        "Callback": turn.callback,
        "CreatedAt": turn.created_at,
        "ExpiresAt": turn.expires_at // 1000,
        "Schema": turn.schema,
    }
    if not big:
        return item | content, None
    return item | {"InputApart": True}, {**input_key(turn.job_id), **content, "ExpiresAt": item["ExpiresAt"]}


def turn_of(item: dict[str, Any], apart: dict[str, Any] | None = None) -> Turn:
    """Read a turn from its item, and from the item of its input if that stands apart."""
    content = apart if apart is not None else item
    usage = item.get("Usage")
    return Turn(
        session_id=item["SessionId"],
        number=item["Turn"],
        user_id=item["UserId"],
        flow=item["Flow"],
        input=tuple(content.get("Input", ())),
        options=ModelOptions(item["Model"], content.get("Instructions"), item.get("Temperature"), item.get("MaxOutputTokens")),
        created_at=item["CreatedAt"],
        expires_at=item["ExpiresAt"] * 1000,
        status=Status(item["Status"]),
        attempt=item["Attempt"],
        failures=item.get("Failures", 0),
        crashes=item.get("Crashes", 0),
        hand_backs=item.get("HandBacks", 0),
        due=item.get("Due", 0),
        lease_end=item.get("LeaseEnd", 0),
        claim_id=item.get("ClaimId"),
        wake_at=item.get("WakeAt"),
        cancel_requested=item.get("CancelRequested", False),
        restart=item.get("Restart", "reset"),
        metadata=content.get("Metadata", {}),
        retry_of=item.get("RetryOf"),
        traceparent=item.get("Traceparent"),
        started_at=item.get("StartedAt"),
        ended_at=item.get("EndedAt"),
        answer=item.get("Answer"),
        answer_model=item.get("AnswerModel"),
        finish_reason=item.get("FinishReason"),
        usage=Usage(**usage) if usage else None,
        error=item.get("Error"),
        end_id=EventId.parse(item["EndId"]) if "EndId" in item else None,
        dlq_pending=item.get("DlqPending", False),
        input_apart=item.get("InputApart", False),
        callback=item.get("Callback"),
        quick_replies=tuple(item.get("QuickReplies", ())),
        schema=item.get("Schema", 1),
    )


def session_item(session: Session) -> dict[str, Any]:
    """Write a session."""
    return {
        "SessionId": session.id,
        "UserId": session.user_id,
        "Flow": session.flow,
        "Version": session.version,
        "TurnCount": session.turn_count,
        "OpenTurns": set(session.open_turns) or None,
        "Title": session.title,
        "Summary": summary_item(session.summary),
        "State": dict(session.state) or None,
        "Contact": session.contact,
        "CreatedAt": session.created_at,
        "UpdatedAt": session.updated_at,
        "AliveUntil": session.expires_at,
    }


def session_of(item: dict[str, Any]) -> Session:
    """Read a session from its item, or from its entry in the index of a user's sessions."""
    return Session(
        id=item["SessionId"],
        user_id=item["UserId"],
        flow=item["Flow"],
        version=item.get("Version", 0),
        turn_count=item.get("TurnCount", 0),
        open_turns=frozenset(item.get("OpenTurns", ())),
        title=item.get("Title"),
        summary=summary_of(item.get("Summary")),
        state=item.get("State", {}),
        message_count=item.get("MessageCount", 0),
        contact=item.get("Contact"),
        result=item.get("Result"),
        created_at=item["CreatedAt"],
        updated_at=item.get("UpdatedAt", item["CreatedAt"]),
        expires_at=item["AliveUntil"],
        deleted_at=item.get("DeletedAt"),
        cancel_before=item.get("CancelBefore", 0),
    )


def summary_item(summary: Summary | None) -> dict[str, Any] | None:
    """Write what lists show of a session."""
    return {"Text": summary.text, "Facts": dict(summary.facts)} if summary else None


def summary_of(item: Any) -> Summary | None:
    """Read what lists show of a session."""
    return Summary(item["Text"], item.get("Facts", {})) if isinstance(item, dict) else None


def record_item(record: IdempotencyRecord) -> dict[str, Any]:
    """Write an idempotency record."""
    return {
        "IdempotencyKey": record.key,
        "Fingerprint": record.fingerprint,
        "JobId": str(record.job_id),
        "Position": record.position,
        "Merged": record.merged or None,
        "CreatedAt": record.created_at,
        "ExpiresAt": record.expires_at // 1000,
    }


def record_put(table: str, record: IdempotencyRecord) -> dict[str, Any]:
    """Make the write of a record, within a transaction: only if none that still counts stands there."""
    condition = "attribute_not_exists(IdempotencyKey) OR ExpiresAt < :seconds"
    values = {"seconds": record.created_at // 1000}
    return {"Put": call(table, item=record_item(record), values=values, ConditionExpression=condition, **ALL_OLD)}


def record_of(item: dict[str, Any]) -> IdempotencyRecord:
    """Read an idempotency record."""
    job_id = JobId.parse(item["JobId"])
    if job_id is None:
        raise ValueError(f"{item['JobId']!r} is stored as a job id")
    return IdempotencyRecord(
        item["IdempotencyKey"],
        item["Fingerprint"],
        job_id,
        item["Position"],
        item["CreatedAt"],
        item["ExpiresAt"] * 1000,
        merged=item.get("Merged", False),
    )
