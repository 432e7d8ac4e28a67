"""Pushing to people instead of sessions: to all sockets of a user, or to all sockets, in whichever process they are.

Nothing is kept: who is not connected misses it. What must be there on the next visit belongs to a session's own log
(chatapp/live/session_log.py).
"""

import json
from typing import Any

from redis import Redis

from chatapp.live.sockets import fails_closed
from chatapp.payloads import encode

PUSH_CHANNEL = "ws:push"
"""Every WebSocket process follows it. Messages are `{"user_id": <id or null for all>, "frame": <JSON text for the client>}`."""


class Pushes:
    """Sends frames to sockets. Raises LiveUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def to_user(self, user_id: str, frame: dict[str, Any]) -> int:
        """Push to every socket of a user. Returns: how many WebSocket processes were told; they know who is there."""
        return self._push(user_id, frame)

    def to_all(self, frame: dict[str, Any]) -> int:
        """Push to every authenticated socket. Returns: how many WebSocket processes were told."""
        return self._push(None, frame)

    @fails_closed
    def _push(self, user_id: str | None, frame: dict[str, Any]) -> int:
        return self._redis.publish(PUSH_CHANNEL, json.dumps({"user_id": user_id, "frame": encode(frame)}))
