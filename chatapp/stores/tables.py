"""How DynamoDB's tables stand: what it says of each of ours, for operators."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chatapp.errors import StoreUnavailable
from chatapp.stores.dynamo import store_errors

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Tables:
    """Describes tables. `names`: as the product has them -> as the account has them."""

    def __init__(self, client: "DynamoDBClient", names: Mapping[str, str]) -> None:
        self._client = client
        self._names = names

    def describe(self) -> list[dict[str, Any]]:
        """Ask for each table: `{name, table, status, items, bytes, ttl, indexes}`; one that cannot be described says `error`.

        DynamoDB counts items and bytes anew every six hours or so.
        """
        with ThreadPoolExecutor(len(self._names), thread_name_prefix="tables") as pool:
            return list(pool.map(self._table, self._names.items()))

    def _table(self, names: tuple[str, str]) -> dict[str, Any]:
        name, table = names
        try:
            with store_errors():
                found: Any = self._client.describe_table(TableName=table)["Table"]
                ttl: Any = self._client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        except (StoreUnavailable, ClientError) as error:
            return {"name": name, "table": table, "error": str(error)}
        return {
            "name": name,
            "table": table,
            **_sizes(found, "TableStatus"),
            "ttl": {"attribute": ttl.get("AttributeName"), "status": ttl["TimeToLiveStatus"]},
            "indexes": [
                {"name": index["IndexName"], **_sizes(index, "IndexStatus")} for index in found.get("GlobalSecondaryIndexes", ())
            ],
        }


def _sizes(found: Mapping[str, Any], status: str) -> dict[str, Any]:
    sizes = {"items": "ItemCount", "bytes": "TableSizeBytes" if status == "TableStatus" else "IndexSizeBytes"}
    return {"status": found.get(status)} | {ours: found.get(theirs) for ours, theirs in sizes.items()}
