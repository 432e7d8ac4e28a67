"""Cursors and events: what is next, what is missing, what was seen before."""

import pytest

from chatapp.errors import NotFound
from chatapp.live.following import Event, Follower, just_before
from chatapp.live.replay import MAX_TURNS, numbers_to_catch_up, numbers_to_replay
from chatapp.model import EventId, JobId
from tests.unit.resuming import SID, made, session


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"job_id":"x","id":"1-0","type":"a"}',
        f'{{"job_id":"{SID}.01","id":"1-0","type":"a"}}',
        '{"job_id":"x.0","id":"1-0","type":"a"}',
        '{"job_id":7,"id":"1-0","type":"a"}',
    ],
)
def test_what_is_not_an_event_of_a_turn_is_not_decoded(text):
    """A stray message on a channel harms nobody."""
    with pytest.raises(ValueError, match="not an event"):
        Event.decode(text)


@pytest.mark.parametrize(("cursor", "before"), [("1-5", "1-4"), ("2-0", "1-9999999999"), ("1-0", "0-9999999999")])
def test_a_log_is_read_from_just_before_a_cursor(cursor, before):
    """So that the cursor's own event comes first if the log still holds it."""
    assert str(just_before(EventId.parse(cursor))) == before


def test_only_the_next_event_has_no_gap_before_it():
    """Within an attempt the number rises by one; how an attempt ended only the log knows."""
    follower = Follower(highest=0)
    assert not follower.gap_before(made(1, 1, 0))
    assert follower.gap_before(made(1, 1, 1))
    assert follower.accept(made(1, 1, 0))
    assert not follower.gap_before(made(1, 1, 1))
    assert follower.gap_before(made(1, 1, 2))
    assert follower.gap_before(made(1, 2, 0))


def test_what_was_passed_on_is_not_passed_on_again():
    """Events arrive from the log and live."""
    follower = Follower(highest=0)
    assert follower.accept(made(1, 1, 0))
    assert not follower.accept(made(1, 1, 0))
    assert follower.accept(made(1, 1, 1, "message_completed"))
    assert not follower.accept(made(1, 1, 1, "message_completed"))
    assert not follower.gap_before(made(1, 1, 1, "message_completed"))
    assert follower.unfinished() == []


def test_turns_before_the_one_resumed_are_not_followed():
    """Their ends may be published again at any time."""
    follower = Follower(highest=5)
    assert not follower.accept(made(3, 1, 9, "message_completed"))


def test_turns_passed_over_are_expected():
    """A turn that was cancelled while it waited ends before those in front of it."""
    follower = Follower(highest=1)
    assert follower.accept(made(3, 1, 0, "message_cancelled"))
    assert follower.unfinished() == [2]


def test_the_turns_to_replay_are_the_open_ones_or_all_from_the_resumed_one_on():
    """Bounded, but never without the resumed and the open ones."""
    assert numbers_to_replay(session(9, frozenset({8, 9})), None) == [8, 9]
    assert numbers_to_replay(session(9, frozenset({9})), JobId(SID, 7)) == [7, 8, 9]
    many = numbers_to_replay(session(1000, frozenset({400, 1000})), JobId(SID, 2))
    assert many[:2] == [2, 400]
    assert len(many) == MAX_TURNS + 2
    with pytest.raises(NotFound):
        numbers_to_replay(session(9), JobId(SID, 10))
    assert numbers_to_catch_up(session(7), [3], highest=5) == [3, 6, 7]


def test_a_sessions_own_log_never_ends():
    """Whatever its events are called."""
    own = Event.decode(f'{{"job_id":"{SID}.0","id":"1700000000-3","type":"error"}}')
    follower = Follower(highest=2)
    assert not follower.accept(own)
    follower.open(0, EventId(1_700_000_000, 2))
    assert not follower.gap_before(own)
    assert follower.accept(own)
    assert not follower.accept(own)
    assert follower.cursor(0) == EventId(1_700_000_000, 3)
    assert follower.unfinished() == []


def test_an_expected_turn_is_unfinished_before_it_speaks():
    """And so are those before it that nobody mentioned."""
    follower = Follower(highest=2)
    follower.expect(4)
    follower.expect(1)
    assert follower.unfinished() == [3, 4]
