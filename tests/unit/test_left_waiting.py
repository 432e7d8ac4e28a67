"""What a review of resuming found: each of these left a client waiting, or without what it was owed."""

from types import SimpleNamespace

import pytest

from chatapp.errors import ChatappError, LiveUnavailable
from chatapp.live.replay import Replay
from tests.unit.resuming import SID, made
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
