"""Hop 3 of 8: the wake-up goes to SQS as a Celery message, sent by the task's name. It holds an id and nothing else.

If the send fails the turn is still accepted: the message is only a wake-up.
"""

import hashlib
from time import monotonic

from botocore.exceptions import BotoCoreError, ClientError
from celery import Celery
from kombu.exceptions import KombuError
from kombu.messaging import Producer

from chatapp.errors import QueueUnavailable
from chatapp.model import JobId
from config.celery import celery_config
from config.resources import CHAT, CHAT_TASK
from config.settings import Settings

AWAY_SECONDS = 1.0
"""How long a failed send speaks for the others."""

WAIT_SECONDS = 4.0
"""Longest wait for a place in the pool of producers: one send to an SQS that does not answer takes 3.4 s."""


class CeleryWakeUps:
    """Implements the `WakeUps` port."""

    def __init__(self, settings: Settings) -> None:
        # Not the current app: a worker has its own, and threads must not resolve tasks by accident.
        self._app = Celery("chatapp-sender", set_as_current=False)
        self._app.config_from_object(celery_config(settings, read_timeout=3, tries=1))
        self._away_until = 0.0

    def send(self, job_id: JobId, *, user_id: str, traceparent: str | None = None) -> None:
        """Ask some worker to look at the turn.

        Raises: QueueUnavailable: within 4 s, and at once for a moment after a send has failed, since who sends waits in a
        request, or holds a turn, and the relay sends what was not sent.
        """
        try:
            self._check_away()
            # The pool is small; who waited for it while SQS was found to be away need not find that out again.
            with self._app.producer_pool.acquire(block=True, timeout=WAIT_SECONDS) as producer:
                self._check_away()
                self._send(producer, job_id, user_id, traceparent)
        except (ClientError, BotoCoreError, KombuError) as error:
            self._away_until = monotonic() + AWAY_SECONDS
            raise QueueUnavailable(f"SQS did not take the message ({type(error).__name__})") from error

    def _check_away(self) -> None:
        if monotonic() < self._away_until:
            raise QueueUnavailable("SQS did not answer a moment ago")

    def _send(self, producer: Producer, job_id: JobId, user_id: str, traceparent: str | None) -> None:
        self._app.send_task(
            CHAT_TASK,
            kwargs={"job_id": str(job_id)},
            task_id=str(job_id),
            queue=CHAT.name,
            producer=producer,
            headers={"traceparent": traceparent} if traceparent else None,
            argsrepr="-",  # arguments have no business in headers and logs
            kwargsrepr="-",
            # On a standard queue this turns fair queueing on: one user's backlog does not delay the others.
            MessageGroupId=hashlib.sha256(user_id.encode()).hexdigest(),
        )
