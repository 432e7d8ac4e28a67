"""What becomes of an effect is stored here, and then told: to who follows its session, to its webhook, to the dead-letter queue.

Used by who carries effects out, by the relay and by operators. What follows the store may be lost in a crash: the relay sends the
owed delivery and buries what has failed, and the action itself can be read over HTTP.
"""

import logging
from dataclasses import replace
from typing import Protocol

from chatapp.effects import Effect, EffectId, EffectStatus, Kind, Move
from chatapp.errors import QueueUnavailable
from chatapp.flows.ending import insist
from chatapp.flows.extra import public
from chatapp.ports import Clock, DeadEffects, EffectWakeUps, SessionEvents

log = logging.getLogger(__name__)

EXECUTED = "action_executed"
UPDATED = "action_updated"


class Movable(Protocol):
    """Effects as they are stored."""

    def move(self, effect: Effect, move: Move) -> tuple[bool, Effect | None]:
        """Write what has become of an effect that stands as seen, and the delivery owed with it.

        Returns: (True, the effect as moved), or (False, the effect as it stands; None if there is none).
        """
        ...

    def buried(self, effect_id: EffectId) -> None:
        """Take note that the dead-letter queue has the effect's message."""
        ...


class Outcomes:
    """Stores and tells what becomes of effects."""

    def __init__(
        self, *, effects: Movable, wakeups: EffectWakeUps, events: SessionEvents, dead_letters: DeadEffects, clock: Clock
    ) -> None:
        self._effects = effects
        self._wakeups = wakeups
        self._events = events
        self._dead_letters = dead_letters
        self._clock = clock

    def store(self, effect: Effect, move: Move, *, seconds: float) -> tuple[bool, Effect | None]:
        """Store a move, trying for so many seconds.

        Returns: (True, the effect as moved), or (False, the effect as it stands; None if there is none).
        Raises: StoreUnavailable.
        """
        return insist(lambda: self._effects.move(effect, move), seconds=seconds, clock=self._clock)

    def follow_up(self, before: Effect, move: Move) -> None:
        """Do what follows a stored move of what stood as `before` says. Raises: StoreUnavailable."""
        after = moved(before, move)
        if after.status is not before.status:
            self.tell(after)
            if after.status is EffectStatus.UNKNOWN:
                log.error("what became of %s (%s) is not known: see `actions list --status unknown`", after.id, after.name)
        if move.owed is not None:
            self._wake(move.owed)
        if after.dlq_pending:
            self.bury(after)

    def tell(self, effect: Effect) -> None:
        """Tell those who follow the session how an action stands. Deliveries are nobody's news."""
        if effect.id.kind is Kind.ACTION:
            kind = EXECUTED if effect.status is EffectStatus.EXECUTED else UPDATED
            self._events.tell(effect.id.session_id, kind, **public(effect, self._clock.now()))

    def bury(self, effect: Effect) -> bool:
        """Put what failed for good into the dead-letter queue. What cannot be done now is left to the relay.

        Returns: whether it is there. Raises: StoreUnavailable.
        """
        try:
            self._dead_letters.put_effect(effect)
        except QueueUnavailable as error:
            log.warning("%s is not in the dead-letter queue yet, the relay will see to it: %s", effect.id, error)
            return False
        self._effects.buried(effect.id)
        return True

    def _wake(self, owed: Effect) -> None:
        try:
            self._wakeups.send_effect(owed.id, user_id=owed.user_id)
        except QueueUnavailable as error:
            log.warning("the delivery %s waits for the relay: %s", owed.id, error)


def moved(effect: Effect, move: Move) -> Effect:
    """Say how an effect stands after a move."""
    return replace(
        effect,
        status=move.status,
        due=move.due,
        wake_at=move.wake_at,
        ended_at=move.ended_at,
        result=move.result,
        error=move.error,
        attempts=move.attempts,
        asks=move.asks,
        told=effect.told + (move.owed is not None),
        untouched=move.untouched,
        dlq_pending=move.dlq_pending,
        moved_by=move.by,
    )
