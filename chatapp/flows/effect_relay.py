"""The relay of effects: wakes a worker for what is confirmed and due, what a crash left executing, and what may be asked about.

It runs in workers of both kinds, beside that of the turns, under a lease of its own.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.flows.outcomes import Outcomes
from chatapp.flows.sweep import PAGE, Sweep
from chatapp.ports import Clock, EffectWakeUps, Locks


class OpenEffects(Protocol):
    """Effects as they are stored, and the index of what is open of them."""

    def open_work(self, shard: int, *, now: int, limit: int) -> list[tuple[EffectId, int]]:
        """Read a shard of the index of open work: (effect, wake_at) whose time has come. A hint, perhaps stale."""
        ...

    def postpone(self, effect_id: EffectId, *, seen: int, wake_at: int) -> Effect | None:
        """Move the relay's next look from `seen` to `wake_at`. Returns: the effect, None when another relay was first."""
        ...


class EffectRelay(Sweep[EffectId, Effect]):
    """Looks at open effects."""

    lock = "relay-effects"
    woken = "effects"

    def __init__(
        self, *, effects: OpenEffects, outcomes: Outcomes, wakeups: EffectWakeUps, locks: Locks, clock: Clock, owner: str
    ) -> None:
        super().__init__(locks=locks, clock=clock, owner=owner)
        self._effects = effects
        self._outcomes = outcomes
        self._wakeups = wakeups

    def _open_work(self, shard: int) -> list[tuple[EffectId, int]]:
        return self._effects.open_work(shard, now=self._clock.now(), limit=PAGE)

    def _send(self, entries: Sequence[Effect]) -> None:
        self._wakeups.send_effects(entries)

    def _unsent(self, entry: Effect) -> None:
        if entry.wake_at is not None:
            self._effects.postpone(entry.id, seen=entry.wake_at, wake_at=self._clock.now())

    def _unattended(self, found: list[tuple[EffectId, int]], stop: threading.Event, *, waking: bool) -> Iterator[Effect]:  # noqa: ARG002
        for effect_id, wake_at in found:
            if stop.is_set():
                return
            effect = self._effects.postpone(effect_id, seen=wake_at, wake_at=self._next_look())
            if effect is None:
                continue
            if effect.dlq_pending:
                if not self._outcomes.bury(effect):
                    stop.set()
            elif self._is_unattended(effect):
                yield effect

    def _is_unattended(self, effect: Effect) -> bool:
        now = self._clock.now()
        if effect.status is EffectStatus.EXECUTING:
            return effect.lease_end < now
        return effect.status in (EffectStatus.CONFIRMED, EffectStatus.UNKNOWN) and effect.due <= now
