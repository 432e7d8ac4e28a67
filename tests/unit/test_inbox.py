"""What waits for one socket: in order, and bounded in number and in bytes."""

import threading

import pytest

from chatapp.live.following import Event
from chatapp.model import EventId, JobId
from ws.inbox import Inbox
from ws.notices import Gap, Live, Push


def live(size):
    """An event with a text of so many characters."""
    return Live(Event(JobId("a" * 32, 1), EventId(1, 0), "message_delta", "x" * size))


def test_what_went_in_comes_out_in_order():
    """Whatever it is."""
    inbox = Inbox(10, 10_000)
    items = ["frame", b"binary", live(1), Push("hello"), Gap("s")]
    assert all(map(inbox.put, items))
    assert [inbox.get(0) for _ in items] == items
    assert inbox.get(0) is None


def test_it_is_full_by_number():
    """Until something is taken out."""
    inbox = Inbox(3, 10_000)
    assert [inbox.put("x") for _ in range(4)] == [True, True, True, False]
    inbox.get(0)
    assert inbox.put("x")


@pytest.mark.parametrize("make", [live, lambda size: Push("x" * size), lambda size: "x" * size, lambda size: b"x" * size])
def test_it_is_full_by_bytes(make):
    """Whoever sent them, client or server; what is taken out makes room again."""
    inbox = Inbox(1_000, 10_000)
    assert [inbox.put(make(4_000)) for _ in range(3)] == [True, True, False]
    inbox.get(0)
    assert inbox.put(make(4_000))
    inbox.clear()
    assert [inbox.put(make(4_000)) for _ in range(3)] == [True, True, False]


def test_one_alone_always_fits():
    """Or it would never be sent."""
    assert Inbox(10, 100).put(live(5_000))


def test_the_reader_is_woken():
    """By an item, and for nothing."""
    inbox = Inbox(10, 100)
    for act, expected in ((lambda: inbox.put("x"), "x"), (inbox.wake, None)):
        threading.Timer(0.01, act).start()
        assert inbox.get(10) == expected


def test_nothing_is_lost_between_many_writers_and_a_reader():
    """Each item comes out once, and the reader never sleeps over one."""
    inbox, seen = Inbox(100_000, 100_000_000), []
    threads = [threading.Thread(target=lambda n=n: [inbox.put(f"{n}:{i}") for i in range(500)]) for n in range(4)]
    for thread in threads:
        thread.start()
    while len(seen) < 2_000:
        item = inbox.get(10)
        if item is not None:
            seen.append(item)
    for n in range(4):
        assert [s for s in seen if s.startswith(f"{n}:")] == [f"{n}:{i}" for i in range(500)]
    assert inbox.get(0) is None
