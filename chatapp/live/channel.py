"""The live wire into this process: one Redis pub/sub connection for all channels that somebody here follows.

Pub/sub keeps nothing: what is published while the connection is away is gone, and nobody says so. So whoever follows is
told when there may be a gap, and reads the log again. An own connection instead of redis-py's `PubSub`, which connects
again by itself, in whichever thread notices, and says nothing of it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from chatapp.errors import LiveUnavailable

log = logging.getLogger(__name__)

Callback = Callable[[str | None], None]
"""Takes a message's text, or None when messages may have been lost. Runs in the reader's thread: it must not wait."""

CONFIRM_SECONDS = 1.0
"""Longest wait for Redis to confirm a subscription."""

BUSY_SECONDS = 4.0
"""More of it while the connection stands: Redis is there, and it or this process is busy (thousands come back at once)."""

HEARTBEAT_SECONDS = 10.0
"""Silence after which the connection is probed, and after as much again given up."""

BACKOFF_SECONDS = (0.05, 2.0)
"""First and longest pause between two tries to connect."""

_OURS: dict[str, Any] = {
    "protocol": 2,  # all that arrives on a subscribed connection is an array then
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),  # needs protocol 3
    "retry": Retry(NoBackoff(), 0),  # connecting again unseen is what hides gaps
    "health_check_interval": 0,
}

BURST = 50
"""Messages after which others get their turn."""

BATCH = 500
"""Channels in one SUBSCRIBE."""


@dataclass(slots=True)
class _Topic:
    callbacks: list[Callback] = field(default_factory=list)
    confirmed: threading.Event = field(default_factory=threading.Event)
    cut: bool = False


class Following:
    """A callback's hold on a channel; closing it lets go. A context manager."""

    def __init__(self, channel: "Channel", name: str, callback: Callback) -> None:
        self._channel = channel
        self._name = name
        self._callback = callback

    def close(self) -> None:
        """Follow no longer. The callback may still be running when this returns."""
        self._channel.drop(self._name, self._callback)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Channel:
    """Follows channels, many callbacks on one. Nothing connects before the first `follow`."""

    def __init__(self, redis: Redis) -> None:
        self._pool = redis.connection_pool
        self._lock = threading.Lock()  # guards all below, and every write to the connection
        self._topics: dict[str, _Topic] = {}
        self._awaited: dict[str, int] = {}  # SUBSCRIBEs on their way, by channel
        self._connection: Any = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def follow(self, name: str, callback: Callback, wait: float | None = CONFIRM_SECONDS) -> Following:
        """Have `callback` called with every message on the channel from the moment this returns (some may come earlier).

        `wait` None: from whenever Redis is there. Raises: LiveUnavailable when it did not confirm within `wait` seconds.
        """
        with self._lock:
            topic = self._topics.get(name)
            if topic is None:
                topic = self._topics[name] = _Topic()
                self._send("SUBSCRIBE", [name])
            topic.callbacks.append(callback)
            self._start()
        if wait is not None and not (topic.confirmed.wait(wait) or (self._connection and topic.confirmed.wait(BUSY_SECONDS))):
            self.drop(name, callback)
            raise LiveUnavailable("the live channel is not available", retry_after=1)
        return Following(self, name, callback)

    def drop(self, name: str, callback: Callback) -> None:
        """Take one callback off a channel; the last one ends the subscription. Harmless when it is off already."""
        with self._lock:
            topic = self._topics.get(name)
            if topic is None or callback not in topic.callbacks:
                return
            topic.callbacks.remove(callback)
            if not topic.callbacks:
                del self._topics[name]
                self._send("UNSUBSCRIBE", [name])

    def close(self) -> None:
        """End the reader and the connection. Nothing can be followed afterwards."""
        self._stopped.set()
        with self._lock:
            thread = self._thread
            self._send("PING", [])  # wakes the reader, to whom the connection belongs
        if thread is not None:
            thread.join(BACKOFF_SECONDS[1] + CONFIRM_SECONDS)

    def _start(self) -> None:
        if self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(target=self._run, name="live-channel", daemon=True)
            self._thread.start()

    def _send(self, command: str, names: list[str]) -> None:
        """Send, with the lock held. Without a connection, or when it breaks, the reader subscribes all when it is back."""
        if command == "SUBSCRIBE":
            for name in names:
                self._awaited[name] = self._awaited.get(name, 0) + 1
        if self._connection is None:
            return
        try:
            self._connection.send_command(command, *names, check_health=False)
        except RedisError as error:
            # A failed send has closed the connection under the reader, who begins anew after whatever error that makes.
            log.info("%s failed, the reader will connect again: %s", command, error)
            self._connection = None

    def _run(self) -> None:
        pause, longest = BACKOFF_SECONDS
        while not self._stopped.is_set():
            try:
                connection = self._connect()
                pause = BACKOFF_SECONDS[0]
                self._read(connection)
            except Exception as error:  # noqa: BLE001  all followers of the process hang on this thread; see also `_send`
                if self._stopped.is_set():
                    return
                log.warning("the live channel is cut, next try in %.2f s: %s", pause, error)
            self._disconnected()
            self._stopped.wait(pause)
            pause = min(pause * 2, longest)

    def _connect(self) -> Any:
        options = {**self._pool.connection_kwargs, **_OURS}
        connection = self._pool.connection_class(**options)
        connection.connect()
        with self._lock:
            self._connection, self._awaited = connection, {}
            names = list(self._topics)
            for start in range(0, len(names), BATCH):
                self._send("SUBSCRIBE", names[start : start + BATCH])
        return connection

    def _disconnected(self) -> None:
        with self._lock:
            self._connection = None
            for topic in self._topics.values():
                topic.cut = topic.cut or topic.confirmed.is_set()
                topic.confirmed.clear()

    def _read(self, connection: Any) -> None:
        try:
            probed, handled = False, 0
            while not self._stopped.is_set():
                if self._connection is not connection:  # or redis-py would quietly connect again to read
                    raise RedisConnectionError("cut while writing")
                if connection.can_read(timeout=HEARTBEAT_SECONDS):
                    probed = False
                    self._handle(connection.read_response(disconnect_on_error=False))
                    handled += 1
                    if handled % BURST == 0:
                        time.sleep(0)  # under gevent a reader that never has to wait lets nobody else run
                elif probed:
                    raise RedisConnectionError("no answer to PING")
                else:
                    probed = True
                    with self._lock:
                        self._send("PING", [])
        finally:
            with self._lock:
                self._connection = None
                connection.disconnect()

    def _handle(self, response: Any) -> None:
        if not isinstance(response, list) or len(response) != 3:
            return  # the answer to PING
        kind, name, data = response
        if kind == "message":
            topic = self._topics.get(name)
            self._tell(name, data, topic.callbacks if topic else ())
        elif kind == "subscribe":
            self._confirm(name)

    def _confirm(self, name: str) -> None:
        """Count a confirmation. Only the last one that is awaited counts: an UNSUBSCRIBE may lie between two."""
        with self._lock:
            left = self._awaited.get(name, 1) - 1
            if left > 0:
                self._awaited[name] = left
                return
            self._awaited.pop(name, None)
            topic = self._topics.get(name)
            if topic is None:
                return
            topic.confirmed.set()
            told = list(topic.callbacks) if topic.cut else []
            topic.cut = False
        self._tell(name, None, told)

    def _tell(self, name: str, text: str | None, callbacks: Iterable[Callback]) -> None:
        for callback in tuple(callbacks):
            try:
                callback(text)
            except Exception:  # one follower's fault must not silence the others
                log.exception("a follower of %s failed", name)
