"""The log of a turn: fenced, without gaps, and never in the way of an answer."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from redis import Redis

from chatapp.errors import LogLost, StaleAttempt
from chatapp.live.events import EventLog, TurnLog
from chatapp.model import EventId, Status, new_session_id
from tests.integration.workers import until
from tests.unit.test_history import turn as made_turn

LONG = 30
"""An attempt waits a quarter of a second for what it has written; these tests wait until it is there."""


@pytest.fixture
def redis(valkey):
    """A client on a real server."""
    with Redis.from_url(valkey, decode_responses=True) as client:
        yield client


@pytest.fixture
def events(redis, services):
    """The log's two ends."""
    return EventLog(redis, services.clock)


def claimed(attempt=1):
    return replace(made_turn(1, status=Status.RUNNING, answer=None), session_id=new_session_id(), attempt=attempt)


def read(events, turn):
    return [json.loads(e) for e in events.read(turn.job_id)]


def test_deltas_within_a_tick_become_one_event(events):
    """Redis calls are bounded by ticks and not by tokens."""
    turn = claimed()
    log = events.open(turn)
    log.emit("message_started", model="m")
    for i in range(1000):
        log.delta(f"{i} ")
    log.settle(LONG)
    found = read(events, turn)
    assert len(found) < 20
    assert "".join(e.get("text", "") for e in found) == "".join(f"{i} " for i in range(1000))
    assert [e["seq"] for e in found] == list(range(len(found)))


def test_an_older_attempt_is_refused(events):
    """Stream ids must rise, and an id begins with the attempt."""
    old, new = claimed(1), None
    log = events.open(old)
    log.emit("message_started")
    log.settle(LONG)
    new = events.open(replace(old, attempt=2))
    new.emit("message_reset")
    new.settle(LONG)
    log.delta("zombie")
    log.settle(LONG)
    with pytest.raises(StaleAttempt):
        log.check()
    assert [e["attempt"] for e in read(events, old)] == [1, 2]


def test_a_write_whose_answer_was_lost_is_not_written_twice(events):
    """The same ids of the same attempt are there already."""
    turn = claimed()
    log = events.open(turn)
    log.emit("message_started")
    log.delta("a")
    log.settle(LONG)
    again = events.open(turn)
    again.emit("message_started")
    again.delta("a")
    again.delta("b")
    again.settle(LONG)
    again.check()
    assert [e["id"] for e in read(events, turn)] == ["1-0", "1-1"]


def test_a_log_begins_with_a_defined_event(events):
    """Anything else finds it lost."""
    turn = claimed()
    log = events.open(turn)
    log.delta("x")
    log.settle(LONG)
    with pytest.raises(LogLost):
        log.check()
    assert read(events, turn) == []
    log.reseed()
    log.settle(LONG)
    log.check()
    assert [(e["type"], e["text"]) for e in read(events, turn)] == [("message_snapshot", "x")]


def test_one_log_that_redis_refuses_does_not_hold_up_the_others(events, redis):
    """Its key holds something else, say; the neighbour is written all the same, once."""
    broken, fine = claimed(), claimed()
    redis.set(f"events:{{{broken.session_id}}}.1", "not a stream")
    logs = [events.open(broken), events.open(fine)]
    for log in logs:
        log.emit("message_started")
        log.delta("x")
    logs[1].settle(LONG)
    assert [e["id"] for e in read(events, fine)] == ["1-0", "1-1"]
    logs[0].abandon()


def test_reading_begins_after_the_cursor(events):
    """A cursor is exclusive."""
    turn = claimed()
    log = events.open(turn)
    log.emit("message_started")
    log.emit("message_delta", text="a")
    log.settle(LONG)
    assert [json.loads(e)["id"] for e in events.read(turn.job_id, EventId(1, 0))] == ["1-1"]


