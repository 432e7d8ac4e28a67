"""Effects in DynamoDB: actions that users confirm, and deliveries. Conditional write first, then read.

A claim and a move carry a mark of their own (`ClaimId`, `MovedBy`): a refusal that returns the same mark is our own write, whose
answer was lost.
"""

import random
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chatapp.effects import Effect, EffectId, EffectStatus, Move
from chatapp.errors import StoreUnavailable
from chatapp.ports import Clock
from chatapp.stores.dynamo import (
    ALL_OLD,
    CONDITION_FAILED,
    StoreConflict,
    call,
    cancellations,
    from_item,
    refused_item,
    store_errors,
)
from chatapp.stores.effect_records import effect_id_of, effect_item, effect_key, effect_of, move_fields
from chatapp.stores.records import shard_of
from config.resources import OPEN_SHARDS, OPEN_WORK

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

STAGED_STILL = "Status = :staged AND Deadline > :now"
FREE = "Status = :confirmed AND Due <= :now"
LAPSED = "Status = :executing AND ClaimId = :seen AND LeaseEnd = :lapsed"
CLAIM = "SET Status = :executing, ClaimId = :claim, LeaseEnd = :lease, WakeAt = :lease, Attempts = Attempts + :one"
AS_SEEN = "Status = :seenStatus AND ClaimId = :seenClaim"
NEVER_CLAIMED = "Status = :seenStatus AND attribute_not_exists(ClaimId)"
BURIED = "REMOVE DlqPending, OpenShard, WakeAt"

CONFLICT_TRIES = 6
CONFLICT_SECONDS = 0.05
"""A write that meets a transaction on its item is refused, not queued: it is sent again after a moment."""


