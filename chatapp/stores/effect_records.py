"""How effects are stored: values to items and back."""

import re
from typing import Any

from chatapp.effects import Effect, EffectId, EffectStatus, Move
from chatapp.stores.records import shard_of

DAY_MS = 86_400_000
KEPT_MS = 30 * DAY_MS
"""How long an effect is kept after its end, or a staged action after its time. `unknown` ones stay until they are resolved."""

_OF_TURN = re.compile(r"a([1-9][0-9]{0,8})-([0-9]+)")
_ZEROS = re.compile(r"^a0+")


def effect_key(effect_id: EffectId) -> dict[str, Any]:
    """Make the key of an effect's item. Turn numbers are padded there: a session's actions stand in the order of their turns."""
    action = _OF_TURN.fullmatch(effect_id.id)
    stored = f"a{action[1]:0>9}-{action[2]}" if action else effect_id.id
    return {"SessionId": effect_id.session_id, "ActionId": stored}


def effect_id_of(item: dict[str, Any]) -> EffectId:
    """Read the id of an effect from its item, or from that of an index."""
    return EffectId(item["SessionId"], _ZEROS.sub("a", item["ActionId"]))


def effect_item(effect: Effect) -> dict[str, Any]:
    """Write a new effect. One that is to be carried out stands in the index of open work."""
    return {
        **effect_key(effect.id),
        "UserId": effect.user_id,
        "Name": effect.name,
        "Status": effect.status.value,
        "Payload": dict(effect.payload),
        "Description": effect.description or None,
        "Target": effect.target,
        "Reply": effect.reply or None,
        "CreatedAt": effect.created_at,
        "Deadline": effect.expires_at,
        "Attempts": effect.attempts,
        "Due": effect.due,
        "OpenShard": None if effect.wake_at is None else shard_of(effect.id.session_id),
        "WakeAt": effect.wake_at,
        "ExpiresAt": (max(effect.expires_at, effect.created_at) + KEPT_MS) // 1000,
    }


def move_fields(effect: Effect, move: Move) -> dict[str, Any]:
    """Write what a move sets; what is None is taken away. `unknown` has no end of life: it stays until it is resolved."""
    open_still = move.wake_at is not None
    return {
        "Status": move.status.value,
        "MovedBy": move.by,
        "Due": move.due,
        "OpenShard": shard_of(effect.id.session_id) if open_still else None,
        "WakeAt": move.wake_at,
        "EndedAt": move.ended_at,
        "Result": None if move.result is None else dict(move.result),
        "Error": None if move.error is None else dict(move.error),
        "Attempts": move.attempts,
        "Asks": move.asks or None,
        "Told": effect.told + 1 if move.owed else effect.told or None,
        "Untouched": move.untouched or None,
        "DlqPending": move.dlq_pending or None,
        "ExpiresAt": None if move.ended_at is None or move.status is EffectStatus.UNKNOWN else (move.ended_at + KEPT_MS) // 1000,
    }


def effect_of(item: dict[str, Any]) -> Effect:
    """Read an effect from its item."""
    return Effect(
        id=effect_id_of(item),
        user_id=item["UserId"],
        name=item["Name"],
        status=EffectStatus(item["Status"]),
        payload=item.get("Payload", {}),
        description=item.get("Description", ""),
        target=item.get("Target"),
        reply=item.get("Reply", False),
        created_at=item["CreatedAt"],
        expires_at=item["Deadline"],
        confirmed_at=item.get("ConfirmedAt"),
        confirmed_by=item.get("ConfirmedBy"),
        attempts=item.get("Attempts", 0),
        due=item.get("Due", 0),
        claim_id=item.get("ClaimId"),
        lease_end=item.get("LeaseEnd", 0),
        wake_at=item.get("WakeAt"),
        ended_at=item.get("EndedAt"),
        result=item.get("Result"),
        error=item.get("Error"),
        dlq_pending=item.get("DlqPending", False),
        asks=item.get("Asks", 0),
        told=item.get("Told", 0),
        untouched=item.get("Untouched", False),
        moved_by=item.get("MovedBy"),
    )
