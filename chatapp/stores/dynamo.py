"""The one DynamoDB client, and how our items and expressions are written.

Attribute names are capitalised words (`OpenTurns`), so an expression can be written as plain text: `call` puts the `#`
before every attribute name, which also keeps clear of DynamoDB's 573 reserved words.
"""

import random
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from chatapp.aws import NO_ANSWER
from chatapp.clock import AnchoredClock
from chatapp.errors import StoreUnavailable
from chatapp.ports import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

T = TypeVar("T")

CONDITION_FAILED = "ConditionalCheckFailed"

ALL_OLD: dict[str, Any] = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}

CONFLICT_TRIES = 6
CONFLICT_SECONDS = 0.05
"""A write that meets a transaction on its item is refused, not queued: it is sent again after a moment."""

MAX_DIGITS = 38
_KEYWORDS = frozenset({"SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "IN", "BETWEEN"})
_NAME = re.compile(r"(?<![:#\w])[A-Z][A-Za-z]*\b")


def connect(region: str, endpoint_url: str | None, *, clock: AnchoredClock | None = None, pool: int = 200) -> "DynamoDBClient":
    """Make the client. Connects on first use; two tries a request, a second to connect.

    `clock` is anchored to the Date of the answers.
    """
    config = Config(
        connect_timeout=1,
        read_timeout=3,
        tcp_keepalive=True,
        max_pool_connections=pool,
        retries={"mode": "standard", "total_max_attempts": 2},
    )
    client = boto3.client("dynamodb", region_name=region, endpoint_url=endpoint_url, config=config)
    if clock is not None:
        _anchor(client, clock)
    return client


def _anchor(client: "DynamoDBClient", clock: AnchoredClock) -> None:
    def asked(context: dict[str, Any], **_event: Any) -> None:
        context["asked_at"] = clock.machine()

    def answered(http_response: Any, context: dict[str, Any], **_event: Any) -> None:
        if "x-amzn-RequestId" not in http_response.headers:
            # The page of whoever stands between. The SDK might read it as an answer without an item; and it has its own time.
            raise ResponseParserError("this is not DynamoDB")
        try:
            told = parsedate_to_datetime(http_response.headers["Date"])
        except (KeyError, ValueError):
            return  # no time is told
        clock.anchor(told, asked_at=context["asked_at"])

    client.meta.events.register("before-call.dynamodb", asked)
    client.meta.events.register("after-call.dynamodb", answered)


class _Reader(TypeDeserializer):
    def _deserialize_n(self, value: str) -> int | float:
        digits = value.lstrip("-")
        # What has more digits than a number of DynamoDB's was written as 1e125: as an integer it could not be written again.
        return int(value) if digits.isdigit() and len(digits) <= MAX_DIGITS else float(value)


_read = _Reader().deserialize
_write = TypeSerializer().serialize


def to_item(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write a mapping as a DynamoDB item. What is None, or an empty set, is left out."""
    return {name: _write(_exact(value)) for name, value in values.items() if value is not None and value != frozenset()}


def _exact(value: Any) -> Any:
    """Write floats as the decimals that they are shown as, at every depth: the SDK takes none."""
    match value:
        case float():
            return Decimal(str(value))
        case Mapping():
            return {name: _exact(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_exact(inner) for inner in value]
        case _:
            return value


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Read a DynamoDB item; numbers become int, or float where they have a fraction."""
    return {name: _read(value) for name, value in item.items()}


def call(
    table: str,
    *,
    key: Mapping[str, Any] | None = None,
    item: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Write the arguments of a DynamoDB call.

    `values` are written without their colons; `more` is passed on, its expressions (`UpdateExpression`,
    `ConditionExpression`...) in plain attribute names.
    """
    names: dict[str, str] = {}

    def alias(match: re.Match[str]) -> str:
        word = match[0]
        if word in _KEYWORDS:
            return word
        names[f"#{word}"] = word
        return f"#{word}"

    out: dict[str, Any] = {"TableName": table}
    if key is not None:
        out["Key"] = to_item(key)
    if item is not None:
        out["Item"] = to_item(item)
    for name, value in more.items():
        out[name] = _NAME.sub(alias, value) if name.endswith("Expression") else value
    if names:
        out["ExpressionAttributeNames"] = names
    if values:
        out["ExpressionAttributeValues"] = {f":{name}": value for name, value in to_item(values).items()}
    return out


class StoreConflict(StoreUnavailable):
    """A transaction holds the item at this moment: the same write works a moment later."""


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn what DynamoDB or the network says into StoreUnavailable.

    Refused conditions are the caller's business, and a request that is wrong stays wrong however often it is sent: they pass.
    """
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "TransactionConflictException":
            raise StoreConflict("DynamoDB is in the middle of a transaction on this item") from error
        if code in ("ConditionalCheckFailedException", "TransactionCanceledException", "ValidationException"):
            raise
        raise StoreUnavailable(f"DynamoDB answered {code}") from error
    except NO_ANSWER as error:
        raise StoreUnavailable(f"DynamoDB cannot be reached ({type(error).__name__})") from error


def patiently(write: Callable[[], T], clock: Clock) -> T:
    """Write, and again when a transaction holds the item at this moment. Raises: as `store_errors`."""
    for _ in range(CONFLICT_TRIES - 1):
        try:
            with store_errors():
                return write()
        except StoreConflict:
            clock.sleep(random.uniform(0.1, 1) * CONFLICT_SECONDS)  # noqa: S311  spreads the writers, guards nothing
    with store_errors():
        return write()


def transact(client: "DynamoDBClient", writes: Sequence[Any]) -> None:
    """Write all or nothing. Raises: as `store_errors`; ClientError when the transaction is cancelled (see `cancellations`)."""
    # The token makes it safe that a lost answer is followed by the same request: DynamoDB then answers the same.
    token = secrets.token_hex(16)
    try:
        with store_errors():
            client.transact_write_items(TransactItems=writes, ClientRequestToken=token)
    except StoreUnavailable:
        with store_errors():
            client.transact_write_items(TransactItems=writes, ClientRequestToken=token)


def refused_item(error: ClientError) -> dict[str, Any] | None:
    """Read the item that a refused condition returned (ReturnValuesOnConditionCheckFailure=ALL_OLD).

    Returns: None when there is no such item. Raises: `error`, if it is no refused condition.
    """
    if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
        raise error
    item: Any = error.response.get("Item")
    return from_item(item) if item else None


def cancellations(error: ClientError) -> list[tuple[str, dict[str, Any] | None]]:
    """Read why a transaction was cancelled: for each of its writes a code (`None` if it was fine) and the old item.

    Raises: `error`, if it is no cancelled transaction.
    """
    if error.response["Error"]["Code"] != "TransactionCanceledException":
        raise error
    reasons: Any = error.response.get("CancellationReasons", [])
    return [(r.get("Code", "None"), from_item(r["Item"]) if r.get("Item") else None) for r in reasons]
