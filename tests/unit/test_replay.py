"""What a client has missed is read from the log, and from the turn where there is no log."""

import json

import pytest

from chatapp.errors import LiveUnavailable
from chatapp.live.replay import Replay
from chatapp.model import EventId, Status
from tests.unit.resuming import OTHER, SID, Logs, ids, made, session, stored


class Store(dict):
    """Turns by number."""

    def get(self, job_id):
        return super().get(job_id.turn)


def past(log, store, of, number, after=None):
    """Read one turn."""
    return Replay(log, store).past(of, number, EventId.parse(after) if after else None)


def test_a_turn_is_replayed_from_behind_the_cursor():
    """The log holds the cursor, so all after it follows without a gap."""
    log = Logs()
    log.events[1] = [made(1, 1, 0, "message_started"), made(1, 1, 1), made(1, 1, 2)]
    found = past(log, Store(), session(1, frozenset({1})), 1, "1-0")
    assert (ids(found.events), found.recovered, found.status) == (["1-1", "1-2"], True, "running")


def test_a_log_that_does_not_hold_the_cursor_is_replayed_whole():
    """It was lost and began anew: the client must forget what it has."""
    log = Logs()
    log.events[1] = [made(1, 1, 7, "message_snapshot"), made(1, 1, 8)]
    found = past(log, Store(), session(1, frozenset({1})), 1, "1-3")
    assert (ids(found.events), found.recovered, found.cursor) == (["1-7", "1-8"], False, None)


def test_an_ended_turn_without_a_log_is_told_by_its_end():
    """Made again from the item; `recovered` false says that this is all there is."""
    store = Store({1: stored(1, Status.COMPLETED, EventId(1, 5))})
    found = past(Logs(), store, session(1), 1)
    assert (ids(found.events), found.recovered, found.status) == (["1-5"], False, "completed")
    assert json.loads(found.events[0].text)["text"] == "all of it"


def test_who_has_seen_the_end_is_told_nothing_more():
    """Neither from the log nor, when that is gone, from the item."""
    log, store = Logs(), Store({1: stored(1, Status.COMPLETED, EventId(1, 5))})
    assert past(log, store, session(1), 1, "1-5").events == []
    log.events[1] = [made(1, 1, 4), made(1, 1, 5, "message_completed")]
    found = past(log, store, session(1), 1, "1-5")
    assert (found.events, found.recovered, found.status) == ([], True, "completed")


def test_an_end_that_was_stored_but_not_yet_published_is_added():
    """The worker may have died between the two."""
    log, store = Logs(), Store({1: stored(1, Status.COMPLETED, EventId(1, 1))})
    log.events[1] = [made(1, 1, 0, "message_started")]
    assert ids(past(log, store, session(1), 1).events) == ["1-0", "1-1"]


def test_waiting_turns_are_queued_at_their_position():
    """Only the head may run, so the store is asked about no other."""
    found = past(Logs(), Store(), session(3, frozenset({1, 2, 3})), 3)
    assert (found.status, found.position, found.recovered) == ("queued", 2, True)
    head = past(Logs(), Store({1: stored(1, Status.QUEUED)}), session(3, frozenset({1, 2, 3})), 1)
    assert (head.status, head.position, head.events) == ("queued", 0, [])


def test_a_turn_that_waits_for_its_next_attempt_is_queued():
    """The log says so."""
    log = Logs()
    log.events[1] = [made(1, 1, 0, "message_started"), made(1, 1, 1, "message_retrying")]
    assert past(log, Store(), session(1, frozenset({1})), 1).status == "queued"


def test_redis_away_is_said_so():
    """The caller can then wait or refuse."""
    log = Logs()
    log.away = True
    with pytest.raises(LiveUnavailable):
        past(log, Store(), session(1, frozenset({1})), 1)


# --- from the logs alone


