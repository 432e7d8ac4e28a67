"""One-time tickets: good once, for thirty seconds, for whom they were made for, and never written down."""

import http.client
import json
import threading
import time
from contextlib import ExitStack, closing

import jwt
import pytest

from chatapp.live.tickets import TICKET_SECONDS
from chatapp.model import JobId
from config.settings import DEV_JWT_SECRET
from tests.integration.attack_kit import Raw, pair
from tests.integration.ws_kit import Client, Hand, signed_in, token


@pytest.fixture(scope="module")
def servers(settings, tmp_path_factory):
    """Both servers."""
    with pair(settings, tmp_path_factory.mktemp("tickets"), RATE_LIMIT_REQUESTS="100000") as running:
        yield running


@pytest.fixture
def ticket(servers):
    """Get a ticket of a user."""

    def get(user):
        answer = servers.send("POST", "/ws/ticket", user=user)
        assert answer.status == 201, answer.body
        return answer.json["ticket"]

    return get


@pytest.fixture
def open_by(servers):
    """Open a socket by a query, and what headers come with it: its first frame, or the code that it was closed with."""

    def knock(query, *headers):
        with Raw(servers.ws_port) as raw:
            status = raw.handshake(*headers, path=f"/ws?{query}")
            if status != 101:
                return status
            received = raw.receive()
            return json.loads(received[1]) if received and received[0] == 1 else int.from_bytes(received[1][:2], "big")

    return knock


@pytest.fixture
def ended(servers, ann):
    """A job of ann's that has ended: its stream is read to the end at once."""
    posted = servers.post_chat(ann)
    assert servers.send("POST", f"/jobs/{posted['job_id']}/cancel", user=ann).status == 200
    return posted["job_id"]


def test_a_ticket_opens_a_socket_once(servers, ann, ticket, open_by):
    """The second time it is unknown: 4500. The answer says how long it lives."""
    answer = servers.send("POST", "/ws/ticket", user=ann)
    assert (answer.json["expires_in"], answer.headers["cache-control"]) == (TICKET_SECONDS, "no-store")
    query = f"ticket={answer.json['ticket']}"
    assert open_by(query)["auth_required"] is False
    assert [open_by(query) for _ in range(3)] == [4500] * 3
    assert servers.send("GET", f"/jobs/{'0' * 32}.1/events?{query}").status == 401


def test_a_ticket_reads_one_stream_and_no_other(servers, ann, eve, ticket, ended):
    """Its user's: another's job is unknown as ever, and the ticket is used up by the attempt."""
    assert servers.send("GET", f"/jobs/{ended}/events?ticket={ticket(ann)}").status == 200
    foreign = servers.send("GET", f"/jobs/{ended}/events?ticket={(spent := ticket(eve))}", headers={"X-Request-ID": "x"})
    unknown = servers.send("GET", f"/jobs/{'f' * 32}.1/events?ticket={ticket(eve)}", headers={"X-Request-ID": "x"})
    assert (foreign.status, foreign.body) == (404, unknown.body)
    assert servers.send("GET", f"/jobs/{ended}/events?ticket={spent}").status == 401


def test_a_socket_of_a_ticket_is_its_users_and_no_more(servers, ann, eve, ticket, ended):
    """It follows what is its user's, not another's, and cannot become somebody else by a refresh."""
    with Client(f"{servers.ws}?ticket={ticket(eve)}") as client:
        assert client.expect("connected")["auth_required"] is False
        assert client.ask("subscribe", session_id=ended[:32])["code"] == "not_found"
        assert client.ask("refresh", token=token(ann))["code"] == "forbidden"
        assert client.ask("refresh", token=token(eve))["user_id"] == eve


def test_a_ticket_is_no_token(servers, ann, ticket, ended):
    """Nowhere else: not as a bearer, not as a first frame, not on another route, not in a cookie or a body."""
    made = ticket(ann)
    for path in ("/sessions", f"/sessions/{ended[:32]}", f"/jobs/{ended}", f"/jobs/{ended}?wait=1", "/sessions?limit=5"):
        joined = "&" if "?" in path else "?"
        assert servers.send("GET", f"{path}{joined}ticket={made}").status == 401, path
        assert servers.send("GET", path, headers={"Authorization": f"Bearer {made}"}).status == 401, path
    for path in ("/ws/ticket", "/chat", f"/jobs/{ended}/retry", "/notify"):
        assert servers.send("POST", f"{path}?ticket={made}", body={}).status == 401, path
    headers = {"Cookie": f"ticket={made}", "Sec-WebSocket-Protocol": made}
    assert servers.send("GET", f"/jobs/{ended}/events", headers=headers).status == 401
    with Client(servers.ws) as client:
        client.expect("connected")
        client.send("auth", token=made)
        assert client.closed() == 4500
    assert servers.send("GET", f"/jobs/{ended}/events?ticket={made}").status == 200, "it should not have been used up by these"


