"""The goodbye to every open socket of this process when it stops: 1012, and when to come back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ws.protocol import Close

HANDSHAKES_PER_SECOND = 500
"""What the processes that remain can be asked to take up: that many sockets a second are told to come back."""

SHORTEST_SPREAD_SECONDS = 1.0


class Leaving(Protocol):
    """A socket, as far as it can be told to go."""

    def dismiss(self, code: Close, reason: str) -> None:
        """Close it with this code. From any thread; never waits."""
        ...


class Draining:
    """The open sockets of this process, authenticated or not."""

    def __init__(self) -> None:
        self._open: set[Leaving] = set()
        self._begun = False

    @contextmanager
    def holding(self, socket: Leaving) -> Iterator[None]:
        """Count a socket as open while the block runs. One that comes too late is told so at once."""
        self._open.add(socket)
        if self._begun:
            self._dismiss(socket)
        try:
            yield
        finally:
            self._open.discard(socket)

    def begin(self) -> None:
        """Tell every socket to come back elsewhere."""
        self._begun = True
        for socket in tuple(self._open):
            self._dismiss(socket)

    def _dismiss(self, socket: Leaving) -> None:
        # Thousands that came back at once would be a flood to those who take them, so each is given a time of its own.
        spread = max(SHORTEST_SPREAD_SECONDS, len(self._open) / HANDSHAKES_PER_SECOND)
        socket.dismiss(Close.RESTART, f"restarting, reconnect_in={random.uniform(0, spread):.1f}")  # noqa: S311  guards nothing
