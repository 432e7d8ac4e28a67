"""Effects on the store's own conditions, under a scheduler that may do its worst: carried out once at most, never lost.

`test_effect_life.py` explores the same flows on a store of its own, which is quick; here DynamoDB's requests are made, one by
one, by processes whose clocks differ.
"""

import pytest

from chatapp.clock import AnchoredClock
from chatapp.flows import effect_life, effects
from chatapp.flows.effects import EffectRunner
from chatapp.flows.outcomes import Outcomes
from chatapp.stores import effects as store
from tests.unit.effects_model.machine import Effects
from tests.unit.protocol.exploring import BATCH, EXAMPLES, explore, stepped  # noqa: F401  the last is a fixture
from tests.unit.protocol.laws import Violation

REACHED = {
    *("action executed", "action failed", "action unknown", "action cancelled", "delivery executed", "delivery failed"),
    *("unknown, then executed", "unknown, then failed", "again", "claimed again", "lapsed", "buried", "revived"),
    "unknown at rest",
}


@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_whatever_happens_every_effect_is_carried_out_once_at_most_and_none_is_lost():
    """Messages lost and doubled; workers killed, held up, stopped; store, queue, targets failing; clocks drifting."""
    Effects.reached.clear()
    explore(Effects, 100, shrink=True)
    for start in range(1_000, 2_000, 5):  # what is rare may take some more
        if Effects.reached >= REACHED:
            break
        explore(Effects, runs=5 * BATCH, start=start)
    assert Effects.reached >= REACHED


class NoRelay(Effects):
    """A fleet without the relay."""

    relay = False


def claims_of_what_is_held(patch):
    """Let any message begin any effect that is due."""
    patch.setattr(store, "FREE", "Due <= :now AND :confirmed = :confirmed")


def ends_of_what_has_changed(patch):
    """Let who has called write what came of it over whatever stands there."""
    patch.setattr(store, "AS_SEEN", ":seenStatus = :seenStatus AND :seenClaim = :seenClaim")


def calls_after_the_lease(patch):
    """Let who was held up after the claim call all the same."""
    patch.setattr(effects, "CLOCKS_DIFFER_SECONDS", -1e9)
    patch.setattr(EffectRunner, "_call", lambda runner, effect, _taken_at: runner._caller.call(effect))


def lapsed_actions_called_again(patch):
    """Treat an action as a delivery: it may be called twice."""
    patch.setattr(effects, "lapsed", lambda *_, **__: None)


def outcomes_that_are_owed_to_nobody(patch):
    """Forget the delivery that tells what became of an action."""
    patch.setattr(effect_life, "outcome_of", lambda *_: None)


def dead_letters_that_are_forgotten(patch):
    """Let nobody see to the dead-letter queue."""
    patch.setattr(Outcomes, "bury", lambda *_: False)


def clocks_that_are_not_corrected(patch):
    """Let each machine go by its own time."""
    patch.setattr(AnchoredClock, "anchor", lambda *_, **__: None)


BROKEN = [
    claims_of_what_is_held,
    ends_of_what_has_changed,
    calls_after_the_lease,
    lapsed_actions_called_again,
    outcomes_that_are_owed_to_nobody,
    dead_letters_that_are_forgotten,
    clocks_that_are_not_corrected,
]


@pytest.mark.parametrize("break_it", BROKEN)
def test_the_model_finds_what_is_broken(break_it, monkeypatch):
    """Each condition that guards effects is missed by the model when it is gone."""
    break_it(monkeypatch)
    with pytest.raises(Violation):
        explore(Effects, runs=2_000)  # it ends with the first that is found


def test_the_model_finds_that_the_relay_is_missing():
    """Without it an effect whose message is lost is never looked at again."""
    with pytest.raises(Violation, match="there is still open work"):
        explore(NoRelay, 100)
