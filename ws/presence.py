"""One socket's entry in the registry: written when its user is known, kept alive, and taken away at the end."""

import logging
from dataclasses import replace

from chatapp.errors import Unavailable
from chatapp.live.sockets import SocketAuth, SocketRegistry
from chatapp.ports import Clock
from ws.audience import Audience
from ws.hub import Hub, Recipient

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Pause before the registry is written again after it could not be."""


class Presence:
    """Who is at a socket, as all processes can see it. Used by the connection's worker; `end` when that has ended."""

    def __init__(self, socket: Recipient, *, hub: Hub, audience: Audience, registry: SocketRegistry, clock: Clock) -> None:
        self._socket = socket
        self._hub = hub
        self._audience = audience
        self._registry = registry
        self._clock = clock
        self._user_id = ""
        self._entry: SocketAuth | None = None
        self.refresh_at = float("inf")
        """When `refresh` is due, on the monotonic clock."""

    def begin(self, user_id: str) -> None:
        """Register the socket. Raises: LiveUnavailable: nobody is let in who cannot be reached."""
        now = self._clock.now()
        self._user_id = user_id
        self._hub.register(self._socket)
        self._audience.join(user_id, self._socket)
        entry = SocketAuth(self._socket.socket_id, user_id, self._hub.process, connected_at=now, last_activity=now)
        self._registry.set(entry)
        self._entry = entry
        self._later()

    def refresh(self) -> None:
        """Write the entry again, so that it does not lapse; also after Redis may have forgotten it."""
        if self._entry is None:
            return
        try:
            self._registry.set(replace(self._entry, last_activity=self._clock.now()))
        except Unavailable as error:
            self._soon(error)
            return
        self._later()

    def note(self, session_id: str) -> None:
        """Note the session that is followed."""
        if self._entry is None:
            return
        self._entry = replace(self._entry, session_id=session_id)
        try:
            self._registry.set_session(self._socket.socket_id, session_id)
        except Unavailable as error:
            self._soon(error)

    def note_end(self, session_id: str) -> None:
        """Note that a session is not followed any more."""
        if self._entry is None or self._entry.session_id != session_id:
            return
        self._entry = replace(self._entry, session_id=None)
        try:
            self._registry.remove_session(self._socket.socket_id)
        except Unavailable as error:
            self._soon(error)

    def end(self) -> None:
        """Take the socket out of the hub and the registry. Without Redis its entry lapses by itself."""
        self._audience.leave(self._user_id, self._socket)
        self._hub.unregister(self._socket)
        if self._entry is None:
            return
        try:
            self._registry.remove(self._socket.socket_id, self._entry.user_id)
        except Unavailable as error:
            log.info("the entry of socket %s is left to lapse: %s", self._socket.socket_id, error)

    def _later(self) -> None:
        # Spread by up to a fifth, so that sockets which came together do not all write together for ever.
        spread = 1 - int(self._socket.socket_id[:2], 16) / 255 / 5
        self.refresh_at = self._clock.monotonic() + self._registry.ttl / 3 * spread

    def _soon(self, error: Unavailable) -> None:
        log.info("the entry of socket %s could not be written, again soon: %s", self._socket.socket_id, error)
        self.refresh_at = self._clock.monotonic() + RETRY_SECONDS
