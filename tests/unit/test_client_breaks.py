"""The client library against a server that fails in every way that a test can name, over real sockets."""

import base64
import hashlib
import json
import time
from dataclasses import replace

import pytest

from chatapp.client import FORGET, Client, Disconnected, Failed, Patience, Refused
from chatapp.dev.ports import free_port
from tests.faults.kinds import dropped
from tests.faults.proxy import FaultProxy
from tests.unit.scripted import JOB, Scripted, Talk

SOON = Patience(silence=0.2, end=0.2, life_sign=0.1, first_pause=0.01, longest_pause=0.02)


@pytest.fixture
def server():
    """A server that accepts each message."""
    with Scripted() as running:
        running.http.append(running.accept())
        yield running


@pytest.fixture
def client(server):
    """A client that has no patience, with a token of its own each time it is asked for one."""
    tokens = iter(range(100))
    with Client(server.url, lambda: f"token-{next(tokens)}", patience=SOON) as made:
        yield made


def event(kind, seq, attempt=1, /, **data):
    return {
        "type": kind,
        "id": f"{attempt}-{seq}",
        "job_id": JOB,
        "session_id": JOB[:32],
        "attempt": attempt,
        "seq": seq,
        "created_at": "2026-11-21T00:00:00.000Z",
        **data,
    }


def delta(seq, text):
    return event("message_delta", seq, part=0, kind="text", text=text)


STARTED = event("message_started", 0, model="m")
ENDED = event("message_completed", 3, text="one two", model="m", finish_reason="stop", usage=None)
LOG = (STARTED, delta(1, "one"), delta(2, " two"), ENDED)
JOB_ENDED = {
    "job_id": JOB,
    "session_id": JOB[:32],
    "status": "completed",
    "attempt": 1,
    "answer": "one two",
    "model": "m",
    "ended_at": "2026-11-21T00:00:01.000Z",
}


def problem(status, code, *, after=None, **more):
    return status, {"code": code, "detail": f"it is {code}", **more}, {"Retry-After": str(after)} if after is not None else {}


def jwt(seconds):
    payload = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + seconds}).encode()).decode().rstrip("=")
    return f"e30.{payload}.x"


def test_an_answer_is_its_events_and_its_text(server, client):
    """The iterator ends with the terminal event; `text` waits for the end by itself."""
    server.sockets.append(Talk(server, *LOG))
    assert [e.type for e in client.chat("hi")] == [e["type"] for e in LOG]
    assert client.chat("hi").text == "one two"
    answer = client.chat("hi", session_id=JOB[:32], on_busy="reject")
    assert (answer.job_id, answer.session_id) == (JOB, JOB[:32])
    assert server.requests[-1][2] == {"message": "hi", "session_id": JOB[:32], "on_busy": "reject"}


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 4008, 4013])
def test_a_socket_that_is_closed_is_opened_again_behind_the_cursor(server, client, code):
    """What was seen is not sent for again, and delivered once if it comes."""
    server.sockets += [Talk(server, *LOG[:2]).closing(code), Talk(server, *LOG)]
    assert [e.id for e in client.chat("hi")] == ["1-0", "1-1", "1-2", "1-3"]
    assert [frame["resume"] for frame in server.subscribes] == [{"job_id": JOB, "after": None}, {"job_id": JOB, "after": "1-1"}]


def test_a_server_that_restarts_says_when_to_come_back(server):
    """`reconnect_in` counts, not the client's own pause."""
    server.sockets += [Talk(server, *LOG[:1]).closing(1012, "restarting, reconnect_in=0.1"), Talk(server, *LOG)]
    with Client(server.url, "t", patience=Patience(first_pause=60, longest_pause=60)) as client:
        assert client.chat("hi", timeout=5).text == "one two"


