"""From the publication of an event to the socket: our WebSocket process against plain asyncio and `websockets`."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import quantiles

from bench.clients import Post, post_all, token_of
from bench.figures import Comparison
from bench.process import Process, started
from bench.servers import Stage, cpu_seconds, open_many_files, resident_bytes, stage
from chatapp.dev.child import Child, http_ok
from chatapp.dev.ports import free_port
from chatapp.live.events import channel_of

SOCKETS = int(os.environ.get("BENCH_SOCKETS", "5000"))
FIRST = 50
RATES = (2_000, 5_000)
"""Events a second."""
SECONDS = 8
ROUNDS = 3
MAX_LAG_MS = 10.0
"""A round in which the clients needed more for a datagram (p99) measured them, not the server."""
TRIES = 4
PLAIN = "plain `websockets`"


@dataclass(frozen=True)
class Side:
    """A server, with its process, and the sessions that its sockets follow."""

    pid: int
    port: int
    sessions: Sequence[tuple[str, str]]
    sockets: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Load:
    """Who makes the load. `direct` is where the clients take what goes by no server."""

    clients: Process
    publisher: Process
    direct: int


def run() -> Iterator[Comparison]:
    """Measure. Yields: for each rate p50, p99 and CPU per event; then the memory of a socket."""
    open_many_files()
    with (
        stage(RATE_LIMIT_REQUESTS="0") as on,
        started(on, [sys.executable, "-m", "bench.fanout_clients"]) as clients,
        started(on, [sys.executable, "-m", "bench.publisher"]) as publisher,
    ):
        sides = (_ours(on), _theirs(on))
        memory = Comparison(f"{SOCKETS:,} sockets", "KB per socket", PLAIN)
        memory.add(*(_opened(side, clients) for side in sides))
        load = Load(clients, publisher, clients.ask(do="open", port=0, sockets=[])["direct"])
        for rate in RATES:
            yield from _rounds(sides, rate, load)
        yield memory


def _ours(on: Stage) -> Side:
    on.start("api")
    users = [f"bench-{n}" for n in range(SOCKETS)]
    posts = [Post("/sessions", {"flow": "chat", "title": user}, user) for user in users]
    sessions = [(s["title"], s["session_id"]) for s in post_all(on.ports.api, posts)]
    sockets = [
        (f"Authorization: Bearer {token_of(user)}\r\n", json.dumps({"type": "subscribe", "session_id": session_id}))
        for user, session_id in sessions
    ]
    return Side(on.start("ws"), on.ports.ws, sessions, sockets)


def _theirs(on: Stage) -> Side:
    port = free_port()
    command = (sys.executable, "-m", "bench.bare_fanout", str(port), on.env["REDIS_URL"])
    pid = on.start(Child("bare_fanout", command, probe=http_ok(port, "/health/live")))
    sessions = [(f"bench-{n}", f"{n:032x}") for n in range(SOCKETS)]
    return Side(pid, port, sessions, [("", json.dumps({"channel": channel_of(session_id)})) for _, session_id in sessions])


def _opened(side: Side, clients: Process) -> float:
    """Open all sockets of a side. Returns: the server's KB for each, the first few left out."""
    clients.ask(do="open", port=side.port, sockets=side.sockets[:FIRST])
    before = resident_bytes(side.pid)
    clients.ask(do="open", port=side.port, sockets=side.sockets[FIRST:])
    return (resident_bytes(side.pid) - before) / 1024 / (len(side.sockets) - FIRST)


def _rounds(sides: tuple[Side, Side], rate: int, load: Load) -> Iterator[Comparison]:
    what = f"{rate:,} events/s to {SOCKETS:,} sockets"
    median = Comparison(f"{what}, p50", "ms", PLAIN)
    late = Comparison(f"{what}, p99", "ms", PLAIN, goal="goal: at most 25 ms")
    cpu = Comparison(f"{what}, CPU", "µs per event", PLAIN)
    for number in range(ROUNDS + 1):
        ours, theirs = (_round(side, rate, load) for side in sides)
        if number:  # the first one warms up
            for comparison, mine, yours in zip((median, late, cpu), ours, theirs, strict=True):
                comparison.add(mine, yours)
    yield from (median, late, cpu)


def _round(side: Side, rate: int, load: Load) -> tuple[float, float, float]:
    """Publish to all sockets of a side. Returns: p50 and p99 in milliseconds, microseconds of the server's CPU per event.

    Raises: RuntimeError when events did not arrive, or the load itself could not keep up, TRIES times in a row.
    """
    events = rate * SECONDS
    for _ in range(TRIES):
        load.publisher.ask(do="open", sessions=side.sessions, rate=max(RATES))
        load.clients.ask(do="clear")
        before = cpu_seconds(side.pid)
        published = load.publisher.ask(do="publish", events=events, rate=rate, direct=load.direct)
        heard = load.clients.ask(do="listen", expected=events, seconds=SECONDS)
        used = cpu_seconds(side.pid) - before
        load.publisher.ask(do="end", rate=max(RATES))
        if len(heard["times"]) != events:
            raise RuntimeError(f"{len(heard['times'])} of {events} events arrived")
        late, lag = published["seconds"] - SECONDS, _cuts(heard["lags"])[98]
        if late < SECONDS / 20 and lag < MAX_LAG_MS:
            times = _cuts(heard["times"])
            return times[49], times[98], 1e6 * used / events
        print(f"fanout   a round is void: {late:.1f} s late, the clients' own lag {lag:.1f} ms", file=sys.stderr, flush=True)
    raise RuntimeError("the machine is too busy: the load itself does not keep up")


def _cuts(nanoseconds: Sequence[int]) -> list[float]:
    """Give the percentiles 1 to 99, in milliseconds."""
    return [cut / 1e6 for cut in quantiles(nanoseconds, n=100)]
