"""Celery's consumer, which never deletes a message that it could not take.

`tasks/envelope.py` lets none of them come this far. Should one do so, it stays in its queue, and reaches the dead-letter queue
after `maxReceiveCount` receives.
"""

import logging
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

log = logging.getLogger(__name__)


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Leaves in its queue what stock acks (`on_decode_error`: Celery #4308) or logs with its whole content (the others)."""

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """Leave it. Stock acks it: the message is lost."""
        self._leave(message, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002
        """Leave it. Stock writes the body to the log."""
        self._leave(message, ValueError("no task message"))

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:  # noqa: ARG002
        """Leave it. Stock writes body and headers to the log, and can raise on what it finds in them (Celery #7975)."""
        self._leave(message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:  # noqa: ARG002
        """Leave it. Stock writes the body to the log."""
        self._leave(message, exc)

    def _leave(self, message: Any, error: BaseException) -> None:
        log.error("Celery could not take a message, it is left in its queue: %s", type(error).__name__)
        message.reject()
