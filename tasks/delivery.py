"""Deliveries: what a worker does to the messages it holds. Kept hidden while their turns run, hidden until a turn is due.

None of it is precious: a message that cannot be extended, hidden or copied is seen again, or the relay sends another.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from config.resources import MAX_RECEIVE_COUNT, VISIBILITY_SECONDS

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

log = logging.getLogger(__name__)

MAX_HIDE_SECONDS = 43_200
"""SQS hides a message for twelve hours at most."""
MAX_DELAY_SECONDS = 900
BATCH = 10

FRESH_AT = MAX_RECEIVE_COUNT - 2
"""Receives after which a message is replaced by a copy: waiting and deploys must not count a turn into the dead-letter queue."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of one message. `returned`: it came back from the dead-letter queue."""

    url: str
    receipt: str
    body: str
    receives: int
    returned: bool
    group: str | None

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Self:
        """Read a delivery from a Celery request's properties, as tasks/transport.py makes them."""
        info, receipt = properties["delivery_info"], properties["delivery_tag"]
        message = info["sqs_message"]
        told = message.get("Attributes", {})
        receives = int(told.get("ApproximateReceiveCount", 1))
        returned = "Reason" in message.get("MessageAttributes", {})
        return cls(info["sqs_queue"], receipt, message["Body"], receives, returned, told.get("MessageGroupId"))


@dataclass(slots=True)
class _Held:
    delivery: Delivery
    extend_at: float
    until: float


class Deliveries:
    """The deliveries in flight in this process.

    `longest`: seconds after which a message is left to appear again, whatever its task still does. `every`: seconds between
    two extensions.
    """

    def __init__(self, sqs: "SQSClient", *, longest: float, every: float = VISIBILITY_SECONDS / 3) -> None:
        self._sqs = sqs
        self._longest = longest
        self._every = every
        self._held: dict[str, _Held] = {}
        self._extending = threading.Lock()

    @contextmanager
    def holding(self, delivery: Delivery) -> Iterator[None]:
        """Keep a message hidden until the block is left. After that nothing is extended any more, not even by a late request."""
        now = monotonic()
        self._held[delivery.receipt] = _Held(delivery, now + self._every, now + self._longest)
        try:
            yield
        finally:
            if now + self._every > monotonic():  # it was never extended, so there is nothing to wait for
                del self._held[delivery.receipt]
            else:
                with self._extending:  # or a request on its way would overwrite what is done to the message next
                    del self._held[delivery.receipt]

    def beat(self) -> None:
        """Extend what is due, in batches. Failing means nothing: another delivery of a message may have been acked."""
        with self._extending:
            now = monotonic()
            due = [held for held in list(self._held.values()) if held.extend_at <= now < held.until]
            by_queue: dict[str, list[_Held]] = {}
            for held in due:
                by_queue.setdefault(held.delivery.url, []).append(held)
            for url, several in by_queue.items():
                for start in range(0, len(several), BATCH):
                    self._extend(url, several[start : start + BATCH], now)

    def _extend(self, url: str, batch: Sequence[_Held], now: float) -> None:
        entries: Any = [
            {"Id": str(n), "ReceiptHandle": held.delivery.receipt, "VisibilityTimeout": VISIBILITY_SECONDS}
            for n, held in enumerate(batch)
        ]
        for held in batch:
            held.extend_at = now + self._every
        try:
            self._sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)
        except (ClientError, BotoCoreError) as error:
            log.info("%d messages are not kept hidden: %s", len(batch), error)

    def put_off(self, delivery: Delivery, seconds: float) -> bool:
        """Have the message seen again in `seconds`, not before. Returns: whether it is to be deleted, since a copy was sent."""
        if delivery.receives >= FRESH_AT and self._copy(delivery, seconds):
            return True
        try:
            self._sqs.change_message_visibility(
                QueueUrl=delivery.url,
                ReceiptHandle=delivery.receipt,
                VisibilityTimeout=min(ceil(seconds), MAX_HIDE_SECONDS),
            )
        except (ClientError, BotoCoreError) as error:
            log.info("a message cannot be hidden, a copy is sent in its place: %s", error)
            return self._copy(delivery, seconds)
        return False

    def _copy(self, delivery: Delivery, seconds: float) -> bool:
        group: Any = {"MessageGroupId": delivery.group} if delivery.group else {}
        delay = min(ceil(seconds), MAX_DELAY_SECONDS)
        try:
            self._sqs.send_message(QueueUrl=delivery.url, MessageBody=delivery.body, DelaySeconds=delay, **group)
        except (ClientError, BotoCoreError) as error:
            log.warning("the message stays hidden for a while, the relay is faster: %s", error)
            return False
        return True