def test_an_expired_token_is_replaced(server, client):
    """4001 on a socket, 401 of the API: the next one is asked for."""
    server.sockets += [Talk(server, *LOG[:1]).closing(4001), Talk(server, *LOG)]
    assert client.chat("hi").text == "one two"
    assert server.bearers == ["token-0", "token-1"]
    server.http.appendleft(problem(401, "unauthenticated"))
    assert client.job(JOB)["job_id"] == JOB
    assert [headers["Authorization"] for _, headers, _ in server.requests[-2:]] == ["Bearer token-1", "Bearer token-2"]


def test_a_token_is_replaced_before_it_expires(server):
    """Where it says when that is."""
    made = []
    server.sockets.append(Talk(server, *LOG))
    with Client(server.url, lambda: made.append(jwt(20 if not made else 3600)) or made[-1], patience=SOON) as client:
        assert client.chat("hi").text == "one two"
        assert client.chat("hi").text == "one two"
    assert len(made) == 2


def test_a_token_that_cannot_be_replaced_is_the_end(server):
    """And so is one that is refused however often a fresh one is made."""
    server.sockets.append(lambda ws: ws.close(4500, "no such user"))
    for token in ("fixed", lambda: "made"):
        with Client(server.url, token, patience=SOON) as client, pytest.raises(Refused, match="no such user") as refused:
            list(client.chat("hi"))
        assert refused.value.code == "unauthenticated"
    assert len(server.bearers) < 6


@pytest.mark.parametrize("code", [4501, 4502, 4507])
def test_a_socket_that_is_closed_for_good_is_not_opened_again(server, client, code):
    """4501 to 4999 mean: do not come again."""
    server.sockets.append(Talk(server).closing(code, "go away"))
    with pytest.raises(Refused, match="go away"):
        list(client.chat("hi"))
    assert len(server.bearers) == 1


def test_a_subscription_that_is_refused_is_the_end(server, client):
    """Unless it may work later."""

    def refusing(code, *, retryable):
        def talk(ws):
            frame = json.loads(ws.receive())
            ws.send(json.dumps({"type": "refused", "id": frame["id"], "code": code, "message": code, "retryable": retryable}))
            ws.receive()

        return talk

    server.sockets += [refusing("live_unavailable", retryable=True), refusing("not_found", retryable=False)]
    with pytest.raises(Refused) as refused:
        list(client.chat("hi"))
    assert (refused.value.code, len(server.bearers)) == ("not_found", 2)


def test_a_cursor_that_is_not_honoured_is_told(server, client):
    """The consumer is given FORGET, and the text begins anew."""
    again = (
        event("message_snapshot", 5, text="one two three", through="1-4"),
        event("message_completed", 6, text="one two three"),
    )
    server.sockets += [Talk(server, *LOG[:2]).closing(1011), Talk(server, *again, recovered=False)]
    answer = client.chat("hi")
    seen = [(e.type, answer.text_so_far) for e in answer]
    assert [kind for kind, _ in seen[2:]] == [FORGET, "message_snapshot", "message_completed"]
    assert [text for _, text in seen[1:4]] == ["one", "", "one two three"]


def test_an_event_that_is_missing_is_asked_for(server, client):
    """On the same connection, from the cursor."""

    def talk(ws):
        for events in ((LOG[0], LOG[2]), LOG[1:]):
            frame = json.loads(ws.receive())
            server.subscribes.append(frame)
            turn = {"job_id": JOB, "status": "running", "recovered": True}
            ws.send(json.dumps({"type": "subscribed", "id": frame["id"], "turns": [turn]}))
            for made in events:
                ws.send(json.dumps(made))
        ws.receive()

    server.sockets.append(talk)
    assert [e.id for e in client.chat("hi")] == ["1-0", "1-1", "1-2", "1-3"]
    assert [frame["resume"]["after"] for frame in server.subscribes] == [None, "1-0"]


def test_a_dead_server_is_noticed(server):
    """No frame and no ping within the interval that it told: another connection, long before the job is asked."""
    server.sockets += [Talk(server, *LOG[:1], ping=0), Talk(server, *LOG)]
    with Client(server.url, "token", patience=replace(SOON, silence=60, end=60)) as client:
        assert client.chat("hi").text == "one two"
    assert len(server.bearers) == 2


