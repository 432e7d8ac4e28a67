"""Replay, then live: whatever happens, a client sees each event once and in order, and never a silent part of an answer."""

import json
from collections import deque
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapp.errors import NotFound, RateLimited, StoreUnavailable
from chatapp.live.replay import Replay
from tests.unit.resuming import OTHER, SID, Logs, ids, session
from tests.unit.resuming_world import ACTS, FAULTS, World
from ws.subscriptions import NEVER, Subscriptions

MEANWHILE = ("submit", "delta", "retry", "end", "cancel the last", "notice")
ACTED = sorted(ACTS) + ["delta", "step"] * 4


def run(world, acts, meanwhile):
    """Do the acts, some of them between the reads of a replay."""
    pending = deque(meanwhile)

    def between_reads():
        for act in pending.popleft() if pending else ():
            ACTS[act](world)

    world.logs.before_read = between_reads
    world.submit()
    world.subscribe(resume=False)
    for act in acts:
        {**ACTS, **FAULTS}[act](world)
    pending.clear()


@settings(max_examples=400)
@given(
    acts=st.lists(st.sampled_from(ACTED), min_size=5, max_size=60),
    meanwhile=st.lists(st.lists(st.sampled_from(MEANWHILE), max_size=3), max_size=30),
)
def test_prefix_and_resume_are_the_log(acts, meanwhile):
    """Publish, subscribe, read, disconnect, resume, messages lost with and without notice: no gap, no duplicate."""
    world = World()
    run(world, acts, meanwhile)
    world.rest()
    for turn in world.owed():
        assert ids(world.client[turn].events if turn in world.client else []) == ids(world.logs.events.get(turn, [])), turn
    assert ids(world.notes) == ids(world.owed_notes())


@settings(max_examples=400)
@given(
    acts=st.lists(st.sampled_from(ACTED + sorted(FAULTS) * 2), min_size=5, max_size=60),
    meanwhile=st.lists(st.lists(st.sampled_from(MEANWHILE), max_size=3), max_size=30),
)
def test_whatever_redis_loses_no_client_is_left_with_a_silent_part(acts, meanwhile):
    """Restarted empty, taken over by a lagging replica, logs expired, ends never published: every turn ends, whole."""
    world = World()
    run(world, acts, meanwhile)
    for turn in sorted(world.open):
        world.say("message_completed", turn)
    world.rest()
    assert all(world.client[turn].ended for turn in world.owed() & world.known()), "silence was not looked into"
    world.publish_again()
    world.rest()
    for turn in world.owed():
        assert turn in world.client, turn
        assert world.client[turn].ended, turn
        assert world.client[turn].text == world.answers[turn], turn


def test_a_mass_reconnect_reads_nothing_from_the_table():
    """Who resumes in mid-answer is served from Redis alone."""
    world = World()
    world.submit()
    world.subscribe(resume=False)
    world.say("message_delta")
    world.step()
    asked = world.asked
    world.say("message_delta")
    world.subscribe(resume=True)
    assert world.asked == asked
    assert ids(world.client[1].events) == ["1-0", "1-1"]


def test_what_only_redis_has_told_is_looked_up_when_all_is_quiet():
    """A turn whose end never reached Redis is found without an event to tell of it; once, and not at once."""
    world = World()
    world.submit()
    world.subscribe(resume=False)
    world.say("message_delta")
    world.step()
    world.submit()
    world.subscribe(resume=True)
    world.say("message_completed")
    world.step()
    world.end_unpublished()
    asked = world.asked
    assert 2 not in world.client
    world.wait(31)
    assert world.client[2].ended
    assert world.asked > asked
    assert world.subscriptions.due_at == NEVER


def test_silence_on_an_open_turn_is_looked_into_less_and_less_often():
    """The log after ten seconds, and the table; a turn that says nothing for minutes costs a request a minute."""
    world = World()
    world.submit()
    world.subscribe(resume=False)
    world.say("message_delta")
    world.step()
    asked, looks = world.asked, []
    for second in range(240):
        world.wait(1)
        if world.asked > asked:
            asked = world.asked
            looks.append(second)
    assert len(looks) in range(4, 8)
    world.end_unpublished()
    world.wait(61)
    assert world.client[1].ended


def test_an_event_that_was_never_pushed_is_found_in_the_log():
    """Redis drops what a subscriber's buffer has no room for, and tells nobody."""
    world = World()
    world.submit()
    world.subscribe(resume=False)
    world.lossy = True
    world.say("message_delta")
    world.lossy = False
    world.wait(11)
    assert ids(world.client[1].events) == ["1-0"]


def test_silence_does_not_stop_events_when_the_table_is_away():
    """The look is a precaution: what is pushed meanwhile is passed on."""
    world = World()
    world.submit()
    world.subscribe(resume=False)
    world.away = StoreUnavailable()
    world.wait(11)
    world.say("message_delta")
    world.step()
    assert ids(world.client[1].events) == ["1-0"]


def test_redis_away_in_a_gap_passes_on_nothing_until_it_was_read():
    """Rather late than wrong: the events wait in the log, and are read again a second later."""
    world = World()
    world.submit()
    world.subscribe(resume=False)
    world.say("message_delta")
    world.step()
    world.lossy = True
    world.say("message_delta")
    world.lossy, world.logs.away = False, True
    world.say("message_delta")
    world.step()
    world.say("message_delta")
    world.step()
    assert ids(world.client[1].events) == ["1-0"]
    world.logs.away = False
    world.wait(1)
    assert ids(world.client[1].events) == ["1-0", "1-1", "1-2", "1-3"]


def subscriptions(world, found=None, limit=100):
    """Subscriptions on a session as it is found."""
    sessions = world if found is None else SimpleNamespace(get=lambda _id: found)
    return Subscriptions(
        world,
        hub=world,
        sessions=sessions,
        replay=Replay(world.logs, world),
        clock=world,
        send=lambda _text: None,
        limit=limit,
    )


@pytest.mark.parametrize("found", [session(1, user="bob"), session(1, expires_at=1_000), SimpleNamespace(user_id="")])
def test_a_session_that_is_not_yours_is_not_there(found):
    """Unknown, another user's, and expired are told apart by nobody; nothing stays attached."""
    world = World()
    made = subscriptions(world, found)
    with pytest.raises(NotFound) as caught:
        made.begin(SID, "ann", None, None)
    assert caught.value.detail == "There is no such session"
    assert not world.attached
    assert SID not in made


def test_a_socket_follows_a_bounded_number_of_sessions():
    """One more is refused; the others are not disturbed."""
    made = subscriptions(World(), limit=3)
    for n in range(3):
        made.begin(f"{n:032x}", "ann", None, None)
    with pytest.raises(RateLimited):
        made.begin(OTHER, "ann", None, None)
    made.end(f"{0:032x}")
    made.begin(OTHER, "ann", None, None)


def test_the_logs_of_the_tests_speak_as_redis_does():
    """`subscribed` shows the turns and where the session's own log is followed from."""
    world = World()
    frames = []
    world.submit()
    made = Subscriptions(world, hub=world, sessions=world, replay=Replay(Logs(), world), clock=world, send=frames.append, limit=1)
    made.begin(SID, "ann", None, 7)
    assert json.loads(frames[0]) == {
        "type": "subscribed",
        "id": 7,
        "session_id": SID,
        "turns": [{"job_id": f"{SID}.1", "status": "queued", "position": 0, "recovered": True}],
        "log": {"after": "0-0", "recovered": True},
    }
