"""Waiting for the end of a turn: on the session's channel, with a look at the truth now and then."""

import json
import logging
import threading

from chatapp.errors import LiveUnavailable
from chatapp.live.channel import Channel
from chatapp.live.events import channel_of
from chatapp.model import JobId, Turn
from chatapp.payloads import TERMINAL
from chatapp.ports import Clock, Turns

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""The channel may miss an event, or be away: the turn itself is read this often."""


MAX_WAITS = 1_000
"""Waits in one process at a time: each holds a connection, and those belong to others too."""


class Waiting:
    """Waits for ends of turns."""

    def __init__(self, channel: Channel, turns: Turns, clock: Clock) -> None:
        self._channel = channel
        self._turns = turns
        self._clock = clock
        self._places = threading.BoundedSemaphore(MAX_WAITS)
        self._waiting: set[threading.Event] = set()
        self._released = False

    def __call__(self, job_id: JobId, seconds: float) -> Turn | None:
        """Read the turn once it has ended, or after `seconds` as it stands then (at once if too many wait, or on `release`).

        Returns: None if there is no such turn.
        """
        if not self._places.acquire(blocking=False):
            return self._turns.get(job_id)
        try:
            return self._until_ended(job_id, seconds)
        finally:
            self._places.release()

    def release(self) -> None:
        """Let every wait end now, and none begin any more: the process stops."""
        self._released = True
        for waiting in tuple(self._waiting):
            waiting.set()

    def _until_ended(self, job_id: JobId, seconds: float) -> Turn | None:
        ended = threading.Event()
        self._waiting.add(ended)

        def hear(text: str | None) -> None:
            if text is None or _is_end(text, job_id):
                ended.set()

        try:
            with self._channel.follow(channel_of(job_id.session_id), hear):
                return self._wait(job_id, seconds, ended)
        except LiveUnavailable as error:
            log.info("waiting for %s without the live channel: %s", job_id, error)
            return self._wait(job_id, seconds, ended)
        finally:
            self._waiting.discard(ended)

    def _wait(self, job_id: JobId, seconds: float, ended: threading.Event) -> Turn | None:
        deadline = self._clock.monotonic() + seconds
        while True:
            turn = self._turns.get(job_id)  # after the subscription, so that no end falls between the two
            left = deadline - self._clock.monotonic()
            if turn is None or turn.status.ended or left <= 0 or self._released:
                return turn
            ended.wait(min(left, LOOK_SECONDS))
            ended.clear()


def _is_end(text: str, job_id: JobId) -> bool:
    event = json.loads(text)
    return event["type"] in TERMINAL and event["job_id"] == str(job_id)
