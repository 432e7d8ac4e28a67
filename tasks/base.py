"""What every task has in common: what it does to its message, once, for all of them."""

from typing import Any, NoReturn

import boto3
from botocore.config import Config
from celery import Task
from celery.exceptions import Reject

from tasks.app import settings

MAX_HIDE_SECONDS = 43_200
"""SQS hides a message for twelve hours at most."""

_config = Config(
    connect_timeout=2, read_timeout=3, max_pool_connections=100, retries={"mode": "standard", "total_max_attempts": 2}
)
_sqs: Any = boto3.client("sqs", region_name=settings.aws_region, endpoint_url=settings.aws_endpoint, config=_config)


class WakeUp(Task):  # type: ignore[misc]
    """A task whose message is a wake-up: acked once the turn was seen to, hidden while the turn is not due.

    A task that raises rejects its message: the transport leaves it in its queue, since that has a redrive policy.
    """

    abstract = True
    ignore_result = True

    def hide(self, seconds: float) -> NoReturn:
        """Hide the message for so long, instead of acking it."""
        properties = self.request.properties
        _sqs.change_message_visibility(
            QueueUrl=properties["delivery_info"]["sqs_queue"],
            ReceiptHandle=properties["delivery_tag"],
            VisibilityTimeout=min(max(1, round(seconds)), MAX_HIDE_SECONDS),
        )
        raise Reject("the turn is not due", requeue=False)
