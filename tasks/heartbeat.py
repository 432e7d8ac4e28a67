"""What a worker does all the time beside its turns: renew their leases and hide their messages, run the relay, look at the gate.

All of it goes on through a warm shutdown, until the last turn is done and the process ends: the threads are daemons.
"""

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from celery import bootsteps

from chatapp.errors import Unavailable

log = logging.getLogger(__name__)


class Heartbeat:
    """Calls something every so many seconds, whatever it raises."""

    def __init__(self, name: str, seconds: float, beat: Callable[[], object]) -> None:
        self._name = name
        self._seconds = seconds
        self._beat = beat
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def stop(self) -> None:
        """End after the present beat."""
        self._stopped.set()

    def _run(self) -> None:
        wait = self._seconds
        while not self._stopped.wait(wait):
            began = monotonic()
            try:
                self._beat()
            except Unavailable as error:
                log.warning("%s: %s", self._name, error.detail)
            except Exception:  # a heartbeat that dies silently is worse than one that fails loudly
                log.exception("%s failed", self._name)
            wait = max(0.0, self._seconds - (monotonic() - began))


class Heartbeats(bootsteps.StartStopStep):  # type: ignore[misc]
    """A step of the worker's start: all its heartbeats begin before it takes messages.

    There is no `stop`: Celery would call it before it waits for the tasks that still run, and those need their leases.
    """

    requires = frozenset({"celery.worker.components:Pool"})
    all: tuple[Heartbeat, ...] = ()
    """Set by tasks/app.py."""

    def start(self, parent: Any) -> None:  # noqa: ARG002  Celery's signature
        """Begin."""
        for heartbeat in self.all:
            heartbeat.start()
