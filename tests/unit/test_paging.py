"""Pages of a part of a conversation in time: every turn of it once, in order, whatever is missing and however clocks differ."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.api import create_app
from chatapp.flows.paging import SKEW_MS, Period, read_page
from chatapp.model import ModelOptions, Session, Turn
from tests.fakes import FakeTurns, bearer, fake_services

SID = "a" * 32


def world(times, missing=()):
    """A session with turns that were posted at these times, without the missing ones."""
    turns = FakeTurns()
    for number, time in enumerate(times, 1):
        turn = Turn(
            session_id=SID, number=number, user_id="ada", flow="chat", input=(), options=ModelOptions("m"), created_at=time,
            expires_at=time + 10**12,
        )  # fmt: skip
        if number not in missing:
            turns.all[turn.job_id] = turn
    session = Session(id=SID, user_id="ada", flow="chat", created_at=0, updated_at=0, expires_at=1, turn_count=len(times))
    return turns, session


def read(turns, session, period, limit):
    """All pages: the numbers of their turns, newest first."""
    found, before = [], None
    while True:
        page, before = read_page(turns, session, period, limit=limit, before=before)
        found += [turn.number for turn in page]
        if before is None:
            return found


@given(
    st.lists(st.integers(0, 60_000), min_size=1, max_size=40),
    st.builds(Period, st.none() | st.integers(0, 200_000), st.none() | st.integers(0, 200_000)),
    st.integers(1, 7),
    st.sets(st.integers(1, 40), max_size=10),
    st.integers(0, 10),
)
def test_pages_hold_every_turn_of_the_period_once(gaps, period, limit, missing, seed):
    """Against a plain filter over all of them; times differ by less than the skew that is allowed."""
    rng, at, times = random.Random(seed), 0, []
    for gap in gaps:
        at += gap
        times.append(at + rng.randrange(SKEW_MS))
    turns, session = world(times, missing)
    expected = [
        n for n in range(len(times), 0, -1) if n not in missing and period.holds(turns.page(SID, limit=1, before=n + 1)[0])
    ]
    assert read(turns, session, period, limit) == expected


class Counted(FakeTurns):
    """Counts its reads."""

    reads = 0

    def page(self, *args, **more):
        self.reads += 1
        return super().page(*args, **more)


def test_a_page_from_long_ago_is_found_by_halving():
    """In a thousand turns with a dozen reads."""
    plain, session = world([n * 60_000 for n in range(1_000)])
    turns = Counted()
    turns.all = plain.all
    page, _ = read_page(turns, session, Period(None, 60_000 * 10), limit=5, before=None)
    assert [turn.number for turn in page] == [10, 9, 8, 7]  # one more was read, for the skew
    assert turns.reads <= 12


@pytest.fixture
def services():
    """Services in memory, with a session of four turns, a minute apart."""
    made = fake_services()
    client = create_app(made).test_client()
    session_id = client.post("/chat", json={"message": "m0"}, headers=bearer()).json["session_id"]
    for n in range(1, 4):
        made.clock.sleep(60)
        client.post("/chat", json={"message": f"m{n}", "session_id": session_id}, headers=bearer())
    made.client, made.path = client, f"/sessions/{session_id}/conversation"
    return made


def texts(services, **query):
    """The texts of a page, and its cursor."""
    answer = services.client.get(services.path, query_string=query, headers=bearer()).json
    return [m["text"] for m in answer["messages"]], answer["cursor"]


def test_a_conversation_is_bounded_in_time(services):
    """From is inclusive, to is not, in any zone."""
    assert texts(services, **{"from": "2027-01-15T08:01:00Z"})[0] == ["m1", "m2", "m3"]
    assert texts(services, to="2027-01-15T08:01:00.000Z")[0] == ["m0"]
    assert texts(services, **{"from": "2027-01-15T08:01:00Z", "to": "2027-01-15T05:03:00-03:00"})[0] == ["m1", "m2"]
    first, cursor = texts(services, **{"from": "2027-01-15T08:01:00Z", "limit": 2})
    assert (first, texts(services, **{"from": "2027-01-15T08:01:00Z", "limit": 2, "cursor": cursor})[0]) == (["m2", "m3"], ["m1"])


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"from": "1700000000"},
        {"from": "2027-01-15"},
        {"from": "2027-01-15T08:00:00"},
        {"from": "2027-13-15T08:00:00Z"},
        {"to": "2027-02-30T08:00:00Z"},
        {"to": "2027-01-15T08:00:61Z"},
        {"to": "٢٠٢٧-01-15T08:00:00Z"},
        {"to": ""},
        {"from": "2027-01-15T08:00:00Z", "to": "2027-01-15T08:00:00Z"},
        {"from_": "2027-01-15T08:00:00Z"},
    ],
)
def test_a_time_that_is_none_is_refused(services, query):
    """422 with its name."""
    answer = services.client.get(services.path, query_string=query, headers=bearer())
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")


def test_the_first_and_the_last_times_are_times(services):
    """Whatever the zone makes of them."""
    assert len(texts(services, **{"from": "0001-01-01T00:00:00+23:59", "to": "9999-12-31T23:59:59.999999-23:59"})[0]) == 4