def test_writing_does_not_wait_for_a_redis_that_is_away(services):
    """A model's stream is not held up, and the events go out when Redis is back."""
    away = EventLog(Redis(port=1, decode_responses=True, socket_connect_timeout=0.2), services.clock)
    log = away.open(claimed())
    began = time.monotonic()
    log.emit("message_started")
    for _ in range(100):
        log.delta("x")
        log.check()
    assert time.monotonic() - began < 2
    # Or its thread would go on trying, and draw pauses with `random` in the middle of another test's Hypothesis.
    log.abandon()


def test_a_restarted_redis_is_taught_the_script_again(events, redis):
    """NOSCRIPT costs one more round trip and no event."""
    redis.script_flush()
    turn = claimed()
    log = events.open(turn)
    log.emit("message_started")
    log.settle(LONG)
    log.check()
    assert len(read(events, turn)) == 1


def test_a_log_that_is_shorter_than_it_was_is_begun_anew(events, redis):
    """A replica took over that lacked the last events: nothing is written behind the hole but a snapshot of it all."""
    turn = claimed()
    log = events.open(turn)
    log.emit("message_started")
    for piece in ("a", "b", "c"):
        log.delta(piece)
        log.settle(LONG)
    key = f"events:{{{turn.session_id}}}.1"
    redis.delete(key)
    redis.xadd(key, {"e": '{"type":"message_started"}'}, id="1-0")
    log.delta("d")
    log.settle(LONG)
    with pytest.raises(LogLost):
        log.check()
    log.reseed()
    log.settle(LONG)
    log.check()
    *_, last = read(events, turn)
    assert (last["type"], last["text"]) == ("message_snapshot", "abcd")


def test_a_later_attempt_that_was_not_heard_from_its_beginning_begins_anew(events, redis):
    """Its first event was lost with the log's end: what follows would be read as going on from the attempt before."""
    old = claimed(1)
    first = events.open(old)
    first.emit("message_started")
    first.settle(LONG)
    second = events.open(replace(old, attempt=2))
    second.emit("message_reset")
    second.settle(LONG)
    redis.xdel(f"events:{{{old.session_id}}}.1", "2-0")
    second.delta("x")
    second.settle(LONG)
    with pytest.raises(LogLost):
        second.check()


def test_a_deleted_session_stays_nobodys_when_a_late_end_is_published(events, redis):
    """Its message was still on the way: whoever receives it publishes the end once more."""
    turn = claimed()
    log = events.open(turn)
    log.emit("message_started")
    log.settle(LONG)
    assert events.known(turn.session_id, 1) == (turn.user_id, [1])
    events.forget(turn.session_id)
    ended = replace(turn, status=Status.COMPLETED, end_id=EventId(1, 1), ended_at=1, answer="x")
    assert events.publish_end(ended, LONG)
    assert events.known(turn.session_id, 1)[0] == ""


def test_the_answer_to_what_was_sent_before_does_not_end_the_log_that_was_begun_anew(services):
    """A delta is under way, to the log that was lost, while its writer already begins it anew; then the model thinks for long."""
    by_hand = SimpleNamespace(kick=lambda _log, **_when: None)
    log = TurnLog(claimed(), services.clock, by_hand)
    log.delta("a")
    under_way = log.take()
    log.reseed()
    log.sent("LOST", under_way)
    log.check()
    assert [json.loads(text)["type"] for _, text, _ in log.take()] == ["message_snapshot"]


def test_a_server_that_has_become_a_replica_is_left(services, valkey):
    """After a failover its name leads elsewhere, which only a new connection looks up."""
    with Redis.from_url(valkey, decode_responses=True) as admin, services.redis as redis:
        log = EventLog(redis, services.clock).open(claimed())
        log.emit("message_started")
        log.settle(LONG)
        before = redis.client_id()
        admin.replicaof("127.0.0.1", "1")
        try:
            log.delta("x")
            until(lambda: redis.client_id() != before, LONG, "its connections are not left")
            assert log.unsent
        finally:
            admin.replicaof("no", "one")
        log.settle(LONG)
        assert not log.unsent
