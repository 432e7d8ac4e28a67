"""A session's own log: many write, Redis gives the ids, and it resumes as the turns' logs do."""

import json
import threading

import pytest
from redis import Redis

from chatapp.errors import LiveUnavailable
from chatapp.live.events import channel_of
from chatapp.live.session_log import MAX_EVENTS, SessionLog
from chatapp.model import JobId, new_session_id


@pytest.fixture
def session_id():
    """A session nobody else has."""
    return new_session_id()


def read(services, session_id, after=None):
    return [json.loads(text) for text in services.events.read(JobId(session_id, 0), after)]


def test_events_are_numbered_by_redis_and_pushed(services, session_id):
    """Each is a JSON object with the fields that every event has."""
    told, heard = [], threading.Event()

    def hear(text):
        told.append(text)
        heard.set()

    with services.channel.follow(channel_of(session_id), hear):
        first = services.session_log.append(session_id, "notice", text='say "hi"\n')
        assert heard.wait(30)
    second = services.session_log.append(session_id, "notice", text="again")
    assert (second.attempt, second.seq) == (first.attempt, first.seq + 1) == (first.attempt, 1)
    found = read(services, session_id)
    assert json.loads(told[0]) == found[0]
    assert found[0] | {"created_at": ""} == {
        "type": "notice",
        "id": str(first),
        "job_id": f"{session_id}.0",
        "session_id": session_id,
        "attempt": first.attempt,
        "seq": 0,
        "created_at": "",
        "text": 'say "hi"\n',
    }
    services.channel.close()


def test_many_writers_make_one_sequence(services, session_id):
    """No id is given twice, and none is left out."""
    writers = [
        threading.Thread(target=lambda: [services.session_log.append(session_id, "notice") for _ in range(20)]) for _ in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [event["seq"] for event in read(services, session_id)] == list(range(160))


def test_a_log_that_redis_lost_begins_anew_with_higher_ids(services, session_id):
    """So that an old cursor is never taken for a new event's."""
    lost = services.session_log.append(session_id, "notice")
    key = f"events:{{{session_id}}}.0"
    services.redis.delete(key)
    services.redis.xadd(key, {"e": "{}"}, id=f"{lost.attempt + 1}-0")  # as if a second had passed
    assert services.session_log.append(session_id, "notice") > lost


def test_the_log_is_bounded_and_lapses(services, session_id):
    """A session that is sent notices for ever does not fill Redis."""
    for _ in range(MAX_EVENTS + 3):
        services.session_log.append(session_id, "notice")
    found = read(services, session_id)
    assert (len(found), found[0]["seq"]) == (MAX_EVENTS, 3)
    assert 0 < services.redis.ttl(f"events:{{{session_id}}}.0") <= 86_400


def test_deleting_a_session_takes_its_own_log_along(services, session_id):
    """As everything that Redis keeps of it."""
    services.session_log.append(session_id, "notice")
    services.events.forget(session_id)
    assert read(services, session_id) == []


def test_without_redis_the_writer_is_told(services, session_id):
    """What was not written must not look as if it were."""
    away = SessionLog(Redis(port=1, socket_connect_timeout=0.2), services.clock)
    with pytest.raises(LiveUnavailable):
        away.append(session_id, "notice")
