"""Who is here: the authenticated sockets of this process by their users, and the frames that are pushed to people.

What is pushed comes over one channel that every WebSocket process follows (chatapp/live/pushing.py). A frame for one user goes
to that user's sockets without a look at any other; one for all is handed round by a thread of its own, a slice at a time, so
that the events of sessions do not wait behind it.
"""

import logging
import queue
import threading
import time

from pydantic import BaseModel, ConfigDict, ValidationError

from chatapp.live.channel import Channel
from chatapp.live.pushing import PUSH_CHANNEL
from ws.hub import Recipient
from ws.notices import Push
from ws.standing import Standing

log = logging.getLogger(__name__)

SLICE = 100
"""Sockets that are given a frame for all before everything else gets its turn."""

MAX_WAITING = 1_000
"""Frames for all that wait to be handed round. Nothing of them is kept, so what comes on top is dropped."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    user_id: str | None
    frame: str


class Audience:
    """The users of this process."""

    def __init__(self, channel: Channel) -> None:
        self._pushes = Standing(channel, PUSH_CHANNEL, self._hear)
        self._lock = threading.Lock()
        self._users: dict[str, tuple[Recipient, ...]] = {}  # a user has one socket, or a few: a tuple takes a quarter of a set
        self._thread: threading.Thread | None = None
        self._for_all: queue.Queue[Push] = queue.Queue(MAX_WAITING)

    def join(self, user_id: str, socket: Recipient) -> None:
        """Let what is pushed to this user, or to all, reach a socket. Raises: LiveUnavailable."""
        self._pushes.ensure()
        self._start()
        with self._lock:
            self._users[user_id] = (*self._users.get(user_id, ()), socket)

    def leave(self, user_id: str, socket: Recipient) -> None:
        """Push nothing more to a socket. Harmless when it had not joined."""
        with self._lock:
            left = tuple(other for other in self._users.get(user_id, ()) if other is not socket)
            if left:
                self._users[user_id] = left
            else:
                self._users.pop(user_id, None)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._hand_round, name="push-to-all", daemon=True)
                self._thread.start()

    def _hear(self, text: str | None) -> None:
        if text is None:
            return  # what was pushed while Redis was away is gone: nobody keeps it
        try:
            message = _Message.model_validate_json(text)
        except ValidationError:
            log.warning("a message on the channel of pushes cannot be read")
            return
        if message.user_id is None:
            self._to_all(Push(message.frame))
            return
        push = Push(message.frame)
        for socket in self._users.get(message.user_id, ()):
            socket.offer(push)

    def _to_all(self, push: Push) -> None:
        try:
            self._for_all.put_nowait(push)
        except queue.Full:
            log.warning("a frame for all is dropped: %d others are being handed round", MAX_WAITING)

    def _hand_round(self) -> None:
        while True:
            push = self._for_all.get()
            with self._lock:
                sockets = [socket for sockets in self._users.values() for socket in sockets]
            for start in range(0, len(sockets), SLICE):
                for socket in sockets[start : start + SLICE]:
                    socket.offer(push)
                time.sleep(0)  # who was given something sends it now
