"""What waits for one socket's worker: frames of its client and notices from within, bounded in number and in bytes."""

import sys
import threading

from ws.notices import Live, Notice, Push

Item = str | bytes | Notice

_lock = threading.Lock()
"""One for all inboxes: it is held for a few instructions and never while anybody waits, and there are thousands of them."""


class Inbox:
    """A queue for one reader and any number of writers, who never wait."""

    __slots__ = ("_bytes", "_items", "_limit", "_max_bytes", "_ready")

    def __init__(self, limit: int, max_bytes: int) -> None:
        self._items: list[Item] = []  # a deque takes 0.7 KB, and this is mostly empty
        self._ready = threading.Event()
        self._limit = limit
        self._max_bytes = max_bytes
        self._bytes = 0

    def put(self, item: Item) -> bool:
        """Put something in. Returns: False when it does not fit any more; one alone always does."""
        size = _size(item)
        with _lock:
            if self._items and (len(self._items) >= self._limit or self._bytes + size > self._max_bytes):
                return False
            self._items.append(item)
            self._bytes += size
        self._ready.set()
        return True

    def get(self, seconds: float) -> Item | None:
        """Take the first one out, or wait for it. Returns: None after `seconds`, or when the reader was woken for nothing."""
        if not self._items:
            self._ready.wait(seconds)
        self._ready.clear()
        with _lock:
            if not self._items:
                return None
            item = self._items.pop(0)
            self._bytes -= _size(item)
            if self._items:
                self._ready.set()
        return item

    def wake(self) -> None:
        """Let the reader look up."""
        self._ready.set()

    def clear(self) -> None:
        """Drop all."""
        with _lock:
            self._items.clear()
            self._bytes = 0


def _size(item: Item) -> int:
    """Say what an item holds in memory, in bytes: exactly what is to be bounded, and known without looking at the text."""
    match item:
        case Live():
            return sys.getsizeof(item.event.text)
        case Push():
            return sys.getsizeof(item.text)
        case _:
            return sys.getsizeof(item)
