"""Memory of the WebSocket server per open socket, against an echo on the same gunicorn."""

import json
from collections.abc import Iterator, Sequence

from bench.clients import Post, post_all, token_of
from bench.crowd import Asking, Crowd
from bench.figures import Comparison
from bench.servers import open_many_files, resident_bytes, stage

SIZES = (2_000, 10_000)
FIRST = 50
"""Sockets that are opened before anything is measured: what a server sets up once is not counted."""


def run() -> Iterator[Comparison]:
    """Measure. Yields: for each size a comparison, of sockets that are authenticated and follow a session of their own."""
    open_many_files()
    # No ping falls due while the sockets stand: nobody reads here to answer it.
    with stage(WS_PING_SECONDS="600", RATE_LIMIT_REQUESTS="0") as on:
        on.start("api")
        users = [f"bench-{n}" for n in range(FIRST + max(SIZES))]
        sessions = post_all(on.ports.api, [Post("/sessions", {"flow": "chat", "title": user}, user) for user in users])
        followers = [_follower(on.ports.ws, s["title"], s["session_id"]) for s in sessions]
        ours = _kilobytes(on.start("ws"), followers)
        pid, port = on.gunicorn("config/gunicorn_ws.py", "bench.bare_echo:create_app()", "WS_BIND", {})
        theirs = _kilobytes(pid, [Asking(port, "", "hello", "hello") for _ in users])
        for size, mine, yours in zip(SIZES, ours, theirs, strict=True):
            what = f"{size:,} on /ws, authenticated and subscribed"
            comparison = Comparison(what, "KB per socket", "an echo", goal="goal: at most 48 KB")
            comparison.add(mine, yours)
            yield comparison


def _kilobytes(pid: int, clients: Sequence[Asking]) -> list[float]:
    """Open all sockets. Returns: the server's KB for each at every size, the first few left out."""
    crowd = Crowd()
    crowd.open(clients[:FIRST])
    before, told, opened = resident_bytes(pid), [], FIRST
    for size in SIZES:
        crowd.open(clients[opened : FIRST + size])
        opened = FIRST + size
        told.append((resident_bytes(pid) - before) / 1024 / size)
    for client in clients:
        client.reset()
    return told


def _follower(port: int, user: str, session_id: str) -> Asking:
    headers = f"Authorization: Bearer {token_of(user)}\r\n"
    return Asking(port, headers, json.dumps({"type": "subscribe", "session_id": session_id}), '"subscribed"')
