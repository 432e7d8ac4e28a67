"""The rules of a circuit breaker, and where they are kept: in Redis for the whole fleet, in this process while Redis is away.

`Circuit` and `breaker.lua` are the same rules twice; tests/integration/test_breaker.py feeds both the same sequences.

    closed ---- more than `errors` errors within `window` ----> open ---- its time is over ----> half open
      ^                                                          ^                                |      |
      |                                                          '------ the probe failed --------'      |
      '-------------------------------------- the probe succeeded --------------------------------------'
"""

import logging
import threading
from dataclasses import dataclass, field
from importlib.resources import files
from time import monotonic
from typing import Literal, NamedTuple, TypeAlias, cast

from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN
from redis import Redis, RedisError

from chatapp.ports import Clock

log = logging.getLogger(__name__)

CLOSED: str = STATE_CLOSED
OPEN: str = STATE_OPEN
HALF_OPEN: str = STATE_HALF_OPEN

AWAY_SECONDS = 2.0
"""How long a Redis that failed is left alone: its time-out is paid by one call in a while and not by each."""

KEEP_MS = 900_000
"""A circuit that nobody has written to for so long is forgotten. Longer than any call, and than it can be open."""

_SCRIPT = files("chatapp.live").joinpath("breaker.lua").read_text()

Step: TypeAlias = Literal["look", "enter", "failed", "succeeded", "released", "renewed"]
"""`look` asks. `enter` begins a call; when half open it takes the probe, if nobody has it. The others tell of that call:
it failed, the probe succeeded, the probe ended without a verdict, the probe is still under way."""


@dataclass(frozen=True, slots=True)
class Rules:
    """More than `errors` within `window_ms` open it; a probe that is not renewed within `probe_ms` is given up."""

    errors: int = 5
    window_ms: int = 10_000
    probe_ms: int = 6_000


class Answer(NamedTuple):
    """How a circuit stands after a step.

    `generation` is the time of its last change, ms since 1970: an error counts only for the generation its call began in.
    `wait_ms`: until somebody may be let in. `granted`: the caller is the probe. `errors`: those within the window.
    """

    state: str
    generation: int
    wait_ms: int
    granted: bool
    errors: int


@dataclass(slots=True)
class Circuit:
    """One circuit. Pure: the time is told to it (ms since 1970)."""

    rules: Rules
    changed: int = 0
    open_until: int = 0
    probe: str = ""
    probe_until: int = 0
    errors: list[int] = field(default_factory=list)

    def take(self, step: Step, now: int, *, token: str = "", generation: int = 0, open_ms: int = 0) -> Answer:
        """Take a step. `token` names the probe, `generation` when the call began; `open_ms`: how long to open, if it opens."""
        self.errors = [at for at in self.errors if at > now - self.rules.window_ms]
        granted, holds = False, token != "" and token == self.probe
        if step == "enter":
            granted = self._grant(token, now)
        elif step == "failed" and holds:
            self._change(now, now + open_ms)
        elif step == "failed" and not token and self.state(now) == CLOSED and generation >= self.changed:
            self.errors.append(now)
            if len(self.errors) > self.rules.errors:
                self._change(now, now + open_ms)
        elif step == "succeeded" and holds:
            self._change(now, 0)
        elif step == "released" and holds:
            self.probe = ""
        elif step == "renewed" and holds:
            self.probe_until = now + self.rules.probe_ms
        return Answer(self.state(now), self.changed, self._wait(now, token), granted, len(self.errors))

    def state(self, now: int) -> str:
        """Say which of the three states it is in."""
        if not self.open_until:
            return CLOSED
        return OPEN if now < self.open_until else HALF_OPEN

    def _grant(self, token: str, now: int) -> bool:
        if self.state(now) != HALF_OPEN or (self.probe and now < self.probe_until):
            return False
        self.probe, self.probe_until = token, now + self.rules.probe_ms
        return True

    def _change(self, now: int, open_until: int) -> None:
        self.changed, self.open_until, self.probe, self.errors = max(now, self.changed + 1), open_until, "", []

    def _wait(self, now: int, token: str) -> int:
        if self.state(now) == OPEN:
            return self.open_until - now
        return max(0, self.probe_until - now) if self.probe and self.probe != token else 0


@dataclass(frozen=True, slots=True)
class View:
    """What this process knows of a circuit, and since when (its monotonic clock, seconds)."""

    answer: Answer
    at: float

    def wait(self) -> float:
        """Seconds until somebody may be let in; 0 when that is now."""
        return max(0.0, self.at + self.answer.wait_ms / 1000 - monotonic())

    def age(self) -> float:
        """Seconds since it was learnt."""
        return monotonic() - self.at


UNKNOWN = View(Answer(CLOSED, 0, 0, granted=False, errors=0), at=float("-inf"))
"""Before anybody was asked."""


class Circuits:
    """The circuits by name. Fails over to this process: without Redis the same rules hold for its own calls alone."""

    def __init__(self, redis: Redis, rules: Rules, clock: Clock) -> None:
        self.rules = rules
        self._script = redis.register_script(_SCRIPT)
        self._clock = clock
        self._lock = threading.Lock()
        self._own: dict[str, Circuit] = {}
        self._ask_again_at = 0.0

    def take(self, name: str, step: Step, last: View, *, token: str = "", generation: int = 0, open_ms: int = 0) -> View:
        """Take a step; one round trip. `last` is what was known: where this process goes on from when Redis is away."""
        if monotonic() >= self._ask_again_at:
            rules = self.rules
            numbers = [generation, open_ms, rules.errors, rules.window_ms, rules.probe_ms, KEEP_MS]
            try:
                told = self._script(keys=[f"breaker:{{{name}}}", f"breaker:{{{name}}}:errors"], args=[step, token, *numbers])
            except RedisError as error:
                self._leave(error)
            else:
                self._own.pop(name, None)
                state, changed, wait_ms, granted, errors = cast("tuple[str, int, int, int, int]", told)
                return View(Answer(state, changed, wait_ms, bool(granted), errors), monotonic())
        with self._lock:
            own = self._own.get(name)
            if own is None:
                own = self._own[name] = _going_on(self.rules, last, "" if step == "enter" else token, self._clock.now())
            answer = own.take(step, self._clock.now(), token=token, generation=generation, open_ms=open_ms)
            return View(answer, monotonic())

    def _leave(self, error: RedisError) -> None:
        with self._lock:
            said = monotonic() < self._ask_again_at
            self._ask_again_at = monotonic() + AWAY_SECONDS
        if not said:  # one line per pause, however many calls were waiting
            log.warning("redis is away, each process guards the model on its own: %s", error)


def _going_on(rules: Rules, last: View, probe: str, now: int) -> Circuit:
    """Make a circuit that stands as the fleet's did when it was last seen."""
    answer, own = last.answer, Circuit(rules, changed=last.answer.generation)
    if answer.state != CLOSED:
        own.open_until = now + (round(last.wait() * 1000) if answer.state == OPEN else 0)
        own.probe, own.probe_until = probe, now + rules.probe_ms
    return own
