"""What must hold at every write to an effect, at every call of a target, and when all has come to rest."""

from collections import Counter
from typing import TYPE_CHECKING, NoReturn

from chatapp.effects import Effect, EffectId, EffectStatus, Kind
from chatapp.flows.effect_life import LOST
from chatapp.stores.dynamo import from_item
from chatapp.stores.effect_records import effect_of
from tests.unit.protocol.actors import Actor, Killed
from tests.unit.protocol.expressions import Item
from tests.unit.protocol.laws import Violation

if TYPE_CHECKING:
    from tests.unit.effects_model.world import EffectsWorld

S = EffectStatus
MOVES = {
    S.STAGED: {S.CONFIRMED, S.CANCELLED},
    S.CONFIRMED: {S.CONFIRMED, S.EXECUTING},
    S.EXECUTING: {S.EXECUTING, S.CONFIRMED, S.EXECUTED, S.FAILED, S.UNKNOWN},
    S.UNKNOWN: {S.UNKNOWN, S.EXECUTED, S.FAILED},
    S.FAILED: {S.FAILED, S.CONFIRMED},
    S.EXECUTED: set(),
    S.CANCELLED: set(),
}
"""What may become of what. A state that stands under itself is looked at, not changed."""

OPEN = {S.CONFIRMED, S.EXECUTING, S.UNKNOWN}
LOOKED_AT = {"OpenShard", "WakeAt"}
CLOCKS_DIFFER_MS = 2_000


class Laws:
    """Watches a world of effects."""

    def __init__(self, world: "EffectsWorld") -> None:
        self._world = world
        self.done: Counter[EffectId] = Counter()
        """How often a target has carried an effect out."""
        self.reached: set[str] = set()

    def broken(self, law: str) -> NoReturn:
        """Say that a law was broken. The code that broke it is stopped, and cannot catch this."""
        self._world.broken = Violation("\n".join([law, "", *self._world.trace[-120:]]))
        if (actor := Actor.current()) is None:
            raise self._world.broken
        actor.killed = True
        raise Killed

    def _need(self, holds: bool, law: str) -> None:
        if not holds:
            self.broken(law)

    # --- every call

    def called(self, seen: Effect, *, done: bool) -> None:
        """Look at a call that reaches a target, which carries it out if `done`."""
        now = self._world.effect(seen.id)
        if seen.id.kind is Kind.ACTION:
            mine = now is not None and now.status is S.EXECUTING and now.claim_id == seen.claim_id
            self._need(mine, f"{seen.id.id} was called by who does not hold it")
        self.done[seen.id] += done
        self._need(seen.id.kind is Kind.DELIVERY or self.done[seen.id] <= 1, f"{seen.id.id} was carried out twice")

    # --- every write

    def on_write(self, table: str, before: Item | None, after: Item) -> None:
        """Look at an item that has changed."""
        if not table.endswith("pending-actions"):
            return
        new = effect_of(from_item(after))
        self._world.note(f"    {new.id.id} is {new.status} told={new.told} attempts={new.attempts} wake_at={new.wake_at}")
        is_open = new.status in OPEN or new.dlq_pending
        there = set(after) & LOOKED_AT
        self._need(there == (LOOKED_AT if is_open else set()), f"{new.id.id} is {new.status}, and the index has {there}")
        if before is not None:
            self._changed(effect_of(from_item(before)), new)

    def _changed(self, old: Effect, new: Effect) -> None:
        name = new.id.id
        self._need(new.status in MOVES[old.status], f"{name} was {old.status} and became {new.status}")
        self._need((old.payload, old.target, old.user_id) == (new.payload, new.target, new.user_id), f"{name} is another one")
        if old.status is S.FAILED and new.status is S.CONFIRMED:
            self.reached.add("revived")
            self._need(old.untouched, f"{name} was revived, and somebody may have acted upon its end")
            self._need(new.id.kind is Kind.DELIVERY or not self.done[new.id], f"{name} was revived and had been done")
        if new.status is S.EXECUTING and new.claim_id != old.claim_id:
            self._claimed(old, new)
        if old.status is S.EXECUTING and new.status is not S.EXECUTING:
            self._let_go(old, new)
        if new.status is not old.status and new.status.final:
            self._ended(old, new)
        if old.dlq_pending and not new.dlq_pending and new.status is S.FAILED:
            self._need(new.id in self._world.letters.held, f"{name} is not in the dead-letter queue")
            self.reached.add("buried")

    def _claimed(self, old: Effect, new: Effect) -> None:
        name = new.id.id
        self._need(new.attempts == old.attempts + 1, f"{name} was claimed without being counted")
        if old.status is S.EXECUTING:
            self._need(new.id.kind is Kind.DELIVERY, f"the action {name} was claimed twice")
            self._need(not self._held(old), f"the live lease of {name} was stolen")
            self.reached.add("claimed again")

    def _let_go(self, old: Effect, new: Effect) -> None:
        if new.error == LOST:
            self._need(not self._held(old), f"the live lease of {new.id.id} was taken for lapsed")
            self.reached.add("lapsed")
        if new.status is S.CONFIRMED:
            self._need(new.id.kind is Kind.DELIVERY or not self.done[new.id], f"{new.id.id} is to be called again and was done")
            self.reached.add("again")

    def _held(self, effect: Effect) -> bool:
        """Whether an executing effect's call may still be under way, in the world's own time."""
        return self._world.time.ms < effect.lease_end - CLOCKS_DIFFER_MS

    def _ended(self, old: Effect, new: Effect) -> None:
        name = new.id.id
        self.reached.add(f"{new.id.kind} {new.status}")
        if old.status is S.UNKNOWN:
            self.reached.add(f"unknown, then {new.status}")
        if new.status is S.EXECUTED:
            self._need(self.done[new.id] > 0, f"{name} is said to be done and was not")
        if new.status is S.FAILED and (new.untouched or old.status is S.UNKNOWN) and new.id.kind is Kind.ACTION:
            self._need(not self.done[new.id], f"{name} is said not to be done and was")
        if new.reply and new.status is not S.CANCELLED:
            told = self._world.effect(new.id.outcome(new.told))
            right = new.told == old.told + 1 and told is not None and told.payload["status"] == new.status
            self._need(right, f"{name} became {new.status}, and nobody is told")

    # --- at rest

    def at_rest(self) -> None:
        """Look at all there is when nothing happens any more."""
        for effect in self._world.effects():
            name = effect.id.id
            open_still = effect.status in (S.CONFIRMED, S.EXECUTING) or effect.dlq_pending
            self._need(not open_still, f"{name} is {effect.status} for ever")
            if effect.status is S.UNKNOWN:
                self._need(effect.id.kind is Kind.ACTION, f"the delivery {name} is unknown")
                self.reached.add("unknown at rest")
            if effect.id.kind is Kind.DELIVERY:
                told = self.done[effect.id] or effect.id in self._world.letters.held
                self._need(bool(told), f"the delivery {name} is {effect.status}, was never received and is no dead letter")
