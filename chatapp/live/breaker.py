"""Circuit breakers in front of the models, one for each provider and model, shared by all processes through Redis.

A call that is let in costs nothing while all is well: the state is asked for once in CACHE_SECONDS, not per call, and only
errors are told. While a breaker is open nobody is asked, not even Redis.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

from circuitbreaker import CircuitBreaker

from chatapp.errors import BreakerOpen, ProviderUnavailable
from chatapp.live.circuit import CLOSED, HALF_OPEN, OPEN, UNKNOWN, Circuits, Step, View
from chatapp.model import Pending

log = logging.getLogger(__name__)

T = TypeVar("T")

CACHE_SECONDS = 0.8
"""Age at which a state is asked for anew: every process knows of a change within a second."""

OLDEST_SECONDS = 1.0
"""What was learnt longer ago says nothing: a process that was idle, or has just started, waits for its first answer."""

ASKING_SECONDS = 1.0
"""Longest wait for that, when somebody else of this process is asking already: Redis answers, or is given up, in half of it."""

PROVEN_SECONDS = 0.25
"""A probe that has streamed for so long is believed: all others are refused until then. A cut after it is an error like any."""

LONGEST_OPEN_SECONDS = 120.0
"""A provider's Retry-After keeps a breaker open for so long at most; OpenAI's SDK does not believe longer ones either."""

LONGEST_PROBE_SECONDS = 300.0
"""A probe that has not proven anything by then makes room for another, should its call have been forgotten."""

SOONEST_SECONDS = 0.1
"""The least that a refused caller is told to wait, while it is not known yet what became of the probe."""

Failure = Callable[[type[BaseException], BaseException], bool]
"""Takes the kind of an error and the error. Returns: whether it counts against the one that was called."""

OnChange = Callable[[str, str, str], None]
"""Takes a breaker's name, the old and the new state: `closed`, `open` or `half_open`."""


@dataclass(slots=True)
class Call:
    """A call that was let in. A context manager: how it is left is the verdict. `token` is set while it is the probe."""

    breaker: "SharedBreaker"
    generation: int
    token: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.over.set()
        self.breaker.leave(self, error)


