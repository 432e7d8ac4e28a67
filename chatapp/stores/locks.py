"""Leases on named things, in DynamoDB: one holder in the fleet, a token that only rises, an end that time decides."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chatapp.ports import Clock
from chatapp.stores.dynamo import call, from_item, refused_item, store_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DAY_SECONDS = 86_400


class LockStore:
    """Takes and renews leases."""

    def __init__(self, client: "DynamoDBClient", *, table: str, clock: Clock, lease_ms: int = 10_000) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._lease_ms = lease_ms

    def acquire(self, resource: str, owner: str) -> int | None:
        """Take or renew a lease. Returns: its fencing token, None while somebody else holds it."""
        now = self._clock.now()
        values = {"owner": owner, "now": now, "end": now + self._lease_ms, "one": 1, "gone": now // 1000 + DAY_SECONDS}
        request = call(
            self._table,
            key={"Resource": resource},
            values=values,
            UpdateExpression="SET Owner = :owner, LeaseEnd = :end, ExpiresAt = :gone ADD Token :one",
            ConditionExpression="attribute_not_exists(Resource) OR Owner = :owner OR LeaseEnd < :now",
            ReturnValues="ALL_NEW",
        )
        try:
            with store_errors():
                answer = self._client.update_item(**request)
        except ClientError as error:
            refused_item(error)
            return None
        token: int = from_item(answer["Attributes"])["Token"]
        return token
