"""Who may open a socket, what it may say, and how it is closed: against a real gunicorn."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import httpx2
import pytest
import websocket

from chatapp.model import Principal
from tests.integration.ws_kit import Client, signed_in, token, wait_for, ws_server


@pytest.fixture(scope="module")
def url(settings, tmp_path_factory):
    """A server that is impatient, so that the tests need not be patient."""
    env = {"WS_AUTH_SECONDS": "2", "WS_MAX_PAYLOAD": "16384", "CORS_ORIGINS": "https://app.example"}
    with ws_server(settings, tmp_path_factory.mktemp("ws"), **env) as address:
        yield address


def test_the_first_frame_says_how_things_stand(url):
    """A client learns its connection id, whether it must authenticate, and the limits."""
    with Client(url) as client:
        first = client.expect("connected")
        assert len(first.pop("connection_id")) == 32
        assert first == {"type": "connected", "auth_required": True, "ping_interval": 25, "max_payload": 16384}


def test_the_handshake_may_bring_the_token(url, user):
    """Programs send a header; no `auth` frame is needed then."""
    with signed_in(url, user) as client:
        assert client.ask("ping", id=1) == {"type": "pong", "id": 1}


def test_the_first_frame_may_bring_the_token(url, user):
    """Browsers cannot send a header."""
    with Client(url) as client:
        client.expect("connected")
        answer = client.ask("auth", token=token(user), id="a")
        assert (answer["type"], answer["id"], answer["user_id"]) == ("ack", "a", user)
        assert answer["expires_at"].endswith("Z")


@pytest.mark.parametrize("bad", ["nonsense", token("ann")[:-2] + "xx", token("ann", seconds=-60)])
def test_a_bad_token_closes_the_socket_for_good(url, bad):
    """By header and by frame: 4500, do not come again with this one."""
    with Client(url, bearer=bad) as client:
        assert client.closed() == 4500
    with Client(url) as client:
        client.expect("connected")
        client.send("auth", token=bad)
        assert client.closed() == 4500


def test_who_does_not_authenticate_in_time_is_closed(url):
    """4502, also when other frames are sent meanwhile."""
    with Client(url) as client:
        client.expect("connected")
        assert client.ask("subscribe", session_id="0" * 32, id=1)["code"] == "unauthenticated"
        assert client.ask("ping")["type"] == "pong"
        assert client.closed() == 4502


def test_an_expired_token_closes_a_live_socket(url, user):
    """4001: come again with a new one."""
    ends = int(time.time()) + 3
    with Client(url, bearer=token(user, seconds=3)) as client:
        assert client.expect("connected")["auth_required"] is False
        assert client.closed() == 4001
    assert ends <= time.time() < ends + 5


def test_a_refreshed_socket_lives_on(url, user):
    """`refresh` takes a new token of the same user only; a bad one changes nothing."""
    with Client(url, bearer=token(user, seconds=4)) as client:
        client.expect("connected")
        assert client.ask("refresh", token=token("somebody-else"), id=1)["code"] == "forbidden"
        assert client.ask("refresh", token="nonsense", id=2)["code"] == "unauthenticated"
        assert client.ask("refresh", token=token(user), id=3)["user_id"] == user
        client.ws.settimeout(4.5)
        with pytest.raises(websocket.WebSocketTimeoutException):
            client.recv()


def test_a_ticket_opens_one_socket(url, services, user):
    """Browsers bring it in the address; it stands for its owner, once."""
    principal = Principal(user, expires_at=services.clock.now() + 60_000)
    ticket = services.tickets.issue(principal)
    with Client(f"{url}?ticket={ticket}") as client:
        assert client.expect("connected")["auth_required"] is False
        services.pushes.to_user(user, {"type": "notification"})
        client.expect("notification")
    with Client(f"{url}?ticket={ticket}") as client:
        assert client.closed() == 4500


@pytest.mark.parametrize("ticket", ["", "nonsense", "%00", "%ff", "x" * 2_000])
def test_a_ticket_that_was_never_issued_closes_the_socket(url, ticket):
    """With a code that the page can see, instead of a refused handshake."""
    with Client(f"{url}?ticket={ticket}") as client:
        assert client.closed() == 4500


def test_a_ticket_lapses(url, services, user):
    """As when nobody used it in time."""
    ticket = services.tickets.issue(Principal(user, expires_at=services.clock.now() + 60_000))
    assert 0 < services.redis.ttl(f"ws_ticket:{ticket}") <= 30
    services.redis.pexpire(f"ws_ticket:{ticket}", 1)
    wait_for(lambda: not services.redis.exists(f"ws_ticket:{ticket}"))
    with Client(f"{url}?ticket={ticket}") as client:
        assert client.closed() == 4500


def test_of_two_sockets_with_one_ticket_one_opens(url, services, user):
    """Whoever is first, at the same moment too."""
    ticket = services.tickets.issue(Principal(user, expires_at=services.clock.now() + 60_000))

    def opens(_):
        with Client(f"{url}?ticket={ticket}") as client:
            try:
                return client.recv()["type"]
            except EOFError:
                return client.code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(map(str, pool.map(opens, range(8)))) == ["4500"] * 7 + ["connected"]


def test_a_socket_opened_with_a_ticket_expires_with_the_token_behind_it(url, services, user):
    """Unless a new token comes."""
    ticket = services.tickets.issue(Principal(user, expires_at=services.clock.now() + 3_000))
    with Client(f"{url}?ticket={ticket}") as client:
        client.expect("connected")
        assert client.closed() == 4001


def test_a_ticket_is_in_no_log(settings, services, user, tmp_path):
    """Neither one that opens a socket nor one that does not, nor one on a path that there is not; at the most talkative level."""
    with ws_server(settings, tmp_path, LOG_LEVEL="DEBUG") as url:
        ticket = services.tickets.issue(Principal(user, expires_at=services.clock.now() + 60_000))
        with Client(f"{url}?ticket={ticket}") as client:
            client.expect("connected")
        with Client(f"{url}?ticket={ticket}") as client:
            assert client.closed() == 4500
        base = url.replace("ws://", "http://").removesuffix("/ws")
        with httpx2.Client(trust_env=False) as http:
            for path in ("/nope", "/ws"):
                assert http.get(f"{base}{path}", params={"ticket": ticket}).status_code in (400, 404)
    assert ticket not in (tmp_path / "ws.log").read_text()


def test_a_refreshed_token_expires_too(url, user):
    """The new one counts, also when it ends earlier than the old one."""
    with signed_in(url, user) as client:
        client.ask("refresh", token=token(user, seconds=1))
        assert client.closed() == 4001


@pytest.mark.parametrize("key", ["eA==", "%%%", "x" * 24, "AAAAAAAAAAAAAAAAAAAAAAAA"])
def test_a_handshake_with_a_key_that_is_none_is_refused(url, key):
    """RFC 6455 asks for 16 bytes in base64."""
    base = url.replace("ws://", "http://")
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    with httpx2.Client(trust_env=False) as http:
        assert http.get(base, headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/ws", 400, "malformed_request"), ("POST", "/ws", 405, "method_not_allowed"), ("GET", "/nope", 404, "not_found")],
)
def test_what_is_no_socket_is_answered_as_the_api_answers(url, method, path, status, code):
    """Problem documents with a request id, which the answer repeats and the caller may choose."""
    base = url.replace("ws://", "http://").removesuffix("/ws")
    with httpx2.Client(trust_env=False) as http:
        answer = http.request(method, f"{base}{path}", headers={"X-Request-ID": "mine"})
        other = http.request(method, f"{base}{path}")
    problem = answer.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert (problem["code"], problem["type"], problem["status"]) == (code, f"urn:chatapp:problem:{code}", status)
    assert (problem["request_id"], answer.headers["X-Request-ID"]) == ("mine", "mine")
    assert other.json()["request_id"] == other.headers["X-Request-ID"] != "mine"


@pytest.mark.parametrize(
    ("origin", "code"), [("https://app.example", None), ("https://evil.example", 4507), ("http://localhost:1", 4507)]
)
def test_only_known_pages_may_connect(url, user, origin, code):
    """A page of another site is closed with 4507, whatever it brings."""
    with Client(url, bearer=token(user), origin=origin) as client:
        if code is None:
            client.expect("connected")
        else:
            assert client.closed() == code


@pytest.mark.parametrize(
    "text", ["", "hello", "[]", '{"type":"nope"}', '{"type":"ping","x":1}', "[" * 10_000, '{"type":"ping","id":"\\ud800"}']
)
def test_a_bad_frame_is_refused_and_the_socket_lives_on(url, user, text):
    """No frame's content is an exception of the server."""
    with signed_in(url, user) as client:
        client.ws.send(text)
        answer = client.recv()
        assert (answer["type"], answer["id"], answer["retryable"]) == ("refused", None, False)
        assert client.ask("ping")["type"] == "pong"


