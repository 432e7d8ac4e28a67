"""What a review of resuming found: each of these left a client waiting, or without what it was owed."""

from types import SimpleNamespace

import pytest

from chatapp.errors import ChatappError, LiveUnavailable
from chatapp.live.replay import Replay
from chatapp.model import EventId, JobId
from tests.unit.resuming import SID, ids, made
from tests.unit.resuming_world import World
from ws.hub import Hub
from ws.subscriptions import Subscriptions


class Wire:
    """The live channel of a process, in memory: what is followed is followed at once, unless it is `away`."""

    def __init__(self) -> None:
        self.away = False
        self.callbacks = []

    def follow(self, _name, callback):
        if self.away:
            raise LiveUnavailable("the live channel is not available", retry_after=1)
        self.callbacks.append(callback)
        return SimpleNamespace(close=lambda: self.callbacks.remove(callback))


def test_a_subscribe_that_is_refused_leaves_the_former_one_as_it_was():
    """A client that subscribes again while Redis is away goes on being told of what it follows already."""
    world, wire, heard = World(), Wire(), []
    world.offer = heard.append
    world.submit()
    again = Subscriptions(
        world, hub=Hub(wire, "p"), sessions=world, replay=Replay(world.logs, world), clock=world, send=lambda _t: None, limit=1
    )
    again.begin(SID, "ann", None, None)
    wire.away, world.logs.away = True, True
    with pytest.raises(ChatappError):
        again.begin(SID, "ann", None, None)
    wire.away, world.logs.away = False, False
    for callback in tuple(wire.callbacks):
        callback(made(1, 1, 0, "message_started").text)
    assert [notice.event.text for notice in heard] == [made(1, 1, 0, "message_started").text]


def test_a_turn_that_says_nothing_is_looked_into_while_others_speak():
    """Its end was never published, and the next turn is being answered: the look is not put off by that one's events."""
    world = World()
    world.submit()
    world.subscribe(resume=False)
    world.say("message_delta")
    world.step()
    world.submit()
    world.end_unpublished()
    for _ in range(6):
        world.say("message_delta")
        world.step()
        world.wait(5)
    assert world.client[1].ended


def test_a_turn_that_says_nothing_is_looked_into_while_notices_come():
    """Nor by what is no answer at all."""
    world = World()
    world.submit()
    world.subscribe(resume=False)
    world.say("message_delta")
    world.step()
    world.end_unpublished()
    for _ in range(6):
        world.notice()
        world.step()
        world.wait(5)
    assert world.client[1].ended


def test_a_log_with_a_hole_does_not_hide_the_end_from_the_look():
    """A worker of the former version wrote behind what a replica had lost; what cannot be passed on is not news."""
    world = World()
    world.submit()
    world.subscribe(resume=False)
    world.say("message_delta")
    world.step()
    world.logs.events[1].append(made(1, 1, 2, text="behind the hole"))
    world.end_unpublished()
    world.ends[1] = EventId(1, 3)
    world.truth[1]["1-3"] = ""
    world.rest()
    assert world.client[1].ended


@pytest.mark.parametrize("again", [[], [(1_600_000_000, 0), (1_600_000_000, 1)]])
def test_a_log_of_the_session_that_ends_before_the_cursor_goes_on_all_the_same(again):
    """Lost, and begun anew by a Redis whose clock is behind or in the same second: what is told from now on is passed on."""
    world = World()
    world.subscribe(resume=False)
    world.logs.events[0] = [made(0, *at, "notice") for at in again]
    world.note_cursor = "1700000000-7"
    world.subscriptions.begin(SID, "ann", None, None, EventId.parse(world.note_cursor))
    said = made(0, 1_600_000_000, len(again), "notice")
    world.logs.events[0].append(said)
    world.subscriptions.live(said)
    assert ids(world.notes) == [str(said.id)]


def test_a_log_of_the_session_that_a_replica_has_less_of_goes_on_all_the_same():
    """The ids that it gives next were given before; who follows in the meantime hears them."""
    world = World()
    world.subscribe(resume=False)
    for _ in range(6):
        world.notice()
        world.step()
    del world.logs.events[0][4:]
    heard = len(world.notes)
    world.notes = []
    world.subscriptions.catch_up(SID)
    world.wait(31)
    world.notice()
    world.step()
    assert heard == 6
    assert len(world.notes) == 1


def test_one_look_does_not_wait_for_an_absent_redis_a_hundred_times():
    """Each try may take half a second, and the client's frames wait meanwhile: what is away for one session is away for all."""
    world = World()
    many = Subscriptions(
        world, hub=world, sessions=world, replay=Replay(world.logs, world), clock=world, send=lambda _t: None, limit=100
    )
    world.submit()
    followed = [f"{n:032x}" for n in range(100)]
    for session_id in followed:
        many.begin(session_id, "ann", None, None)
    world.logs.away = True
    for session_id in followed:
        many.catch_up(session_id)
    for _ in range(3):
        before = world.logs.reads
        world.seconds += 1
        many.look()
        assert world.logs.reads - before <= 2
    world.logs.away = False
    for _ in range(100):
        world.seconds += 1
        many.look()
    assert not any(f.behind for f in many._followed.values())


def test_a_notice_of_a_lost_log_does_not_come_twice():
    """It waited in the inbox, was replayed before Redis lost it, and the cursor has gone back since."""
    world = World()
    world.subscribe(resume=False)
    world.notice()
    cursor = world.said[0].id
    world.subscriptions.begin(SID, "ann", None, None, EventId(0, 0))
    world.restart()
    world.subscriptions.begin(SID, "ann", None, None, cursor)
    world.step()
    assert ids(world.notes) == [str(cursor)]


def test_a_job_that_is_to_be_followed_does_not_put_off_what_could_not_be_read():
    """Redis was away for a moment; nothing else says when to read again."""
    world = World()
    world.submit()
    world.say("message_completed")
    world.subscribe(resume=False)
    world.logs.away = True
    world.notice()
    world.step()
    world.subscriptions.expect(JobId(SID, 1))
    world.logs.away = False
    world.wait(1)
    assert ids(world.notes) == ids(world.said)


def test_a_turn_of_a_deleted_session_still_tells_its_end():
    """The session was deleted while a worker was busy with it, and somebody looked meanwhile."""
    world = World()
    world.submit()
    world.subscribe(resume=False)
    world.say("message_delta")
    world.step()
    world.deleted = True
    world.wait(11)
    world.say("message_cancelled")
    world.step()
    assert world.client[1].ended
    world.wait(100)
    assert SID in world.subscriptions


@pytest.mark.parametrize("logged", [True, False])
def test_a_job_that_ended_before_its_session_was_followed_is_brought(logged):
    """The client has asked for it again with its key: its events come, from the log or from the item."""
    world = World()
    world.submit()
    world.say("message_delta")
    world.say("message_completed")
    if not logged:
        world.expire()
    world.subscribe(resume=False)
    assert 1 not in world.client
    world.subscriptions.bring(JobId(SID, 1))
    assert world.client[1].ended
