"""What a client may take and send, and that whoever is gone is noticed: against real gunicorns."""

import signal
import socket
import struct
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import websocket
from pydantic import SecretStr
from redis import Redis

from chatapp.dev import twin
from chatapp.dev.ports import free_port
from chatapp.live.sockets import SocketRegistry
from tests.integration.ws_kit import Client, Hand, signed_in, token, wait_for, ws_server
from tests.servers import running

SMALL_BUFFER = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)]
IMPATIENT = {
    "WS_FRAMES_PER_SECOND": "5",
    "WS_MAX_SOCKETS": "3",
    "WS_SEND_BYTES": "200000",
    "WS_MAX_PAYLOAD": "2048",
}


@pytest.fixture(scope="module")
def url(settings, tmp_path_factory):
    """A server that allows little."""
    with ws_server(settings, tmp_path_factory.mktemp("ws"), **IMPATIENT) as address:
        yield address


@pytest.fixture(scope="module")
def pinging(settings, tmp_path_factory):
    """A server that soon drops who does not answer its pings, as clients here do only while they receive."""
    with ws_server(settings, tmp_path_factory.mktemp("pinging"), **IMPATIENT, WS_PING_SECONDS="1") as address:
        yield address


@pytest.fixture
def registry(services):
    """The registry, as another process sees it."""
    return SocketRegistry(services.redis, services.clock)


PING, PONG, TEXT, CONT = (
    websocket.ABNF.OPCODE_PING,
    websocket.ABNF.OPCODE_PONG,
    websocket.ABNF.OPCODE_TEXT,
    websocket.ABNF.OPCODE_CONT,
)


@pytest.mark.parametrize(
    ("data", "opcode", "fin"),
    [('{"type":"ping"}', TEXT, 1), ("", PING, 1), ("x", PONG, 1), ("", TEXT, 0)],
    ids=["frames", "protocol pings", "unsolicited pongs", "empty fragments"],
)
def test_a_flood_closes_its_own_socket(url, user, data, opcode, fin):
    """4013, whatever the frames are; another socket of the same process does not notice."""
    with signed_in(url, user) as flooder, signed_in(url, user + "x") as other:
        flood = b""
        for n in range(60):
            kind = CONT if not fin and n else opcode
            flood += websocket.ABNF.create_frame(data, kind, fin=fin).format()
        flooder.ws.sock.sendall(flood)
        assert flooder.closed() == 4013
        assert other.ask("ping")["type"] == "pong"


def test_who_keeps_to_the_rate_stays(url, user):
    """Ten seconds' worth at once."""
    with signed_in(url, user) as client:
        for n in range(45):
            client.send("ping", id=n)
        assert [client.recv()["id"] for _ in range(45)] == list(range(45))


def test_a_flooder_that_goes_on_is_told_and_cut(url, user):
    """Gigabytes that nobody reads: the close frame arrives, the connection ends, others are answered."""
    with signed_in(url, user) as flooder, signed_in(url, user + "x") as other:
        frame = websocket.ABNF.create_frame("x" * 2_000, TEXT).format() * 50
        ended = threading.Event()

        def flood():
            try:
                while True:
                    flooder.ws.sock.sendall(frame)
            except OSError:
                ended.set()

        flooder.ws.settimeout(30)
        thread = threading.Thread(target=flood)
        thread.start()
        for _ in range(20):
            assert other.ask("ping")["type"] == "pong"
        thread.join(30)
        assert ended.is_set()


def test_the_size_of_a_frame_is_counted_in_bytes(url, user):
    """1,500 characters of two bytes are over the limit of 2,048; told by the header, before the text has come."""
    with signed_in(url, user) as client:
        client.ws.send("é" * 1_000)
        assert client.recv()["code"] == "invalid_frame"
        client.ws.send("é" * 1_500)
        assert client.closed() == 1009
    with signed_in(url, user) as client:
        client.ws.sock.sendall(b"\x81\xff" + struct.pack("!Q", 2**40) + b"mask")
        assert client.closed() == 1009


def test_a_user_has_so_many_sockets_and_no_more(url, user, registry):
    """4013 for the one too many, whichever way it says who it is; when one is closed there is room again."""
    with ExitStack() as stack:
        first, *_ = [stack.enter_context(signed_in(url, user)) for _ in range(3)]
        with Client(url, bearer=token(user)) as client:
            assert client.closed() == 4013
        with Client(url) as client:
            client.expect("connected")
            client.send("auth", token=token(user))
            assert client.closed() == 4013
        with signed_in(url, user + "x"):
            pass
        first.ws.close()
        wait_for(lambda: len(registry.sockets_of(user)) == 2)
        stack.enter_context(signed_in(url, user))
        assert len(registry.sockets_of(user)) == 3


