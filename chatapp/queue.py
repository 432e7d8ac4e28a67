"""Hop 3 of 8: the wake-up goes to SQS as a Celery message, sent by the task's name. It holds an id and nothing else.

If the send fails the turn is still accepted: the message is only a wake-up.
"""

import hashlib
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from celery import Celery
from kombu.messaging import Producer
from kombu.transport import SQS

from chatapp.aws import NO_ANSWER
from chatapp.effects import Effect, EffectId
from chatapp.errors import QueueUnavailable
from chatapp.model import JobId, Turn
from config.celery import celery_config
from config.resources import CHAT, CHAT_TASK, EFFECT_TASK, EFFECTS, Queue
from config.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

READ_SECONDS = 3

AWAY_SECONDS = 1.0
"""How long a failed send speaks for the others."""

PLACES = 10
"""Sends at the same time, in one process."""

WAIT_SECONDS = 4.0
"""Longest wait for one of the places: one send to an SQS that does not answer takes 3.4 s."""

MAX_DELAY_SECONDS = 900
MAX_BATCH = 10


def connect(region: str, endpoint_url: str | None, *, tries: int = 1) -> "SQSClient":
    """Make a client whose requests are bounded. Who sends has one try, since a request waits for it or a turn is held."""
    config = Config(
        connect_timeout=2,
        read_timeout=READ_SECONDS,
        tcp_keepalive=True,
        max_pool_connections=100,
        retries={"mode": "standard", "total_max_attempts": tries},
    )
    return boto3.client("sqs", region_name=region, endpoint_url=endpoint_url, config=config)


@contextmanager
def sqs_errors() -> Iterator[None]:
    """Turn what SQS or the network says into QueueUnavailable."""
    try:
        yield
    except ClientError as error:
        raise QueueUnavailable(f"SQS answered {error.response['Error']['Code']}") from error
    except NO_ANSWER as error:
        raise QueueUnavailable(f"SQS cannot be reached ({type(error).__name__})") from error


class _Channel(SQS.Channel):
    """kombu's channel with itself in the place of its client: it keeps what would be sent."""

    request: dict[str, Any]

    def sqs(self, queue: str | None = None) -> "_Channel":  # noqa: ARG002  kombu's signature
        return self

    def send_message(self, **request: Any) -> None:
        self.request = request


class _Transport(SQS.Transport):
    Channel = _Channel


class Composer:
    """Makes the wake-ups, exactly as Celery and kombu would send them, and sends nothing.

    So what is sent alone, in a batch or to the dead-letter queue is the same message by construction.
    """

    def __init__(self, settings: Settings) -> None:
        # Not the current app: a worker has its own, and threads must not resolve tasks by accident.
        self._app = Celery("chatapp-sender", set_as_current=False)
        self._app.config_from_object(
            celery_config(settings, read_timeout=READ_SECONDS, tries=1) | {"broker_transport": _Transport}
        )
        self._one_at_a_time = threading.Lock()

    @cached_property
    def _producer(self) -> Producer:
        producer: Producer = self._app.amqp.Producer(self._app.connection_for_write())
        return producer

    def __call__(self, job_id: JobId, *, user_id: str, traceparent: str | None = None, delay: float = 0) -> dict[str, Any]:
        """Make a wake-up. Returns: what SendMessage takes."""
        return self._compose(CHAT_TASK, CHAT, str(job_id), "job_id", user_id=user_id, traceparent=traceparent, delay=delay)

    def effect(self, effect_id: EffectId, *, user_id: str, delay: float = 0) -> dict[str, Any]:
        """Make a wake-up for an effect. Returns: what SendMessage takes."""
        return self._compose(EFFECT_TASK, EFFECTS, str(effect_id), "effect_id", user_id=user_id, delay=delay)

    def _compose(
        self, task: str, queue: Queue, named: str, argument: str, *, user_id: str, traceparent: str | None = None, delay: float
    ) -> dict[str, Any]:
        with self._one_at_a_time:
            self._app.send_task(
                task,
                kwargs={argument: named},
                task_id=named,
                queue=queue.name,
                producer=self._producer,
                declare=[],  # that would ask SQS about the queue
                headers={"traceparent": traceparent} if traceparent else None,
                argsrepr="-",  # arguments have no business in headers and logs
                kwargsrepr="-",
                # On a standard queue this turns fair queueing on: one user's backlog does not delay the others.
                MessageGroupId=hashlib.sha256(user_id.encode()).hexdigest(),
                **({"DelaySeconds": min(math.ceil(delay), MAX_DELAY_SECONDS)} if delay > 0 else {}),
            )
            request: dict[str, Any] = self._producer.channel.request
            return request


