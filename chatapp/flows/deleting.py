"""Deleting a session: it is marked first, so that nothing new begins, then its open turns are cancelled."""

from chatapp.flows.ending import Endings
from chatapp.model import JobId, Status
from chatapp.ports import Buriable, Turns


class Deleting:
    """Deletes sessions."""

    def __init__(self, *, turns: Turns, sessions: Buriable, endings: Endings) -> None:
        self._turns = turns
        self._sessions = sessions
        self._endings = endings

    def __call__(self, session_id: str, user_id: str) -> None:
        """Delete a session. A crash half way is made good by the workers, who cancel the turns of a deleted session.

        Raises: NotFound, StoreUnavailable.
        """
        session = self._sessions.bury(session_id, user_id=user_id)
        # The last first, so that no worker is woken for a turn that is about to be cancelled.
        for number in sorted(session.open_turns, reverse=True):
            turn = self._turns.get(JobId(session_id, number))
            if turn is None or turn.status.ended:
                continue
            if turn.status is Status.RUNNING:
                self._turns.request_cancel(turn)
            else:
                self._endings.by_other(turn, Status.CANCELLED)
