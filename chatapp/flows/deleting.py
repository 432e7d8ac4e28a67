"""Deleting a session: it is marked first, so that nothing new begins, then its open turns are cancelled."""

from chatapp.flows.ending import Endings
from chatapp.model import JobId, Status, Turn
from chatapp.ports import Buriable, EventLog, Turns


class Deleting:
    """Deletes sessions."""

    def __init__(self, *, turns: Turns, sessions: Buriable, events: EventLog, endings: Endings) -> None:
        self._turns = turns
        self._events = events
        self._sessions = sessions
        self._endings = endings

    def __call__(self, session_id: str, user_id: str) -> None:
        """Delete a session: it cannot be reached any more, and its stored turns end with their time.

        A crash half way is made good by the workers, who cancel the turns of a deleted session.

        Raises: NotFound, StoreUnavailable.
        """
        session = self._sessions.bury(session_id, user_id=user_id)
        for number in session.open_turns:
            turn = self._turns.get(JobId(session_id, number))
            if turn is not None and not turn.status.ended:
                self._cancel(turn)
        self._events.forget(session_id)

    def _cancel(self, turn: Turn) -> None:
        queued = turn.status is Status.QUEUED
        if not queued or self._endings.by_other(turn, Status.CANCELLED, alone=False) is None:
            # It runs, perhaps since a moment ago: word is left for the attempt, which finds it at its next renewal.
            self._turns.request_cancel(turn)
