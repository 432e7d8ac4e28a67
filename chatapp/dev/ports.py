"""Choosing ports: the usual one, or a free one when somebody has it."""

import asyncio
import fcntl
import os
import random
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace

HOST = "127.0.0.1"
CANDIDATES: Iterator[int] = iter(lambda: random.randrange(20_000, 30_000), None)
"""What is tried where any port will do.

Below the range from which systems give ports to outgoing connections: one of these could sit on it when it is needed again.
"""

TURN_SECONDS = 15.0


@dataclass(frozen=True)
class Ports:
    """Where everything listens. The usual ports are off the beaten track where a developer may well run the real thing."""

    api: int = 8000
    ws: int = 8001
    llm: int = 8002
    redis: int = 6390
    aws: int = 4566
    partners: int = 8003


def is_free(port: int) -> bool:
    """Say whether a server could listen there. Connections of an ended one (TIME_WAIT) do not count."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
            candidate.listen(1)
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = ()) -> int:
    """Find a port on which nobody listens, not one of `taken`."""
    return next(port for port in CANDIDATES if port not in taken and is_free(port))


def settle(wanted: Ports) -> Ports:
    """Replace each port that is taken, wanted twice or 0 (any) by a free one."""
    settled = wanted
    used: set[int] = set()
    for f in fields(Ports):
        port = getattr(wanted, f.name)
        if port == 0 or port in used or not is_free(port):
            port = free_port({getattr(wanted, other.name) for other in fields(Ports)} | used)
            settled = replace(settled, **{f.name: port})
        used.add(port)
    return settled


@asynccontextmanager
async def turn_to_choose() -> AsyncIterator[None]:
    """Let one stack at a time choose its ports and begin to listen on them, so that two started together do not collide.

    The lock is on the folder for temporary files itself: it vanishes with the process and leaves nothing behind. Somebody
    who holds it for too long is not waited for: at worst a child then finds its port taken and says so.
    """
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        deadline = time.monotonic() + TURN_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.05)
        yield
    finally:
        os.close(folder)
