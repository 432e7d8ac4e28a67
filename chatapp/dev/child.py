"""A process of the stack as a value: what to run, and how to know that it is ready."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

Probe = Callable[[], Coroutine[Any, Any, bool]]
PROBE_SECONDS = 2.0


@dataclass(frozen=True)
class Child:
    """One process.

    Ready is: `probe` answers true, or a line of its output holds `ready_line`, or (`one_shot`) it has ended with 0.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those that all share."""
    probe: Probe | None = None
    ready_line: str | None = None
    one_shot: bool = False
    after: tuple[str, ...] = ()
    """Names of those that must be ready before this one starts."""
    redo: tuple[str, ...] = ()
    """Names of one-shots that must run again when this one was restarted, since its state may be gone."""
    stops_last: bool = False
    """Others need it while they stop."""
    noise: tuple[str, ...] = ()
    """Lines that hold one of these are of no use to a developer and not shown."""


def http_ok(port: int, path: str) -> Probe:
    """Make a probe: GET on 127.0.0.1 answers 200."""

    async def probe() -> bool:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        answer = await _exchange(port, request.encode())
        return answer.startswith(b"HTTP/1.") and answer.split(b" ", 2)[1:2] == [b"200"]

    return probe


def redis_ok(port: int) -> Probe:
    """Make a probe: PING on 127.0.0.1 answers PONG (not so while the append-only file is still being loaded)."""

    async def probe() -> bool:
        return (await _exchange(port, b"PING\r\n")).startswith(b"+PONG")

    return probe


async def _exchange(port: int, request: bytes) -> bytes:
    """Send a request and read the first line of the answer; empty when nobody answers (yet)."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                return await reader.readline()
            finally:
                writer.close()
    except (OSError, ValueError, TimeoutError):
        return b""
