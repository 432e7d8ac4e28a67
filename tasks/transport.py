"""kombu's SQS transport, in which no message and no outage stops a worker or loses a message.

Written against kombu 5.7 (`kombu/transport/SQS/__init__.py`). Beside each override stands what stock does, and the issue;
`tests/integration/test_stock_transport.py` shows the stock behaviour, and fails when an upgrade makes an override needless.

Options of the transport (`broker_transport_options`) that are ours:
    bury    called with (queue name, raw body, reason, detail, id of the job or effect it names or None) for a message that no
            worker can read. It puts the message away for good; what it raises leaves the message in its queue.
"""

import logging
from collections.abc import Iterator
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import SQS

from tasks.envelope import Envelope, Poison, read
from tasks.gate import gate

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Pause after a receive that failed, and between two lines of log about an SQS that fails."""

CYCLE_SECONDS = 0.5
"""Longest time for which the worker's loop is held while there is nothing to receive: it looks for signals between cycles."""


class Channel(SQS.Channel):
    """Receives, and settles what was received. Nothing of SQS raises out of here."""

    do_restore = False
    """Stock sends every unacked message anew when it closes, one by one. Ours are wake-ups: they become visible by themselves."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bury = self.transport_options["bury"]
        self._complaints = _Complaints()
        self._poll_at = 0.0

    # --- receiving

    def drain_events(self, timeout: float | None = None, callback: Any = None, **options: Any) -> None:
        """Poll, unless the gate is closed, no slot is free, or a receive failed a moment ago."""
        if not gate.is_open or monotonic() < self._poll_at:
            raise Empty
        super().drain_events(timeout=timeout, callback=callback, **options)

    def _get_bulk(self, queue: str, max_if_unlimited: int = SQS.SQS_MAX_MESSAGES, callback: Any = None) -> None:  # noqa: ARG002
        """Receive some messages and hand them on.

        Stock: a receive that fails kills the worker or tears its connection down, and with it the acks of what runs (Celery
        #4988, #8243, kombu #1172); a malformed message kills it or is deleted (Celery #7975, #4308, kombu #2421); and after
        SIGTERM it takes new work for another cycle.
        """
        unwanted = []
        for message, content in self._read(queue, self._receive(queue)):
            if not gate.is_open:  # closed during the long poll, or since the first of these was handed on
                unwanted.append(message)
            elif isinstance(content, Poison):
                self._put_away(queue, message, content)
            else:
                self._hand_on(queue, message, content)
        self._release(queue, unwanted)

    def _receive(self, queue: str) -> list[dict[str, Any]]:
        began = monotonic()
        try:
            messages = self._poll_once(queue)
        except Exception as error:  # noqa: BLE001  of any kind: refused, 503, throttled, no JSON, no credentials
            self._poll_at = began + RETRY_SECONDS
            self._complaints.say("SQS gives no messages (%s), the worker goes on asking", error)
            raise Empty from None
        if not messages:
            raise Empty
        return messages

    def _poll_once(self, queue: str) -> list[dict[str, Any]]:
        answer = self._receive_message(queue, self._get_message_estimate(), self.wait_time_seconds)
        messages: list[dict[str, Any]] = answer.get("Messages") or []
        if not all(isinstance(m.get("Body"), str) and m.get("ReceiptHandle") for m in messages):
            raise ValueError("messages without a body or a receipt")
        return messages

    def _read(self, queue: str, messages: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Envelope | Poison]]:
        """Yield the good ones first: putting poison away takes time."""
        poison = []
        for message in messages:
            try:
                yield message, read(message["Body"], queue)
            except Poison as error:
                poison.append((message, error))
        yield from poison

    def _hand_on(self, queue: str, message: dict[str, Any], envelope: Envelope) -> None:
        """Give a message to Celery, as coming from the queue it came from.

        Stock believes the message's own `routing_key`, and acks and rejects by it.
        """
        tag = message["ReceiptHandle"]
        info = {"exchange": queue, "routing_key": queue, "sqs_queue": self._new_queue(queue), "sqs_message": message}
        try:
            self.connection._deliver(envelope.payload(tag, info), queue)  # noqa: SLF001
        except Exception:
            log.exception("Celery could not take message %s, it is left in its queue", message.get("MessageId"))
            self.basic_reject(tag)

    def _put_away(self, queue: str, message: dict[str, Any], poison: Poison) -> None:
        """Hand poison over, and delete it once that is done."""
        log.error("poison in queue %s, message %s, %s", queue, message.get("MessageId"), poison)
        try:
            self._bury(queue, message["Body"], poison.reason, poison.detail, poison.about)
        except Exception:
            log.exception("message %s could not be put away, it is left in its queue", message.get("MessageId"))
        else:
            self._forget(queue, message["ReceiptHandle"])

    # --- settling

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: ARG002
        """Delete a message. If that fails it comes again, and the turn says that it has been seen to.

        Stock is silent about some errors, and raises the others into the task's callback: a traceback for each task that ends.
        """
        try:
            self._forget(self.qos.get(delivery_tag).delivery_info["routing_key"], delivery_tag)
        except KeyError:
            return  # settled before
        finally:
            self._settle(delivery_tag)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Leave a message in its queue: hidden for as long as it is, or with `requeue` visible at once.

        Stock deletes it, unless it has found a redrive policy in the last five minutes; with `requeue` it hides it for
        `wait_time_seconds` and loses its receipt, on which a back-off policy then stumbles: KeyError (kombu #1824).
        """
        try:
            if requeue:
                info = self.qos.get(delivery_tag).delivery_info
                self._release(info["routing_key"], [info["sqs_message"]])
        except KeyError:
            return  # settled before
        finally:
            self._settle(delivery_tag)

    def _settle(self, delivery_tag: str) -> None:
        """Give its slot back, once: a tag that QoS does not know would count as a free slot too many."""
        try:
            self.qos.get(delivery_tag)
        except KeyError:
            return
        self.qos.ack(delivery_tag)

    def _forget(self, queue: str, receipt: str) -> None:
        try:
            self.sqs(queue=queue).delete_message(QueueUrl=self._new_queue(queue), ReceiptHandle=receipt)
        except Exception as error:  # noqa: BLE001  see basic_ack
            self._complaints.say("SQS deletes nothing (%s), messages will be seen again", error)

    def _release(self, queue: str, messages: list[dict[str, Any]]) -> None:
        """Make messages visible to other workers at once."""
        if not messages:
            return
        entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"], "VisibilityTimeout": 0} for n, m in enumerate(messages)]
        try:
            self.sqs(queue=queue).change_message_visibility_batch(QueueUrl=self._new_queue(queue), Entries=entries)
        except Exception as error:  # noqa: BLE001  they become visible by themselves, later
            self._complaints.say("SQS takes no messages back (%s), they stay hidden for a while", error)

    # --- starting

    def _size(self, queue: str) -> int:  # noqa: ARG002
        """Say nothing about the queue's length.

        Stock asks SQS whenever the worker declares its queues, only to throw the answer away; an error kills the worker.
        """
        return 0


class Transport(SQS.Transport):
    """See the module."""

    Channel = Channel

    implements = SQS.Transport.implements.extend(asynchronous=False)
    """Every pool receives as written above. Stock has a second way to receive, for prefork, which would pass by all of it."""

    def drain_events(self, connection: Any, timeout: float | None = None, **_options: Any) -> None:
        """Wait for messages. Stock: for 2 s even when the worker is told to stop."""
        super().drain_events(connection, timeout=min(timeout or CYCLE_SECONDS, CYCLE_SECONDS))


class _Complaints:
    """At most one line a second about SQS, whatever fails there how often."""

    def __init__(self) -> None:
        self._quiet_until = 0.0
        self._unsaid = 0

    def say(self, text: str, error: Exception) -> None:
        if monotonic() < self._quiet_until:
            self._unsaid += 1
            return
        log.warning("%s%s", text % error, f"; {self._unsaid} more such lines were left out" if self._unsaid else "")
        self._quiet_until, self._unsaid = monotonic() + RETRY_SECONDS, 0
