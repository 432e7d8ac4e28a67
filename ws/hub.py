"""Hop 8 of 8: the events of sessions, from this process's one Redis subscription to the sockets that follow them.

Events of a session reach its owner's sockets only: a socket is attached before its owner is checked, so that nothing falls
between, but passes nothing on before it has checked (ws/connection.py). Orders from other processes come in on a control
channel: the API asks that a socket follows a job which its user has just posted.
"""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from chatapp.errors import LiveUnavailable
from chatapp.live.channel import Channel, Following
from chatapp.live.events import channel_of
from chatapp.live.following import Event
from chatapp.live.sockets import control_channel
from chatapp.model import JobId
from ws.notices import Follow, Gap, Live, Notice
from ws.standing import Standing

log = logging.getLogger(__name__)


class Recipient(Protocol):
    """A socket as the hub sees it."""

    @property
    def socket_id(self) -> str:
        """Its name."""
        ...

    def offer(self, item: Notice) -> None:
        """Take a notice. Never waits."""
        ...


class _Order(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    socket_id: str
    session_id: str
    job_id: str


class Hub:
    """Which sockets of this process follow which sessions."""

    def __init__(self, channel: Channel, process: str, forgotten: Callable[[], None] = lambda: None) -> None:
        """`forgotten` is called when Redis was away: it may not know our sockets any more."""
        self.process = process
        self._forgotten = forgotten
        self._channel = channel
        self._lock = threading.Lock()
        self._sockets: dict[str, Recipient] = {}
        self._followers: dict[str, set[Recipient]] = {}
        self._sessions: dict[Recipient, set[str]] = {}
        self._followings: dict[str, Following] = {}
        self._control = Standing(channel, control_channel(process), self._order)

    def register(self, socket: Recipient) -> None:
        """Let orders reach a socket. Raises: LiveUnavailable: who cannot be reached is not let in."""
        self._control.ensure()
        self._sockets[socket.socket_id] = socket

    def unregister(self, socket: Recipient) -> None:
        """Forget a socket and all that it follows."""
        self._sockets.pop(socket.socket_id, None)
        with self._lock:
            followed = tuple(self._sessions.pop(socket, ()))
        for session_id in followed:
            self.detach(session_id, socket)

    def attach(self, session_id: str, socket: Recipient) -> None:
        """Push a session's events to a socket, from the moment this returns. Raises: LiveUnavailable."""
        with self._lock:
            self._followers.setdefault(session_id, set()).add(socket)
            self._sessions.setdefault(socket, set()).add(session_id)
        try:
            # Every socket waits for the confirmation; the channel has one subscription and one callback for all of them.
            following = self._channel.follow(channel_of(session_id), self._callback(session_id))
        except LiveUnavailable:
            self.detach(session_id, socket)
            raise
        with self._lock:
            if session_id in self._followers and session_id not in self._followings:
                self._followings[session_id] = following
                return
        following.close()

    def detach(self, session_id: str, socket: Recipient) -> None:
        """Push no longer."""
        following = None
        with self._lock:
            self._sessions.get(socket, set()).discard(session_id)
            sockets = self._followers.get(session_id, set())
            sockets.discard(socket)
            if not sockets:
                self._followers.pop(session_id, None)
                following = self._followings.pop(session_id, None)
        if following is not None:
            following.close()

    @property
    def size(self) -> int:
        """How many sockets are here."""
        return len(self._sockets)

    def _callback(self, session_id: str) -> Callable[[str | None], None]:
        return lambda text: self._push(session_id, text)

    def _push(self, session_id: str, text: str | None) -> None:
        with self._lock:
            sockets = tuple(self._followers.get(session_id, ()))
        notice = _notice(session_id, text)
        if notice is None:
            return
        for socket in sockets:
            socket.offer(notice)

    def _order(self, text: str | None) -> None:
        if text is None:
            self._forgotten()
            return
        try:
            order = _Order.model_validate_json(text)
        except ValidationError:
            log.warning("an order on the control channel cannot be read")
            return
        recipient, job_id = self._sockets.get(order.socket_id), JobId.parse(order.job_id)
        if recipient is not None and job_id is not None:
            recipient.offer(Follow(job_id))


def _notice(session_id: str, text: str | None) -> Notice | None:
    if text is None:
        return Gap(session_id)
    try:
        event = Event.decode(text)
    except ValueError:
        log.warning("a message on the channel of session %s is not an event", session_id)
        return None
    return Live(event) if event.job_id.session_id == session_id else None
