"""POST /ws/ticket, POST /notify and the edge of GET /jobs/{id}/events, over fakes."""

import json
import logging

import pytest

from chatapp.api import create_app
from chatapp.errors import LiveUnavailable, RateLimited
from chatapp.live.following import Event
from chatapp.model import EventId, JobId
from tests.fakes import bearer, fake_services

ADMIN = {"scopes": ("chat", "admin")}


@pytest.fixture
def services():
    """Services in memory."""
    return fake_services()


@pytest.fixture
def client(services):
    """A client of the app."""
    return create_app(services).test_client()


@pytest.fixture
def job(client) -> str:
    """The id of a queued job of ada."""
    return client.post("/chat", json={"message": "hello"}, headers=bearer()).json["job_id"]


def notify(client, body, **claims):
    """Post a notification as an admin."""
    return client.post("/notify", json=body, headers=bearer("root", **{**ADMIN, **claims}))


# --- tickets


def test_a_ticket_is_given_for_a_token(client, services):
    """201, for thirty seconds, counted against the limit; it carries no scope."""
    answer = client.post("/ws/ticket", headers=bearer("ada", **ADMIN))
    assert (answer.status_code, answer.json) == (201, {"ticket": "ticket-0", "expires_in": 30})
    assert answer.headers["Cache-Control"] == "no-store"
    assert services.limiter.taken == 1
    services.limiter.left = 0
    assert client.post("/ws/ticket", headers=bearer()).status_code == 429


@pytest.mark.parametrize(("body", "status"), [("{}", 201), ('{"user_id":"bob"}', 422), ("[]", 422), ("{", 400)])
def test_a_ticket_is_for_the_caller_alone(client, body, status):
    """There is nothing to choose."""
    answer = client.post("/ws/ticket", data=body, content_type="application/json", headers=bearer())
    assert answer.status_code == status


def test_without_redis_there_are_no_tickets(client, services):
    """503: come again."""
    services.tickets.failure = LiveUnavailable(retry_after=1)
    answer = client.post("/ws/ticket", headers=bearer())
    assert (answer.status_code, answer.json["code"], answer.headers["Retry-After"]) == (503, "live_unavailable", "1")


def test_a_ticket_opens_an_event_stream_once(client, services, job):
    """As its user; the second time it is refused, and never repeated."""
    ticket = client.post("/ws/ticket", headers=bearer()).json["ticket"]
    with client.get(f"/jobs/{job}/events?ticket={ticket}") as answer:
        assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    refused = client.get(f"/jobs/{job}/events?ticket={ticket}")
    assert (refused.status_code, refused.json["code"]) == (401, "unauthenticated")
    assert ticket not in refused.text
    assert [caller.user_id for _, _, caller in services.feeds.opened] == ["ada"]


def test_the_header_wins_and_spares_the_ticket(client, services, job):
    """Also when it is no good: what was meant is not guessed."""
    ticket = client.post("/ws/ticket", headers=bearer()).json["ticket"]
    path = f"/jobs/{job}/events?ticket={ticket}"
    with client.get(path, headers=bearer()) as answer:
        assert answer.status_code == 200
    for wrong in ("Bearer x.y.z", "Basic YWRhOmFkYQ==", ""):
        assert client.get(path, headers={"Authorization": wrong}).status_code == 401
    assert client.get(path, headers=bearer("mallory")).status_code == 404
    assert ticket in services.tickets.all


@pytest.mark.parametrize("query", ["", "?ticket=", "?ticket=nonsense", "?ticket={t}&ticket={t}", "?Ticket={t}"])
def test_what_is_no_ticket_is_not_taken_for_one(client, services, job, query):
    """None, an unknown one, two: 401."""
    ticket = services.tickets.issue(services.tokens.verify(bearer()["Authorization"][7:]))
    assert client.get(f"/jobs/{job}/events{query.format(t=ticket)}").status_code == 401
    assert ticket in services.tickets.all


def test_no_other_route_takes_a_ticket(services):
    """It stands in an address: all that it may do is to listen."""
    app = create_app(services)
    client = app.test_client()
    ids = {"session_id": "0" * 32, "job_id": "0" * 32 + ".1", "name": "x", "action_id": "a1-0"}
    taken = []
    for rule in app.url_map.iter_rules():
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            ticket = services.tickets.issue(services.tokens.verify(bearer()["Authorization"][7:]))
            path = rule.build({name: ids[name] for name in rule.arguments})[1]
            client.open(path, method=method, query_string={"ticket": ticket}).close()
            if ticket not in services.tickets.all:
                taken.append(rule.rule)
            services.tickets.all.clear()
    assert taken == ["/jobs/<job_id>/events"]


