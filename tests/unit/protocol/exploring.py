"""Runs models under Hypothesis: the same runs each time, unless PROTOCOL_EXAMPLES asks for others."""

import logging
import os
import random

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.stateful import run_state_machine_as_test

from chatapp.flows import sweep

EXAMPLES = int(os.environ.get("PROTOCOL_EXAMPLES", "0"))
"""Runs of the model, each time others: some 20,000 for a night. Without it a few hundred, always the same."""

BATCH = 10


class Inline:
    """An executor that does at once, in the caller, what it is given."""

    def __init__(self, _threads, thread_name_prefix):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    def map(self, work, given):
        return [work(one) for one in given]


@pytest.fixture(autouse=True)
def stepped(monkeypatch):
    """Run the relay's threads in their caller, where they can be stepped; nobody reads a million warnings of staged faults.

    For every test of a module that imports it. Hypothesis also draws constants that it reads out of whatever modules are loaded:
    the runs would not be the same each time.
    """
    monkeypatch.setattr(sweep, "ThreadPoolExecutor", Inline)
    monkeypatch.setattr(HypothesisProvider, "_maybe_draw_constant", lambda *_args, **_more: None)
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def explore(machine, runs, *, shrink=False, start=0):
    """Run the model so many times; the same runs each time, unless PROTOCOL_EXAMPLES asks for others.

    Hypothesis varies what it has tried before; a new seed every few runs has it try something else instead.
    """
    first = random.SystemRandom().getrandbits(64) if EXAMPLES else start
    profile = settings(
        database=None,
        deadline=None,
        max_examples=BATCH,
        stateful_step_count=40,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
    )
    for batch in range((EXAMPLES or runs) // BATCH):
        run_state_machine_as_test(seed(first + batch)(machine), settings=profile)
