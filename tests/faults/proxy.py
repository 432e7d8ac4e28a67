"""A TCP proxy in front of one server, that fails when it is told to.

Connections can be refused, silent, slow or cut; of HTTP, single requests can be faulted, chosen by what they ask for:

    with FaultProxy(upstream_port) as proxy:                    # listens on 127.0.0.1, a port of its own: proxy.port
        proxy.refuse(); proxy.hole(); proxy.latency(0.2); proxy.heal()
        proxy.cut()                                             # resets what is connected now; returns how many
        with proxy.fault("AmazonSQS.SendMessage*", status(503), times=3) as rule:
            ...
        assert rule.hits == 3                                   # a fault that did not hit has tested nothing

A request's *name* is its `X-Amz-Target` (`AmazonSQS.ReceiveMessage`, `DynamoDB_20120810.UpdateItem`), else its method and path
(`POST /v1/chat/completions`). `proxy.requests` counts them by name. Rules are tried in the order in which they were made; the
first that matches and still has a turn decides. All methods may be called from any thread, and take effect at once. The faults
are in `tests.faults.kinds`.
"""

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self

from tests.faults.kinds import Fault

HOST = "127.0.0.1"
LIMIT = 4 * 1024 * 1024
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: closing then sends RST."""


@dataclass(eq=False)
class Rule:
    """A fault that is waiting for its requests. As a context manager it ends with the block."""

    proxy: "FaultProxy"
    name: str
    fault: Fault
    times: int | None
    probability: float
    containing: bytes
    hits: int = 0
    """How many requests it has met."""

    def remove(self) -> None:
        """Let such requests pass again."""
        self.proxy.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.remove()

    def takes(self, request: "_Request", chance: random.Random) -> bool:
        """Say whether it meets this request, and count it."""
        if self.times is not None and self.hits >= self.times:
            return False
        if not fnmatchcase(request.name, self.name) or self.containing not in request.body:
            return False
        if self.probability < 1 and chance.random() >= self.probability:
            return False
        self.hits += 1
        return True


@dataclass(frozen=True)
class _Request:
    name: str
    head: bytes
    body: bytes


@dataclass(eq=False)
class _Link:
    """One client's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answering: Fault | None = None
    doomed: bool = False

    @property
    def open(self) -> bool:
        return not self.writer.transport.is_closing()

    def reset(self) -> None:
        if self.open:
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.writer.transport.abort()


