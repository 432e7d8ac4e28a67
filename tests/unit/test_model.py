"""Ids, positions and times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.model import EventId, JobId, Session, new_session_id, timestamp


@given(st.text())
def test_only_the_documented_form_is_a_job_id(text):
    """Whatever parses as a job id is written the same again."""
    job_id = JobId.parse(text)
    assert job_id is None or str(job_id) == text


@pytest.mark.parametrize(
    "text", ["", ".1", "a" * 32, "a" * 32 + ".0", "a" * 32 + ".01", "A" * 32 + ".1", "a" * 32 + ".1\n", "g" * 32 + ".1"]
)
def test_malformed_job_ids_are_refused(text):
    """No near miss parses."""
    assert JobId.parse(text) is None


def test_a_job_id_survives_writing_and_reading():
    """A made id parses to itself."""
    job_id = JobId(new_session_id(), 999_999_999)
    assert JobId.parse(str(job_id)) == job_id


@given(st.integers(0, 99), st.integers(0, 9999), st.integers(0, 99), st.integers(0, 9999))
def test_event_ids_compare_as_pairs(a, b, c, d):
    """Order is by attempt, then by seq, not by text."""
    assert (EventId(a, b) < EventId(c, d)) == ((a, b) < (c, d))


@pytest.mark.parametrize("text", ["-1", "1-", "1-2-3", "01-1", "1-01", "a-b", "1-99999999999", "１-1"])
def test_malformed_event_ids_are_refused(text):
    """A cursor is never guessed."""
    assert EventId.parse(text) is None


def test_the_head_is_the_least_open_turn():
    """Only the head may be claimed; the others know how many stand before them."""
    session = Session(
        id="s", user_id="u", flow="chat", created_at=0, updated_at=0, expires_at=10, open_turns=frozenset({7, 3, 5})
    )
    assert session.head == 3
    assert [session.position(n) for n in (3, 5, 7)] == [0, 1, 2]


def test_a_session_is_over_when_its_time_is_not_when_it_is_deleted_from_the_table():
    """DynamoDB deletes up to two days late, so time decides."""
    session = Session(id="s", user_id="u", flow="chat", created_at=0, updated_at=0, expires_at=10)
    assert session.alive(9)
    assert not session.alive(10)


def test_times_are_shown_in_utc_with_milliseconds():
    """RFC 3339, always with three digits."""
    assert timestamp(1_795_239_188_400) == "2026-11-21T05:33:08.400Z"
