"""Two-phase actions: a flow proposes, the user says yes or no, a worker of the queue `effects` carries it out.

The yes is stored first and the message is sent then: a send that fails is left to the relay.
"""

import logging
from typing import Protocol

from chatapp.effects import Effect, EffectId, EffectStatus, Kind
from chatapp.errors import NotFound, QueueUnavailable
from chatapp.flows.extra import public
from chatapp.model import Session
from chatapp.ports import Clock, EffectWakeUps, SessionEvents

log = logging.getLogger(__name__)

ACTION_UPDATED = "action_updated"
FIRST_LOOK_MS = 10_000
"""How long a confirmed action is left to its own message, before the relay looks."""


class Confirmable(Protocol):
    """Actions as they are stored."""

    def actions(self, session_id: str, *, limit: int = ...) -> list[Effect]:
        """Read a session's actions, the newest first."""
        ...

    def confirm(self, effect_id: EffectId, *, by: str, wake_at: int) -> tuple[bool, Effect | None]:
        """Take a yes. Returns: (whether it was taken now, the action as it stands)."""
        ...

    def cancel(self, effect_id: EffectId) -> tuple[bool, Effect | None]:
        """Take a no. Returns: (whether it was taken now, the action as it stands)."""
        ...


class Actions:
    """What users do with proposed actions, whichever way it comes."""

    def __init__(self, *, effects: Confirmable, wakeups: EffectWakeUps, events: SessionEvents, clock: Clock) -> None:
        self._effects = effects
        self._wakeups = wakeups
        self._events = events
        self._clock = clock

    def of(self, session: Session) -> list[Effect]:
        """Read the session's actions, the newest first. Raises: StoreUnavailable."""
        return self._effects.actions(session.id)

    def confirm(self, session: Session, action_id: str, *, by: str) -> Effect:
        """Confirm an action; harmless when that was done before. `by`: the way it came, `http`, `socket` or `message`.

        Returns: the action as it stands then. Raises: NotFound, StoreUnavailable.
        """
        now = self._clock.now()
        taken, action = self._effects.confirm(_named(session, action_id), by=by, wake_at=now + FIRST_LOOK_MS)
        if action is None:
            raise NotFound("There is no such action")
        if taken:
            self._tell(action, now)
            self._wake(action)
        return action

    def cancel(self, session: Session, action_id: str) -> Effect:
        """Cancel an action; harmless when that was done before.

        Returns: the action as it stands then. Raises: NotFound, StoreUnavailable.
        """
        taken, action = self._effects.cancel(_named(session, action_id))
        if action is None:
            raise NotFound("There is no such action")
        if taken:
            self._tell(action, self._clock.now())
        return action

    def within(self, session: Session) -> "OfSession":
        """Hand a flow the actions of its session."""
        return OfSession(self, session, self._clock)

    def _tell(self, action: Effect, now: int) -> None:
        self._events.tell(action.id.session_id, ACTION_UPDATED, **public(action, now))

    def _wake(self, action: Effect) -> None:
        try:
            self._wakeups.send_effect(action.id, user_id=action.user_id)
        except QueueUnavailable as error:
            log.warning("action %s waits for the relay: %s", action.id, error)


class OfSession:
    """Implements the port `SessionActions`."""

    def __init__(self, actions: Actions, session: Session, clock: Clock) -> None:
        self._actions = actions
        self._session = session
        self._clock = clock

    def staged(self) -> list[Effect]:
        """Read the actions that wait for a yes, the newest first. Raises: StoreUnavailable."""
        now = self._clock.now()
        return [a for a in self._actions.of(self._session) if a.status_at(now) is EffectStatus.STAGED]

    def recent(self) -> list[Effect]:
        """Read the session's actions whatever their state, the newest first. Raises: StoreUnavailable."""
        return self._actions.of(self._session)

    def confirm(self, action_id: str) -> Effect:
        """Take the user's yes. Returns: the action as it stands then. Raises: NotFound, StoreUnavailable."""
        return self._actions.confirm(self._session, action_id, by="message")

    def cancel(self, action_id: str) -> Effect:
        """Take the user's no. Returns: the action as it stands then. Raises: NotFound, StoreUnavailable."""
        return self._actions.cancel(self._session, action_id)


def _named(session: Session, action_id: str) -> EffectId:
    parsed = EffectId.parse(f"{session.id}/{action_id}")
    if parsed is None or parsed.kind is not Kind.ACTION:
        raise NotFound("There is no such action")
    return parsed
