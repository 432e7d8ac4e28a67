"""Which queues are paused: an operator's word, kept until it is taken back."""

from typing import TYPE_CHECKING

from chatapp.ports import Clock
from chatapp.stores.dynamo import call, from_item, store_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Pauses:
    """Pauses the consumption of queues. The items lie among the locks, without a lease and without an end of life.

    Each method raises StoreUnavailable.
    """

    def __init__(self, client: "DynamoDBClient", *, table: str, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._clock = clock

    def pause(self, queue: str) -> int:
        """Ask all workers to receive nothing more from a queue. Returns: since when that is so."""
        request = call(
            self._table,
            key=_key(queue),
            values={"now": self._clock.now()},
            UpdateExpression="SET PausedAt = if_not_exists(PausedAt, :now)",
            ReturnValues="ALL_NEW",
        )
        with store_errors():
            item = from_item(self._client.update_item(**request)["Attributes"])
        since: int = item["PausedAt"]
        return since

    def resume(self, queue: str) -> bool:
        """Let workers receive again. Returns: whether the queue was paused."""
        with store_errors():
            answer = self._client.delete_item(**call(self._table, key=_key(queue), ReturnValues="ALL_OLD"))
        return "Attributes" in answer

    def paused(self, queue: str) -> int | None:
        """Say since when a queue is paused, None if it is not."""
        with store_errors():
            answer = self._client.get_item(**call(self._table, key=_key(queue), ConsistentRead=True))
        return from_item(answer["Item"])["PausedAt"] if "Item" in answer else None


def _key(queue: str) -> dict[str, str]:
    return {"Resource": f"pause#{queue}"}
