"""The interview resumes on any worker: the ten conversations, while one worker after another is killed."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from chatapp.dev.alone import stop
from chatapp.dev.partner_travel import CLIENT_ID, CLIENT_SECRET
from chatapp.services import build
from tests.conversations import CONVERSATIONS
from tests.integration.interview_kit import Talk
from tests.integration.workers import OPTIONS, env_of, until
from tests.servers import clean_env
from tests.stack import ROOT

IN_MID_TURN = {2: "turn.claimed kill@4", 5: "turn.token kill@30", 7: "turn.stored kill@2"}
"""In which rounds the worker dies by itself, and where: with turns claimed, half said, and stored but not told."""

LEASE_SECONDS = 3

pytestmark = pytest.mark.timeout(300)


class Generations:
    """Workers, one at a time."""

    def __init__(self, nursery, points):
        self._nursery = nursery
        self._points = points
        self._pid = 0
        self.deaths = []

    def _tell(self, order):
        self._nursery.stdin.write(f"{order}\n")
        return self._nursery.stdout.readline().strip()

    def begin(self):
        """Start the next one."""
        self._pid = int(self._tell("begin"))

    def died(self):
        """Whether it is dead; how is noted."""
        if self._pid and (now := self._tell("look")) != "alive":
            self._pid = 0
            self.deaths.append(int(now))
        return not self._pid

    def kill(self):
        """SIGKILL the one that works, unless it died by itself."""
        if not self.died():
            os.kill(self._pid, signal.SIGKILL)
            until(self.died, 30, "it does not die")

    def arm(self, order):
        """Have a worker die at a point of its own code."""
        point, action = order.split()
        (self._points / point).write_text(action)

    def hit(self, order):
        """Whether it did."""
        return (self._points / f"{order.split()[0]}.hit").exists()


@pytest.fixture
def generations(settings, partners, tmp_path):
    """Workers of one nursery, in whose code deaths may be armed."""
    points = tmp_path / "points"
    points.mkdir()
    env = {"LEASE_SECONDS": str(LEASE_SECONDS), "LEASE_RENEW_SECONDS": "0.8", "FAIL_POINTS": str(points)}
    env |= {"AMADEUS_BASE_URL": partners, "AMADEUS_CLIENT_ID": CLIENT_ID, "AMADEUS_CLIENT_SECRET": CLIENT_SECRET}
    with nursery(clean_env(env_of(settings) | env), tmp_path / "workers.log") as running:
        yield Generations(running, points)


@contextmanager
def nursery(env, log):
    command = [sys.executable, "-m", "tests.integration.worker_nursery", "--quiet", "-A", "tasks", *OPTIONS.split(), "-c", "20"]
    pipe = subprocess.PIPE
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, stderr=output, text=True, bufsize=1, process_group=0
        )
    try:
        assert process.stdout.readline() == "ready\n", log.read_text()
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        stop(process)
        with_its_worker(process.pid)


def with_its_worker(group):
    """Kill what is left of a process group: a worker of a test that failed."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.fixture
def quick(settings):
    """Services that leave a new turn to its first message for two seconds only."""
    made = build(settings.model_copy(update={"relay_first_look_seconds": 2.0}))
    yield made
    made.redis.close()


def all_answered(services, talks, generations):
    """Wait until every last turn has ended; when the worker dies by itself the next one goes on.

    Once the leases of the dead one have lapsed its turns are woken, as the relay does in good time.
    """
    left = list(talks)

    def none_left():
        left[:] = [talk for talk in left if not talk.turn.status.ended]
        if left and generations.died():
            generations.begin()
            threading.Timer(LEASE_SECONDS + 0.2, lambda: services.wakeups.send_many([talk.turn for talk in left])).start()
        return not left

    # A message that a dead worker's poll has taken is seen again after 24 s, and the relay comes back to a turn within a minute.
    until(none_left, 120, "some turns are not answered")


def test_ten_conversations_while_a_worker_is_killed_after_every_turn(quick, user, generations):
    """Each ends in its profile, with one stored answer to every message."""
    talks = [Talk(quick, user, conversation) for conversation in CONVERSATIONS]
    waiting, rounds = talks, 0
    while waiting:
        if order := IN_MID_TURN.get(rounds):
            generations.arm(order)
        generations.begin()
        all_answered(quick, waiting, generations)
        generations.kill()
        waiting = [talk for talk in waiting if talk.say_next()]
        rounds += 1
    assert all(generations.hit(order) for order in IN_MID_TURN.values())
    assert generations.deaths == [-signal.SIGKILL] * len(generations.deaths)
    assert len(generations.deaths) >= rounds + 2  # who dies after the last store needs no successor
    for talk in talks:
        talk.check()
