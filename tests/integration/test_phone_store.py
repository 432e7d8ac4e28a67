"""The sessions of phones on a real store: one each, whoever begins it, for as long as somebody uses it."""

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chatapp.errors import SessionContended, StoreUnavailable
from chatapp.services import build
from chatapp.stores.phones import KEPT_MS, PhoneStore
from chatapp.stores.sessions import DAY_MS
from tests.fakes import FakeClock
from tests.faults.kinds import conflict, lost

TRANSACT = "DynamoDB_20120810.TransactWriteItems"
WEEK_MS = 7 * DAY_MS


@pytest.fixture
def clock():
    """Time that the test moves."""
    return FakeClock()


def store_of(services, clock):
    """The phones of some services, under another time."""
    table = services.settings.table_name
    lives = {"life_ms": WEEK_MS, "turn_life_ms": WEEK_MS}
    return PhoneStore(
        services.dynamodb, table=table("locks"), sessions_table=table("sessions"), clock=clock, flow="orchestrator", **lives
    )


@pytest.fixture
def store(services, clock):
    """Phones under that time."""
    return store_of(services, clock)


@pytest.fixture
def faulty(settings, proxy, clock):
    """Phones on a store behind the proxy."""
    made = build(settings.model_copy(update={"aws_endpoint_url": proxy.url}))
    yield store_of(made, clock)
    made.redis.close()


@pytest.fixture
def phone():
    """A number nobody else has."""
    return f"+5511{secrets.randbelow(10**9):09d}"


def item_of(services, phone):
    """Everything that is stored under a phone, and nothing else."""
    found = services.dynamodb.scan(TableName=services.settings.table_name("locks"), ConsistentRead=True)["Items"]
    session = services.phones.find(phone).session_id
    return next(i for i in found if i.get("SessionId", {}).get("S") == session)


def test_an_unknown_phone_has_no_session(store, phone):
    """Until one is begun."""
    assert store.find(phone) is None


def test_a_session_is_begun_with_its_phone(services, store, phone, clock):
    """In one transaction: the session knows the number, the phone's item does not, and no list of sessions has it."""
    made = store.begin(phone)
    assert store.find(phone) == made
    session = services.sessions.get(made.session_id)
    assert (session.user_id, session.contact, session.flow, session.turn_count) == (made.user_id, phone, "orchestrator", 0)
    assert session.expires_at == clock.ms + WEEK_MS
    assert phone[1:] not in json.dumps(item_of(services, phone))
    assert phone[1:] not in made.user_id


def test_many_at_once_begin_one_session(store, phone):
    """Everybody is given the winner's."""
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: store.begin(phone), range(8)))) == 1


def test_a_session_that_is_over_is_followed_by_another_of_the_same_user(store, phone):
    """And the second who finds it over is given the new one, not a third."""
    first = store.begin(phone)
    second = store.begin(phone, after=first)
    assert second.session_id != first.session_id
    assert second.user_id == first.user_id
    assert store.begin(phone, after=first) == second
    assert store.find(phone) == second


def test_a_phone_in_use_is_not_forgotten(services, store, phone, clock):
    """Its item is put off when it comes near its end, and only then."""
    store.begin(phone)
    begun = int(item_of(services, phone)["ExpiresAt"]["N"])
    clock.ms += DAY_MS
    store.find(phone)
    assert int(item_of(services, phone)["ExpiresAt"]["N"]) == begun
    clock.ms += KEPT_MS // 2
    store.find(phone)
    assert int(item_of(services, phone)["ExpiresAt"]["N"]) == (clock.ms + WEEK_MS + KEPT_MS) // 1000


@pytest.mark.parametrize("times", [1, 2])
def test_a_begin_whose_answer_was_lost_is_ones_own(services, faulty, proxy, phone, times):
    """Whether the SDK or the next message meets it: there is one session."""
    with proxy.fault(TRANSACT, lost(), times=times) as fault:
        if times == 2:
            with pytest.raises(StoreUnavailable):
                faulty.begin(phone)
        made = faulty.begin(phone)
    assert fault.hits == times
    assert faulty.find(phone) == made
    assert services.sessions.get(made.session_id).contact == phone


def test_a_begin_that_meets_other_transactions_tries_again(faulty, proxy, phone):
    """For a while; then the sender is to come back."""
    met = replace(conflict(), headers=(*conflict().headers, "x-amzn-RequestId: 1"))
    with proxy.fault(TRANSACT, met, times=2) as fault:
        assert faulty.begin(phone) == faulty.find(phone)
    assert fault.hits == 2
    with proxy.fault(TRANSACT, met), pytest.raises(SessionContended):
        faulty.begin(phone, after=faulty.find(phone))
