"""Deleting a session: it is marked first, so that nothing new begins, then its open turns are cancelled."""

from chatapp.flows.cancelling import Cancelling
from chatapp.ports import Buriable, EventLog


class Deleting:
    """Deletes sessions."""

    def __init__(self, *, sessions: Buriable, events: EventLog, cancel: Cancelling) -> None:
        self._events = events
        self._sessions = sessions
        self._cancel = cancel

    def __call__(self, session_id: str, user_id: str) -> None:
        """Delete a session: it cannot be reached any more, and its stored turns end with their time.

        A crash half way is made good by the workers, who cancel the turns of a deleted session.

        Raises: NotFound, StoreUnavailable.
        """
        session = self._sessions.bury(session_id, user_id=user_id)
        self._cancel.before(session, session.turn_count + 1)
        self._events.forget(session_id)
