"""Twins within one process queue up here: only the first of them asks the store who is at work, again and again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from chatapp.errors import InFlight


class _Door:
    def __init__(self) -> None:
        self.lock = threading.Lock()


class Doors:
    """A door for each key, for as long as somebody stands at it."""

    def __init__(self) -> None:
        self._doors: WeakValueDictionary[str, _Door] = WeakValueDictionary()

    @contextmanager
    def through(self, key: str, *, seconds: float) -> Iterator[None]:
        """Go through alone, after waiting at most so many seconds. Raises: InFlight."""
        door = self._doors.setdefault(key, _Door())
        if not door.lock.acquire(timeout=seconds):
            raise InFlight(retry_after=1)
        try:
            yield
        finally:
            door.lock.release()