class EffectStore:
    """Reads and writes effects."""

    def __init__(self, client: "DynamoDBClient", *, table: str, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._clock = clock

    # --- read

    def get(self, effect_id: EffectId) -> Effect | None:
        """Read an effect, consistently."""
        with store_errors():
            answer = self._client.get_item(**call(self._table, key=effect_key(effect_id), ConsistentRead=True))
        return effect_of(from_item(answer["Item"])) if "Item" in answer else None

    def actions(self, session_id: str, *, limit: int = 100) -> list[Effect]:
        """Read a session's actions, consistently, the newest first: at most `limit`, whatever there are."""
        request = call(
            self._table,
            values={"session": session_id, "prefix": "a"},
            KeyConditionExpression="SessionId = :session AND begins_with(ActionId, :prefix)",
            ConsistentRead=True,
            ScanIndexForward=False,
            Limit=limit,
        )
        with store_errors():
            answer = self._client.query(**request)
        found = [effect_of(from_item(i)) for i in answer["Items"]]
        return sorted(found, key=lambda e: e.created_at, reverse=True)

    # --- what users do

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

    # --- what workers do

    def claim(
        self, effect_id: EffectId, *, claim_id: str, now: int, lease_end: int, lapsed: Effect | None = None
    ) -> tuple[bool, Effect | None]:
        """Take an effect that is confirmed and due: attempts + 1. With `lapsed`, one that is executing still as seen there.

        Returns: (True, the effect as claimed), or (False, the effect as it stands; None if there is none).
        """
        values = {"executing": EffectStatus.EXECUTING.value, "claim": claim_id, "lease": lease_end, "one": 1}
        if lapsed is None:
            condition, values = FREE, values | {"confirmed": EffectStatus.CONFIRMED.value, "now": now}
        else:
            condition, values = LAPSED, values | {"seen": lapsed.claim_id, "lapsed": lapsed.lease_end}
        claimed, effect = self._update(effect_id, CLAIM, condition, values)
        return claimed or (effect is not None and effect.claim_id == claim_id), effect

    def move(self, effect: Effect, move: Move) -> tuple[bool, Effect | None]:
        """Write what has become of `effect`, and the delivery owed with it in one transaction, if it still stands as seen.

        Returns: (True, the effect as moved), or (False, the effect as it stands; None if there is none).
        """
        update, condition, values = _moving(effect, move)
        if move.owed is None:
            done, stands = self._update(effect.id, update, condition, values)
        else:
            key = effect_key(effect.id)
            change = call(self._table, key=key, values=values, UpdateExpression=update, ConditionExpression=condition, **ALL_OLD)
            put = call(self._table, item=effect_item(move.owed), ConditionExpression="attribute_not_exists(SessionId)")
            done, stands = self._together(effect, [{"Update": change}, {"Put": put}])
        return done or (stands is not None and stands.moved_by == move.by), stands

    def buried(self, effect_id: EffectId) -> None:
        """Take note that the dead-letter queue has the effect's message. Harmless when it is noted already."""
        self._update(effect_id, BURIED, "attribute_exists(DlqPending)", {})

    # --- the relay, and operators

    def postpone(self, effect_id: EffectId, *, seen: int, wake_at: int) -> Effect | None:
        """Move the relay's next look from `seen` to `wake_at`. Returns: the effect, None when another relay was first."""
        done, effect = self._update(effect_id, "SET WakeAt = :next", "WakeAt = :seen", {"seen": seen, "next": wake_at})
        # A look that stands where we put it was moved by us, in a write whose answer was lost.
        return effect if done or (effect is not None and effect.wake_at == wake_at) else None

    def open_work(self, shard: int, *, now: int, limit: int) -> list[tuple[EffectId, int]]:
        """Read a shard of the index of open work: (effect, wake_at) whose time has come. A hint, perhaps stale."""
        request = _open_in(self._table, shard, "OpenShard = :shard AND WakeAt <= :now", now=now) | {"Limit": limit}
        with store_errors():
            answer = self._client.query(**request)
        return [(effect_id_of(i), i["WakeAt"]) for i in map(from_item, answer["Items"])]

    def all_open(self) -> list[EffectId]:
        """Name all that is confirmed, executing, unknown, or on its way to the dead-letter queue: 16 queries of an index."""
        requests = [_open_in(self._table, shard, "OpenShard = :shard") for shard in range(OPEN_SHARDS)]
        return [effect_id_of(i) for request in requests for i in _all(self._client.query, request)]

    def scan(self) -> Iterator[Effect]:
        """Read all effects there are, of every session: the whole table, at the price of its size."""
        yield from map(effect_of, _all(self._client.scan, call(self._table)))

    # --- writing

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
            return True, effect_of(self._patiently(request))
        except ClientError as error:
            found = refused_item(error)
            return False, effect_of(found) if found else None

    def _patiently(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write, and again when a transaction holds the item at this moment."""
        for _ in range(CONFLICT_TRIES - 1):
            try:
                with store_errors():
                    return from_item(self._client.update_item(**request)["Attributes"])
            except StoreConflict:
                self._clock.sleep(random.uniform(0.1, 1) * CONFLICT_SECONDS)  # noqa: S311  spreads the writers, guards nothing
        with store_errors():
            return from_item(self._client.update_item(**request)["Attributes"])

    def _together(self, effect: Effect, writes: list[Any]) -> tuple[bool, Effect | None]:
        token = secrets.token_hex(16)  # DynamoDB answers the same to the same request, if its answer was lost
        try:
            with store_errors():
                self._client.transact_write_items(TransactItems=writes, ClientRequestToken=token)
        except ClientError as error:
            (code, found), *_ = cancellations(error)
            if code == CONDITION_FAILED:
                return False, effect_of(found) if found else None
            raise StoreUnavailable("the end of an effect met another write") from error
        return True, self.get(effect.id)


def _all(ask: Callable[..., Any], request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Read all pages of a query or a scan: one holds at most 1 MB."""
    more: dict[str, Any] = {}
    while True:
        with store_errors():
            answer = ask(**request, **more)
        yield from map(from_item, answer["Items"])
        if "LastEvaluatedKey" not in answer:
            return
        more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


def _open_in(table: str, shard: int, condition: str, **values: Any) -> dict[str, Any]:
    """Write a query of a shard of the index of open work."""
    return call(table, values={"shard": shard, **values}, IndexName=OPEN_WORK.name, KeyConditionExpression=condition)


def _moving(effect: Effect, move: Move) -> tuple[str, str, dict[str, Any]]:
    """Say update, condition and values of a move of what stands as `effect` says."""
    fields = move_fields(effect, move)
    given = {name: value for name, value in fields.items() if value is not None}
    gone = [name for name, value in fields.items() if value is None]
    update = "SET " + ", ".join(f"{name} = :new{name}" for name in given) + (f" REMOVE {', '.join(gone)}" if gone else "")
    values = {f"new{name}": value for name, value in given.items()} | {"seenStatus": effect.status.value}
    if effect.claim_id is None:
        return update, NEVER_CLAIMED, values
    return update, AS_SEEN, values | {"seenClaim": effect.claim_id}