class SharedBreaker(CircuitBreaker):  # type: ignore[misc]
    """A breaker that opens for the whole fleet at once.

    Of its base it keeps the interface and the predicate of what is a failure. The base counts errors in a row, in one
    process, lets everybody in when half open, and takes a reader that leaves for a success.
    """

    def __init__(
        self,
        name: str,
        circuits: Circuits,
        *,
        open_seconds: float,
        on_change: OnChange,
        failure: type[Exception] | Failure = ProviderUnavailable,
    ) -> None:
        super().__init__(
            failure_threshold=circuits.rules.errors + 1,
            recovery_timeout=open_seconds,
            expected_exception=failure,
            name=name,
        )
        self._circuits = circuits
        self._on_change = on_change
        self._view = UNKNOWN
        self._seeing = threading.Lock()
        self._asking = threading.Lock()

    def call(self, func: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function. Raises: BreakerOpen, and whatever it raises."""
        with self.enter():
            return func(*args, **kwargs)

    def call_generator(self, func: Callable[..., Generator[T, None, None]], *args: Any, **kwargs: Any) -> Iterator[T]:
        """Iterate over what a generator function yields: that it is called says nothing, how it ends does.

        A reader that leaves early gives no verdict. Raises: BreakerOpen, and whatever it raises.
        """
        with self.enter() as call, closing(func(*args, **kwargs)) as items:
            if call.token:
                yield from self._proving(call, items)
            yield from items

    def enter(self) -> Call:
        """Let a call in.

        Raises: BreakerOpen, in microseconds; only one caller of the process at a time asks Redis.
        """
        # Who finds somebody else asking goes by what was known a moment ago, or waits to hear what is.
        patience = 0 if self._view.age() < OLDEST_SECONDS else ASKING_SECONDS
        if not self._tells(self._view) and self._asking.acquire(timeout=patience):
            try:
                if not self._tells(self._view):
                    token = secrets.token_hex(8)
                    if self._take("enter", token=token).answer.granted:
                        return self._probe(token)
            finally:
                self._asking.release()
        view = self._view
        if view.answer.state == CLOSED:
            return Call(self, view.answer.generation)
        raise BreakerOpen(retry_after=max(view.wait(), SOONEST_SECONDS))

    def leave(self, call: Call, error: BaseException | None) -> None:
        """Take the verdict of a call. Never raises."""
        if error is None:
            if call.token:
                self._take("succeeded", token=call.token)
        elif self.is_failure(type(error), error):
            # A provider's word on when to come back is kept, if it is longer than ours.
            told = min(getattr(error, "retry_after", None) or 0.0, LONGEST_OPEN_SECONDS)
            open_ms = round(max(self._recovery_timeout, told) * 1000)
            self._take("failed", token=call.token, generation=call.generation, open_ms=open_ms)
        elif call.token:
            self._take("released", token=call.token)

    def look(self) -> View:
        """Say how it stands, without letting anybody in."""
        view = self._view
        if view.age() < CACHE_SECONDS or (view.answer.state == OPEN and view.wait() > 0):
            return view
        return self._take("look")

    def wait(self) -> float:
        """Seconds until somebody may be let in; 0 when that is now."""
        return self.look().wait()

    @property
    def state(self) -> str:
        """`closed`, `open` or `half_open`."""
        view = self.look()
        return HALF_OPEN if view.answer.state == OPEN and view.wait() == 0 else view.answer.state

    @property
    def open_remaining(self) -> float:
        """Seconds until it is half open."""
        view = self.look()
        return view.wait() if view.answer.state == OPEN else 0.0

    @property
    def failure_count(self) -> int:
        """Errors within the window."""
        return self.look().answer.errors

    def __enter__(self) -> NoReturn:
        """Refuse: what the base does here knows nothing of the fleet."""
        raise TypeError("a shared breaker is entered by call, call_generator or enter")

    def _tells(self, view: View) -> bool:
        """Say whether a call can be decided by what is known."""
        state = view.answer.state
        if state == OPEN:
            return view.wait() > 0
        if state == HALF_OPEN:
            return view.wait() > 0 and view.age() < CACHE_SECONDS
        return not view.answer.errors and view.age() < CACHE_SECONDS  # after an error, all look before they call

    def _take(self, step: Step, *, token: str = "", generation: int = 0, open_ms: int = 0) -> View:
        asked_at = monotonic()
        view = self._circuits.take(self.name, step, self._view, token=token, generation=generation, open_ms=open_ms)
        with self._seeing:
            old, late = self._view, asked_at < self._view.at
            if late and view.answer.generation < old.answer.generation:
                return view  # overtaken by an answer that knew of a change
            self._view = view
        if old.answer.state != view.answer.state:
            self._on_change(self.name, old.answer.state, view.answer.state)
        return view

    def _probe(self, token: str) -> Call:
        call = Call(self, 0, token)
        renewing = threading.Thread(target=self._renew, args=(call, token), name=f"probe-{self.name}", daemon=True)
        try:
            renewing.start()
        except BaseException as error:  # it waits for the thread: the attempt may be stopped just then, and nobody would leave
            call.over.set()
            self.leave(call, error)
            raise
        return call

    def _renew(self, call: Call, token: str) -> None:
        """Keep the probe's token while its call is under way, however long the provider takes to begin."""
        until = monotonic() + LONGEST_PROBE_SECONDS
        while monotonic() < until and not call.over.wait(self._circuits.rules.probe_ms / 3000):
            self._take("renewed", token=token)

    def _proving(self, call: Call, items: Iterator[T]) -> Iterator[T]:
        """Hand on what a probe yields, until it has proven that the provider is back or has no more to yield."""
        since = None
        for item in items:
            if not isinstance(item, Pending):
                since = since or monotonic()
                if monotonic() - since >= PROVEN_SECONDS:
                    call.over.set()
                    view = self._take("succeeded", token=call.token)
                    call.token, call.generation = "", view.answer.generation  # what follows is a call like any other
            yield item
            if not call.token:
                return


@dataclass(frozen=True, slots=True)
class Route:
    """A provider's address, and the model it is asked for; None: the one that the request names."""

    base_url: str
    model: str | None = None

    def name(self, model: str) -> str:
        """Name the provider's breaker when a request names `model`. The address may hold a password, its host does not."""
        return f"{urlsplit(self.base_url).netloc.rpartition('@')[2]}/{self.model or model}"


class Breakers:
    """The breakers of all providers and models. `on_change` is called with (name, old state, new state)."""

    def __init__(self, circuits: Circuits, routes: Sequence[Route], models: Sequence[str], *, open_seconds: float) -> None:
        self.on_change: list[OnChange] = []
        self._circuits = circuits
        self._routes = routes
        self._models = models
        self._open_seconds = open_seconds
        self._made: dict[str, SharedBreaker] = {}

    def chain(self, model: str) -> list[SharedBreaker]:
        """Give the breakers of the providers, in the order in which they are asked for `model`."""
        return [self._named(route.name(model)) for route in self._routes]

    def beside(self, name: str, failure: Failure) -> SharedBreaker:
        """Make the breaker of an API that is no model. `failure` says which errors count."""
        return SharedBreaker(name, self._circuits, open_seconds=self._open_seconds, on_change=self._changed, failure=failure)

    def wait(self, model: str) -> float | None:
        """Seconds until some provider may be asked for `model`; None when one may be asked now."""
        waits = [breaker.wait() for breaker in self.chain(model)]
        return None if 0 in waits else min(waits)

    def states(self) -> dict[str, dict[str, Any]]:
        """Say how each stands: `state`, and `retry_after` in seconds unless it is closed."""
        breakers = {breaker.name: breaker for model in self._models for breaker in self.chain(model)}
        return {name: _told(breaker) for name, breaker in breakers.items()}

    def _named(self, name: str) -> SharedBreaker:
        made = self._made.get(name)
        if made is None:
            made = SharedBreaker(name, self._circuits, open_seconds=self._open_seconds, on_change=self._changed)
            made = self._made.setdefault(name, made)
        return made

    def _changed(self, name: str, old: str, new: str) -> None:
        log.warning("the breaker of %s is %s, it was %s", name, new, old)
        for told in self.on_change:
            try:
                told(name, old, new)
            except Exception:  # a metric that fails must not fail a call
                log.exception("somebody who follows the breakers failed")


def _told(breaker: SharedBreaker) -> dict[str, Any]:
    state = breaker.state
    return {"state": state} if state == CLOSED else {"state": state, "retry_after": round(breaker.wait(), 1)}
