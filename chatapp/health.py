"""Which parts answer. Each is asked with a short time-out, so that the question never hangs."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from redis import Redis
from redis.exceptions import RedisError

from chatapp.aws import NO_ANSWER
from config.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Health:
    """Asks the parts that a request needs."""

    def __init__(self, redis: Redis, dynamodb: "DynamoDBClient", table: str, settings: Settings, queue_url: str) -> None:
        self._redis = redis
        self._dynamodb = dynamodb
        self._table = table
        self._queue_url = queue_url
        config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1})
        self._sqs: Any = boto3.client("sqs", region_name=settings.aws_region, endpoint_url=settings.aws_endpoint, config=config)

    def redis(self) -> bool:
        """Say whether Redis answers."""
        try:
            return bool(self._redis.ping())
        except RedisError:
            return False

    def dynamodb(self) -> bool:
        """Say whether DynamoDB answers, and has our table."""
        key = {"SessionId": {"S": "health"}, "Turn": {"N": "0"}}
        try:
            self._dynamodb.get_item(TableName=self._table, Key=key)
        except (ClientError, *NO_ANSWER):
            return False
        return True

    def sqs(self) -> bool:
        """Say whether SQS answers, and has our queue."""
        try:
            self._sqs.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=["QueueArn"])
        except (ClientError, *NO_ANSWER):
            return False
        return True

    def ready(self) -> dict[str, bool]:
        """Ask every part at once. A chat needs DynamoDB; without SQS or Redis it is accepted all the same."""
        checks = {"dynamodb": self.dynamodb, "sqs": self.sqs, "redis": self.redis}
        with ThreadPoolExecutor(len(checks)) as pool:
            asked = {name: pool.submit(check) for name, check in checks.items()}
            return {name: answer.result() for name, answer in asked.items()}