def test_what_waits_for_a_slow_reader_is_bounded_in_bytes(url, user, submit, services):
    """Far fewer events than WS_SEND_QUEUE, but large ones: 4008, and the rest can be had by resuming."""
    job_id = submit().job_id
    worker = Hand(services.redis, job_id)
    with signed_in(url, user, sockopt=SMALL_BUFFER) as slow:
        slow.ask("subscribe", session_id=job_id.session_id)
        worker.say("message_started", model="m")
        for _ in range(60):  # what the kernel takes and as much again: who reads too late is cut, and cannot be told why
            worker.say(text="x" * 40_000, part=0)
        worker.say("message_completed", text="all")
        seen = until_closed(slow)
        assert slow.code == 4008
        assert seen == worker.written[: len(seen)]


def test_a_reader_that_never_reads_is_cut_and_forgotten(pinging, user, submit, services, registry):
    """Its window is shut, so it cannot be told why: after ten seconds for one frame it is gone, and everything with it."""
    job_id = submit().job_id
    worker = Hand(services.redis, job_id)
    with signed_in(pinging, user, sockopt=SMALL_BUFFER) as never:
        never.ask("subscribe", session_id=job_id.session_id)
        worker.say("message_started", model="m")
        for _ in range(60):
            worker.say(text="x" * 40_000, part=0)
        wait_for(lambda: registry.sockets_of(user) == [], 60)


def until_closed(client):
    """The ids of the events that a client is sent before it is closed."""
    seen = []
    try:
        while True:
            seen.append(client.recv()["id"])
    except EOFError:
        return seen


def test_a_peer_that_vanished_is_closed_and_forgotten(pinging, user, registry):
    """No FIN, no RST, no pong: within two pings nothing is left of it, while who answers pings stays."""
    with signed_in(pinging, user) as vanished, signed_in(pinging, user) as alive:
        assert len(registry.sockets_of(user)) == 2
        alive.ws.settimeout(0.2)

        def forgotten():
            with pytest.raises(websocket.WebSocketTimeoutException):
                alive.recv()  # answers the pings that come meanwhile
            return len(registry.sockets_of(user)) == 1

        wait_for(forgotten)
        assert vanished.ws.connected
        alive.ws.settimeout(10)
        assert alive.ask("ping")["type"] == "pong"


def test_a_server_that_is_killed_leaves_nothing_behind(settings, services, registry, user, tmp_path):
    """Its sockets do not count for their users' limit, and are cleared away by the others, within half a minute."""
    with ws_server(settings, tmp_path, **IMPATIENT) as url, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(signed_in(url, user))
        processes = {services.redis.hget(f"socket_auth:{socket_id}", "process") for socket_id in registry.sockets_of(user)}
    (process,) = processes
    assert registry.sockets_of(user) == []  # it was told to stop, and took them out itself
    # What a killed one leaves: the same entries, and nobody who shows that it lives.
    registry.write([entry_of(process, user, n) for n in range(3)])
    registry.beat(process)
    assert len(registry.sockets_of(user)) == 3
    services.redis.zadd("ws_processes", {process: services.clock.now()})
    assert registry.sockets_of(user) == []
    assert registry.clean_up() >= 3
    assert not services.redis.exists(f"ws_sockets:{process}", "socket_auth:left0", f"user_sockets:{user}")


def entry_of(process, user, n):
    """An entry of a process."""
    from chatapp.live.sockets import SocketAuth

    return SocketAuth(f"left{n}", user, process, connected_at=1, last_activity=1)


def test_entries_come_back_when_redis_has_forgotten_them(settings, user, tmp_path):
    """Killed and restarted empty: who stayed connected can be found again, and nobody reconnected."""
    port = free_port()
    address = f"redis://127.0.0.1:{port}/0"
    own = settings.model_copy(update={"redis_url": SecretStr(address)})
    with ExitStack() as stack:
        redis = stack.enter_context(running(twin.redis(port, None), tmp_path))
        url = stack.enter_context(ws_server(own, tmp_path))
        clients = [stack.enter_context(signed_in(url, f"{user}-{n % 5}")) for n in range(40)]
        redis.send_signal(signal.SIGKILL)
        redis.wait()
        stack.enter_context(running(twin.redis(port, None), Path(tmp_path)))
        asking = stack.enter_context(closing(Redis.from_url(address, decode_responses=True)))
        wait_for(lambda: sum(asking.zcard(f"user_sockets:{user}-{n}") for n in range(5)) == 40)
        wait_for(lambda: sum(1 for _ in asking.scan_iter("socket_auth:*")) == 40)
        assert {client.ask("ping")["type"] for client in clients} == {"pong"}
