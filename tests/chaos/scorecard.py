"""What came of a run: for people, and as JSON."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import effect_invariants, invariants
from tests.chaos.invariants import Baseline, World
from tests.chaos.run import Run, Scene


@dataclass
class Scorecard:
    """The outcome of a run. `not_run` names the faults that did not hit: they have tested nothing."""

    seed: int
    seconds: float
    turns: int
    posts: int
    events: int
    connects: int
    scenes: list[Scene]
    lost: list[str]
    doubled: list[str]
    hanging: list[str]
    broken: list[str]
    measured: dict[str, Any] = field(default_factory=dict)
    effects: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, before: Baseline, *, seconds: float, measured: dict[str, Any]) -> "Scorecard":
        """Check what a run has left behind."""
        left = [f"I9  {line}" for line in invariants.left_behind(run, before)]  # first: it waits until the queue is empty
        effect_invariants.come_to_rest(run)
        world = World(run)
        checks = (*invariants.CHECKS, *effect_invariants.CHECKS)
        broken = [f"{name:3} {line}" for name, check in checks for line in check(world)]
        return cls(
            seed=run.seed,
            seconds=seconds,
            turns=len(world.stored),
            posts=sum(order.posts for order in run.client.orders),
            events=sum(view.events for view in run.views.values()),
            connects=sum(follower.connects for follower in run.followers),
            scenes=run.scenes,
            lost=[*invariants.lost(world), *effect_invariants.unsettled(world)],
            doubled=invariants.doubled(world),
            hanging=invariants.hanging(world),
            broken=broken + left,
            measured=measured,
            effects=effect_invariants.account(world) if world.effects else {},
        )

    @property
    def not_run(self) -> list[Scene]:
        """Faults that did not hit, or did not do what they are for."""
        return [scene for scene in self.scenes if not scene.hits or scene.problem]

    @property
    def passed(self) -> bool:
        """Whether every fault hit and everything held."""
        return not (self.lost or self.doubled or self.hanging or self.broken or self.not_run)

    def lines(self) -> Iterable[str]:
        """Write it for people."""
        yield f"{'fault':58}{'attacks':20}{'turns':>6}{'hits':>6}{'p50 s':>8}{'p99 s':>8}"
        for scene in self.scenes:
            p50, p99 = (f"{percentile(scene.recovery, p):.1f}" if scene.recovery else "-" for p in (50, 99))
            yield f"{scene.name:58}{scene.attacks:20}{scene.turns:>6}{scene.hits:>6}{p50:>8}{p99:>8}"
            if not scene.hits or scene.problem:
                yield f"    NOT RUN: {scene.problem or 'it met nothing'}"
        recovery = [seconds for scene in self.scenes for seconds in scene.recovery]
        hit = len(self.scenes) - len(self.not_run)
        yield ""
        yield f"seed {self.seed}: {self.turns} turns by {self.posts} posts, {self.events} events over {self.connects} connections"
        p50, p99 = (percentile(recovery, p) for p in (50, 99))
        yield f"faults {len(self.scenes)}, hit {hit}; recovery p50 {p50:.1f} s, p99 {p99:.1f} s"
        yield from (f"{name}: {value}" for name, value in self.measured.items())
        if self.effects:
            yield f"effects: {', '.join(f'{name} {value}' for name, value in self.effects.items())}"
        yield f"lost {len(self.lost)}   doubled {len(self.doubled)}   hanging {len(self.hanging)}   ({self.seconds:.0f} s)"
        for line in (*self.lost, *self.doubled, *self.hanging, *self.broken):
            yield f"    {line}"
        yield "passed" if self.passed else "FAILED"

    def save(self, folder: Path) -> Path:
        """Write it as JSON. Returns: the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"chaos-{self.seed}.json"
        scenes = [
            {
                "fault": scene.name,
                "attacks": scene.attacks.split(),
                "turns": scene.turns,
                "hits": scene.hits,
                "recovery_p50_s": round(percentile(scene.recovery, 50), 3),
                "recovery_p99_s": round(percentile(scene.recovery, 99), 3),
                "seconds": round(scene.seconds, 1),
                "problem": scene.problem,
            }
            for scene in self.scenes
        ]
        plain = {
            name: getattr(self, name)
            for name in ("seed", "turns", "posts", "events", "connects", "measured", "effects", "broken")
        }
        found = {name: getattr(self, name) for name in ("lost", "doubled", "hanging")}
        whole = {**plain, **found, "passed": self.passed, "seconds": round(self.seconds, 1), "faults": scenes}
        file.write_text(json.dumps(whole, indent=1))
        return file


def percentile(values: Sequence[float], p: float) -> float:
    """Say the value that `p` percent do not exceed (nearest rank); 0 of none."""
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * p / 100) - 1] if ordered else 0.0
