"""200 answers followed by the client library while what it is connected to is cut, killed and restarted.

Everything is real: API, worker, WebSocket server, model over HTTP, Redis. Whatever breaks, each client is given each event of
its job once and in order, one terminal event, and a text that is the stored answer (CASES.md, I5 and I6).
"""

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import count, pairwise

import pytest
from redis import Redis

from chatapp.client import FORGET, Answer, Client, Event, Patience
from chatapp.dev import alone, twin
from chatapp.dev.child import Child, http_ok
from chatapp.dev.ports import free_port
from chatapp.payloads import RESET, SNAPSHOT, TERMINAL
from tests.faults.proxy import FaultProxy
from tests.integration.workers import env_of, started
from tests.integration.ws_kit import environment, token
from tests.servers import clean_env

SEED = int(os.environ.get("CUTS_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
"""Printed when a test fails; CUTS_SEED=... runs the same cuts again, as far as the clock allows."""

AT_ONCE = 30
STUBBORN = Patience(away=120, tries=15, first_pause=0.2)
"""A machine that is busy with other things takes long to start a server; and a request may be cut many times in a row."""

pytestmark = pytest.mark.timeout(300)
GUNICORN = (sys.executable, "-m", "gunicorn", "--graceful-timeout", "1", "-c")
WORKER = {"BREAKER_ERRORS": "1000", "SHUTDOWN_GRACE_SECONDS": "0.5"}


class Restartable:
    """A server that can be killed and comes back on its port."""

    def __init__(self, child: Child, folder):
        self._child, self._folder = child, folder
        self._running = ExitStack()
        self.start()

    def start(self):
        """Start it, and wait until it serves."""
        env = clean_env(self._child.env)
        self._process = self._running.enter_context(alone.running(self._child, env, self._folder))

    def kill(self):
        """SIGKILL, its children included."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self):
        """Stop it for good."""
        self._running.close()


class Cutter(FaultProxy):
    """Resets each connection after a number of bytes that nobody knows before: in the handshake, within a frame, anywhere."""

    cutting = True

    async def _answers(self, link, up_reader):
        left = self._chance.choice((self._chance.randint(1, 700), *[self._chance.randint(700, 4_000)] * 4))
        while data := await up_reader.read(65_536):
            link.writer.write(data[:left] if self.cutting else data)
            await link.writer.drain()
            left -= len(data)
            if self.cutting and left <= 0:
                raise ConnectionResetError


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    """A Redis of our own, which is killed, and started again with what it had or without."""
    folder = tmp_path_factory.mktemp("redis")
    port = free_port()
    server = Restartable(twin.redis(port, folder / "data"), folder)
    server.port, server.data = port, folder / "data"
    with closing(Redis(port=port)) as redis:
        # While it syncs its file, Redis answers before it has written: what it said may then not be what it knows again.
        redis.config_set("appendfsync", "no")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def valkey(redis_server):
    """What the settings of this module name."""
    return f"redis://127.0.0.1:{redis_server.port}/0"


@pytest.fixture(scope="module")
def ws(settings, tmp_path_factory):
    """The WebSocket server, which is killed."""
    port = free_port()
    env = environment(settings) | {"WS_BIND": f"127.0.0.1:{port}"}
    child = Child("ws", (*GUNICORN, "config/gunicorn_ws.py", "ws.app:create_app()"), env, http_ok(port, "/health/live"))
    server = Restartable(child, folder := tmp_path_factory.mktemp("ws"))
    server.port = port
    yield server
    server.stop()
    assert "Traceback" not in (text := (folder / "ws.log").read_text()), text


@pytest.fixture(scope="module")
def api(settings, ws, tmp_path_factory):
    """The API's address, and a worker behind it."""
    folder, port = tmp_path_factory.mktemp("api"), free_port()
    env = environment(settings) | {"API_BIND": f"127.0.0.1:{port}"}
    env["PUBLIC_WS_URL"] = f"ws://127.0.0.1:{ws.port}/ws"
    child = Child("api", (*GUNICORN, "config/gunicorn_api.py", "chatapp.api:create_app()"), env, http_ok(port, "/health/live"))
    with started(env_of(settings) | WORKER, folder / "worker.log", slots=50) as worker:
        with alone.running(child, clean_env(env), folder):
            worker.wait_for("worker ready")
            yield f"http://127.0.0.1:{port}"
        assert "Traceback" not in worker.log(), worker.log()


@pytest.fixture(scope="module")
def cutter(ws):
    """A way to the WebSocket server that is cut."""
    with Cutter(ws.port, seed=SEED, http=False) as running:
        yield running


@pytest.fixture(scope="module")
def api_cutter(api):
    """A way to the API that is cut."""
    with Cutter(int(api.rsplit(":", 1)[1]), seed=SEED, http=False) as running:
        yield running


@dataclass
class Run:
    """What one client was given, and when; `breaks` are the connections that it lost."""

    events: list[Event] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)
    text: str | None = None
    job: dict = field(default_factory=dict)

    def follow(self, number, api, **how):
        """Post a message and follow its answer to the end."""
        chance = random.Random(f"{SEED} {number}")
        script = f"[[tokens={chance.randint(30, 60)}]] [[delay={chance.uniform(0.01, 0.04):.3f}]]"
        script += " [[fail=1]]" * (number % 10 == 0)
        with Client(api, token(f"user-{SEED}-{number}"), on_break=self.breaks.append, patience=STUBBORN, **how) as client:
            answer = client.chat(f"Run {number} {script}", timeout=200)
            self._take(answer)
            self.text = answer.text
            self.job = client.job(answer.job_id)

    def _take(self, answer: Answer):
        for event in answer:
            self.events.append(event)
            self.times.append(time.monotonic())

    def spans(self, moment):
        """Whether the answer was under way at a moment."""
        return self.times[0] < moment < self.times[-1]


class Runs:
    """Many clients at once, and a fault meanwhile."""

    numbers = count(1)

    def __init__(self, api, **how):
        self._api, self._how = api, how

    def all(self, total, fault: Callable[[int], None] = lambda _: None):
        """Have `total` answers followed, and `fault(n)` done once in each wave of AT_ONCE."""
        done = []
        for wave, left in enumerate(range(total, 0, -AT_ONCE)):
            runs = [Run() for _ in range(min(left, AT_ONCE))]
            with ThreadPoolExecutor(len(runs)) as pool:
                following = [pool.submit(run.follow, next(self.numbers), self._api, **self._how) for run in runs]
                wait_until(lambda runs=runs: sum(len(run.events) > 2 for run in runs) > len(runs) // 2)
                fault(wave)
                for future in following:
                    future.result(250)
            done += runs
        return done


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _seed():
    """Say it, for when the test fails."""
    print(f"CUTS_SEED={SEED}")


@pytest.fixture
def runs(api, cutter):
    """Clients whose way to the WebSocket server is the cutter."""
    return Runs(api, websocket=f"ws://127.0.0.1:{cutter.port}/ws")


def check(run: Run, *, forgets: bool):
    """What every client was promised. `forgets`: the log was lost, so that it may have had to begin anew."""
    shown = [(e.type, e.id) for e in run.events]
    kinds = [e.type for e in run.events]
    assert sum(kind in TERMINAL for kind in kinds) == 1, shown
    assert run.events[-1].terminal, shown
    assert run.job["status"] == "completed", run.job
    assert run.text == run.job["answer"]
    assert read(run.events) == run.job["answer"], shown
    assert forgets or (FORGET not in kinds and SNAPSHOT not in kinds), shown
    assert run.events[0].seq == 0 or forgets, shown
    for before, event in pairwise(run.events):
        assert in_order(before, event), shown


def in_order(before: Event, event: Event) -> bool:
    """Whether this may stand behind that: the next of its attempt, the first of a later one, or what replaces all before it."""
    if FORGET in (before.type, event.type):
        return True
    if event.attempt > before.attempt:
        return event.seq == 0
    jump = event.seq - before.seq
    return event.attempt == before.attempt and (jump == 1 or (jump > 1 and event.type == SNAPSHOT))


def read(events) -> str:
    """Read the answer as somebody who knows nothing but the events."""
    text = ""
    for event in events:
        if event.type in (FORGET, RESET):
            text = ""
        elif event.type == SNAPSHOT or (event.terminal and not text):
            text = event.data["text"]
        text += event.delta
    return text


def assert_hit(done):
    """A fault that did not hit has tested nothing: of five clients at least one has lost a connection."""
    lost = Counter(len(run.breaks) for run in done)
    assert len(done) - lost[0] >= len(done) / 5, lost


def test_sockets_that_are_reset_anywhere(runs):
    """90 answers over WebSockets, each connection reset after a random number of bytes."""
    done = runs.all(90)
    for run in done:
        check(run, forgets=False)
    assert_hit(done)


def test_event_streams_that_are_reset_anywhere(api_cutter):
    """30 answers over Server-Sent Events; the posts and reads on the same connections are cut too, and repeated."""
    done = Runs(api_cutter.url, transport="sse").all(30)
    for run in done:
        check(run, forgets=False)
    assert_hit(done)


def test_a_websocket_server_that_is_killed(runs, cutter, ws):
    """50 answers; the server is killed while they are under way, and comes back."""
    cutter.cutting = False
    moments = []

    def kill(_wave):
        ws.kill()
        moments.append(time.monotonic())
        ws.start()

    done = runs.all(50, kill)
    cutter.cutting = True
    for run in done:
        check(run, forgets=False)
    assert_hit(done)
    assert all(any(run.spans(moment) for run in done) for moment in moments)


@pytest.mark.parametrize("empty", [False, True], ids=["with its data", "empty"])
def test_a_redis_that_is_killed(runs, cutter, redis_server, empty):
    """15 answers, over connections that are reset as well. With its data nothing is lost; without, the log begins anew."""
    moments = []

    def restart(_wave):
        redis_server.kill()
        moments.append(time.monotonic())
        if empty:
            shutil.rmtree(redis_server.data)
            redis_server.data.mkdir()
        redis_server.start()

    done = runs.all(15, restart)
    for run in done:
        check(run, forgets=empty)
    assert any(run.spans(moments[0]) for run in done)
    forgotten = sum(bool({FORGET, SNAPSHOT} & {e.type for e in run.events}) for run in done)
    assert forgotten > 0 if empty else forgotten == 0
