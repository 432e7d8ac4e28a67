"""The client library: what it delivers of what arrives, and how it deals with a server that fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp import payloads
from chatapp.client import FORGET, TERMINAL, Event, Order
from chatapp.client.order import DELTA, RESET, SNAPSHOT, Gap

JOB = "0" * 32 + ".1"
ROOT = Path(__file__).parent.parent.parent


def made(kind, attempt, seq, /, **data):
    return Event(kind, f"{attempt}-{seq}", JOB, JOB[:32], attempt, seq, "2026-11-21T00:00:00.000Z", data)


def delta(attempt, seq, text="x"):
    return made(DELTA, attempt, seq, part=0, kind="text", text=text)


def end(attempt, seq, text):
    return made(payloads.COMPLETED, attempt, seq, text=text)


def log_of(attempts):
    """A whole log: for each attempt so many deltas."""
    log, text = [], ""
    for attempt, count in enumerate(attempts, 1):
        log.append(made(payloads.STARTED if attempt == 1 else RESET, attempt, 0))
        log += [delta(attempt, seq, f"{attempt}.{seq} ") for seq in range(1, count + 1)]
        text = "".join(event.delta for event in log if event.attempt == attempt)
    return [*log, end(len(attempts), attempts[-1] + 1, text)]


def ids(events):
    return [event.id for event in events]


@st.composite
def deliveries(draw):
    """A log, and what connections make of it: (what to leave out, what to say twice, where to cut) for each."""
    log = log_of(draw(st.lists(st.integers(0, 6), min_size=1, max_size=3)))
    places = st.sets(st.integers(0, len(log)), max_size=5)
    return log, draw(st.lists(st.tuples(places, places, st.integers(0, len(log))), max_size=8))


def connection(order, log, lost=(), again=(), cut=None):
    """Give what one connection delivers; a gap makes it be read again, whole, from the cursor."""
    delivered = list(order.subscribed(recovered=True))
    behind = [e for e in log if order.cursor is None or (e.attempt, e.seq) > order.cursor]
    arriving = [e for n, event in enumerate(behind) if n not in lost for e in ([event, *behind[:n]] if n in again else [event])]
    for event in arriving[:cut]:
        try:
            delivered += order.accept(event)
        except Gap:
            return delivered + connection(order, log)
    return delivered


@given(deliveries())
def test_whatever_is_repeated_lost_or_cut_the_log_is_delivered_once(case):
    """Any number of connections, each missing, repeating and cutting what it likes, and a whole one at last."""
    log, connections = case
    order = Order(JOB)
    delivered = [event for how in connections for event in connection(order, log, *how)]
    delivered += connection(order, log)
    assert delivered == [event for event in log if event in delivered]
    assert [e for e in log if e not in delivered and not overtaken(e, delivered)] == []
    assert order.text == log[-1].data["text"]
    assert order.end == log[-1]


def overtaken(event, delivered):
    """Whether a reset made it pointless: that nothing is missing before one, the server sees to (ws/subscriptions.py)."""
    return any(later.type == RESET and later.attempt > event.attempt for later in delivered)


def test_an_event_that_is_not_the_next_is_asked_about_once():
    """Then it stands behind a hole in the log itself: what was delivered is to be forgotten, and no loop begins."""
    order = Order(JOB)
    order.accept(made(payloads.STARTED, 1, 0))
    order.accept(delta(1, 1, "lost "))
    with pytest.raises(Gap):
        order.accept(delta(1, 3, "three"))
    assert order.after == "1-1"
    assert order.subscribed(recovered=True) == []
    assert [e.type for e in order.accept(delta(1, 3, "three"))] == [FORGET, DELTA]
    with pytest.raises(Gap):
        order.accept(delta(1, 5))


def test_a_hole_before_an_end_that_says_what_was_read_is_nothing_to_forget():
    """The text is whole, so nobody has to print it again."""
    order = Order(JOB)
    for event in (made(payloads.STARTED, 1, 0), delta(1, 1, "all")):
        order.accept(event)
    with pytest.raises(Gap):
        order.accept(end(1, 5, "all"))
    assert ids(order.accept(end(1, 5, "all"))) == ["1-5"]


def test_a_cursor_that_is_not_honoured_is_told_once():
    """`recovered: false`: a FORGET of its own, and whatever comes first stands for all."""
    order = Order(JOB)
    for event in (made(payloads.STARTED, 1, 0), delta(1, 1)):
        order.accept(event)
    assert [e.type for e in order.subscribed(recovered=False)] == [FORGET]
    assert order.subscribed(recovered=False) == []
    assert (order.after, order.text) == (None, "")
    assert ids(order.accept(end(1, 9, "all"))) == ["1-9"]
    assert order.text == "all"


def test_a_snapshot_replaces_what_came_before_it():
    """After a log was lost it begins anew, with an id that is not the next."""
    order = Order(JOB)
    for event in (made(payloads.STARTED, 1, 0), delta(1, 1, "a")):
        order.accept(event)
    assert ids(order.accept(made(SNAPSHOT, 1, 7, text="abc", through="1-6"))) == ["1-7"]
    order.accept(delta(1, 8, "d"))
    assert order.text == "abcd"


def test_reasoning_is_no_part_of_the_text():
    """Only parts of kind `text` are."""
    order = Order(JOB)
    order.accept(made(payloads.STARTED, 1, 0))
    event = made(DELTA, 1, 1, part=0, kind="reasoning", text="hm")
    assert order.accept(event) == [event]
    assert (order.text, event.delta) == ("", "")


def test_an_event_is_given_back_as_it_came():
    """Fields that nobody knows included."""
    fields = {**delta(1, 1).as_dict(), "new": [1]}
    assert Event.read(json.loads(json.dumps(fields))).as_dict() == fields


def test_the_names_are_those_of_the_server():
    """They stand twice, so that the package can be copied."""
    assert (DELTA, RESET, SNAPSHOT) == (payloads.DELTA, payloads.RESET, payloads.SNAPSHOT)
    assert TERMINAL == payloads.TERMINAL


def test_the_client_needs_nothing_else_of_ours(tmp_path):
    """A copy of the folder works by itself, and draws in neither the server's modules nor its libraries."""
    (tmp_path / "theirs").symlink_to(ROOT / "chatapp" / "client")
    code = "import sys, theirs; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"chatapp", "config", "flask", "boto3", "redis", "celery", "pydantic", "click"}
