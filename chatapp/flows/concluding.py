"""Ending a session: its flow says what it came to, that is stored, and the session is removed as a deleted one is."""

from collections.abc import Mapping
from typing import Any, Protocol

from chatapp.errors import SessionContended
from chatapp.flows.cancelling import Cancelling
from chatapp.flows.port import Flow
from chatapp.model import Session
from chatapp.ports import EventLog

TRIES = 10
"""How often the result is made anew, because the state was changed while it was made."""


class Concludable(Protocol):
    """Sessions that can be ended."""

    def conclude(self, session: Session, result: Mapping[str, Any]) -> tuple[bool, Session]:
        """Mark a session as ended, with its result, if the version is still that of `session`.

        Returns: (whether it was written, the session then). Raises: NotFound, StoreUnavailable.
        """
        ...


class Concluding:
    """Ends sessions."""

    def __init__(self, *, sessions: Concludable, flows: Mapping[str, Flow], events: EventLog, cancel: Cancelling) -> None:
        self._sessions = sessions
        self._flows = flows
        self._events = events
        self._cancel = cancel

    def __call__(self, session: Session) -> Session:
        """End a living session. Its open turns are cancelled, as when it is deleted.

        Returns: the session with its `result`, that of another request if that was first. Raises: NotFound, SessionContended,
        StoreUnavailable.
        """
        ended = self._conclude(session)
        self._cancel.before(ended, ended.turn_count + 1)
        self._events.forget(ended.id)
        return ended

    def _conclude(self, session: Session) -> Session:
        flow = self._flows.get(session.flow, Flow())
        for _ in range(TRIES):
            _, now = self._sessions.conclude(session, flow.result(session))
            if now.result is not None:
                return now
            session = now  # a turn or a patch has changed the state: the result is that of the last one
        raise SessionContended(retry_after=1)
