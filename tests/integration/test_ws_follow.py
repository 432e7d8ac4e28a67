"""What a socket is sent: the past, then the present, each event once and in order, to its owner only."""

import secrets
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr
from redis import Redis

from chatapp.dev import twin
from chatapp.dev.ports import free_port
from chatapp.live.channel import Channel
from chatapp.live.events import channel_of
from chatapp.live.sockets import SocketRegistry
from chatapp.model import JobId
from tests.faults.proxy import FaultProxy
from tests.integration.ws_kit import Client, Hand, ids, signed_in, token, ws_server
from tests.servers import running

QUEUE = 2_000
"""More than any test publishes at once to who reads, so that only who does not read is closed."""

SHORT_QUEUE = 200

SMALL_BUFFER = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)]


@pytest.fixture(scope="module")
def url(settings, tmp_path_factory):
    """A server."""
    env = {"WS_SEND_QUEUE": str(QUEUE), "WS_SEND_BYTES": "16777216"}
    with ws_server(settings, tmp_path_factory.mktemp("ws"), **env) as address:
        yield address


@pytest.fixture
def hand(services):
    """Write a job's events."""
    return lambda job_id, attempt=1: Hand(services.redis, job_id, attempt)


def settle(redis, session_id, count, seconds=30):
    """Wait until `count` processes follow a session."""
    until = time.monotonic() + seconds
    while dict(redis.pubsub_numsub(channel_of(session_id)))[channel_of(session_id)] != count:
        assert time.monotonic() < until, "the subscriptions are not as expected"
        time.sleep(0.01)


def test_the_past_comes_first_and_then_the_present(url, user, submit, hand):
    """Subscribed in mid-answer: what was said before, then what is said now."""
    job_id = submit().job_id
    worker = hand(job_id)
    worker.say("message_started", model="m")
    worker.say(text="one")
    with signed_in(url, user) as client:
        answer = client.ask("subscribe", session_id=job_id.session_id, id="s")
        assert answer == {
            "type": "subscribed",
            "id": "s",
            "session_id": job_id.session_id,
            "turns": [{"job_id": str(job_id), "status": "running", "position": 0, "recovered": True}],
            "log": {"after": "0-0", "recovered": True},
        }
        worker.say(text="two")
        worker.say("message_completed", text="onetwo")
        events = client.events(job_id)
        assert ids(events) == worker.written
        assert [e.get("text") for e in events] == [None, "one", "two", "onetwo"]


def test_nothing_is_lost_or_doubled_under_a_fast_publisher(url, user, submit, hand):
    """Ten sockets subscribe one after the other while the worker writes as fast as it can."""
    job_id = submit().job_id
    worker = hand(job_id)
    thread = threading.Thread(target=worker.answer, args=(1_500,))
    clients = [signed_in(url, user) for _ in range(10)]
    try:
        thread.start()
        for client in clients:
            client.send("subscribe", session_id=job_id.session_id)
        for client in clients:
            assert ids(client.events(job_id)) == [f"1-{n}" for n in range(1_502)]
    finally:
        thread.join()
        for client in clients:
            client.__exit__()


def test_a_client_resumes_behind_its_cursor(url, user, submit, hand):
    """Prefix and resume make the log, whether the turn runs or has ended."""
    job_id = submit().job_id
    worker = hand(job_id)
    worker.answer(5)
    for cut in range(7):
        resume = {"job_id": str(job_id), "after": f"1-{cut - 1}" if cut else None}
        with signed_in(url, user) as client:
            turn = client.ask("subscribe", session_id=job_id.session_id, resume=resume)["turns"][0]
            assert (turn["status"], turn["recovered"]) == ("completed", True)
            if cut < 7:
                assert ids(client.events(job_id)) == worker.written[cut:]


def test_a_cursor_that_the_log_does_not_hold_is_not_recovered(url, user, submit, hand):
    """The log began anew: the client is told, and gets all there is."""
    job_id = submit().job_id
    worker = hand(job_id, attempt=2)
    worker.answer(1)
    with signed_in(url, user) as client:
        answer = client.ask("subscribe", session_id=job_id.session_id, resume={"job_id": str(job_id), "after": "1-7"})
        assert answer["turns"][0]["recovered"] is False
        assert ids(client.events(job_id)) == worker.written


