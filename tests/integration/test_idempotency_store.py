"""Idempotency records on a real store: every branch of who begins, who waits, who takes over and what is answered."""

import secrets

import pytest

from chatapp.errors import IdempotencyMismatch, StoreUnavailable
from chatapp.services import build
from chatapp.stores.idempotency import LEASE_MS, LIFE_MS, Began, Completed, Held, IdempotencyStore
from tests.fakes import FakeClock
from tests.faults.kinds import lost, status

ANSWER = {"job_id": "j", "session_id": "s", "status": "queued"}


@pytest.fixture
def clock():
    """Time that the test moves."""
    return FakeClock()


@pytest.fixture
def store(services, clock):
    """Records under that time."""
    return IdempotencyStore(services.dynamodb, table=services.settings.table_name("idempotency"), clock=clock)


@pytest.fixture
def key():
    """A key nobody else has."""
    return secrets.token_hex(8)


def test_the_first_begins_and_its_twins_wait(store, key, clock):
    """They are told until when, by the first one's lease."""
    first = store.begin(key, "said")
    assert isinstance(first, Began)
    clock.ms += LEASE_MS // 2
    assert store.begin(key, "said") == Held(clock.ms + LEASE_MS - LEASE_MS // 2)


def test_the_answer_is_replayed(store, key, clock):
    """However long ago its lease ended, for as long as the record lives."""
    assert store.complete(store.begin(key, "said"), ANSWER)
    clock.ms += LIFE_MS - 1_000
    assert store.begin(key, "said") == Completed(ANSWER)


def test_a_record_ends_by_time_though_the_item_is_still_there(store, key, clock):
    """DynamoDB deletes late: what has expired is begun anew, also with another payload."""
    store.complete(store.begin(key, "said"), ANSWER)
    clock.ms += LIFE_MS + 1_000
    assert isinstance(store.begin(key, "other"), Began)


def test_another_payload_is_refused_at_every_stage(store, key, clock):
    """While the first works, when its lease has lapsed, and when it has answered."""
    first = store.begin(key, "said")
    with pytest.raises(IdempotencyMismatch):
        store.begin(key, "other")
    clock.ms += LEASE_MS + 1
    with pytest.raises(IdempotencyMismatch):
        store.begin(key, "other")
    store.complete(first, ANSWER)
    with pytest.raises(IdempotencyMismatch):
        store.begin(key, "other")


def test_a_lapsed_lease_is_taken_over_once_and_the_late_holder_writes_nothing(store, key, clock):
    """Its completion and its abandoning are refused: the token is the new holder's."""
    late = store.begin(key, "said")
    clock.ms += LEASE_MS + 1
    new = store.begin(key, "said")
    assert isinstance(new, Began)
    assert new.holder != late.holder
    assert isinstance(store.begin(key, "said"), Held)
    assert not store.complete(late, {"job_id": "wrong"})
    store.abandon(late)
    assert isinstance(store.begin(key, "said"), Held)
    assert store.complete(new, ANSWER)
    assert not store.complete(late, {"job_id": "wrong"})
    store.abandon(new)  # an answer is never taken back
    assert store.begin(key, "said") == Completed(ANSWER)


def test_a_lease_is_not_taken_at_its_last_moment(store, key, clock):
    """The end itself still belongs to the holder."""
    store.begin(key, "said")
    clock.ms += LEASE_MS
    assert isinstance(store.begin(key, "said"), Held)


def test_what_was_abandoned_may_begin_at_once(store, key):
    """With another payload, too: nothing came of the first."""
    store.abandon(store.begin(key, "said"))
    assert isinstance(store.begin(key, "other"), Began)


def test_a_completion_is_written_once_and_may_be_said_twice(store, key):
    """Harmless, as it is when the answer to it was lost."""
    first = store.begin(key, "said")
    assert store.complete(first, ANSWER)
    assert store.complete(first, ANSWER)


def test_a_record_that_vanished_is_not_completed(store, key):
    """Nobody is told an answer that is kept nowhere."""
    first = store.begin(key, "said")
    store.abandon(first)
    assert not store.complete(first, ANSWER)


# --- answers that are lost on the way


PUT, UPDATE = "DynamoDB_20120810.PutItem", "DynamoDB_20120810.UpdateItem"


@pytest.fixture
def faulty(settings, proxy):
    """Records on a store behind the proxy."""
    made = build(settings.model_copy(update={"aws_endpoint_url": proxy.url}))
    yield made.idempotency
    made.redis.close()


def test_a_begin_whose_answer_was_lost_is_ones_own(faulty, proxy, key):
    """The SDK sends it again, and meets the holder that it has written itself."""
    with proxy.fault(PUT, lost(), times=1) as fault:
        assert isinstance(faulty.begin(key, "said"), Began)
    assert fault.hits == 1
    assert isinstance(faulty.begin(key, "said"), Held)


def test_a_completion_whose_answer_was_lost_is_ones_own(faulty, proxy, key):
    """It stands there, and says so."""
    first = faulty.begin(key, "said")
    with proxy.fault(UPDATE, lost(), times=1) as fault:
        assert faulty.complete(first, ANSWER)
    assert fault.hits == 1


def test_a_store_that_is_away_is_an_error(faulty, proxy, key):
    """For every word, so that nobody takes silence for an answer."""
    first = faulty.begin(key, "said")
    with proxy.fault("DynamoDB_20120810.*", status(503)):
        for word in (lambda: faulty.begin(key, "said"), lambda: faulty.complete(first, ANSWER), lambda: faulty.abandon(first)):
            with pytest.raises(StoreUnavailable):
                word()