def from_logs(log, first, after=None, user="ann"):
    """Resume by what Redis has."""
    return Replay(log, Store()).from_logs(SID, user, first, {first: EventId.parse(after) if after else None})


def logged(*turns, owner="ann"):
    """Logs of consecutive turns that have ended, but for the last."""
    log = Logs()
    log.owner = owner
    for n in turns:
        log.events[n] = [made(n, 1, 0, "message_started"), made(n, 1, 1)]
        if n != turns[-1]:
            log.events[n].append(made(n, 1, 2, "message_completed"))
    return log


def test_a_client_that_was_away_over_an_end_and_a_beginning_gets_both_from_redis_alone():
    """Thousands that come back at once cost the table nothing."""
    first, second = from_logs(logged(3, 4), 3, "1-1")
    assert (ids(first.events), first.status, first.position) == (["1-2"], "completed", 0)
    assert (ids(second.events), second.status, second.position) == (["1-0", "1-1"], "running", 0)
    assert first.recovered
    assert second.recovered


@pytest.mark.parametrize(
    ("log", "first", "after"),
    [
        (logged(3, 4, owner="bob"), 3, "1-1"),
        (logged(3, 4, owner=None), 3, "1-1"),
        (logged(4), 3, "1-1"),
        (logged(3, 5), 3, "1-1"),
        (logged(3, 4), 3, "1-7"),
        (logged(3, 4), 5, None),
        (Logs(), 1, None),
    ],
    ids=[
        "another user's",
        "owner forgotten",
        "turn forgotten",
        "one between forgotten",
        "cursor not held",
        "not begun",
        "nothing",
    ],
)
def test_what_redis_cannot_vouch_for_is_left_to_the_table(log, first, after):
    """Never a silent gap, and never another's events."""
    assert from_logs(log, first, after) is None


def test_an_expired_log_is_left_to_the_table():
    """Redis remembers the turn's number longer than its events."""
    log = logged(3, 4)
    log.events[3] = []
    assert from_logs(log, 3, "1-2") is None


# --- the session's own log


def note(seq, epoch=1_700_000_000):
    """An event of the session's own log."""
    return made(0, epoch, seq, "notice")


def own(log, after=None):
    """Read it."""
    return Replay(log, Store()).own(SID, EventId.parse(after) if after else None)


def test_without_a_cursor_the_sessions_own_log_is_followed_from_its_end():
    """`after` tells the client where that is."""
    log = Logs()
    assert own(log).shown == {"after": "0-0", "recovered": True}
    log.events[0] = [note(0), note(1)]
    found = own(log)
    assert (found.shown, list(found.events)) == ({"after": "1700000000-1", "recovered": True}, [])


@pytest.mark.parametrize(
    ("kept", "after", "recovered", "found"),
    [
        ([note(0), note(1), note(2)], "1700000000-0", True, ["1700000000-1", "1700000000-2"]),
        ([note(0), note(1)], "0-0", True, ["1700000000-0", "1700000000-1"]),
        ([note(5), note(6)], "0-0", False, ["1700000000-5", "1700000000-6"]),
        ([note(5), note(6)], "1700000000-1", False, ["1700000000-5", "1700000000-6"]),
        ([note(0, 1_700_000_099)], "1700000000-7", False, ["1700000099-0"]),
        ([], "1700000000-7", False, []),
        ([], "0-0", True, []),
    ],
    ids=["held", "from the first", "trimmed, from the first", "trimmed", "began anew", "gone", "nothing yet"],
)
def test_the_sessions_own_log_resumes_by_its_own_cursor(kept, after, recovered, found):
    """And says when something between may be missing."""
    log = Logs()
    log.events[0] = kept
    past = own(log, after)
    assert (past.recovered, ids(past.events)) == (recovered, found)


def test_another_sessions_log_is_not_read():
    """Names are made of the session's id."""
    assert Replay(logged(3), Store()).from_logs(OTHER, "bob", 3, {3: None}) is None