def test_an_ended_turn_without_a_log_is_told_by_its_end(url, user, submit, services):
    """The log's life is over; the item has the answer."""
    job_id = submit("hi [[echo=from the item]]").job_id
    services.answer(job_id)
    # Not all that there is: the server would be taken for dead until it shows again that it lives.
    services.redis.delete(*services.redis.keys(f"*{job_id.session_id}*"))
    with signed_in(url, user) as client:
        answer = client.ask("subscribe", session_id=job_id.session_id, resume={"job_id": str(job_id), "after": "1-1"})
        assert answer["turns"] == [{"job_id": str(job_id), "status": "completed", "position": 0, "recovered": False}]
        end = client.expect("message_completed")
        assert (end["text"], end["id"]) == ("from the item", str(services.turns.get(job_id).end_id))


def test_the_real_worker_is_followed_over_two_turns(url, user, submit, services):
    """One subscription brings every later turn of the session, each whole."""
    first = submit("one [[delay=0]]").job_id
    with signed_in(url, user) as client:
        turns = client.ask("subscribe", session_id=first.session_id)["turns"]
        assert [(t["job_id"], t["status"]) for t in turns] == [(str(first), "queued")]
        services.answer(first)
        events = client.events(first)
        second = submit("two [[delay=0]]", session_id=first.session_id).job_id
        services.answer(second)
        for job_id, found in ((first, events), (second, client.events(second))):
            assert ids(found) == [f"1-{n}" for n in range(len(found))]
            assert "".join(e["text"] for e in found if e["type"] == "message_delta") == services.turns.get(job_id).answer


def test_who_was_away_over_the_end_of_a_turn_gets_that_and_the_next(url, user, submit, services):
    """Resume means every turn from that one on; one that has not begun is told of when it begins."""
    first = submit("one").job_id
    services.answer(first)
    second = submit("two", session_id=first.session_id).job_id
    with signed_in(url, user) as client:
        client.send("subscribe", session_id=first.session_id, resume={"job_id": str(first), "after": "1-0"})
        turns = client.expect("subscribed")["turns"]
        assert [(t["job_id"], t["status"], t["position"]) for t in turns] == [(str(first), "completed", 0)]
        assert client.events(first)[0]["id"] == "1-1"
        services.answer(second)
        assert client.events(second)[0]["id"] == "1-0"
    third = submit("three", session_id=first.session_id).job_id
    with signed_in(url, user) as client:
        client.send("subscribe", session_id=first.session_id, resume={"job_id": str(third), "after": None})
        turns = client.expect("subscribed")["turns"]
        assert [(t["job_id"], t["status"], t["position"]) for t in turns] == [(str(third), "queued", 0)]


def test_a_silent_hole_in_the_channel_is_filled_from_the_log(url, user, submit, hand):
    """Redis says nothing of a message that it dropped: the next one shows it."""
    job_id = submit().job_id
    worker = hand(job_id)
    with signed_in(url, user) as client:
        client.ask("subscribe", session_id=job_id.session_id)
        worker.say("message_started")
        worker.say(publish=False, text="lost")
        worker.say(publish=False, text="lost too")
        worker.say(text="heard")
        again = Hand(worker._redis, job_id, attempt=2)
        again.say("message_reset", publish=False)
        again.say("message_completed")
        assert ids(client.events(job_id)) == worker.written + again.written


def test_all_sockets_of_the_owner_and_no_others_are_sent_a_session_events(url, user, submit, hand):
    """Another user is told that there is no such session, as for one that never was, and hears nothing."""
    job_id = submit().job_id
    with signed_in(url, user) as one, signed_in(url, user) as two, signed_in(url, "mallory") as other:
        for client in (one, two):
            assert client.ask("subscribe", session_id=job_id.session_id)["type"] == "subscribed"
        foreign = other.ask("subscribe", session_id=job_id.session_id, id=1)
        unknown = other.ask("subscribe", session_id=secrets.token_hex(16), id=1)
        assert (
            foreign
            == unknown
            == {"type": "refused", "id": 1, "code": "not_found", "message": "There is no such session", "retryable": False}
        )
        worker = hand(job_id)
        worker.answer(20)
        assert ids(one.events(job_id)) == ids(two.events(job_id)) == worker.written
        assert other.ask("ping")["type"] == "pong"


