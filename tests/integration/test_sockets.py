"""The registry of sockets: whose is which, where it is, and that nothing is left of what has gone."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from redis import Redis

from chatapp.dev.ports import free_port
from chatapp.errors import LiveUnavailable
from chatapp.live.sockets import PROCESS_SECONDS, SocketAuth, SocketRegistry, control_channel
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
    """The registry under test, with one living process."""
    made = SocketRegistry(redis, clock, ttl=600)
    made.beat("p1")
    return made


def entry(socket_id="s1", user_id="ann", process="p1"):
    """An entry of the registry."""
    return SocketAuth(socket_id, user_id, process, connected_at=1, last_activity=2)


def keys_of(redis):
    """Every key of the registry, and what is in those that hold several."""
    return sorted(redis.scan_iter("*")), redis.zcard("user_sockets:ann"), redis.hlen("ws_sockets:p1")


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
    registry.remove(entry("s1"))
    registry.remove(entry("s1"))
    assert (registry.sockets_of("ann"), registry.count(), registry.get("s1")) == (["s2"], 2, None)


def test_entries_lapse_that_nobody_writes_again(registry, redis, clock):
    """Though their process lives."""
    registry.set(entry("old"))
    clock.ms += 500_000
    registry.beat("p1")
    registry.set(entry("young"))
    clock.ms += 200_000
    registry.beat("p1")
    assert registry.sockets_of("ann") == ["young"]
    registry.set(entry("young"))
    assert redis.zrange("user_sockets:ann", 0, -1) == ["young@p1"]
    for key in ("socket_auth:old", "user_sockets:ann", "ws_sockets:p1"):
        assert 0 < redis.ttl(key) <= 600


def test_entries_of_a_killed_process_count_no_more_and_are_cleared_away(registry, redis, clock):
    """As soon as it has not shown for a while that it lives; those of the others stay."""
    for n in range(3):
        registry.set(entry(f"dead{n}", process="p2"))
    registry.set(entry("other", "bob", "p2"))
    registry.set(entry("alive"))
    registry.beat("p2")
    assert (len(registry.sockets_of("ann")), registry.count()) == (4, 5)
    clock.ms += PROCESS_SECONDS * 1000
    registry.beat("p1")
    assert (registry.sockets_of("ann"), registry.count(), registry.get("dead0")) == (["alive"], 1, None)
    assert registry.clean_up() == 4
    assert keys_of(redis) == (["socket_auth:alive", "user_sockets:ann", "ws_processes", "ws_sockets:p1"], 1, 1)
    assert registry.clean_up() == 0


def test_a_process_learns_that_it_was_taken_for_dead(registry, redis, clock):
    """After a silence, after a clean-up, and after Redis has forgotten everything."""
    assert registry.beat("p1")
    clock.ms += PROCESS_SECONDS * 1000
    assert not registry.beat("p1")
    assert registry.beat("p1")
    clock.ms += PROCESS_SECONDS * 1000
    registry.clean_up()
    assert not registry.beat("p1")
    redis.flushdb()
    assert not registry.beat("p1")


def test_a_user_has_so_many_sockets_and_no_more(registry, redis):
    """Nothing is left of the one too many; writing one again that is in is always possible; others are not concerned."""
    for n in range(3):
        assert registry.write([entry(f"s{n}")], limit=3) == []
    before = keys_of(redis)
    assert registry.write([entry("s3")], limit=3) == [entry("s3")]
    assert keys_of(redis) == before
    assert registry.write([entry("s1")], limit=3) == []
    assert registry.write([entry("x", "bob")], limit=3) == []
    registry.remove(entry("s0"))
    assert registry.write([entry("s3"), entry("s4")], limit=3) == [entry("s4")]


def test_the_limit_holds_for_many_at_the_same_moment(registry):
    """Over all processes: it is counted and noted in one step."""
    registry.beat("p2")
    attempts = [[entry(f"s{n}", process=f"p{n % 2 + 1}")] for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        refused = sum(len(found) for found in pool.map(lambda one: registry.write(one, limit=10), attempts))
    assert (refused, len(registry.sockets_of("ann"))) == (30, 10)


def test_sockets_of_a_killed_process_do_not_count_for_the_limit(registry, redis, clock):
    """Their user comes back at once, and they must not be in the way."""
    registry.beat("p2")
    for n in range(3):
        registry.write([entry(f"dead{n}", process="p2")], limit=3)
    assert registry.write([entry("s1")], limit=3) == [entry("s1")]
    clock.ms += PROCESS_SECONDS * 1000
    registry.beat("p1")
    assert registry.write([entry(f"s{n}") for n in range(4)], limit=3) == [entry("s3")]
    assert sorted(redis.zrange("user_sockets:ann", 0, -1)) == ["s0@p1", "s1@p1", "s2@p1"]


def test_admitting_asks_nothing_first(registry, redis):
    """One pipeline, however many come together: nobody looks whether Redis knows the script, or who lives."""
    registry.write([entry("s0")], limit=10)
    before = commands(redis)
    registry.write([entry("s1"), entry("s2", "bob")], limit=10)
    after = commands(redis)
    calls = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
    assert calls["cmdstat_evalsha"] == 2
    assert calls["cmdstat_zrangebyscore"] == 0
    assert not calls.get("cmdstat_script|exists")


def test_a_redis_that_forgot_the_script_is_taught_it_again(registry, redis):
    """In the same call."""
    redis.script_flush()
    assert registry.write([entry()], limit=1) == []
    assert registry.get("s1") == entry()


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
        pubsub.get_message(timeout=10)
        assert registry.follow("s1", "ann", SID, JOB)
        order = pubsub.get_message(timeout=10)
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
        lambda: away.remove(entry()),
        lambda: away.set_session("s1", SID),
        lambda: away.remove_session("s1"),
        lambda: away.sockets_of("ann"),
        lambda: away.beat("p1"),
        away.count,
        away.clean_up,
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
