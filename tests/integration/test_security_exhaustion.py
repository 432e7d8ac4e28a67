"""Whoever uses up what a server has: others connect, authenticate and hear their events all the while, and memory is bounded."""

import json
import resource
import secrets
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from chatapp.model import JobId
from tests.integration.attack_kit import MB, TEXT, Pair, Raw, frame, opened, pair, text
from tests.integration.workers import until
from tests.integration.ws_kit import Client, Hand, ids, signed_in

HALF_OPEN = 10_000
SPARE_FILES = 500
SLICE = 1_000
"""Connections that are opened before a look at whether they are accepted; fewer than the server's backlog."""

HANDSHAKE_START = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upg"

SUBSCRIPTIONS = 20
"""Sessions that one socket may follow, as the server is set up here."""


@pytest.fixture(scope="module")
def servers(settings, tmp_path_factory):
    """Both servers: little time to authenticate; a thousand frames at once, so that the tests reach the other limits first."""
    env = {
        "WS_AUTH_SECONDS": "2",
        "WS_FRAMES_PER_SECOND": "200",
        "WS_SEND_QUEUE": "5000",
        "WS_MAX_SUBSCRIPTIONS": str(SUBSCRIPTIONS),
        "RATE_LIMIT_REQUESTS": "100000",
    }
    with pair(settings, tmp_path_factory.mktemp("exhaustion"), **env) as running:
        running.serves_others()
        yield running


@pytest.fixture(scope="module")
def patient(settings, tmp_path_factory):
    """A WebSocket server that gives everybody a minute to say something, so that those who never do can be many."""
    with pair(settings, tmp_path_factory.mktemp("patient"), api=False, WS_AUTH_SECONDS="60") as running:
        running.serves_others()
        yield running


@pytest.fixture
def many_files() -> Iterator[int]:
    """As many open files as this machine lets a process have; gives how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard - SPARE_FILES if hard != resource.RLIM_INFINITY else HALF_OPEN
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def files_of(servers: Pair) -> int:
    """Open files of the WebSocket server's worker."""
    return psutil.Process(servers.ws_process.pid).children()[0].num_fds()


@contextmanager
def half_open(servers: Pair, count: int, start: bytes) -> Iterator[list[socket.socket]]:
    """Connections on which every second one sends the start of a request, and none the end; all of them are accepted."""
    before, silent = files_of(servers), []
    try:
        for number in range(count):
            silent.append(socket.create_connection(("127.0.0.1", servers.ws_port), timeout=10))
            if number % 2:
                silent[-1].sendall(start)
            if len(silent) % SLICE == 0 or len(silent) == count:  # or the kernel would drop some that think they are connected
                until(lambda: files_of(servers) >= before + len(silent), 30, "not all are accepted")
        yield silent
    finally:
        for connection in silent:
            # A reset: ten thousand ports in TIME_WAIT would be missing to the next test.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


def lives_a_whole_life(servers: Pair) -> None:
    """A good client connects, authenticates by its first frame, posts, follows, and hears an answer from its start to its end."""
    user = f"good-{secrets.token_hex(4)}"
    with Client(servers.ws) as client:
        assert client.expect("connected")["auth_required"] is True
        assert client.ask("auth", token=servers.token(user))["user_id"] == user
        job_id = JobId.parse(client.ask("chat", message="hello")["job_id"])
        assert job_id is not None
        assert client.expect("subscribed")["session_id"] == job_id.session_id
        hand = Hand(servers.services.redis, job_id)
        hand.say("message_started", model="m")
        hand.say(text="hello", part=0)
        hand.say("message_completed", text="hello")
        assert ids(client.events(job_id)) == hand.written


def test_ten_thousand_half_open_connections_keep_nobody_out(patient, many_files):
    """Silent ones and half handshakes: each costs little memory, others live on, and all is given back when they go."""
    count = min(HALF_OPEN, many_files)
    print(f"{count} half-open connections")
    files, memory = files_of(patient), patient.memory()
    with half_open(patient, count, HANDSHAKE_START):
        for _ in range(3):
            lives_a_whole_life(patient)
        assert (patient.memory() - memory) / count < 48 * 1024
    until(lambda: files_of(patient) <= files + 10, 30, "connections that are gone are still held")
    lives_a_whole_life(patient)


def test_a_byte_at_a_time_holds_up_nobody(patient):
    """Two hundred handshakes that trickle in: others are served meanwhile, and so is each of these at last."""
    request = (
        "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n"
    ).encode()
    with ExitStack() as stack:
        slow = [stack.enter_context(Raw(patient.ws_port)) for _ in range(200)]
        for at in range(0, len(request) - 1, 8):
            for connection in slow:
                connection.send(request[at : at + 8] if at + 8 < len(request) else request[at:-1])
            if at % 40 == 0:
                patient.serves_others()
        lives_a_whole_life(patient)
        for connection in slow:
            connection.send(request[-1:])
            assert connection.sock.recv(15) == b"HTTP/1.1 101 Sw"


def test_who_never_finishes_a_handshake_is_cut_as_who_never_authenticates(servers):
    """Silent, or half a handshake: no free place for a minute where the next step has two seconds."""
    for start in (b"", HANDSHAKE_START):
        with Raw(servers.ws_port, timeout=3.5) as raw:
            raw.send(start)
            try:
                assert raw.sock.recv(100) == b"" or start
            except TimeoutError:
                pytest.fail("it is still held")


