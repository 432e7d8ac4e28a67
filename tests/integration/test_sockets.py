"""The registry of sockets: whose is which, where it is, and that nothing is left of what has gone."""

import json
import time
from dataclasses import replace

import pytest
from redis import Redis

from chatapp.dev.ports import free_port
from chatapp.errors import LiveUnavailable
from chatapp.live.sockets import SocketAuth, SocketRegistry, control_channel
from chatapp.model import JobId
from tests.fakes import FakeClock

SID = "a" * 32
JOB = JobId(SID, 3)


@pytest.fixture
def clock():
    """A clock that the test moves."""
    return FakeClock()


@pytest.fixture
def redis(valkey):
    """An empty Redis."""
    with Redis.from_url(valkey, decode_responses=True) as client:
        client.flushdb()
        yield client


@pytest.fixture
def registry(redis, clock):
    """The registry under test."""
    return SocketRegistry(redis, clock, ttl=60)


def entry(socket_id="s1", user_id="ann", process="p1"):
    """An entry of the registry."""
    return SocketAuth(socket_id, user_id, process, connected_at=1, last_activity=2)


def test_an_entry_is_read_as_it_was_written(registry):
    """With and without a session."""
    registry.set(entry())
    assert registry.get("s1") == entry()
    registry.set(with_session := replace(entry(), session_id=SID))
    assert registry.get("s1") == with_session
    assert registry.get("nobody") is None


def test_the_session_of_a_socket_is_noted_and_taken_away(registry, clock):
    """And counts as activity."""
    registry.set(entry())
    registry.set_session("s1", SID)
    assert registry.get("s1") == replace(entry(), session_id=SID, last_activity=clock.now())
    registry.remove_session("s1")
    assert registry.get("s1").session_id is None


def test_sockets_are_listed_by_user_and_counted(registry):
    """Until they are removed."""
    for socket_id, user in (("s1", "ann"), ("s2", "ann"), ("s3", "bob")):
        registry.set(entry(socket_id, user))
    assert sorted(registry.sockets_of("ann")) == ["s1", "s2"]
    assert registry.count() == 3
    registry.remove("s1", "ann")
    registry.remove("s1", "ann")
    assert (registry.sockets_of("ann"), registry.count(), registry.get("s1")) == (["s2"], 2, None)


def test_entries_of_a_killed_process_lapse(registry, redis, clock):
    """Nobody removes them, so time does; writing them again keeps them."""
    registry.set(entry("old"))
    clock.ms += 50_000
    registry.set(entry("young"))
    clock.ms += 20_000
    assert registry.sockets_of("ann") == ["young"]
    registry.set(entry("young"))
    assert redis.zrange("user_sockets:ann", 0, -1) == ["young"]
    assert 0 < redis.ttl("socket_auth:old") <= 60
    assert 0 < redis.ttl("user_sockets:ann") <= 60


def test_a_note_on_a_lapsed_entry_does_not_bring_it_back(registry, redis):
    """What is left is nobody's, and lapses too."""
    registry.set_session("gone", SID)
    assert registry.get("gone") is None
    assert not registry.follow("gone", "", SID, JOB)
    assert redis.ttl("socket_auth:gone") > 0


def test_an_order_reaches_the_process_that_holds_the_socket(registry, redis):
    """And only for the socket's own user."""
    registry.set(entry())
    with redis.pubsub() as pubsub:
        pubsub.subscribe(control_channel("p1"))
        pubsub.get_message(timeout=2)
        assert registry.follow("s1", "ann", SID, JOB)
        order = pubsub.get_message(timeout=2)
        assert json.loads(order["data"]) == {"socket_id": "s1", "session_id": SID, "job_id": str(JOB)}
        assert not registry.follow("s1", "bob", SID, JOB)
        assert not registry.follow("unknown", "ann", SID, JOB)
        assert pubsub.get_message(timeout=0.05) is None


def test_an_order_for_a_dead_process_is_not_taken(registry):
    """Its entry still stands; nobody listens."""
    registry.set(entry(process="dead"))
    assert not registry.follow("s1", "ann", SID, JOB)


def test_following_is_one_round_trip(registry, redis):
    """Once Redis knows the script."""
    registry.set(entry())
    registry.follow("s1", "ann", SID, JOB)
    before = commands(redis)
    registry.follow("s1", "ann", SID, JOB)
    after = commands(redis)
    assert after["cmdstat_evalsha"]["calls"] == before["cmdstat_evalsha"]["calls"] + 1
    assert after.get("cmdstat_eval") == before.get("cmdstat_eval")


def commands(redis):
    """What Redis was asked so far."""
    return redis.info("commandstats")


def test_without_redis_every_operation_fails_closed(clock):
    """Quickly, and as one of our errors."""
    away = SocketRegistry(Redis(port=free_port(), socket_connect_timeout=0.2, retry=None), clock)
    operations = [
        lambda: away.set(entry()),
        lambda: away.get("s1"),
        lambda: away.remove("s1", "ann"),
        lambda: away.set_session("s1", SID),
        lambda: away.remove_session("s1"),
        lambda: away.sockets_of("ann"),
        away.count,
        lambda: away.follow("s1", "ann", SID, JOB),
    ]
    began = time.monotonic()
    for operation in operations:
        with pytest.raises(LiveUnavailable):
            operation()
    assert not away.healthy()
    assert time.monotonic() - began < 5


def test_health_is_an_answer_of_redis(registry):
    """UP is no guess."""
    assert registry.healthy()
