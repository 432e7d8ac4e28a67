"""Looks into silence are bounded for the process, so that they hold up nothing that is live."""

from tests.fakes import FakeClock
from tests.unit.resuming_world import World
from ws.looks import LOOKS_PER_SECOND, Looks


def test_a_second_takes_so_many_looks_and_no_more():
    """Also after a long time without any."""
    clock = FakeClock()
    looks = Looks(clock)
    assert sum(looks.take() for _ in range(1_000)) in range(LOOKS_PER_SECOND, LOOKS_PER_SECOND + 2)
    clock.sleep(1)
    assert sum(looks.take() for _ in range(1_000)) in range(LOOKS_PER_SECOND - 1, LOOKS_PER_SECOND + 2)


def test_a_look_for_which_there_is_no_room_comes_later():
    """It is put off by seconds, and what it would have found is found then."""
    world, room = World(), [False, False, True]
    world.may_look = lambda: room.pop(0)
    world.connect()
    world.submit()
    world.subscribe(resume=False)
    world.say("message_delta")
    world.step()
    world.end_unpublished()
    world.wait(11)
    world.wait(5.1)
    assert not world.client[1].ended
    world.wait(5.1)
    assert world.client[1].ended