def test_who_never_authenticates_is_closed_whatever_else_comes(servers):
    """Two hundred sockets, of which half send frames, pings or fragments all the time: 4502 to each, and no file is kept."""
    files = files_of(servers)
    busy = [b"", text('{"type":"ping"}'), frame(9, b"x"), text('{"type":"subscribe","session_id":"' + "0" * 32 + '"}')]
    with ExitStack() as stack:
        sockets = [stack.enter_context(opened(servers)) for _ in range(200)]
        for number, raw in enumerate(sockets):
            raw.send(busy[number % len(busy)] * 3 + (frame(TEXT, b"{", fin=False) if number % 5 == 0 else b""))
        lives_a_whole_life(servers)
        assert [raw.close_code() for raw in sockets] == [4502] * 200
    until(lambda: files_of(servers) <= files + 5, 30, "closed sockets are still held")


def test_a_user_has_a_hundred_sockets_and_no_more(servers, user):
    """The next is closed with 4013, however it authenticates; others are not touched, and a place that is left is free again."""
    with ExitStack() as stack:
        for _ in range(99):
            stack.enter_context(opened(servers, user))
        last = ExitStack()
        last.enter_context(opened(servers, user))
        query = servers.send("POST", "/ws/ticket", user=user).json["ticket"]
        for headers, path in (([f"Authorization: Bearer {servers.token(user)}"], "/ws"), ([], f"/ws?ticket={query}")):
            with Raw(servers.ws_port) as raw:
                assert raw.handshake(*headers, path=path) == 101
                assert raw.close_code() == 4013
        with opened(servers) as raw:
            raw.send(text(json.dumps({"type": "auth", "token": servers.token(user)})))
            assert raw.close_code() == 4013
        servers.serves_others()
        last.close()
        until(lambda: len(servers.services.sockets.sockets_of(user)) < 100, 30, "the place is not given back")
        with opened(servers, user):
            pass
    until(lambda: not servers.services.sockets.sockets_of(user), 30, "entries are left behind")


def test_a_thousand_subscribes_leave_nothing_behind(servers, user):
    """To sessions that nobody has, to one again and again, and to more than a socket may follow."""
    redis = servers.services.redis
    own = [servers.send("POST", "/sessions", user=user, body={}).json["session_id"] for _ in range(SUBSCRIPTIONS + 5)]
    with signed_in(servers.ws, user) as client:
        codes = [client.ask("subscribe", session_id=secrets.token_hex(16)).get("code") for _ in range(600)]
        assert set(codes) == {"not_found"}
        for _ in range(200):
            assert client.ask("subscribe", session_id=own[0])["type"] == "subscribed"
        answers = [client.ask("subscribe", session_id=session_id) for session_id in own]
        assert [answer.get("code") for answer in answers] == [None] * SUBSCRIPTIONS + ["rate_limited"] * 5
        until(lambda: _followed(redis) == set(own[:SUBSCRIPTIONS]), 30, "more is followed than was granted")
        assert client.ask("unsubscribe", session_id=own[1])["type"] == "ack"
        assert client.ask("subscribe", session_id=own[-1])["type"] == "subscribed"
        servers.serves_others()
    until(lambda: not _followed(redis), 30, "channels are followed for nobody")


def _followed(redis) -> set[str]:
    """Sessions whose channel somebody follows."""
    return {name.partition("{")[2].rstrip("}") for name in redis.pubsub_channels("live:*")}


def test_a_flood_of_frames_is_closed_and_costs_others_nothing(servers, user):
    """4013 to the flooder, whatever the frames are; good ones of any kind count, so do pings and fragments."""
    kinds = [text('{"type":"ping"}'), frame(9, b"x"), frame(10, b"x"), text("nonsense"), frame(0, b"", fin=False)]
    for data in kinds:
        with opened(servers, user) as raw:
            if data == kinds[-1]:
                raw.send(frame(TEXT, b"", fin=False))
            for _ in range(60):
                if not raw.send(data * 100):
                    break
            assert raw.close_code() in (4013, 4501 if data == kinds[3] else 4013)
        lives_a_whole_life(servers)


def test_readers_that_never_read_are_closed_and_delay_nobody(servers, user):
    """Twenty of them on a session while 12 MB of events flow: who reads gets all, memory stays bounded, and they are gone."""
    session_id = servers.post_chat(user)["session_id"]
    before = servers.memory()
    with ExitStack() as stack:
        reader = stack.enter_context(signed_in(servers.ws, user))
        assert reader.ask("subscribe", session_id=session_id)["type"] == "subscribed"
        for _ in range(20):
            raw = stack.enter_context(opened(servers, user))
            raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            raw.send(text(json.dumps({"type": "subscribe", "session_id": session_id})))
        hand = Hand(servers.services.redis, JobId(session_id, 1))
        hand.say("message_started", model="m")
        assert reader.expect("message_started")["id"] == hand.written[-1]
        for _ in range(300):  # in step with who reads, so that only who does not falls behind
            hand.say(text="x" * 40_000, part=0)
            assert reader.expect("message_delta")["id"] == hand.written[-1]
        assert servers.memory() - before < 64 * MB
        until(lambda: len(servers.services.sockets.sockets_of(user)) == 1, 25, "those that never read are still held")
        assert reader.ask("ping")["type"] == "pong"
