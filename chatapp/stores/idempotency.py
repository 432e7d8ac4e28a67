"""Idempotency records of requests that take a while, in DynamoDB: the first one works, its twins are told its answer.

    first   begin -> Began ............ works ............ complete
    twin         begin -> Held  ...  begin -> Held  ...  begin -> Completed(answer)           within `life_ms` of the answer
    other        begin -> IdempotencyMismatch                                                  another payload under the key

    first   begin -> Began .. works .. dies
            |<----- lease ----->|
    twin         begin -> Held    begin -> Began ..... works ..... complete
    first                              (was only asleep)                complete -> False      its token is not the holder's

What the work itself stores must be safe against a second worker: a lease is only a promise about time.
"""

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chatapp.errors import IdempotencyMismatch
from chatapp.ports import Clock
from chatapp.stores.dynamo import call, refused_item, store_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LEASE_MS = 3_000
LIFE_MS = 600_000

UNKNOWN = "attribute_not_exists(IdempotencyKey)"
EXPIRED = "ExpiresAt < :seconds"
"""DynamoDB deletes up to two days late: time decides, here as everywhere."""
LAPSED = "(LeaseEnd < :now AND Fingerprint = :fingerprint)"
"""A completed record has no lease any more."""
MINE = "Holder = :holder AND attribute_exists(LeaseEnd)"


@dataclass(frozen=True, slots=True)
class Began:
    """The caller is to do the work. `holder` is its token: nobody else has the same."""

    key: str
    holder: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The work was done: this is what was answered."""

    answer: dict[str, str]


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody is at work. From `lease_end` on (milliseconds since 1970) whoever begins takes over."""

    lease_end: int


class IdempotencyStore:
    """Keeps who works under which key, and what came of it. Records live `life_ms` after the last word of their holder."""

    def __init__(
        self, client: "DynamoDBClient", *, table: str, clock: Clock, lease_ms: int = LEASE_MS, life_ms: int = LIFE_MS
    ) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._lease_ms = lease_ms
        self.life_ms = life_ms

    def begin(self, key: str, fingerprint: str) -> Began | Completed | Held:
        """Ask to do the work of `key`. One request, whatever stands there.

        Raises: IdempotencyMismatch, when another payload came under the key; StoreUnavailable.
        """
        now, holder = self._clock.now(), secrets.token_hex(16)
        item = {
            "IdempotencyKey": key,
            "Fingerprint": fingerprint,
            "Holder": holder,
            "LeaseEnd": now + self._lease_ms,
            "CreatedAt": now,
            "ExpiresAt": self._end_of_life(now),
        }
        request = call(
            self._table,
            item=item,
            values={"now": now, "seconds": now // 1000, "fingerprint": fingerprint},
            ConditionExpression=f"{UNKNOWN} OR {EXPIRED} OR {LAPSED}",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        try:
            with store_errors():
                self._client.put_item(**request)
        except ClientError as error:
            found = refused_item(error)
        else:
            return Began(key, holder)
        if found is None:
            return Held(now)  # deleted at this very moment
        if found.get("Holder") == holder:
            return Began(key, holder)  # our own write, whose answer was lost
        if found["Fingerprint"] != fingerprint:
            raise IdempotencyMismatch("This key or message id was used with another payload")
        return Completed(json.loads(found["Answer"])) if "Answer" in found else Held(found["LeaseEnd"])

    def complete(self, began: Began, answer: dict[str, str]) -> bool:
        """Store the answer for the twins. Returns: False when somebody has taken over; theirs counts then."""
        now = self._clock.now()
        request = call(
            self._table,
            key={"IdempotencyKey": began.key},
            values={"holder": began.holder, "answer": json.dumps(answer), "gone": self._end_of_life(now)},
            UpdateExpression="SET Answer = :answer, ExpiresAt = :gone REMOVE LeaseEnd",
            ConditionExpression=MINE,
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        try:
            with store_errors():
                self._client.update_item(**request)
        except ClientError as error:
            found = refused_item(error)
            return found is not None and found.get("Holder") == began.holder  # ours already: the first answer was lost
        return True

    def abandon(self, began: Began) -> None:
        """Forget that the work was begun: it came to nothing. Harmless when somebody has taken over."""
        key: dict[str, Any] = {"IdempotencyKey": began.key}
        request = call(self._table, key=key, values={"holder": began.holder}, ConditionExpression=MINE)
        try:
            with store_errors():
                self._client.delete_item(**request)
        except ClientError as error:
            refused_item(error)

    def _end_of_life(self, now: int) -> int:
        return (now + self.life_ms) // 1000