# --- the stream


def test_events_are_told_as_they_are(client, services, job):
    """The first message has no id; an event's data is its JSON text, whatever is in it; a heartbeat is a comment."""
    text = json.dumps({"type": "message_delta", "id": "1-1", "text": "a\n\ndata: x\r\nid: 9\u2028é"}, ensure_ascii=False)
    services.feeds.items = [Event(JobId.parse(job), EventId(1, 1), "message_delta", text), None]
    with client.get(f"/jobs/{job}/events", headers=bearer()) as answer:
        opening, subscribed, event, heartbeat, rest = answer.text.split("\n\n")
    assert opening.startswith(": open\nretry: ")
    assert json.loads(subscribed.removeprefix("data: "))["turns"][0]["job_id"] == job
    assert event == f"id: 1-1\ndata: {text}"
    assert (heartbeat, rest) == (":", "")
    assert services.feeds.closed == 1


@pytest.mark.parametrize(
    ("query", "headers", "cursor"),
    [
        ("", {}, None),
        ("?after=1-2", {}, EventId(1, 2)),
        ("?after=1-2", {"Last-Event-ID": "3-4"}, EventId(3, 4)),
        ("?after=1-2", {"Last-Event-ID": ""}, EventId(1, 2)),
        ("", {"Last-Event-ID": "0-0"}, EventId(0, 0)),
    ],
)
def test_the_header_says_where_the_reader_stopped_else_the_query(client, job, query, headers, cursor):
    """A browser that comes back uses the address of the first time."""
    client.get(f"/jobs/{job}/events{query}", headers=bearer() | headers).close()
    opened = client.application.extensions["chatapp"].feeds.opened
    assert [found for _, found, _ in opened] == [cursor]


@pytest.mark.parametrize("query", ["?after=", "?after=x", "?after=-1", "?after=1-2&after=1-3", "?since=1-2", "?wait=3"])
def test_a_wrong_query_opens_nothing(client, services, job, query):
    """422."""
    assert client.get(f"/jobs/{job}/events{query}", headers=bearer()).status_code == 422
    assert services.feeds.opened == []


@pytest.mark.parametrize("failure", [RateLimited("too many streams", retry_after=1), LiveUnavailable("away", retry_after=1)])
def test_a_stream_that_cannot_be_opened_is_a_problem(client, services, job, failure):
    """Not a stream that says so."""
    services.feeds.failure = failure
    answer = client.get(f"/jobs/{job}/events", headers=bearer())
    assert (answer.status_code, answer.mimetype, answer.headers["Retry-After"]) == (
        failure.http_status,
        "application/problem+json",
        "1",
    )


def test_a_stream_that_breaks_ends_and_says_so_in_the_log_without_the_address(client, services, job, caplog):
    """The server's own words would hold the ticket."""
    services.feeds.broken = RuntimeError("a fault of ours")
    ticket = client.post("/ws/ticket", headers=bearer()).json["ticket"]
    with caplog.at_level(logging.ERROR), client.get(f"/jobs/{job}/events?ticket={ticket}") as answer:
        assert answer.text.endswith("}\n\n")
    assert "a fault of ours" in caplog.text
    assert job in caplog.text
    assert ticket not in caplog.text


def test_a_head_opens_nothing(client, services, job):
    """The headers of the stream, and no stream."""
    answer = client.head(f"/jobs/{job}/events", headers=bearer())
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    assert services.feeds.opened == []


def test_the_accepted_message_says_where_its_events_are(client, job):
    """And a browser of an allowed origin may ask with its cursor."""
    answer = client.post("/chat", json={"message": "hello"}, headers=bearer()).json
    assert answer["links"]["events"] == f"/jobs/{answer['job_id']}/events"
    preflight = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "GET"}
    allowed = client.options(answer["links"]["events"], headers=preflight).headers["Access-Control-Allow-Headers"]
    assert "Last-Event-ID" in allowed.split(", ")


# --- notifications