class CeleryWakeUps:
    """Implements the ports `WakeUps` and `EffectWakeUps`."""

    def __init__(self, compose: Composer, sqs: "SQSClient") -> None:
        self._compose = compose
        self._sqs = sqs
        self._places = threading.BoundedSemaphore(PLACES)
        self._away_until = 0.0

    def send(self, job_id: JobId, *, user_id: str, traceparent: str | None = None, delay: float = 0) -> None:
        """Ask some worker to look at the turn, after `delay` seconds (900 at most).

        Raises: QueueUnavailable: within 4 s where SQS is away, and at once for a moment after a send has failed, since who
        sends waits in a request, or holds a turn, and the relay sends what was not sent.
        """
        with self._place():
            self._sqs.send_message(**self._compose(job_id, user_id=user_id, traceparent=traceparent, delay=delay))

    def send_effect(self, effect_id: EffectId, *, user_id: str, delay: float = 0) -> None:
        """Ask some worker to look at the effect, after `delay` seconds (900 at most). Raises: QueueUnavailable, as `send`."""
        with self._place():
            self._sqs.send_message(**self._compose.effect(effect_id, user_id=user_id, delay=delay))

    def send_many(self, turns: Sequence[Turn]) -> None:
        """Ask for a look at each of the turns, ten in a request.

        Raises: QueueUnavailable, as `send`: what SQS did not take of a batch, and all after that batch, is unsent.
        """
        for start in range(0, len(turns), MAX_BATCH):
            some = turns[start:][:MAX_BATCH]
            self._send_batch([self._compose(t.job_id, user_id=t.user_id, traceparent=t.traceparent) for t in some])

    def send_effects(self, effects: Sequence[Effect]) -> None:
        """Ask for a look at each of the effects, ten in a request. Raises: QueueUnavailable, as `send_many`."""
        for start in range(0, len(effects), MAX_BATCH):
            self._send_batch([self._compose.effect(e.id, user_id=e.user_id) for e in effects[start:][:MAX_BATCH]])

    def _send_batch(self, batch: Sequence[dict[str, Any]]) -> None:
        url = batch[0]["QueueUrl"]
        entries: list[Any] = [{"Id": str(n), **{k: v for k, v in r.items() if k != "QueueUrl"}} for n, r in enumerate(batch)]
        with self._place():
            failed = self._sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed")
            if failed:
                raise QueueUnavailable(f"SQS did not take {len(failed)} of {len(batch)} messages ({failed[0]['Code']})")

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Hold one of the few places for a request to SQS."""
        self._check_away()
        if not self._places.acquire(timeout=WAIT_SECONDS):
            raise QueueUnavailable("SQS is slow: too many sends wait for it")
        try:
            # Who waited while SQS was found to be away need not find that out again.
            self._check_away()
            try:
                with sqs_errors():
                    yield
            except QueueUnavailable:
                self._away_until = monotonic() + AWAY_SECONDS
                raise
        finally:
            self._places.release()

    def _check_away(self) -> None:
        if monotonic() < self._away_until:
            raise QueueUnavailable("SQS did not answer a moment ago")