def test_who_sends_only_bad_frames_is_closed(url, user):
    """4501 after several in a row, binary ones included."""
    with signed_in(url, user) as client:
        for _ in range(11):
            client.ws.send_binary(b"\x00\xff")
        assert client.closed() == 4501


def test_a_frame_over_the_limit_is_closed_with_1009(url, user):
    """Whole or in fragments."""
    with signed_in(url, user) as client:
        client.ws.send("x" * 20_000)
        assert client.closed() == 1009
    with signed_in(url, user) as client:
        for opcode in (websocket.ABNF.OPCODE_TEXT, *[websocket.ABNF.OPCODE_CONT] * 30):
            client.ws.send_frame(websocket.ABNF.create_frame("x" * 1_000, opcode, fin=0))
        assert client.closed() == 1009


def test_text_that_is_not_utf8_is_closed_with_1007(url, user):
    """As RFC 6455 section 8.1 says."""
    with signed_in(url, user) as client:
        client.ws.send_frame(websocket.ABNF.create_frame(b"\xff\xfe\xfa", websocket.ABNF.OPCODE_TEXT))
        assert client.closed() == 1007


def test_compression_is_not_agreed_to(url):
    """A small frame could inflate to hundreds of megabytes."""
    client = websocket.create_connection(
        url, timeout=5, suppress_origin=True, header=["Sec-WebSocket-Extensions: permessage-deflate"], http_no_proxy=["127.0.0.1"]
    )
    with closing(client):
        assert "sec-websocket-extensions" not in client.getheaders()


