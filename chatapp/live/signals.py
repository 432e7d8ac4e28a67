"""A word to whoever runs a turn: look at it now. One channel for the fleet; whoever does not run the turn lets it pass."""

import logging
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from chatapp.live.channel import Channel
from chatapp.model import JobId

log = logging.getLogger(__name__)

CHANNEL = "signals"


class Signals:
    """Implements the `Signals` port, and its other end."""

    def __init__(self, redis: Redis, channel: Channel) -> None:
        self._redis = redis
        self._channel = channel

    def look(self, job_id: JobId) -> None:
        """Tell the attempt that runs the turn to look at the turn now. Fails open: it looks at its next renewal anyway."""
        try:
            self._redis.publish(CHANNEL, str(job_id))
        except RedisError as error:
            log.warning("the attempt that runs %s is not told to look: %s", job_id, error)

    def listen(self, told: Callable[[JobId], None]) -> None:
        """Have `told` called for every signal, from whenever Redis is there. `told` must not wait."""

        def read(text: str | None) -> None:
            job_id = JobId.parse(text) if text else None
            if job_id is not None:
                told(job_id)

        self._channel.follow(CHANNEL, read, wait=None)
