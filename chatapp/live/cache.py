"""Caches in Redis. They may forget at any time; Redis being away is the same as having forgotten."""

import json
import logging
from collections.abc import Sequence
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from chatapp.model import Message

log = logging.getLogger(__name__)

CONTEXT_SECONDS = 900


class ContextCache:
    """`context:{sid}`: the recent history of a session, up to and with a turn."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def get(self, session_id: str) -> tuple[int, tuple[Message, ...]] | None:
        """Read (the last turn it holds, the messages). Fails open: the history is in DynamoDB."""
        try:
            text = cast("str | None", self._redis.get(context_key(session_id)))
        except RedisError as error:
            log.warning("the history of %s was not read from the cache: %s", session_id, error)
            return None
        if text is None:
            return None
        try:
            kept = json.loads(text)
            return kept["through"], tuple(Message(role, said) for role, said in kept["messages"])
        except (ValueError, KeyError, TypeError) as error:
            log.warning("the cached history of %s cannot be read: %r", session_id, error)
            return None

    def put(self, session_id: str, through: int, messages: Sequence[Message]) -> None:
        """Keep the messages up to and with turn `through`. Fails open."""
        text = json.dumps({"through": through, "messages": [(m.role, m.text) for m in messages]}, ensure_ascii=False)
        try:
            self._redis.set(context_key(session_id), text, ex=CONTEXT_SECONDS)
        except RedisError as error:
            log.warning("the history of %s was not cached: %s", session_id, error)


def context_key(session_id: str) -> str:
    """Name the key of a session's cached history."""
    return f"context:{{{session_id}}}"
