"""A process with a breaker, for tests of several: `python -m tests.integration.breaker_child URL MODEL OPEN_SECONDS PROBE_MS`.

Takes commands by lines, and answers each with one: `fail` and `succeed` make a call (`in` or `out`), `hold` makes one that never
ends (`in` or `out`, at once), `state` says the state.
"""

import sys
import time
from contextlib import ExitStack

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chatapp.clock import SystemClock
from chatapp.errors import BreakerOpen, ProviderUnavailable
from chatapp.live.breaker import Breakers, Route, SharedBreaker
from chatapp.live.circuit import Circuits, Rules

TIME_OUT = 0.5
"""Seconds that Redis may take, as in production."""


def breakers(url, *, open_seconds=15.0, probe_ms=6_000):
    """Make the breakers as `chatapp.services` does."""
    redis = Redis.from_url(
        url, decode_responses=True, socket_timeout=TIME_OUT, socket_connect_timeout=TIME_OUT, retry=Retry(NoBackoff(), 0)
    )
    circuits = Circuits(redis, Rules(probe_ms=probe_ms), SystemClock())
    return Breakers(circuits, [Route("http://llm.example.com/v1")], ["m"], open_seconds=open_seconds)


def fail():
    """Be a provider that is down."""
    raise ProviderUnavailable


def tried(breaker: SharedBreaker, func):
    """Say whether a call was let in."""
    try:
        breaker.call(func)
    except BreakerOpen:
        return "out"
    except ProviderUnavailable:
        return "in"
    return "in"


def held(breaker: SharedBreaker, held_open: ExitStack):
    """Begin a call that does not end."""
    try:
        held_open.enter_context(breaker.enter())
    except BreakerOpen:
        return "out"
    return "in"


def until(condition, seconds=10.0):
    """Wait for a condition. Returns: the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.005)
    return time.monotonic() - began


def main():
    """Do what the lines say."""
    url, name, open_seconds, probe_ms = sys.argv[1:]
    (breaker,) = breakers(url, open_seconds=float(open_seconds), probe_ms=int(probe_ms)).chain(name)
    with ExitStack() as held_open:
        commands = {
            "fail": lambda: tried(breaker, fail),
            "succeed": lambda: tried(breaker, lambda: None),
            "hold": lambda: held(breaker, held_open),
            "state": lambda: breaker.state,
        }
        for line in sys.stdin:
            print(commands[line.strip()](), flush=True)


if __name__ == "__main__":
    main()
