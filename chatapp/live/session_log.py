"""A session's own log, `events:{sid}.0`: what is no answer to a turn (notices, actions, profile). It is never closed."""

import logging
from importlib.resources import files
from typing import Any, cast

from redis import Redis

from chatapp.errors import LiveUnavailable
from chatapp.live.events import channel_of, key_of
from chatapp.live.following import OWN_LOG
from chatapp.live.sockets import fails_closed
from chatapp.model import EventId, JobId, timestamp
from chatapp.payloads import encode
from chatapp.ports import Clock

log = logging.getLogger(__name__)

LIFE_SECONDS = 86_400
MAX_EVENTS = 1_000
"""Events that are kept of a session; who was away for more of them learns that by `recovered: false`."""

_APPEND = files("chatapp.live").joinpath("session_log.lua").read_text()


class SessionLog:
    """Writes sessions' own logs; they are read as the turns' are (chatapp.live.events.EventLog)."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._append = redis.register_script(_APPEND)
        self._clock = clock

    def tell(self, session_id: str, kind: str, /, **fields: Any) -> None:
        """Write an event and push it, if Redis can be asked. Fails open: what it tells can be read over HTTP."""
        try:
            self.append(session_id, kind, **fields)
        except LiveUnavailable as error:
            log.warning("%s is not told to who follows %s: %s", kind, session_id, error.detail)

    @fails_closed
    def append(self, session_id: str, kind: str, /, **fields: Any) -> EventId:
        """Write an event and push it to who follows the session. Returns: its id. Raises: LiveUnavailable."""
        log = JobId(session_id, OWN_LOG)
        first = encode({"type": kind})[:-1] + ","
        rest = encode({"job_id": str(log), "session_id": session_id, "created_at": timestamp(self._clock.now()), **fields})[1:]
        answer = self._append(keys=[key_of(log)], args=[channel_of(session_id), LIFE_SECONDS, MAX_EVENTS, first, rest])
        event_id = EventId.parse(cast("str", answer))
        if event_id is None:
            raise ValueError(answer)
        return event_id