def test_health_is_answered_and_other_paths_are_problems(url):
    """The load balancer's questions, and everybody else's."""
    base = url.replace("ws://", "http://").removesuffix("/ws")
    with httpx2.Client(trust_env=False) as http:
        assert http.get(f"{base}/health/live").json() == {"status": "UP"}
        assert http.get(f"{base}/health/ready").json() == {"status": "UP", "parts": {"redis": "UP"}}
        assert http.get(f"{base}/nope").json()["code"] == "not_found"
        assert http.get(f"{base}/ws").status_code == 400
        half = http.get(f"{base}/ws", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        assert (half.status_code, half.headers["content-type"]) == (400, "application/problem+json")


def test_a_flood_of_frames_closes_its_own_socket_only(url, user):
    """Frames that are not read by the flooder's own answers fill its queue, not the server's memory."""
    with signed_in(url, user) as flooder, signed_in(url, user) as other:
        flooder.ws.settimeout(30)
        frame = websocket.ABNF.create_frame(json.dumps({"type": "ping", "id": "x" * 100}), websocket.ABNF.OPCODE_TEXT).format()

        def flood():
            try:
                for _ in range(2_000):
                    flooder.ws.sock.sendall(frame * 50)
            except OSError:
                return

        thread = threading.Thread(target=flood)
        thread.start()
        for _ in range(20):
            assert other.ask("ping")["type"] == "pong"
        thread.join(20)
        assert not thread.is_alive()


def test_half_open_connections_do_not_stop_others_and_are_dropped(url, user):
    """Who connects and says nothing, or half a request, costs little, and that not for long."""
    host, port = url.removeprefix("ws://").removesuffix("/ws").split(":")
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(500)]
        for _ in range(500):
            silent.append(half := stack.enter_context(socket.create_connection((host, int(port)))))
            half.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        with signed_in(url, user) as client:
            assert client.ask("ping")["type"] == "pong"
        for sock in silent:
            sock.settimeout(20)
            assert sock.recv(1) == b""


def test_a_close_of_the_client_is_answered(url, user):
    """The closing handshake is completed by the server, at once."""
    with signed_in(url, user) as client:
        client.ws.send_close(1000, b"bye")
        assert client.closed() == 1000