def test_unsubscribed_sockets_hear_nothing_more(url, user, submit, hand, services):
    """And the process lets go of the channel with its last follower, also when that is cut off."""
    job_id = submit().job_id
    with signed_in(url, user) as client, signed_in(url, user) as other:
        client.ask("subscribe", session_id=job_id.session_id)
        other.ask("subscribe", session_id=job_id.session_id)
        settle(services.redis, job_id.session_id, 1)
        assert client.ask("unsubscribe", session_id=job_id.session_id, id=2) == {"type": "ack", "id": 2}
        hand(job_id).answer(3)
        assert len(other.events(job_id)) == 5
        assert client.ask("ping")["type"] == "pong"
        settle(services.redis, job_id.session_id, 1)
    settle(services.redis, job_id.session_id, 0)


def test_a_burst_to_a_slow_reader_is_intact(url, user, submit, hand):
    """Half a megabyte in events of 48 kB to a client with a small buffer that reads late: no frame is cut."""
    job_id = submit().job_id
    worker = hand(job_id)
    with signed_in(url, user, sockopt=SMALL_BUFFER) as client:
        client.ask("subscribe", session_id=job_id.session_id)
        worker.answer(100, "y" * 48_000)
        time.sleep(0.3)
        events = client.events(job_id)
        assert ids(events) == worker.written
        assert all(e["text"].endswith("y" * 48_000) for e in events if e["type"] == "message_delta")


