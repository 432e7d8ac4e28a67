"""POST /notify at a real API and a real Redis: what comes out at the other end."""

import json
import secrets

import pytest
from pydantic import SecretStr

from chatapp.auth import issue
from chatapp.dev.ports import free_port
from chatapp.live.events import channel_of
from chatapp.live.pushing import PUSH_CHANNEL
from chatapp.model import JobId
from config.settings import DEV_JWT_SECRET
from tests.integration.sse_kit import api_server

DATA = {"deep": [{"é": "<script>\n\u2028"}], "n": 1.5, "none": None}


@pytest.fixture(scope="module")
def api(settings, tmp_path_factory):
    """The API."""
    with api_server(settings, tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def admin():
    """The header of an admin. Made when it is needed: all tests of a run are collected before the first begins."""
    return {"Authorization": f"Bearer {issue(DEV_JWT_SECRET, 'root', seconds=600, scopes=('admin',))}"}


@pytest.fixture
def hear(services):
    """Listen on a channel; gives what is published there next."""
    pubsubs = []

    def hear(channel):
        pubsub = services.redis.pubsub(ignore_subscribe_messages=True)
        pubsubs.append(pubsub)
        pubsub.subscribe(channel)
        while pubsub.connection is None or not services.redis.pubsub_numsub(channel)[0][1]:
            pubsub.get_message(timeout=0.1)

        def heard():
            while (message := pubsub.get_message(timeout=10)) is None:
                pass
            return json.loads(message["data"])

        return heard

    yield hear
    for pubsub in pubsubs:
        pubsub.close()


def test_a_push_reaches_every_websocket_process(api, hear, admin):
    """For one user or for all: the frame that sockets are sent, as text."""
    heard = hear(PUSH_CHANNEL)
    one = api.post("/notify", {"user_id": "ada", "text": "hello", "title": "News", "data": DATA}, **admin)
    everybody = api.post("/notify", {"all": True, "text": "good night"}, **admin)
    first, second = heard(), heard()
    assert (one.status, one.json["processes"], everybody.json["processes"]) == (202, 1, 1)
    assert (first["user_id"], second["user_id"]) == ("ada", None)
    frame = json.loads(first["frame"])
    assert frame.pop("created_at")
    assert frame == {"type": "notification", "id": one.json["id"], "title": "News", "text": "hello", "data": DATA}
    assert json.loads(second["frame"])["id"] == everybody.json["id"] != one.json["id"]


def test_nobody_to_tell_is_said(api, admin):
    """The caller learns that no process listens."""
    answer = api.post("/notify", {"user_id": secrets.token_hex(4), "text": "hello"}, **admin)
    assert (answer.status, answer.json["processes"]) == (202, 0)


def test_a_sessions_notice_is_published_and_kept(api, services, user, hear, admin):
    """Who is away finds it in the session's own log."""
    session_id = services.sessions.create(user_id=user, flow="chat").id
    heard = hear(channel_of(session_id))
    answers = [api.post("/notify", {"session_id": session_id, "text": text, "data": DATA}, **admin) for text in ("one", "two")]
    assert [answer.status for answer in answers] == [202, 202]
    events = [heard(), heard()]
    assert [json.loads(text) for text in services.events.read(JobId(session_id, 0))] == events
    for answer, event, text in zip(answers, events, ("one", "two"), strict=True):
        assert (event["type"], event["id"], event["job_id"]) == ("notice", answer.json["id"], f"{session_id}.0")
        assert (event["text"], event["data"], "title" in event) == (text, DATA, False)
        assert answer.json == {"id": event["id"], "session_id": session_id}


def test_a_session_that_is_gone_cannot_be_notified(api, services, user, admin):
    """Deleted or unknown: 404, and nothing is written."""
    session_id = services.sessions.create(user_id=user, flow="chat").id
    services.sessions.bury(session_id, user_id=user)
    for gone in (session_id, secrets.token_hex(16)):
        assert api.post("/notify", {"session_id": gone, "text": "hello"}, **admin).status == 404
        assert services.events.read(JobId(gone, 0)) == []


def test_who_is_no_admin_is_refused(api, user):
    """A user's own token, or none."""
    assert api.post("/notify", {"all": True, "text": "x"}, user).status == 403
    assert api.post("/notify", {"all": True, "text": "x"}).status == 401


def test_without_redis_nobody_is_notified(settings, services, user, tmp_path, admin):
    """503, whoever it was for, in bounded time."""
    nowhere = settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{free_port()}/0")})
    session_id = services.sessions.create(user_id=user, flow="chat").id
    with api_server(nowhere, tmp_path) as api:
        for target in ({"all": True}, {"user_id": "ada"}, {"session_id": session_id}):
            answer = api.post("/notify", {**target, "text": "x"}, **admin)
            assert (answer.status, answer.json["code"], answer.headers["Retry-After"]) == (503, "live_unavailable", "1")
        assert api.post("/ws/ticket", user=user).status == 503
