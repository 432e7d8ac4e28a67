"""Effects in DynamoDB: actions that users confirm, and deliveries. Conditional write first, then read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.ports import Clock
from chatapp.stores.dynamo import call, from_item, refused_item, store_errors
from chatapp.stores.effect_records import effect_key, effect_of
from chatapp.stores.records import shard_of
from chatapp.stores.submissions import ALL_OLD

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

STAGED_STILL = "Status = :staged AND Deadline > :now"


class EffectStore:
    """Reads and writes effects."""

    def __init__(self, client: "DynamoDBClient", *, table: str, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._clock = clock

    def get(self, effect_id: EffectId) -> Effect | None:
        """Read an effect, consistently."""
        with store_errors():
            answer = self._client.get_item(**call(self._table, key=effect_key(effect_id), ConsistentRead=True))
        return effect_of(from_item(answer["Item"])) if "Item" in answer else None

    def actions(self, session_id: str, *, limit: int = 100) -> list[Effect]:
        """Read a session's actions, consistently, the newest first."""
        request = call(
            self._table,
            values={"session": session_id, "prefix": "a"},
            KeyConditionExpression="SessionId = :session AND begins_with(ActionId, :prefix)",
            ConsistentRead=True,
        )
        with store_errors():
            answer = self._client.query(**request)
        found = [effect_of(from_item(i)) for i in answer["Items"]]
        return sorted(found, key=lambda e: e.created_at, reverse=True)[:limit]

    def confirm(self, effect_id: EffectId, *, by: str, wake_at: int) -> tuple[bool, Effect | None]:
        """Take a yes. Returns: (True, the action as confirmed), or (False, the action as it stands; None if there is none)."""
        now = self._clock.now()
        values = {"confirmed": EffectStatus.CONFIRMED.value, "by": by, "wake": wake_at, "shard": shard_of(effect_id.session_id)}
        update = "SET Status = :confirmed, ConfirmedAt = :now, ConfirmedBy = :by, Due = :now, OpenShard = :shard, WakeAt = :wake"
        return self._update(effect_id, update, STAGED_STILL, values | self._staged(now))

    def cancel(self, effect_id: EffectId) -> tuple[bool, Effect | None]:
        """Take a no. Returns: (True, the action as cancelled), or (False, the action as it stands; None if there is none)."""
        now = self._clock.now()
        values = {"cancelled": EffectStatus.CANCELLED.value}
        return self._update(effect_id, "SET Status = :cancelled, EndedAt = :now", STAGED_STILL, values | self._staged(now))

    def _staged(self, now: int) -> dict[str, Any]:
        return {"staged": EffectStatus.STAGED.value, "now": now}

    def _update(self, effect_id: EffectId, update: str, condition: str, values: Mapping[str, Any]) -> tuple[bool, Effect | None]:
        request = call(
            self._table,
            key=effect_key(effect_id),
            values=values,
            UpdateExpression=update,
            ConditionExpression=condition,
            ReturnValues="ALL_NEW",
            **ALL_OLD,
        )
        try:
            with store_errors():
                return True, effect_of(from_item(self._client.update_item(**request)["Attributes"]))
        except ClientError as error:
            found = refused_item(error)
            return False, effect_of(found) if found else None
