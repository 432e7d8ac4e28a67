"""A feed by itself, at a pace of the test's: silence, stuck readers, bounds. Real Redis, real store."""

import queue
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from pydantic import SecretStr

from chatapp.api import create_app
from chatapp.dev.ports import free_port
from chatapp.errors import LiveUnavailable, RateLimited, StoreUnavailable
from chatapp.live.events import key_of
from chatapp.live.feed import Pace, Sources
from chatapp.live.feeds import Feeds, Room
from chatapp.live.following import Event
from chatapp.live.replay import Past, Replay
from chatapp.model import Principal
from chatapp.services import build
from tests.integration.ws_kit import Hand, token

LONG = Pace(heartbeat=60, silence=60, retry=60, patience=60)
SILENCE = 0.3
ATTENTIVE = Pace(heartbeat=60, silence=SILENCE, retry=0.1, patience=60)


class Reader:
    """Reads a feed in a thread of its own. `given` is what it was given; None when the feed has ended."""

    def __init__(self, feeds, feed):
        self.feed = feed
        self.given = queue.Queue()
        self._feeds = feeds
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for item in self.feed:
            self.given.put(item if item is not None else "heartbeat")
        self._feeds.close(self.feed)
        self.given.put(None)

    def next(self):
        """What is given next."""
        return self.given.get(timeout=30)

    def kinds(self):
        """The types of all events up to the end of the feed."""
        found = iter(self.next, None)
        return [item.kind for item in found if isinstance(item, Event)]

    def close(self):
        """End the feed, however the test went."""
        self.feed.stop()
        self._thread.join(10)


def wait_for(condition, seconds=30):
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def feeds(services):
    """Make the feeds of a process."""
    channel = services.channel

    def feeds(pace=LONG, room=None, sessions=services.sessions):
        sources = Sources(channel, Replay(services.events, services.turns), sessions, services.clock, pace)
        return Feeds(sources, room or Room())

    yield feeds
    channel.close()


@pytest.fixture
def opened(services, user):
    """Open a feed as its owner."""

    def opened(feeds, job_id, cut=lambda: None):
        session, turn = services.sessions.get(job_id.session_id), services.turns.get(job_id)
        return feeds.open(session, turn, None, caller=Principal(user), cut=cut)

    return opened


@pytest.fixture
def read(opened):
    """Open a feed and read it."""
    readers = []

    def read(feeds, job_id):
        readers.append(Reader(feeds, opened(feeds, job_id)))
        return readers[-1]

    yield read
    for reader in readers:
        reader.close()


@pytest.fixture
def dynamodb_requests(services):
    """Count the requests to DynamoDB, by name."""
    found = Counter()
    services.dynamodb.meta.events.register("before-call.dynamodb.*", lambda model, **_: found.update([model.name]))
    return found