def test_a_ticket_carries_no_scope(servers, ticket):
    """An admin's ticket opens a socket, not what is the admin's."""
    bearer = jwt.encode({"sub": "root", "scope": "admin", "exp": int(time.time()) + 60}, DEV_JWT_SECRET, algorithm="HS256")
    made = servers.send("POST", "/ws/ticket", headers={"Authorization": f"Bearer {bearer}"}).json["ticket"]
    assert servers.send("POST", f"/notify?ticket={made}", body={"text": "x", "all": True}).status == 401


def test_of_many_handshakes_with_one_ticket_exactly_one_wins(servers, ann, ticket, open_by):
    """Ten at the same moment, at both servers."""
    for _ in range(3):
        query, results, start = f"ticket={ticket(ann)}", [], threading.Barrier(10)

        def knock(number, query=query, results=results, start=start):
            start.wait()
            if number % 2:
                results.append(servers.send("GET", f"/jobs/{'0' * 32}.1/events?{query}").status)
            else:
                first = open_by(query)
                results.append("opened" if isinstance(first, dict) else first)

        threads = [threading.Thread(target=knock, args=(n,)) for n in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        won = [result for result in results if result in ("opened", 404)]
        assert (len(results), len(won)) == (10, 1), results
        assert set(results) - {"opened", 404} <= {4500, 401}


def test_a_ticket_ends_by_itself(servers, ann, ticket, open_by):
    """After thirty seconds at the latest (Redis is told so), and then it is unknown."""
    redis, made = servers.services.redis, ticket(ann)
    assert 0 < redis.pttl(f"ws_ticket:{made}") <= TICKET_SECONDS * 1_000
    redis.pexpire(f"ws_ticket:{made}", 1)
    while redis.exists(f"ws_ticket:{made}"):
        time.sleep(0.005)
    assert open_by(f"ticket={made}") == 4500


def test_a_ticket_ends_with_the_token_behind_it(servers, ann):
    """It opens nothing for longer than the token would have: neither itself nor the socket."""
    until = int(time.time()) + 5
    bearer = jwt.encode({"sub": ann, "exp": until}, DEV_JWT_SECRET, algorithm="HS256")
    answer = servers.send("POST", "/ws/ticket", headers={"Authorization": f"Bearer {bearer}"})
    assert answer.json["expires_in"] <= 5
    with Client(f"{servers.ws}?ticket={answer.json['ticket']}") as client:
        client.expect("connected")
        assert client.closed() == 4001
        assert until <= time.time() < until + 5


GARBAGE = {
    "empty": "",
    "a word": "x",
    "4 KB": "x" * 4_000,
    "the length of one": "x" * 43,
    "a pattern": "*",
    "another key": "%0aws_ticket:x",
    "with NUL": "%00" * 43,
    "not UTF-8": "%ff%fe",
    "a line break": "x%0d%0aX-Evil:1",
    "a token": "{token}",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_no_ticket(servers, ann, ended, open_by, garbage):
    """4500 on the socket, 401 on the stream; never an error of ours."""
    query = f"ticket={garbage.replace('{token}', token(ann))}"
    assert open_by(query) == 4500
    assert servers.send("GET", f"/jobs/{ended}/events?{query}").status == 401
    servers.serves_others()


def test_two_tickets_are_one_too_many_for_a_stream(servers, ann, eve, ticket, ended):
    """Nobody chooses which of two identities counts."""
    answer = servers.send("GET", f"/jobs/{ended}/events?ticket={ticket(ann)}&ticket={ticket(eve)}")
    assert answer.status in (401, 422)


def test_a_header_wins_over_a_ticket_and_leaves_it_unused(servers, ann, eve, ticket, ended, open_by):  # noqa: PLR0917  fixtures
    """With both, the token says who it is: one rule at both servers. A bad token is not made good by a ticket."""
    made = ticket(eve)
    query, good = f"ticket={made}", {"Authorization": f"Bearer {token(ann)}"}
    assert open_by(query, f"Authorization: {good['Authorization']}")["auth_required"] is False
    assert servers.send("GET", f"/jobs/{ended}/events?{query}", headers=good).status == 200
    assert open_by(query, "Authorization: Bearer x.y.z") == 4500
    assert servers.send("GET", f"/jobs/{ended}/events?{query}", headers={"Authorization": "Bearer x.y.z"}).status == 401
    assert open_by(query)["auth_required"] is False, "it should not have been used up by these"


def test_tickets_are_not_guessed(servers, ann, ticket):
    """256 random bits each, no two alike, and none tells whose it is."""
    made = [ticket(ann) for _ in range(20)]
    assert len({one[:8] for one in made}) == 20
    assert all(len(one) == 43 and ann not in one for one in made)


def test_a_foreign_page_opens_nothing_with_a_stolen_ticket(servers, ann, ticket, open_by):
    """The origin is checked first: the ticket is still good afterwards."""
    query = f"ticket={ticket(ann)}"
    assert open_by(query, "Origin: https://evil.example") == 4507
    assert open_by(query)["auth_required"] is False


def test_a_stream_by_ticket_ends_with_its_session(servers, ann, ticket):
    """Deleted while it is read: nothing of it is told to who comes with a new ticket."""
    posted = servers.post_chat(ann)
    session_id, job_id = posted["session_id"], posted["job_id"]
    assert servers.send("DELETE", f"/sessions/{session_id}", user=ann).status == 204
    assert servers.send("GET", f"/jobs/{job_id}/events?ticket={ticket(ann)}").status == 404


def test_no_ticket_is_ever_logged(servers, ann, eve, ticket, ended):
    """Good, spent, refused and in requests that fail: after all of it neither server's log holds one."""
    made = [ticket(who) for who in (ann, eve, ann, eve)]
    with ExitStack() as stack:
        for one in made[:2]:
            stack.enter_context(Client(f"{servers.ws}?ticket={one}")).expect("connected")
        stack.enter_context(signed_in(servers.ws, ann))
        for one in made:
            servers.send("GET", f"/jobs/{ended}/events?ticket={one}&after=nonsense")
            servers.send("GET", f"/nothing?ticket={one}")
            servers.send("PUT", f"/jobs/{ended}/events?ticket={one}")
            with Raw(servers.ws_port) as raw:
                raw.send(f"GET /ws?ticket={one} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n".encode())
                raw.sock.recv(1_000)
    assert "ticket" not in servers.log()
    assert not [one for one in made if one in servers.log()]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("GET /ws?ticket={} HTTP/9.9", id="another HTTP"),
        pytest.param("GET /ws?ticket={} x HTTP/1.1", id="a blank in the address"),
        pytest.param("GET  /ws?ticket={} HTTP/1.1", id="two blanks"),
        pytest.param("GET /ws HTTP/1.1\r\nAuthorization Bearer {}", id="no colon"),
        pytest.param("GET /ws HTTP/1.1\r\nAuthorization : Bearer {}", id="a blank before the colon"),
        pytest.param("GET /ws HTTP/1.1\r\nAuthorization: Bearer\r\n {}", id="folded"),
        pytest.param("GET /ws HTTP/1.1\r\nAuthorization: Bearer {}\x00", id="NUL"),
    ],
)
def test_no_secret_of_a_request_that_is_none_is_logged(servers, ann, ticket, head):
    """What gunicorn cannot read it complains of, without what stands there."""
    made = ticket(ann)
    for port in (servers.ws_port, servers.api_port):
        with Raw(port) as raw:
            raw.send(f"{head.format(made)}\r\nHost: x\r\n\r\n".encode())
            raw.sock.recv(1_000)
    assert made not in servers.log()


def test_a_stream_stops_with_the_token_behind_its_ticket(servers, ann):
    """In the middle of events."""
    posted = servers.post_chat(ann)
    until = int(time.time()) + 5
    bearer = jwt.encode({"sub": ann, "exp": until}, DEV_JWT_SECRET, algorithm="HS256")
    made = servers.send("POST", "/ws/ticket", headers={"Authorization": f"Bearer {bearer}"}).json["ticket"]
    hand = Hand(servers.services.redis, JobId(posted["session_id"], 1))
    hand.say("message_started", model="m")
    with closing(http.client.HTTPConnection("127.0.0.1", servers.api_port, timeout=10)) as connection:
        connection.request("GET", f"/jobs/{posted['job_id']}/events?ticket={made}")
        answer = connection.getresponse()
        assert answer.status == 200
        body = answer.read()
    assert until <= time.time() < until + 5
    assert b"message_started" in body
