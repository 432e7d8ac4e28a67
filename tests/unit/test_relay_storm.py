"""A backlog and an outage of SQS do not turn the relay into a storm: its sends are counted."""

import threading
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from chatapp.errors import QueueUnavailable
from chatapp.flows.relay import Relay
from chatapp.flows.sweep import CHUNK, NEXT_LOOK_SECONDS, THREADS
from chatapp.model import JobId, ModelOptions, Session, Status, Turn
from chatapp.stores.records import shard_of
from tests.fakes import FakeClock

BACKLOG = 10_000
LOOK_EVERY = 3


class Backlog:
    """Ten thousand sessions with a queued turn each, two thousand of them with another behind it. Turns and sessions in one."""

    def __init__(self, clock):
        self._clock = clock
        self._lock = threading.Lock()
        self.sessions, self.turns = {}, {}
        self.shards = [[] for _ in range(16)]
        for n in range(BACKLOG):
            session_id = f"{n:032x}"
            open_turns = frozenset({1, 2} if n % 5 == 0 else {1})
            times = {"created_at": clock.now(), "updated_at": clock.now(), "expires_at": clock.now() + 10**9}
            self.sessions[session_id] = Session(
                id=session_id, user_id="u", flow="chat", turn_count=2, open_turns=open_turns, **times
            )
            for number in open_turns:
                turn = Turn(
                    session_id=session_id,
                    number=number,
                    user_id="u",
                    flow="chat",
                    input=(),
                    options=ModelOptions("m"),
                    created_at=clock.now(),
                    expires_at=clock.now() + 10**9,
                    wake_at=clock.now() + 20_000,
                )
                self.turns[turn.job_id] = turn
                self.shards[shard_of(session_id)].append(turn.job_id)

    def get(self, session_id):
        return self.sessions[session_id]

    def open_work(self, shard, *, now, limit):
        due = [(self.turns[j].wake_at, j) for j in self.shards[shard] if self.turns[j].wake_at <= now]
        return [(job_id, wake_at) for wake_at, job_id in sorted(due, key=lambda found: found[0])[:limit]]

    def postpone(self, job_id, *, seen, wake_at):
        with self._lock:
            turn = self.turns[job_id]
            if turn.wake_at != seen:
                return None
            self.turns[job_id] = replace(turn, wake_at=wake_at)
            return turn

    def wake_now(self, job_id, now):
        self.turns[job_id] = replace(self.turns[job_id], wake_at=now)


class Sqs:
    """Counts messages by turn, and requests."""

    def __init__(self):
        self.sent, self.refused, self.away = Counter(), 0, False
        self.largest = 0
        self._lock = threading.Lock()

    def send_many(self, turns):
        with self._lock:
            if self.away:
                self.refused += 1
                raise QueueUnavailable
            self.largest = max(self.largest, len(turns))
            self.sent.update(turn.job_id for turn in turns)


class Lock:
    """Held by everybody at once: two relays must be harmless."""

    def acquire(self, _resource, _owner):
        return 1


@pytest.fixture
def world():
    clock, sqs = FakeClock(), Sqs()
    backlog = Backlog(clock)

    def relay():
        return Relay(
            turns=backlog,
            sessions=backlog,
            endings=None,
            cancel=None,
            wakeups=sqs,
            locks=Lock(),
            clock=clock,
            owner="test",
            queue_seconds=3_600,
        )

    return clock, sqs, backlog, relay


def run(clock, relays, seconds):
    for _ in range(0, seconds, LOOK_EVERY):
        clock.sleep(LOOK_EVERY)
        for relay in relays:
            relay.look()


def test_a_backlog_is_woken_once_in_half_a_minute_and_heads_only(world):
    """Whatever number of relays looks, and although nobody ever claims one of the turns."""
    clock, sqs, _, relay = world
    run(clock, [relay(), relay()], 20 + 4 * NEXT_LOOK_SECONDS[0])
    assert {job_id.turn for job_id in sqs.sent} == {1}
    assert len(sqs.sent) == BACKLOG
    assert max(sqs.sent.values()) <= 4
    assert sqs.largest <= CHUNK * 2


def test_an_outage_of_sqs_costs_a_few_requests_a_pass(world):
    """The first send that fails ends the pass; what could not be sent is not put off."""
    clock, sqs, backlog, relay = world
    clock.sleep(20)
    sqs.away = True
    run(clock, [relay()], 60)
    assert 0 < sqs.refused <= THREADS * 60 / LOOK_EVERY
    late = [t for t in backlog.turns.values() if t.number == 1 and t.wake_at > clock.now()]
    assert not late


def test_a_backlog_is_sent_within_ten_seconds_of_healing(world):
    """One pass goes on for as long as it finds more."""
    clock, sqs, backlog, relay = world
    clock.sleep(20)
    sqs.away = True
    run(clock, [relay()], 60)
    sqs.away = False
    run(clock, [relay()], 10)
    assert len(sqs.sent) == BACKLOG
    assert max(sqs.sent.values()) == 1
    assert all(backlog.turns[JobId(s, 1)].status is Status.QUEUED for s in backlog.sessions)


def test_dead_letters_that_are_not_taken_end_the_pass_too(world):
    """A thousand of them in an outage would otherwise be tried one after the other."""
    clock, _, backlog, relay = world
    for job_id in list(backlog.turns)[:1_000]:
        backlog.turns[job_id] = replace(backlog.turns[job_id], status=Status.FAILED, dlq_pending=True)
    looking, tried = relay(), []
    looking._endings = SimpleNamespace(bury=tried.append)
    clock.sleep(20)
    looking.look()
    assert 0 < len(tried) <= THREADS
