"""Puts a run together: a fleet, the faults in an order drawn from the seed, the measurements, the scorecard."""

import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.chaos.fleet import Fleet
from tests.chaos.invariants import Baseline
from tests.chaos.measures import measure
from tests.chaos.run import Cell, Run, Scene
from tests.chaos.scorecard import Scorecard

WARM_UP_TURNS = 8


def perform(
    folder: Path,
    cells: Sequence[Cell],
    *,
    seed: int,
    turns: int,
    workers: int,
    effects: int = 0,
    say: Callable[[str], None] = lambda _: None,
    measures: bool = True,
) -> Scorecard:
    """Let every fault happen, and check what is left. `turns`: how many there should be at least. Returns: the scorecard."""
    began = time.monotonic()
    *others, last = cells  # the storm, where there is one, comes last
    ordered = [*random.Random(seed).sample(others, len(others)), last]
    with Fleet(folder, workers=workers, effects=effects, seed=seed) as fleet:
        run = Run(fleet, seed=seed, size=max(4, math.ceil(turns / (len(cells) + 3))))
        try:
            run.play(Cell("no fault at all", "-", _warm_up))
            before = Baseline.of(fleet)
            for number, cell in enumerate(ordered, 1):
                scene = run.play(cell)
                say(f"{number:3}/{len(ordered)} {scene.name:58}{scene.hits:4} hits {scene.seconds:6.1f} s  {scene.problem or ''}")
            measured = measure(run) if measures else {}
            return Scorecard.of(run, before, seconds=time.monotonic() - began, measured=measured)
        finally:
            run.close()


def _warm_up(run: Run, scene: Scene) -> None:
    """See that it works at all before anything is broken."""
    scene.hits = len(run.load(WARM_UP_TURNS))
