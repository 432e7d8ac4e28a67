"""Memory of the WebSocket server per open socket, against an echo on the same gunicorn."""

import json
import resource
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from websocket import ABNF, WebSocket, create_connection

from bench.clients import Post, post_all, token_of
from bench.figures import Comparison
from bench.servers import resident_bytes, stage
from chatapp.dev.ports import HOST

SOCKETS = 2_000
FIRST = 50
"""Sockets that are opened before anything is measured: what a server sets up once is not counted."""

CLIENTS = 8


def run() -> Iterator[Comparison]:
    """Measure. Yields: one comparison, of sockets that are authenticated and follow a session of their own."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))  # the servers inherit it
    # No ping falls due while the sockets stand: nobody reads here to answer it.
    with stage(WS_PING_SECONDS="600", RATE_LIMIT_REQUESTS="0") as on:
        on.start("api")
        users = [f"bench-{n}" for n in range(FIRST + SOCKETS)]
        sessions = post_all(on.ports.api, [Post("/sessions", {"flow": "chat", "title": user}, user) for user in users])
        followed = [(s["title"], s["session_id"]) for s in sessions]
        ours = _kilobytes(on.start("ws"), [partial(_follower, on.ports.ws, *f) for f in followed])
        pid, port = on.gunicorn("config/gunicorn_ws.py", "bench.bare_echo:create_app()", "WS_BIND", {})
        comparison = Comparison("/ws, authenticated and subscribed", "KB per socket", "an echo", goal="goal: at most 48 KB")
        comparison.add(ours, _kilobytes(pid, [partial(_echoed, port)] * len(followed)))
        yield comparison


def _kilobytes(pid: int, opening: Sequence[Callable[[], WebSocket]]) -> float:
    """Open all sockets. Returns: the server's KB for each, the first few left out."""
    with ExitStack() as open_sockets, ThreadPoolExecutor(CLIENTS) as clients:

        def open_all(some: Sequence[Callable[[], WebSocket]]) -> int:
            for socket in clients.map(lambda open_one: open_one(), some):
                open_sockets.callback(socket.shutdown)
            return resident_bytes(pid)

        before = open_all(opening[:FIRST])
        return (open_all(opening[FIRST:]) - before) / 1024 / len(opening[FIRST:])


def _follower(port: int, user: str, session_id: str) -> WebSocket:
    """Open a socket that follows a session, and wait until it does."""
    socket = _connect(port, header=[f"Authorization: Bearer {token_of(user)}"])
    socket.send(json.dumps({"type": "subscribe", "session_id": session_id}))
    for expected in ("connected", "subscribed"):
        opcode, data = socket.recv_data()
        if opcode != ABNF.OPCODE_TEXT or json.loads(data)["type"] != expected:
            raise RuntimeError(f"{expected} was expected: {data!r}")
    return socket


def _echoed(port: int) -> WebSocket:
    """Open a socket and wait for its echo."""
    socket = _connect(port)
    socket.send("hello")
    if socket.recv() != "hello":
        raise RuntimeError("no echo")
    return socket


def _connect(port: int, header: Sequence[str] = ()) -> WebSocket:
    return create_connection(f"ws://{HOST}:{port}/ws", timeout=30, header=list(header), http_no_proxy=[HOST])
