"""Hop 6 of 8: the model is asked, behind the shared circuit breaker, inside one deadline; the next provider if it cannot.

The providers are asked in order, each behind the breaker of its host and model. The next one is asked only as long as
nothing of an answer was yielded: what a client has seen is never mixed with another model's words.

| the provider | then |
|---|---|
| is not asked: its breaker is open | the next one, without a request |
| fails, is cut, or does not begin to answer in its share of the time | the next one; counts for the breaker |
| says slow down (429) | the next one; does not count: it is busy, not broken. Its Retry-After is kept for the error |
| refuses our key, address or account | the next one, and an error in the log; does not count: waiting mends nothing |
| says that the request is wrong, too long or refused | the end: the next would say the same |
"""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from chatapp.errors import (
    BreakerOpen,
    ContentRefused,
    ModelError,
    ModelRequestInvalid,
    ProviderMisconfigured,
    ProviderUnavailable,
)
from chatapp.model import ModelRequest, Pending, Piece
from chatapp.ports import Clock

log = logging.getLogger(__name__)

OF_THE_REQUEST = (ModelRequestInvalid, ContentRefused)
"""Errors that say something about the request and nothing about the provider."""


class Timed(Protocol):
    """A model that can be told how long to wait."""

    def stream(self, request: ModelRequest, seconds: float) -> Generator[Piece, None, None]:
        """Yield as the `LLM` port does; `seconds` is the longest silence that is borne."""
        ...


class Breaker(Protocol):
    """A circuit breaker. `name` is safe to be logged."""

    @property
    def name(self) -> str:
        """Which it is."""
        ...

    def call_generator(self, func: Callable[..., Generator[Piece, None, None]], *args: Any) -> Iterator[Piece]:
        """Iterate over what `func(*args)` yields. Raises: BreakerOpen, and whatever that raises."""
        ...


@dataclass(frozen=True, slots=True)
class Provider:
    """Somebody who can be asked. `model` None: the one that the request names."""

    llm: Timed
    model: str | None = None


class GuardedLLM:
    """Implements the `LLM` port over several providers.

    `breakers` gives their breakers for a model, in the same order; `seconds` is the time in which one of them must have
    begun to answer, all tries together. Each gets an equal share of what is left of it.
    """

    def __init__(
        self, providers: Sequence[Provider], breakers: Callable[[str], Sequence[Breaker]], *, clock: Clock, seconds: float
    ) -> None:
        self._providers = providers
        self._breakers = breakers
        self._clock = clock
        self._seconds = seconds

    def stream(self, request: ModelRequest) -> Generator[Piece, None, None]:
        """Yield the answer of the first provider that begins one, a `Finish` last, which tells its model.

        Raises: BreakerOpen when nobody was asked; else the error that promises most: see `_worth_telling`.
        """
        until = self._clock.monotonic() + self._seconds
        failures: list[ModelError] = []
        chain = list(zip(self._providers, self._breakers(request.options.model), strict=True))
        for number, (provider, breaker) in enumerate(chain):
            share = (until - self._clock.monotonic()) / (len(chain) - number)
            if share <= 0:
                break
            begun = False
            try:
                with closing(breaker.call_generator(self._ask, provider, request, share)) as pieces:  # type: ignore[type-var]
                    for piece in pieces:
                        begun = not isinstance(piece, Pending)
                        yield piece
                        if begun:
                            break
                    yield from pieces
                    return
            except ModelError as error:
                if begun:
                    raise
                failures.append(error)
                if isinstance(error, OF_THE_REQUEST):
                    break
                _say(breaker.name, error)
        raise _worth_telling(failures)

    def _ask(self, provider: Provider, request: ModelRequest, seconds: float) -> Generator[Piece, None, None]:
        """Ask one provider, and see that it begins to answer: signs of life are not an answer."""
        if provider.model is not None:
            request = replace(request, options=replace(request.options, model=provider.model))
        until = self._clock.monotonic() + seconds
        with closing(provider.llm.stream(request, seconds)) as pieces:
            for piece in pieces:
                yield piece
                if not isinstance(piece, Pending):
                    break
                if self._clock.monotonic() > until:
                    raise ProviderUnavailable("The model did not begin to answer in time")
            yield from pieces


def _say(name: str, error: ModelError) -> None:
    if isinstance(error, ProviderMisconfigured):
        log.error("%s: %s: somebody must look at its key, address and account", name, error.detail)
    elif not isinstance(error, BreakerOpen):
        log.warning("%s: %s: %s", name, error.code, error.detail)


def _worth_telling(failures: Sequence[ModelError]) -> ModelError:
    """Choose what is told of several failures: one after which trying again may help, of somebody who was asked.

    Its `retry_after` is the soonest at which one of the providers may answer.
    """
    again = [error for error in failures if error.retryable]
    if not again:
        return failures[-1] if failures else ProviderUnavailable("No model began to answer in time")
    told = next((error for error in again if not isinstance(error, BreakerOpen)), again[0])
    told.retry_after = min(error.retry_after or 0.0 for error in again) or None
    return told
