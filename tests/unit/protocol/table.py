"""A DynamoDB client in memory, with the requests that the stores make: each one atomic, or refused whole.

`tests/integration/test_protocol_table.py` holds it against the emulator. `reach` is called before each request and decides
its fate; `watch` is told of each item that changes.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from config.resources import TABLES
from tests.unit.protocol.expressions import Invalid, Item, check_values, holds, updated

Key = tuple[str, ...]
Watch = Callable[[str, Item | None, Item], None]
Write = tuple[str, Key, Item | None, Item | None]
"""(table, key, old item, new item); the new one is None for a mere check."""

_URL = "http://in.memory"


class Table:
    """A DynamoDB client."""

    def __init__(self, prefix: str, *, reach: Callable[..., str] = lambda *_: "ok") -> None:
        self._kinds = {prefix + t.name: t for t in TABLES}
        self.reach = reach
        self.items: dict[str, dict[Key, Item]] = {name: {} for name in self._kinds}
        self.watch: Watch = lambda *_: None
        self._tokens: dict[str, Any] = {}

    def get_item(self, **request: Any) -> dict[str, Any]:
        """See boto3."""
        return self._request("get_item", "", lambda: self._get(request["TableName"], request["Key"]))

    def batch_get_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803  boto3's name
        """See boto3."""

        def read() -> dict[str, Any]:
            found = {table: [self._get(table, key) for key in wanted["Keys"]] for table, wanted in RequestItems.items()}
            return {"Responses": {table: [a["Item"] for a in answers if a] for table, answers in found.items()}}

        return self._request("batch_get_item", "", read)

    def put_item(self, **request: Any) -> dict[str, Any]:
        """See boto3."""
        return self._request("put_item", "", lambda: self._single({"Put": request}))

    def update_item(self, **request: Any) -> dict[str, Any]:
        """See boto3."""
        return self._request("update_item", request["UpdateExpression"], lambda: self._single({"Update": request}))

    def delete_item(self, **request: Any) -> dict[str, Any]:
        """See boto3."""
        return self._request("delete_item", "", lambda: self._single({"Delete": request}))

    def transact_write_items(self, *, TransactItems: list[Any], ClientRequestToken: str) -> dict[str, Any]:  # noqa: N803
        """See boto3."""

        def write() -> dict[str, Any]:
            if known:
                if self._tokens[ClientRequestToken] != TransactItems:
                    raise _error("IdempotentParameterMismatchException")
                return {}
            plans = [self._plan(item) for item in TransactItems]
            if any(refusal for refusal, _ in plans):
                raise _error("TransactionCanceledException", CancellationReasons=[r or {"Code": "None"} for r, _ in plans])
            if len({(table, key) for _, (table, key, _, _) in plans}) != len(plans):
                raise _error("ValidationException")
            self._tokens[ClientRequestToken] = TransactItems
            self._apply([write for _, write in plans])
            return {}

        known = ClientRequestToken in self._tokens
        return self._request("replay" if known else "transact_write_items", str(len(TransactItems)), write)

    def query(self, **request: Any) -> dict[str, Any]:
        """See boto3. Without paging: the answer is cut at `Limit`. What an index says is as old as the request."""
        found = self._page(request)
        if not found:  # what is looked for and not there is no choice of the scheduler's
            return {"Items": []}
        return self._request("query", "", lambda: {"Items": found if "IndexName" in request else self._page(request)})

    def _page(self, request: Mapping[str, Any]) -> list[Item]:
        kind = self._kinds[request["TableName"]]
        index = next((i for i in kind.indexes if i.name == request.get("IndexName")), None)
        keys = (index.hash_key[0], index.range_key[0]) if index else tuple(k[0] for k in (kind.hash_key, kind.range_key) if k)
        check_values(request)
        found = [i for i in self.items[request["TableName"]].values() if all(k in i for k in keys)]
        found = [i for i in found if holds(request, i, "KeyConditionExpression")]
        found.sort(key=lambda i: Decimal(i[keys[-1]]["N"]), reverse=not request.get("ScanIndexForward", True))
        return [dict(i) for i in found[: request.get("Limit", len(found))]]

    # --- one request

    def _request(self, name: str, what: str, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        fate = self.reach(name, what)
        if fate == "fail":
            raise EndpointConnectionError(endpoint_url=_URL)
        if fate == "conflict":
            if name == "transact_write_items":
                raise _error("TransactionCanceledException", CancellationReasons=[{"Code": "TransactionConflict"}] * int(what))
            if name == "update_item":
                raise _error("TransactionConflictException")
        answer = do()
        if fate == "lost":
            raise ReadTimeoutError(endpoint_url=_URL)
        return answer

    def _get(self, table: str, key: Item) -> dict[str, Any]:
        item = self.items[table].get(self._key(table, key))
        return {"Item": dict(item)} if item else {}

    def _single(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        refusal, (table, key, old, new) = self._plan(operation)
        if refusal:
            raise _error("ConditionalCheckFailedException", **({"Item": refusal["Item"]} if "Item" in refusal else {}))
        self._apply([(table, key, old, new)])
        (request,) = operation.values()
        return {"Attributes": dict(new)} if new and request.get("ReturnValues") == "ALL_NEW" else {}

    def _plan(self, operation: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Write]:
        """Say what a write would do: (why it is refused, or None; the write)."""
        ((kind, request),) = operation.items()
        table = request["TableName"]
        key = self._key(table, request["Item"] if kind == "Put" else request["Key"])
        old = self.items[table].get(key)
        try:
            check_values(request)
            if not holds(request, old):
                shown = {"Item": dict(old)} if old and request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else {}
                return {"Code": "ConditionalCheckFailed", **shown}, (table, key, old, None)
            new = dict(request["Item"]) if kind == "Put" else updated(request, old) if kind == "Update" else old
        except Invalid as error:
            raise _error("ValidationException", detail=str(error)) from error
        return None, (table, key, old, None if kind == "Delete" else new)

    def _apply(self, writes: list[Write]) -> None:
        for table, key, _, new in writes:
            if new is None:
                self.items[table].pop(key, None)
            else:
                self.items[table][key] = new
        for table, _, old, new in writes:
            if new is not None and new is not old:
                self.watch(table, old, new)

    def _key(self, table: str, item: Item) -> Key:
        kind = self._kinds[table]
        parts = [item[k[0]] for k in (kind.hash_key, kind.range_key) if k]
        return tuple(next(iter(p.values())) for p in parts)


def _error(code: str, detail: str = "", **more: Any) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": detail}, **more}, "in memory")
