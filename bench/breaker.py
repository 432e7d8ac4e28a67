"""What a call pays for the breaker in front of the model, against asking Redis at each call."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from time import perf_counter

from redis import Redis

from bench.figures import Comparison
from bench.servers import stage
from chatapp.clock import SystemClock
from chatapp.errors import BreakerOpen, ProviderUnavailable
from chatapp.live.breaker import Breakers, Route
from chatapp.live.circuit import UNKNOWN, Circuits, Rules

ROUNDS = 5
CALLS = 10_000


def run() -> Iterator[Comparison]:
    """Measure. Yields: one comparison for a call that is let in, one for a call that is refused."""
    with stage() as on, Redis(port=on.ports.redis, decode_responses=True) as redis:
        circuits = Circuits(redis, Rules(), SystemClock())
        breakers = Breakers(circuits, [Route("http://llm.example.com")], ["m"], open_seconds=120)
        (breaker,) = breakers.chain("m")
        unit, baseline = "µs per call", "asking Redis each time"
        closed = Comparison("a call, all is well", unit, baseline)
        refused = Comparison("a call that is refused, open", unit, baseline)
        for _ in range(ROUNDS):
            closed.add(_each(lambda: breaker.call(int)), _each(lambda: circuits.take("other", "enter", UNKNOWN)))
        for _ in range(circuits.rules.errors + 1):
            with suppress(ProviderUnavailable):
                breaker.call(_fail)
        for _ in range(ROUNDS):
            refused.add(_each(lambda: _refused(breaker.call)), _each(lambda: circuits.take("other", "enter", UNKNOWN)))
        yield closed
        yield refused


def _fail() -> None:
    raise ProviderUnavailable


def _refused(call: Callable[..., object]) -> None:
    try:
        call(int)
    except BreakerOpen:
        return
    raise RuntimeError("the breaker let a call in")


def _each(call: Callable[[], object]) -> float:
    began = perf_counter()
    for _ in range(CALLS):
        call()
    return 1e6 * (perf_counter() - began) / CALLS