def test_an_end_that_was_stored_and_never_published_is_told_all_the_same(feeds, read, submit, settings):
    """The worker is killed between the two, or Redis takes nothing: the turn is asked after some silence."""
    job_id = submit("[[echo=nobody heard this]]").job_id
    reader = read(feeds(ATTENTIVE), job_id)
    assert isinstance(reader.next(), Past)
    without_redis = build(settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{free_port()}/0")}))
    without_redis.answer(job_id)
    assert reader.kinds() == ["message_completed"]


def test_what_was_never_published_is_read_from_the_log_after_some_silence(feeds, read, submit, services, dynamodb_requests):
    """That costs DynamoDB nothing; nor does anything else of an open feed, as long as it has something to tell."""
    job_id = submit().job_id
    worker = Hand(services.redis, job_id)
    # Longer than this machine may take to write the next event: a log that is silent still would have the turn asked.
    reader = read(feeds(replace(ATTENTIVE, silence=2)), job_id)
    worker.say("message_started")
    assert [type(reader.next()), reader.next().kind] == [Past, "message_started"]
    dynamodb_requests.clear()
    worker.say(publish=False)
    assert reader.next().kind == "message_delta"
    worker.say("message_completed", publish=False)
    assert reader.kinds() == ["message_completed"]
    assert not dynamodb_requests


def test_silence_costs_two_reads_each_time(feeds, read, submit, services, dynamodb_requests):
    """The session and the turn; a turn that waits behind others is not asked for itself."""
    looks = []

    class Counted:
        def get(self, session_id):
            looks.append(session_id)
            return services.sessions.get(session_id)

    first = submit().job_id
    second = submit(session_id=first.session_id).job_id
    for job_id, cost in ((first, 2), (second, 1)):
        reader = read(feeds(ATTENTIVE, sessions=Counted()), job_id)
        assert isinstance(reader.next(), Past)
        looks.clear()
        dynamodb_requests.clear()
        wait_for(lambda: len(looks) >= 2)
        reader.close()
        assert dynamodb_requests == {"GetItem": cost * len(looks)}


@pytest.mark.parametrize("state", ["queued", "running", "ended", "forgotten"])
def test_opening_a_stream_costs_two_reads(services, submit, user, dynamodb_requests, state):
    """The turn and its session, whatever Redis has; and a stream that is read to its end no more."""
    job_id = submit().job_id
    client = create_app(services).test_client()
    if state == "running":
        Hand(services.redis, job_id).answer(1)
    elif state != "queued":
        services.answer(job_id)
    if state == "forgotten":
        services.redis.flushdb()
    dynamodb_requests.clear()
    with client.get(f"/jobs/{job_id}/events", headers={"Authorization": f"Bearer {token(user)}"}) as answer:
        assert answer.status_code == 200
        if state != "queued":
            assert "message_completed" in answer.text
    assert dynamodb_requests == {"GetItem": 2}
    services.channel.close()


def test_a_deleted_session_ends_a_silent_feed(feeds, read, submit, services, user):
    """Even when the word of it got lost."""
    job_id = submit().job_id
    reader = read(feeds(ATTENTIVE), job_id)
    services.sessions.bury(job_id.session_id, user_id=user)
    assert reader.kinds() == []


def test_a_store_that_is_away_ends_nothing(feeds, opened, read, submit, services):
    """Silence is looked into again later."""
    looks = []

    class Away:
        def get(self, session_id):
            looks.append(session_id)
            raise StoreUnavailable

    job_id = submit().job_id
    reader = read(feeds(ATTENTIVE, sessions=Away()), job_id)
    wait_for(lambda: len(looks) > 1)
    worker = Hand(services.redis, job_id)
    worker.say("message_started")
    worker.say("message_completed")
    assert reader.kinds() == ["message_started", "message_completed"]


def test_a_heartbeat_is_due_when_nothing_was_told_for_a_while(feeds, read, submit):
    """Again and again."""
    reader = read(feeds(Pace(heartbeat=0.05)), submit().job_id)
    assert isinstance(reader.next(), Past)
    assert [reader.next() for _ in range(3)] == ["heartbeat"] * 3


def test_a_reader_that_does_not_come_back_is_cut_off(feeds, opened, submit):
    """It holds a place and a subscription, and nothing else would ever end that."""
    impatient, was_cut = feeds(Pace(patience=0.1)), threading.Event()
    feed = opened(impatient, submit().job_id, was_cut.set)
    items = iter(feed)
    assert isinstance(next(items), Past)
    assert was_cut.wait(30)
    assert list(items) == []
    impatient.close(feed)


@pytest.mark.parametrize("room", [Room(events=10), Room(size=1_000)], ids=["events", "size"])
def test_what_waits_for_a_reader_is_bounded(feeds, opened, submit, services, room):
    """Many events, or a few large ones: the feed ends, and the reader that is busy with one is cut off."""
    narrow, was_cut = feeds(room=room), threading.Event()
    job_id = submit().job_id
    feed = opened(narrow, job_id, was_cut.set)
    items = iter(feed)
    next(items)
    Hand(services.redis, job_id).answer(11, "x" * 100)
    assert was_cut.wait(30)
    assert list(items) == []
    narrow.close(feed)


def test_a_user_and_a_process_have_so_many_feeds(feeds, opened, submit):
    """Refused with another time to try; a closed one makes room, and closing it again makes no more."""
    job_id, few = submit().job_id, feeds(room=Room(feeds_of_a_user=1))
    for _ in range(2):
        feed = opened(few, job_id)
        with pytest.raises(RateLimited) as refused:
            opened(few, job_id)
        assert refused.value.retry_after
        few.close(feed)
        few.close(feed)
    with pytest.raises(LiveUnavailable):
        opened(feeds(room=Room(feeds=0)), job_id)


def test_a_feed_that_cannot_be_opened_takes_no_place(feeds, opened, submit, services):
    """While Redis cannot read logs, say."""
    few, job_id = feeds(room=Room(feeds_of_a_user=1)), submit().job_id
    services.redis.set(key_of(job_id), "no stream")
    for _ in range(3):
        with pytest.raises(LiveUnavailable):
            opened(few, job_id)
    services.redis.delete(key_of(job_id))
    few.close(opened(few, job_id))


def test_a_process_that_stops_gives_no_more_than_the_past(feeds, read, submit, services):
    """Open feeds end; what is opened afterwards, on a connection that is still there, ends after what the log had."""
    job_id, process = submit().job_id, feeds()
    Hand(services.redis, job_id).say("message_started")
    first = read(process, job_id)
    assert [type(first.next()), first.next().kind] == [Past, "message_started"]
    process.release()
    assert first.kinds() == []
    assert read(process, job_id).kinds() == ["message_started"]
