"""Tokens per second and core through the worker's path and Redis, against a bare loop of the `openai` SDK."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

from bench.figures import Comparison
from bench.process import Process, started
from bench.servers import Stage, stage

ROUNDS = 4


@dataclass(frozen=True)
class Load:
    """What a round streams: `turns` at once, each of `tokens`, `delay` seconds apart."""

    turns: int
    tokens: int
    delay: float


LOADS = {
    "worker, streams as fast as they come": Load(turns=6, tokens=5_000, delay=0),
    # As providers send: every chunk is a read of its own, and other turns come between two of them.
    "worker, 40 streams, each 50 tokens/s": Load(turns=40, tokens=200, delay=0.02),
}

WARM_UP = Load(turns=40, tokens=20, delay=0)
"""Opens connections and fills caches; not counted."""


def run() -> Iterator[Comparison]:
    """Measure. Yields: one comparison for each load."""
    with stage() as on:
        on.start("llm")
        with _child(on, "worker") as worker, _child(on, "sdk") as sdk:
            for side in (worker, sdk):
                _rate(side, WARM_UP)
            for what, load in LOADS.items():
                comparison = Comparison(what, "tokens/s and core", "the SDK's loop", goal="goal: at least 1")
                for _ in range(ROUNDS):
                    comparison.add(_rate(worker, load), _rate(sdk, load))
                yield comparison


def _child(on: Stage, side: str) -> AbstractContextManager[Process]:
    return started(on, [sys.executable, "-m", "gevent.monkey", "--module", "bench.stream_child", side])


def _rate(process: Process, load: Load) -> float:
    """Run a round. Returns: tokens per second of the process's CPU time."""
    return load.turns * load.tokens / float(process.ask(**asdict(load))["cpu"])
