"""What operators do with effects: say what became of an unknown action, have tried anew what certainly was not done."""

import logging
import secrets
from typing import Protocol

from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.errors import ActionNotOpen, NotFound, QueueUnavailable
from chatapp.flows.effect_life import resolved, revived
from chatapp.flows.outcomes import Outcomes, moved
from chatapp.ports import Clock, EffectWakeUps

log = logging.getLogger(__name__)

STORE_SECONDS = 3.0


class Readable(Protocol):
    """Effects as they are stored."""

    def get(self, effect_id: EffectId) -> Effect | None:
        """Read an effect, consistently."""
        ...


class Resolving:
    """The operator's hand."""

    def __init__(self, *, effects: Readable, outcomes: Outcomes, wakeups: EffectWakeUps, clock: Clock) -> None:
        self._effects = effects
        self._outcomes = outcomes
        self._wakeups = wakeups
        self._clock = clock

    def resolve(self, effect_id: EffectId, *, executed: bool, note: str | None = None) -> Effect:
        """End an unknown action as a person has found it to be, and tell everybody. `note` is shown to its user.

        Returns: the action as it stands then. Raises: NotFound, ActionNotOpen (it is not unknown), StoreUnavailable.
        """
        effect = self._read(effect_id)
        if effect.status is not EffectStatus.UNKNOWN:
            raise ActionNotOpen(f"Only an unknown action can be resolved: this one is {effect.status}")
        move = resolved(effect, executed=executed, note=note, by=secrets.token_hex(8), now=self._clock.now())
        done, _ = self._outcomes.store(effect, move, seconds=STORE_SECONDS)
        if not done:
            raise ActionNotOpen("It was changed at the same moment: look again")
        log.info("%s is resolved by hand: %s", effect_id, move.status)
        self._outcomes.follow_up(effect, move)
        return moved(effect, move)

    def revive(self, effect_id: EffectId) -> bool:
        """Begin anew what has failed, as if it were confirmed now, if it certainly was not carried out.

        Returns: whether that was done. Raises: NotFound, StoreUnavailable.
        """
        effect = self._read(effect_id)
        if effect.status is not EffectStatus.FAILED or not effect.untouched:
            return False
        move = revived(by=secrets.token_hex(8), now=self._clock.now())
        done, _ = self._outcomes.store(effect, move, seconds=STORE_SECONDS)
        if done:
            self._outcomes.follow_up(effect, move)
            self._wake(effect)
        return done

    def _read(self, effect_id: EffectId) -> Effect:
        effect = self._effects.get(effect_id)
        if effect is None:
            raise NotFound("There is no such effect")
        return effect

    def _wake(self, effect: Effect) -> None:
        try:
            self._wakeups.send_effect(effect.id, user_id=effect.user_id)
        except QueueUnavailable as error:
            log.warning("%s waits for the relay: %s", effect.id, error)
