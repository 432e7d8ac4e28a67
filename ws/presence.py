"""That a socket is here: its user's orders and pushes reach it, and all processes can see it. One object for all sockets."""

from ws.audience import Audience
from ws.hub import Hub, Recipient
from ws.registrar import Registrar


class Presence:
    """Where a socket is made known when its user is, and forgotten at its end."""

    def __init__(self, *, hub: Hub, audience: Audience, registrar: Registrar) -> None:
        self._hub = hub
        self._audience = audience
        self._registrar = registrar

    def begin(self, socket: Recipient, user_id: str) -> None:
        """Make a socket known.

        Raises: RateLimited when the user has too many; LiveUnavailable: nobody is let in who cannot be reached.
        Whoever began must end, also then.
        """
        self._hub.register(socket)
        self._audience.join(user_id, socket)
        self._registrar.admit(socket.socket_id, user_id)

    def note(self, socket: Recipient, session_id: str) -> None:
        """Note the session that is followed."""
        self._registrar.note(socket.socket_id, session_id)

    def note_end(self, socket: Recipient, session_id: str) -> None:
        """Note that a session is not followed any more."""
        self._registrar.note_end(socket.socket_id, session_id)

    def end(self, socket: Recipient, user_id: str) -> None:
        """Forget a socket. Harmless when it did not begin."""
        self._audience.leave(user_id, socket)
        self._hub.unregister(socket)
        self._registrar.dismiss(socket.socket_id)