def test_an_end_that_never_comes_is_read_from_the_job(server, client):
    """After a silence the job is asked; its end counts as if it had been sent."""
    server.sockets.append(Talk(server, *LOG[:2]))
    answer = client.chat("hi")
    server.http[0] = (200, JOB_ENDED, {})
    assert [e.type for e in answer] == ["message_started", "message_delta", FORGET, "message_completed"]
    assert (answer.text, answer.end.id) == ("one two", "1-2")


def test_a_job_that_had_ended_before_the_cursor_ends_at_once(server, client):
    """The server has nothing to send, and says that it has ended."""
    server.sockets.append(Talk(server, status="completed"))
    job_id = client.chat("hi").job_id
    server.http[0] = (200, JOB_ENDED, {})
    assert client.follow(job_id, after="1-3").text == "one two"


def test_a_text_that_is_too_long_for_an_event_is_fetched(server, client):
    """Unless the pieces come to it."""
    ended = event("message_completed", 3, text=None, text_length=7, text_sha256=hashlib.sha256(b"one two").hexdigest())
    server.sockets.append(Talk(server, *LOG[:3], ended))
    assert client.chat("hi").text == "one two"
    answer = client.follow(JOB, after="1-1")
    asked = len(server.requests)
    server.http[0] = (200, JOB_ENDED, {})
    assert answer.text == "one two"
    assert [name for name, _, _ in server.requests[asked:]] == [f"GET /jobs/{JOB}"]


def test_the_text_of_a_job_that_failed_is_an_error(server, client):
    """So that nobody takes half an answer for one."""
    server.sockets.append(Talk(server, *LOG[:2], event("error", 2, code="crashed", message="it crashed", retryable=False)))
    with pytest.raises(Failed, match="it crashed") as failed:
        _ = client.chat("hi").text
    assert failed.value.code == "crashed"


def test_a_timeout_says_where_to_go_on(server, client):
    """The job goes on without us."""
    server.sockets.append(Talk(server, *LOG[:2]))
    server.http.append((200, {**JOB_ENDED, "status": "running"}, {}))
    with pytest.raises(Disconnected) as gone:
        list(client.chat("hi", timeout=0.5))
    assert (gone.value.job_id, gone.value.after) == (JOB, "1-1")


def test_a_server_that_stays_away_is_given_up(server):
    """And each break was told."""
    breaks = []
    websocket = f"ws://127.0.0.1:{free_port()}/ws"
    server.http.append((200, {**JOB_ENDED, "status": "queued"}, {}))
    client = Client(server.url, "t", websocket=websocket, patience=replace(SOON, away=1), on_break=breaks.append)
    with client, pytest.raises(Disconnected, match="the connection is lost"):
        list(client.chat("hi"))
    assert len(breaks) > 2


def test_a_post_is_repeated_with_its_key(server, client):
    """429 and 503 after the time that they tell; the key makes it one message."""
    server.http.extendleft([problem(503, "store_unavailable", after=0), problem(429, "rate_limited", after=1)])
    assert client.chat("hi").job_id == JOB
    keys = [headers["Idempotency-Key"] for _, headers, _ in server.requests]
    assert (len(keys), len(set(keys))) == (3, 1)


def test_a_post_that_would_have_to_wait_for_long_is_refused(server, client):
    """The caller decides; `retry_after` says how long it would be."""
    server.http.appendleft(problem(429, "rate_limited", after=60, retryable=True))
    with pytest.raises(Refused) as refused:
        client.chat("hi")
    assert (refused.value.code, refused.value.retryable, refused.value.retry_after) == ("rate_limited", True, 60)


def test_a_post_is_not_repeated_for_ever(server, client):
    """The last refusal is told."""
    server.http[0] = problem(503, "store_unavailable")
    with pytest.raises(Refused):
        client.chat("hi")
    assert len(server.requests) == SOON.tries
    with Client(f"http://127.0.0.1:{free_port()}", "t", patience=SOON) as nowhere, pytest.raises(Disconnected, match="answer"):
        nowhere.chat("hi")


