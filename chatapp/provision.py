"""Creates the queues and tables of `config/resources.py`, or verifies that they are as written there. Idempotent."""

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from chatapp.aws import NO_ANSWER
from chatapp.errors import QueueUnavailable
from config.resources import DLQ_RETENTION_SECONDS, MAX_RECEIVE_COUNT, QUEUES, TABLES, VISIBILITY_SECONDS, Queue, Table
from config.settings import Settings

WAIT_SECONDS = 60


class Provisioner:
    """Brings one account's resources to what the product needs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        config = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
        where: dict[str, Any] = {"region_name": settings.aws_region, "endpoint_url": settings.aws_endpoint, "config": config}
        self._sqs: Any = boto3.client("sqs", **where)
        self._dynamodb: Any = boto3.client("dynamodb", **where)
        self._queue_prefix = settings.sqs_queue_url_prefix.rsplit("/", 1)[-1]

    def apply(self) -> list[str]:
        """Create what is missing and correct what can be corrected. Returns: what was done, a line each."""
        return [line for q in QUEUES for line in self._apply_queue(q)] + [line for t in TABLES for line in self._apply_table(t)]

    def problems(self) -> list[str]:
        """Say what is missing or wrong, a line each; changes nothing."""
        return [line for q in QUEUES for line in self._queue_problems(q)] + [
            line for t in TABLES for line in self._table_problems(t)
        ]

    def unsafe_queue(self, name: str) -> str | None:
        """Say why a worker must not take messages from a queue: without a redrive policy Celery deletes what is rejected.

        Raises: QueueUnavailable when SQS cannot be asked.
        """
        try:
            url = self._settings.queue_url(name)
            attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"]).get("Attributes", {})
        except ClientError as error:
            return f"queue {self._queue_prefix}{name} cannot be read: {error.response['Error']['Code']}"
        except NO_ANSWER as error:
            raise QueueUnavailable(f"SQS cannot be asked about {name} ({type(error).__name__})") from error
        if "RedrivePolicy" not in attributes:
            return f"queue {self._queue_prefix}{name} has no redrive policy: rejected messages would be lost"
        return None

    # --- queues

    def _apply_queue(self, queue: Queue) -> Iterator[str]:
        dlq_name, name = self._queue_prefix + queue.dlq, self._queue_prefix + queue.name
        dlq_arn = yield from self._ensure_queue(dlq_name, {"MessageRetentionPeriod": str(DLQ_RETENTION_SECONDS)})
        yield from self._ensure_queue(name, _queue_attributes(dlq_arn))

    def _ensure_queue(self, name: str, wanted: dict[str, str]) -> Any:
        try:
            url = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]
        except self._sqs.exceptions.QueueDoesNotExist:
            url = self._sqs.create_queue(QueueName=name, Attributes=wanted)["QueueUrl"]
            yield f"queue {name} created"
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        if wrong := _differences(attributes, wanted):
            self._sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted)
            yield f"queue {name} corrected: {', '.join(wrong)}"
        return attributes["QueueArn"]

    def _queue_problems(self, queue: Queue) -> Iterator[str]:
        name = self._queue_prefix + queue.name
        url = self._settings.queue_url(queue.name)
        try:
            attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            dlq_url = self._sqs.get_queue_url(QueueName=self._queue_prefix + queue.dlq)["QueueUrl"]
            dlq = self._sqs.get_queue_attributes(QueueUrl=dlq_url, AttributeNames=["QueueArn"])["Attributes"]
        except ClientError as error:
            yield f"queue {name} or its dead-letter queue cannot be read: {error.response['Error']['Code']}"
            return
        if "RedrivePolicy" not in attributes:
            yield f"queue {name} has no redrive policy: rejected messages would be lost"
        elif wrong := _differences(attributes, _queue_attributes(dlq["QueueArn"])):
            yield f"queue {name} differs: {', '.join(wrong)}"

    # --- tables

    def _apply_table(self, table: Table) -> Iterator[str]:
        name = self._settings.table_name(table.name)
        try:
            self._dynamodb.create_table(**_table_definition(name, table))
            yield f"table {name} created"
        except self._dynamodb.exceptions.ResourceInUseException:
            pass  # it is there: its definition is verified below
        self._wait_active(name)
        ttl = self._dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        if ttl["TimeToLiveStatus"] in ("DISABLED", "DISABLING"):
            on = {"Enabled": True, "AttributeName": table.ttl}
            self._dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=on)
            yield f"table {name}: expiry by {table.ttl} switched on"

    def _wait_active(self, name: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not self._is_active(name):
            if time.monotonic() > deadline:
                raise TimeoutError(f"table {name} did not become active within {WAIT_SECONDS} s")
            time.sleep(0.2)

    def _is_active(self, name: str) -> bool:
        try:
            found = self._dynamodb.describe_table(TableName=name)["Table"]
        except self._dynamodb.exceptions.ResourceNotFoundException:
            return False  # AWS may not know yet what it has just agreed to create
        return bool(found["TableStatus"] == "ACTIVE")

    def _table_problems(self, table: Table) -> Iterator[str]:
        name = self._settings.table_name(table.name)
        try:
            found = self._dynamodb.describe_table(TableName=name)["Table"]
        except self._dynamodb.exceptions.ResourceNotFoundException:
            yield f"table {name} is missing"
            return
        wanted = _table_definition(name, table)
        if found["KeySchema"] != wanted["KeySchema"]:
            yield f"table {name} has another key: it must be made anew"
        indexes = {i["IndexName"]: i for i in found.get("GlobalSecondaryIndexes", ())}
        for index in wanted.get("GlobalSecondaryIndexes", ()):
            there = indexes.get(index["IndexName"])
            if there is None or there["KeySchema"] != index["KeySchema"]:
                yield f"table {name} lacks the index {index['IndexName']}"
            elif lacking := _not_projected(index, there):
                yield f"the index {index['IndexName']} of table {name} lacks {', '.join(lacking)}: it must be made anew"
        ttl = self._dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        if ttl.get("AttributeName") != table.ttl:
            yield f"table {name} does not expire items by {table.ttl}"


def _queue_attributes(dlq_arn: str) -> dict[str, str]:
    policy = {"deadLetterTargetArn": dlq_arn, "maxReceiveCount": MAX_RECEIVE_COUNT}
    return {"VisibilityTimeout": str(VISIBILITY_SECONDS), "RedrivePolicy": json.dumps(policy)}


def _differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    def value(attributes: dict[str, str], name: str) -> object:
        if name != "RedrivePolicy":
            return attributes.get(name)
        policy = json.loads(attributes.get(name) or "{}")
        return policy.get("deadLetterTargetArn"), int(policy.get("maxReceiveCount", 0))

    return [name for name in wanted if value(found, name) != value(wanted, name)]


def _not_projected(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """List the attributes that an index should hold beside its keys, and does not."""
    if found["Projection"]["ProjectionType"] == "ALL":
        return []
    held = found["Projection"].get("NonKeyAttributes", ())
    return [name for name in wanted["Projection"].get("NonKeyAttributes", ()) if name not in held]


def _key_schema(hash_key: tuple[str, str], range_key: tuple[str, str] | None) -> list[dict[str, str]]:
    keys = [{"AttributeName": hash_key[0], "KeyType": "HASH"}]
    return keys + ([{"AttributeName": range_key[0], "KeyType": "RANGE"}] if range_key else [])


def _table_definition(name: str, table: Table) -> dict[str, Any]:
    keys = [table.hash_key, table.range_key, *(k for i in table.indexes for k in (i.hash_key, i.range_key))]
    definition: dict[str, Any] = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": _key_schema(table.hash_key, table.range_key),
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": t} for n, t in dict(k for k in keys if k).items()],
    }
    if table.indexes:
        definition["GlobalSecondaryIndexes"] = [
            {
                "IndexName": i.name,
                "KeySchema": _key_schema(i.hash_key, i.range_key),
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(i.projects)}
                if i.projects
                else {"ProjectionType": "KEYS_ONLY"},
            }
            for i in table.indexes
        ]
    return definition
