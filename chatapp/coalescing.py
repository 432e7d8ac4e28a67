"""One of many asks, all of them hear the answer: within this process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, TypeVar

from chatapp.errors import ExternalUnavailable

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    over: threading.Event = field(default_factory=threading.Event)
    landed: list[T] = field(default_factory=list)
    error: ExternalUnavailable | None = None


class Coalescing(Generic[T]):
    """Calls by key, of which one at a time is under way. `seconds`: the longest that anybody waits for another's call."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._open: dict[str, _Flight[T]] = {}

    def call(self, key: str, make: Callable[[], T]) -> T:
        """Call `make`, or wait for who is calling it for this key already. What is returned is shared: leave it unchanged.

        An ExternalUnavailable is everybody's. Whatever else ends a call, such as the stop of the attempt that made it, is its
        own: one of those who wait calls in its place. Raises: ExternalUnavailable, and whatever `make` raises.
        """
        until = monotonic() + self._seconds
        while True:
            with self._lock:
                flight = self._open.get(key)
                first = flight is None
                if flight is None:
                    flight = self._open[key] = _Flight()
            if first:
                return self._lead(key, flight, make)
            if not flight.over.wait(max(0.0, until - monotonic())):
                raise ExternalUnavailable("Another call for the same takes too long")
            if flight.landed:
                return flight.landed[0]
            if flight.error is not None:
                raise type(flight.error)(flight.error.detail, retry_after=flight.error.retry_after) from flight.error

    def _lead(self, key: str, flight: _Flight[T], make: Callable[[], T]) -> T:
        try:
            flight.landed.append(made := make())
        except ExternalUnavailable as error:
            flight.error = error
            raise
        else:
            return made
        finally:
            with self._lock:
                self._open.pop(key, None)
            flight.over.set()
