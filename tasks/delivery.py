"""Deliveries: what a worker does to the messages it holds. Kept hidden while their turns run, hidden until a turn is due.

None of it is precious: a message that cannot be extended, hidden or copied is seen again, or the relay sends another.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from chatapp.aws import NO_ANSWER
from chatapp.queue import MAX_BATCH, MAX_DELAY_SECONDS
from config.resources import MAX_RECEIVE_COUNT, VISIBILITY_SECONDS

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

log = logging.getLogger(__name__)

MAX_HIDE_SECONDS = 43_200
"""SQS hides a message for twelve hours at most."""

FRESH_AT = MAX_RECEIVE_COUNT - 2
"""Receives after which a message is replaced by a copy: waiting and deploys must not count a turn into the dead-letter queue."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of one message. `attributes` are those that the dead-letter queue gave it, should it have been there."""

    url: str
    receipt: str
    body: str
    receives: int
    group: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def returned(self) -> bool:
        """Whether it came back from the dead-letter queue."""
        return "Reason" in self.attributes

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Self:
        """Read a delivery from a Celery request's properties, as tasks/transport.py makes them."""
        info, receipt = properties["delivery_info"], properties["delivery_tag"]
        message = info["sqs_message"]
        told = message.get("Attributes", {})
        receives = int(told.get("ApproximateReceiveCount", 1))
        attributes = message.get("MessageAttributes", {})
        return cls(info["sqs_queue"], receipt, message["Body"], receives, told.get("MessageGroupId"), attributes)


@dataclass(slots=True)
class _Held:
    delivery: Delivery
    extend_at: float
    until: float
    extending: threading.Event | None = None
    """Set when the request that extends it, if one is on its way, has been answered."""


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
        self._lock = threading.Lock()

    @contextmanager
    def holding(self, delivery: Delivery) -> Iterator[None]:
        """Keep a message hidden until the block is left. After that nothing is extended any more, not even by a late request."""
        now = monotonic()
        held = self._held[delivery.receipt] = _Held(delivery, now + self._every, now + self._longest)
        try:
            yield
        finally:
            with self._lock:
                del self._held[delivery.receipt]
                extending = held.extending
            if extending is not None:  # that request would overwrite what is done to the message next
                extending.wait()

    def beat(self) -> None:
        """Extend what is due, in batches. Failing means nothing: another delivery of a message may have been acked."""
        now = monotonic()
        by_queue: dict[str, list[_Held]] = {}
        for held in list(self._held.values()):
            if held.extend_at <= now < held.until:
                by_queue.setdefault(held.delivery.url, []).append(held)
        for url, due in by_queue.items():
            for start in range(0, len(due), MAX_BATCH):
                if not self._extend(url, due[start : start + MAX_BATCH]):
                    return  # SQS is away: the next beat tries again

    def _extend(self, url: str, due: Sequence[_Held]) -> bool:
        over = threading.Event()
        with self._lock:
            batch = [held for held in due if held.delivery.receipt in self._held]
            for held in batch:
                held.extending, held.extend_at = over, monotonic() + self._every
        entries: Any = [
            {"Id": str(n), "ReceiptHandle": held.delivery.receipt, "VisibilityTimeout": VISIBILITY_SECONDS}
            for n, held in enumerate(batch)
        ]
        try:
            if entries:
                self._sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)
        except (ClientError, *NO_ANSWER) as error:
            log.info("%d messages are not kept hidden: %s", len(batch), error)
            return False
        finally:
            with self._lock:
                for held in batch:
                    held.extending = None
            over.set()
        return True

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
        except (ClientError, *NO_ANSWER) as error:
            log.info("a message cannot be hidden, a copy is sent in its place: %s", error)
            return self._copy(delivery, seconds)
        return False

    def _copy(self, delivery: Delivery, seconds: float) -> bool:
        more: Any = {"MessageGroupId": delivery.group} if delivery.group else {}
        more |= {"MessageAttributes": delivery.attributes} if delivery.attributes else {}
        delay = min(ceil(seconds), MAX_DELAY_SECONDS)
        try:
            self._sqs.send_message(QueueUrl=delivery.url, MessageBody=delivery.body, DelaySeconds=delay, **more)
        except (ClientError, *NO_ANSWER) as error:
            log.warning("the message stays hidden for a while, the relay is faster: %s", error)
            return False
        return True
