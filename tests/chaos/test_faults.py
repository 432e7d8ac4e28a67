"""The short cut of the fault suite: the main faults, forty turns. All of it: `make chaos SEED=1 TURNS=200`."""

import pytest

from tests.chaos.cells import CELLS
from tests.chaos.invariants import CHECKS
from tests.chaos.suite import perform

SHORT = [cell for cell in CELLS if cell.short]
TURNS, WORKERS, SEED = 40, 3, 1

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """The scorecard of one run."""
    made = perform(tmp_path_factory.mktemp("fleet"), SHORT, seed=SEED, turns=TURNS, workers=WORKERS, measures=False)
    print("\n".join(made.lines()))
    return made


@pytest.mark.parametrize("name", [cell.name for cell in SHORT])
def test_the_fault_hits_and_the_world_comes_to_rest(card, name):
    """A fault that did not hit has tested nothing; one that did leaves no turn open and no client without its end."""
    scene = next(scene for scene in card.scenes if scene.name == name)
    assert scene.problem is None
    assert scene.hits
    assert scene.turns


@pytest.mark.parametrize("what", ["lost", "doubled", "hanging"])
def test_nothing_is(card, what):
    """Neither lost, nor doubled, nor left hanging."""
    assert getattr(card, what) == []


@pytest.mark.parametrize("invariant", [*dict(CHECKS), "I9"])
def test_the_invariant_holds(card, invariant):
    """I2 to I11, over all that was asked for."""
    assert [line for line in card.broken if line.startswith(f"{invariant} ")] == []
