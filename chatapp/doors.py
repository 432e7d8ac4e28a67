"""Who would only get in each other's way queue up here, within this process; between processes the store decides."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary


class _Door:
    def __init__(self) -> None:
        self.lock = threading.Lock()


class Doors:
    """A door for each key, for as long as somebody stands at it. `taken` makes what is raised by who has waited too long."""

    def __init__(self, taken: Callable[[], Exception]) -> None:
        self._taken = taken
        self._doors: WeakValueDictionary[str, _Door] = WeakValueDictionary()

    @contextmanager
    def through(self, key: str, *, seconds: float) -> Iterator[None]:
        """Go through alone, after waiting at most so many seconds. Raises: what `taken` makes."""
        door = self._doors.setdefault(key, _Door())
        if not door.lock.acquire(timeout=seconds):
            raise self._taken()
        try:
            yield
        finally:
            door.lock.release()