def test_a_problem_is_told_as_it_is(server, client):
    """With the fields that are wrong; what is no problem document is said to be none of chatapp's."""
    server.http[0] = problem(422, "invalid_request", errors=[{"pointer": "/message", "detail": "is empty"}])
    with pytest.raises(Refused) as refused:
        client.chat("")
    assert (refused.value.code, refused.value.errors[0]["pointer"]) == ("invalid_request", "/message")
    for status in (200, 404):
        server.http[0] = (status, "<html>", {})
        with pytest.raises(Refused, match="no chatapp API"):
            client.job(JOB)
    assert len(server.requests) == 3


def test_an_event_stream_may_hold_any_character(server):
    """U+2028 ends a line for Python and not for an event stream; a comment and an unknown field mean nothing."""
    made = [*LOG[:1], delta(1, "a\u2028b\x85c"), event("message_completed", 2, text="a\u2028b\x85c")]
    turns = [{"job_id": JOB, "status": "running", "recovered": True}]
    lines = [json.dumps(frame, ensure_ascii=False) for frame in ({"type": "subscribed", "turns": turns}, *made)]
    stream = ": open\nretry: 5\n\n" + "".join(f":\n\nevent: x\ndata: {line}\n\n" for line in lines)
    with Client(server.url, "t", transport="sse", patience=SOON) as client:
        answer = client.chat("hi")
        server.http.clear()
        server.http += [(200, stream.split("data: " + lines[3], maxsplit=1)[0], {}), (200, stream, {})]
        assert [e.id for e in answer] == ["1-0", "1-1", "1-2"]
        assert answer.text == "a\u2028b\x85c"
    assert server.requests[-1][1]["Last-Event-Id"] == "1-1"


def test_an_event_stream_with_nothing_to_say_is_the_end(server):
    """204: the job had ended, and the cursor was behind its end."""
    with Client(server.url, "t", transport="sse", patience=SOON) as client:
        server.http.clear()
        server.http += [(204, "", {}), (200, JOB_ENDED, {})]
        assert client.follow(JOB, after="1-3").text == "one two"


def test_a_job_that_has_ended_and_cannot_be_read_is_given_up(server):
    """204 says that it has, and nothing else of that connection does: where the job cannot be asked, it counts as lost."""
    server.http[0] = (204, "", {})
    with FaultProxy(int(server.url.rsplit(":", 1)[1])) as proxy, proxy.fault(f"GET /jobs/{JOB}", dropped()) as rule:
        client = Client(proxy.url, "t", transport="sse", patience=replace(SOON, away=1, tries=1))
        with client, pytest.raises(Disconnected, match="the connection is lost"):
            list(client.follow(JOB, after="1-3", timeout=5))
    assert 1 < rule.hits < 100


def test_a_consumer_may_leave_early(server, client):
    """Closing an answer closes its connection; the job goes on, and can be followed again."""
    server.sockets.append(Talk(server, *LOG))
    with client.chat("hi") as answer:
        assert next(answer).id == "1-0"
    assert list(answer) == []
    with pytest.raises(Disconnected, match="left before its end"):
        _ = answer.text
    assert [e.id for e in client.follow(JOB, after=answer.after)] == ["1-1", "1-2", "1-3"]
    answer.cancel()
    assert server.requests[-1][0] == f"POST /jobs/{JOB}/cancel"


def test_a_job_that_was_not_posted_here_is_followed_where_the_api_says(server, client):
    """`/app-config` names the WebSocket's address."""
    server.sockets.append(Talk(server, *LOG))
    server.http[0] = (200, {"ws_url": server.ws}, {})
    assert client.follow(JOB).text == "one two"
    server.http[0] = server.accept()
    assert client.retry(JOB).text == "one two"
    assert server.requests[-1][0] == f"POST /jobs/{JOB}/retry"