def test_a_notification_goes_to_a_user_or_to_all(client, services):
    """To every socket; the answer says how many processes were told."""
    data = {"n": [1, {"x": None}]}
    one = notify(client, {"user_id": "ada", "text": "hello", "title": "News", "data": data})
    everybody = notify(client, {"all": True, "text": "good night"})
    assert [a.status_code for a in (one, everybody)] == [202, 202]
    assert [a.json["processes"] for a in (one, everybody)] == [2, 2]
    (first, frame), (second, short) = services.pushes.pushed
    assert (first, second) == ("ada", None)
    when = "2027-01-15T08:00:00.000Z"
    assert frame == {
        "type": "notification",
        "id": one.json["id"],
        "created_at": when,
        "title": "News",
        "text": "hello",
        "data": data,
    }
    assert short == {"type": "notification", "id": everybody.json["id"], "created_at": when, "text": "good night"}
    assert services.limiter.taken == 0


def test_a_notification_to_a_session_is_an_event_of_its_log(client, services, job):
    """Whoever's session it is: this is an admin. One that is gone is a 404."""
    session_id = job.split(".")[0]
    answer = notify(client, {"session_id": session_id, "text": "hello", "data": {}})
    assert (answer.status_code, answer.json) == (202, {"id": "1800000000-0", "session_id": session_id})
    assert services.session_log.appended == [(session_id, "notice", {"text": "hello", "data": {}})]
    client.delete(f"/sessions/{session_id}", headers=bearer())
    for gone in (session_id, "0" * 32):
        assert notify(client, {"session_id": gone, "text": "hello"}).status_code == 404


@pytest.mark.parametrize("scopes", [(), ("chat",), ("administrator",), ("Admin",)])
def test_only_an_admin_may_notify(client, services, scopes):
    """403, before the body is looked at; the challenge says what is missing (RFC 6750)."""
    answer = notify(client, {"nonsense": 1}, scopes=scopes)
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="chatapp", error="insufficient_scope"'
    assert "`admin`" in answer.json["detail"]
    assert client.post("/notify", json={}).status_code == 401
    assert services.pushes.pushed == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "x"},
        {"text": "x", "user_id": "ada", "all": True},
        {"text": "x", "user_id": "ada", "session_id": "0" * 32},
        {"text": "x", "user_id": None},
        {"text": "x", "all": False},
        {"text": "x", "all": 1},
        {"text": "x", "user_id": ""},
        {"text": "x", "user_id": "a\nb"},
        {"text": "x", "user_id": "a" * 257},
        {"text": "x", "session_id": "nonsense"},
        {"user_id": "ada"},
        {"user_id": "ada", "text": ""},
        {"user_id": "ada", "text": " \n"},
        {"user_id": "ada", "text": "a\u0000"},
        {"user_id": "ada", "text": "x" * 4_001},
        {"user_id": "ada", "text": 1},
        {"user_id": "ada", "text": "x", "title": "a\nb"},
        {"user_id": "ada", "text": "x", "title": "x" * 201},
        {"user_id": "ada", "text": "x", "data": []},
        {"user_id": "ada", "text": "x", "data": {"x": "é" * 8_192}},
        {"user_id": "ada", "text": "x", "type": "message_completed"},
    ],
)
def test_a_wrong_notification_is_a_422(client, services, body):
    """Exactly one target, and nothing too long."""
    assert notify(client, body).status_code == 422
    assert services.pushes.pushed == []


def test_without_redis_nobody_is_notified(client, services):
    """503, and nothing is kept."""
    services.pushes.failure = LiveUnavailable(retry_after=1)
    assert notify(client, {"all": True, "text": "x"}).status_code == 503


def test_the_description_says_who_may_call(client):
    """A scope, a ticket, or just a token."""
    paths = client.get("/openapi.json").json["paths"]
    assert paths["/notify"]["post"]["security"] == [{"bearer": ["admin"]}]
    assert "`forbidden`" in paths["/notify"]["post"]["responses"]["403"]["description"]
    follow = paths["/jobs/{job_id}/events"]["get"]
    assert follow["security"] == [{"bearer": []}, {"ticket": []}]
    assert {p["name"] for p in follow["parameters"]} == {"job_id", "after", "Last-Event-ID"}
    assert "security" not in paths["/ws/ticket"]["post"]