def test_who_does_not_read_is_closed_and_delays_nobody(settings, user, submit, hand, tmp_path):
    """4008 after a full queue; the others got everything meanwhile; what the slow one did get is intact."""
    job_id = submit().job_id
    worker = hand(job_id)
    with (
        # A short queue: it is full long before the ten seconds are over after which who takes no frame is cut without a word.
        ws_server(settings, tmp_path, WS_SEND_QUEUE=str(SHORT_QUEUE)) as url,
        signed_in(url, user, sockopt=SMALL_BUFFER) as slow,
        signed_in(url, user) as quick,
    ):
        for client in (slow, quick):
            client.ask("subscribe", session_id=job_id.session_id)
        worker.say("message_started", model="m")
        quick.recv()
        for _ in range(SHORT_QUEUE * 2 // 50):  # not faster than the quick one reads, however busy the machine is
            said = [worker.say(text="z" * 4_000) for _ in range(50)]
            assert ids([quick.recv() for _ in said]) == said
        worker.say("message_completed", text="all")
        seen = []
        try:
            while True:
                seen.append(slow.recv()["id"])
        except EOFError:
            assert slow.code == 4008
        assert seen == worker.written[: len(seen)]
        with signed_in(url, user) as again:
            again.send("subscribe", session_id=job_id.session_id, resume={"job_id": str(job_id), "after": seen[-1]})
            assert seen + ids(again.events(job_id)) == worker.written


def test_frames_to_many_slow_readers_never_mix(url, user, submit, hand):
    """Pings of the protocol and events are written by two threads: under a lock, each whole."""
    job_id = submit().job_id
    worker = hand(job_id)
    clients = [signed_in(url, user, sockopt=SMALL_BUFFER) for _ in range(5)]
    try:
        for client in clients:
            client.ask("subscribe", session_id=job_id.session_id)
        thread = threading.Thread(target=worker.answer, args=(150, "w" * 20_000))
        thread.start()
        for client in clients:
            client.ws.ping("are you there")
        with ThreadPoolExecutor(len(clients)) as pool:  # who waited for its turn to read would be closed
            for events in pool.map(lambda client: client.events(job_id), clients):
                assert ids(events) == [f"1-{n}" for n in range(152)]
        thread.join()
    finally:
        for client in clients:
            client.__exit__()


def test_the_api_can_have_a_socket_follow_a_job(url, user, submit, services, hand):
    """`connection_id`: only a socket of that user, by one round trip; a job of a followed session comes once."""
    job_id = submit().job_id
    registry = SocketRegistry(services.redis, services.clock)
    with Client(url, bearer=token(user)) as client:
        socket_id = client.expect("connected")["connection_id"]
        assert registry.sockets_of(user) == [socket_id]
        assert not registry.follow(socket_id, "mallory", job_id.session_id, job_id)
        assert not registry.follow("0" * 32, user, job_id.session_id, job_id)
        assert registry.follow(socket_id, user, job_id.session_id, job_id)
        assert client.expect("subscribed")["turns"][0]["job_id"] == str(job_id)
        assert registry.follow(socket_id, user, job_id.session_id, job_id)
        worker = hand(job_id)
        worker.answer(3)
        assert ids(client.events(job_id)) == worker.written
        assert client.ask("ping")["type"] == "pong"
        assert registry.get(socket_id).session_id == job_id.session_id
    wait_for(lambda: not (registry.get(socket_id) or registry.sockets_of(user)))


def test_an_order_for_a_foreign_session_is_not_obeyed(url, user, submit, services):
    """The socket's process checks the owner itself, whoever gave the order."""
    foreign = services.sessions.create(user_id="somebody-else", flow="chat")
    with Client(url, bearer=token(user)) as client:
        socket_id = client.expect("connected")["connection_id"]
        assert SocketRegistry(services.redis, services.clock).follow(socket_id, user, foreign.id, JobId(foreign.id, 1))
        assert client.ask("ping")["type"] == "pong"


def test_redis_restarted_in_mid_answer_is_caught_up_with(settings, services, user, submit, tmp_path):
    """Killed, away for a while, and back with its log: nothing is lost, nothing comes twice, nobody reconnects."""
    port = free_port()
    with ws_server_with_redis(settings, port, tmp_path / "redis", tmp_path) as (url, restart):
        job_id = submit().job_id
        with Redis.from_url(f"redis://127.0.0.1:{port}/0", decode_responses=True) as redis, signed_in(url, user) as client:
            client.ask("subscribe", session_id=job_id.session_id)
            worker = Hand(redis, job_id)
            worker.say("message_started")
            worker.say(text="before")
            with restart() as way:
                worker.say(text="while nobody listens", publish=False)
                worker.say(text="and again", publish=False)
                way.heal()
                events = client.events(job_id, until="message_delta") + [client.recv() for _ in range(2)]
                assert ids(events) == worker.written
                settle(redis, job_id.session_id, 1)
                worker.say("message_completed")
                assert ids(client.events(job_id)) == worker.written[-1:]
                assert client.ask("ping")["type"] == "pong"


def ws_server_with_redis(settings, port, state, folder):
    """A server on a Redis of its own, and a way to kill that and start it again; the server finds it once its way is healed."""
    from contextlib import ExitStack, contextmanager

    @contextmanager
    def both():
        with ExitStack() as stack:
            redis = stack.enter_context(running(twin.redis(port, state), folder))
            way = stack.enter_context(FaultProxy(port, http=False))
            own = settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{way.port}/0")})
            url = stack.enter_context(ws_server(own, folder))

            @contextmanager
            def restart():
                redis.send_signal(signal.SIGKILL)
                redis.wait()
                way.refuse()
                with running(twin.redis(port, state), folder):
                    yield way

            yield url, restart

    return both()


def test_without_redis_nobody_is_let_in(settings, user, tmp_path):
    """Authentication of sockets fails closed: 1013, come again."""
    nowhere = settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{free_port()}/0")})
    with ws_server(nowhere, tmp_path) as url, Client(url, bearer=token(user)) as client:
        assert client.closed() == 1013


def test_a_callback_follows_from_the_moment_that_follow_returns(services):
    """Many on one subscription; the last to leave ends it."""
    channel, name = Channel(services.redis), f"test:{secrets.token_hex(4)}"
    one, two = [], []
    try:
        first, second = channel.follow(name, one.append), channel.follow(name, two.append)
        services.redis.publish(name, "a")
        services.redis.publish(name, "b")
        wait_for(lambda: one == two == ["a", "b"])
        first.close()
        first.close()
        second.close()
        again = channel.follow(name, one.append)
        services.redis.publish(name, "c")
        wait_for(lambda: one[-1] == "c")
        again.close()
    finally:
        channel.close()


def test_followers_are_told_of_a_gap_after_the_connection_was_cut(services):
    """Redis itself says nothing (CLIENT KILL)."""
    channel, name = Channel(services.redis), f"test:{secrets.token_hex(4)}"
    heard = []
    try:
        with channel.follow(name, heard.append):
            services.redis.client_kill_filter(_type="pubsub")
            wait_for(lambda: None in heard)
            services.redis.publish(name, "after")
            wait_for(lambda: "after" in heard)
        assert heard == [None, "after"]
    finally:
        channel.close()


def test_following_without_redis_says_so():
    """In bounded time."""
    from chatapp.errors import LiveUnavailable

    channel = Channel(Redis(port=free_port(), socket_connect_timeout=0.2))
    try:
        with pytest.raises(LiveUnavailable):
            channel.follow("x", print, wait=0.2)
    finally:
        channel.close()


def wait_for(condition, seconds=30):
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
