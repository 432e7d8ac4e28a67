"""A job's events over HTTP: the past, then the present, each event once and in order, from every cursor."""

import threading
import time

import pytest

from chatapp.live.events import channel_of
from tests.integration.sse_kit import api_server
from tests.integration.ws_kit import Hand, ids


@pytest.fixture(scope="module")
def api(settings, tmp_path_factory):
    """The API."""
    with api_server(settings, tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def hand(services):
    """Write a job's events."""
    return lambda job_id, attempt=1: Hand(services.redis, job_id, attempt)


def settle(redis, session_id, count, seconds=5):
    """Wait until `count` processes follow a session."""
    until = time.monotonic() + seconds
    while dict(redis.pubsub_numsub(channel_of(session_id)))[channel_of(session_id)] != count:
        assert time.monotonic() < until, "the subscriptions are not as expected"
        time.sleep(0.01)


def test_the_past_comes_first_and_then_the_present(api, user, submit, hand):
    """Opened in mid-answer: what was said before, then what is said now, then the end of the stream."""
    job_id = submit().job_id
    worker = hand(job_id)
    worker.say("message_started", model="m")
    worker.say(text="one")
    with api.read(job_id, user) as reading:
        assert (reading.status, reading.headers["Content-Type"]) == (200, "text/event-stream")
        assert reading.headers["Cache-Control"] == "no-store"
        assert reading.headers["X-Accel-Buffering"] == "no"
        assert reading.subscribed() == {"job_id": str(job_id), "status": "running", "position": 0, "recovered": True}
        assert reading.comments == ["open"]
        assert 1_000 <= reading.retry < 3_000
        worker.say(text="two")
        worker.say("message_completed", text="onetwo")
        events = reading.events()
    assert ids(events) == worker.written
    assert [e.get("text") for e in events] == [None, "one", "two", "onetwo"]


def test_nothing_is_lost_or_doubled_under_a_fast_publisher(api, user, submit, hand):
    """Streams are opened one after the other while the worker writes as fast as it can: all see the same."""
    job_id = submit().job_id
    worker = hand(job_id)
    publisher = threading.Thread(target=worker.answer, args=(1_500,))
    seen = []
    publisher.start()
    try:
        for _ in range(5):
            with api.read(job_id, user) as reading:
                seen.append(ids(reading.events()))
    finally:
        publisher.join()
    assert seen == [[f"1-{n}" for n in range(1_502)]] * 5


def test_every_prefix_and_its_resume_make_the_log(api, user, submit, hand):
    """By the header and by the query; the header wins; nothing is left after the terminal event: 204."""
    job_id = submit().job_id
    worker = hand(job_id)
    worker.answer(5)
    for cut in range(7):
        after = f"1-{cut - 1}" if cut else None
        with api.read(job_id, user, after) as reading:
            assert ids(reading.events()) == worker.written[cut:]
        with api.read(job_id, user, query=f"?after={after}" if after else "") as reading:
            assert ids(reading.events()) == worker.written[cut:]
    with api.read(job_id, user, "1-6") as reading:
        assert (reading.status, reading.answer.read()) == (204, b"")
    with api.read(job_id, user, "1-4", query="?after=1-0") as reading:
        assert ids(reading.events()) == worker.written[5:]


def test_an_ended_job_is_told_once(api, user, submit, services):
    """At or behind its end there is nothing to tell, whatever the log says: 204, so that a browser comes no more."""
    job_id = submit().job_id
    services.answer(job_id)
    end = str(services.turns.get(job_id).end_id)
    with api.read(job_id, user) as reading:
        assert reading.events()[-1]["id"] == end
    for after in (end, "1-99", "7-0"):
        with api.read(job_id, user, after) as reading:
            assert (reading.status, reading.answer.read()) == (204, b"")
    services.redis.flushdb()
    with api.read(job_id, user, end) as reading:
        assert reading.status == 204


def test_an_ended_job_without_a_log_is_told_by_its_end(api, user, submit, services):
    """The log's life is over: the cursor is not honoured, and the reader is told so before anything else."""
    job_id = submit("hi [[echo=from the item]]").job_id
    services.answer(job_id)
    services.redis.flushdb()
    with api.read(job_id, user, "1-1") as reading:
        assert reading.subscribed() == {"job_id": str(job_id), "status": "completed", "position": 0, "recovered": False}
        (end,) = reading.events()
    assert (end["type"], end["text"]) == ("message_completed", "from the item")
