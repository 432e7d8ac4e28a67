"""Names become addresses, checked; the connection then goes to the very address that was checked.

A name may lead to a public address when it is looked at and to a private one a moment later (DNS rebinding): so it is looked up
once, and what was found is what is dialled.
"""

import queue
import socket
import threading
from collections.abc import Callable, Sequence

from chatapp.addresses import is_public, literal
from chatapp.outbound.failures import AddressRefused, NotSent
from chatapp.outbound.streams import Deadline

Resolve = Callable[[str, int], Sequence[str]]
"""Looks up a name: (host, port) to addresses, the best first. Raises: OSError, UnicodeError."""

MAX_LOOKUPS = 64
"""At the same time: a look-up cannot be called off, and a name server may take half a minute."""


def system_resolve(host: str, port: int) -> list[str]:
    """Look a name up as this machine does."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


class Resolver:
    """Looks names up, within a deadline."""

    def __init__(self, resolve: Resolve = system_resolve) -> None:
        self._resolve = resolve
        self._slots = threading.BoundedSemaphore(MAX_LOOKUPS)

    def addresses(self, host: str, port: int, deadline: Deadline, *, public: bool) -> list[str]:
        """Find the addresses of a host; `public`: only those of the public Internet, of which there must be one.

        Raises: NotSent, AddressRefused.
        """
        found = [host] if literal(host) is not None else self._look_up(host, port, deadline)
        allowed = [a for a in found if is_public(a)] if public else list(found)
        if not found:
            raise NotSent("The host has no address")
        if not allowed:
            raise AddressRefused("The host's address is not a public one")
        return allowed

    def _look_up(self, host: str, port: int, deadline: Deadline) -> Sequence[str]:
        answers: queue.Queue[Sequence[str] | Exception] = queue.Queue(1)

        def look_up() -> None:
            try:
                answers.put(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                answers.put(error)
            finally:
                self._slots.release()

        if not self._slots.acquire(timeout=deadline.left()):
            raise NotSent("The host's name could not be looked up in time")
        try:
            # A thread of its own (a greenlet under gevent), because the system's look-up knows no deadline.
            threading.Thread(target=look_up, name="look-up", daemon=True).start()
            found = answers.get(timeout=deadline.left())
        except (TimeoutError, queue.Empty) as error:
            raise NotSent("The host's name could not be looked up in time") from error
        if isinstance(found, Exception):
            raise NotSent("The host's name cannot be resolved") from found
        return found
