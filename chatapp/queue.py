"""Hop 3 of 8: the wake-up goes to SQS as a Celery message, sent by the task's name. It holds an id and nothing else.

If the send fails the turn is still accepted: the message is only a wake-up.
"""

import hashlib

from botocore.exceptions import BotoCoreError, ClientError
from celery import Celery
from kombu.exceptions import OperationalError

from chatapp.errors import QueueUnavailable
from chatapp.model import JobId
from config.celery import celery_config
from config.resources import CHAT, CHAT_TASK
from config.settings import Settings


class CeleryWakeUps:
    """Implements the `WakeUps` port."""

    def __init__(self, settings: Settings) -> None:
        # Not the current app: a worker has its own, and threads must not resolve tasks by accident.
        self._app = Celery("chatapp-sender", set_as_current=False)
        self._app.config_from_object(celery_config(settings, read_timeout=3, tries=1))

    def send(self, job_id: JobId, *, user_id: str, traceparent: str | None = None, delay: int = 0) -> None:
        """Ask some worker to look at the turn, `delay` seconds from now (0-900).

        Raises: QueueUnavailable, within 3.5 s.
        """
        options = {"DelaySeconds": delay} if delay else {}
        try:
            self._app.send_task(
                CHAT_TASK,
                kwargs={"job_id": str(job_id)},
                task_id=str(job_id),
                queue=CHAT.name,
                headers={"traceparent": traceparent} if traceparent else None,
                argsrepr="-",  # arguments have no business in headers and logs
                kwargsrepr="-",
                # On a standard queue this turns fair queueing on: one user's backlog does not delay the others.
                MessageGroupId=hashlib.sha256(user_id.encode()).hexdigest(),
                **options,
            )
        except (ClientError, BotoCoreError, OperationalError) as error:
            raise QueueUnavailable(f"SQS did not take the message ({type(error).__name__})") from error