class FaultProxy:
    """See the module. `http` False hands bytes on without looking at them (Redis): rules then have no effect."""

    def __init__(self, upstream: int, *, seed: int = 0, http: bool = True) -> None:
        self.upstream = upstream
        self.requests: Counter[str] = Counter()
        self.connections = 0
        """How many were accepted so far."""
        self._http = http
        self._chance = random.Random(seed)
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._mode = "pass"
        self._latency = 0.0
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        # Bound for as long as the proxy lives, and never listening: a refused port stays ours.
        self._place = _bound(0)
        self.port: int = self._place.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"fault-proxy-{self.port}", daemon=True)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_exc: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.close()

    # --- the whole server

    def heal(self) -> None:
        """Let everything pass. Rules stay; connections that fell into a hole are reset."""
        self._do(self._change("pass"))

    def refuse(self) -> None:
        """Refuse connections, and reset those there are: the server is down."""
        self._do(self._change("refuse"))

    def hole(self) -> None:
        """Accept connections and say nothing on any of them: the network is gone."""
        self._do(self._change("hole"))

    def latency(self, seconds: float) -> None:
        """Hold every request back for so long."""
        self._latency = seconds

    def cut(self) -> int:
        """Reset all connections there are. Returns: how many."""
        return self._do(self._cut())

    # --- single requests

    def fault(self, name: str, fault: Fault, *, times: int | None = None, probability: float = 1, containing: str = "") -> Rule:
        """Fault requests: `name` may hold wildcards, `containing` must be in the body, `times` is the most it may hit."""
        rule = Rule(self, name, fault, times, probability, containing.encode())
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """End a rule; once more is harmless."""
        with self._lock:
            if rule in self._rules:
                self._rules.remove(rule)

    # --- inside the loop

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, sock=_bound(self.port), limit=LIMIT, backlog=1024)

    async def _change(self, mode: str) -> None:
        self._mode = mode
        if mode == "refuse":
            if self._server is not None:
                self._server.close()
                self._server = None
            await self._cut()
            return
        await self._listen()
        for link in [link for link in self._links if link.doomed]:
            link.reset()

    async def _cut(self) -> int:
        links = [link for link in self._links if link.open]
        for link in links:
            link.reset()
        return len(links)

    async def _end(self) -> None:
        await self._change("refuse")
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(reader, writer)
        self._links.add(link)
        self.connections += 1
        try:
            if self._mode == "hole":
                await self._swallow(link)
            else:
                await self._serve(link)
        except (OSError, EOFError):
            link.reset()
        except asyncio.CancelledError:
            link.reset()  # not raised on: start_server's own callback would log it
        finally:
            self._links.discard(link)
            writer.close()

    async def _serve(self, link: _Link) -> None:
        up_reader, up_writer = await asyncio.open_connection(HOST, self.upstream, limit=LIMIT)
        asking = asyncio.ensure_future(self._requests(link, up_writer) if self._http else self._bytes(link, up_writer))
        answering = asyncio.ensure_future(self._answers(link, up_reader))
        try:
            # Whichever side leaves first takes the other with it.
            done, _ = await asyncio.wait([asking, answering], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            up_writer.close()  # first: what follows waits, and may be cancelled once more
            for task in (asking, answering):
                task.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)

    async def _bytes(self, link: _Link, up_writer: asyncio.StreamWriter) -> None:
        while data := await link.reader.read(65_536):
            if self._mode == "hole":
                await self._swallow(link)
                return
            await asyncio.sleep(self._latency)
            up_writer.write(data)
            await up_writer.drain()

    async def _requests(self, link: _Link, up_writer: asyncio.StreamWriter) -> None:
        while (request := await _read(link.reader)) is not None:
            self.requests[request.name] += 1
            if self._mode == "hole":
                await self._swallow(link)
                return
            if self._latency:
                await asyncio.sleep(self._latency)
            fault = self._choose(request)
            if not await self._faulted(fault, link, request):
                link.answering = fault
                up_writer.write(request.head + request.body)
                await up_writer.drain()

    def _choose(self, request: _Request) -> Fault | None:
        with self._lock:
            return next((rule.fault for rule in self._rules if rule.takes(request, self._chance)), None)

    async def _faulted(self, fault: Fault | None, link: _Link, request: _Request) -> bool:
        """Do what a fault wants before the server is asked. Returns: whether it is not to be asked at all."""
        match fault.kind if fault else "":
            case "answer" if fault:
                link.writer.write(fault.answer())
                await link.writer.drain()
                return True
            case "drop":
                raise ConnectionResetError
            case "swallow":
                await self._swallow(link)
                return True
            case "delay" if fault:
                await asyncio.sleep(fault.seconds)
            case "twice":
                await self._once_more(request)
        return False

    async def _once_more(self, request: _Request) -> None:
        reader, writer = await asyncio.open_connection(HOST, self.upstream, limit=LIMIT)
        try:
            writer.write(request.head + request.body)
            await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.close()

    async def _answers(self, link: _Link, up_reader: asyncio.StreamReader) -> None:
        while data := await up_reader.read(65_536):
            if self._mode == "hole" or link.doomed:
                link.doomed = True
                continue
            fault, link.answering = link.answering, None
            if fault is not None and fault.kind == "lost":
                raise ConnectionResetError
            if fault is not None and fault.kind == "late":
                await asyncio.sleep(fault.seconds)
            link.writer.write(data)
            await link.writer.drain()

    async def _swallow(self, link: _Link) -> None:
        """Take what comes, and say nothing until the client leaves or the hole is closed."""
        link.doomed = True
        while await link.reader.read(65_536):
            pass


async def _read(reader: asyncio.StreamReader) -> _Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    if "transfer-encoding" in fields:
        raise ConnectionResetError("requests need a Content-Length here")
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    name = fields.get("x-amz-target") or first.partition("?")[0].removesuffix(" HTTP/1.1")
    return _Request(name, head, body)


def _bound(port: int) -> socket.socket:
    # The protocol by name: asyncio switches Nagle's algorithm off only where it stands.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((HOST, port))
    return made
