"""A job's events over HTTP: the past, then the present, each event once and in order, from every cursor."""

import http.client
import json
import secrets
import signal
import socket
import threading
import time
from contextlib import ExitStack

import pytest
from pydantic import SecretStr
from redis import Redis

from chatapp.dev import twin
from chatapp.dev.ports import free_port
from chatapp.live.events import channel_of, key_of
from tests.integration.sse_kit import api_server
from tests.integration.ws_kit import Hand, ids, token
from tests.servers import running


@pytest.fixture(scope="module")
def api(settings, tmp_path_factory):
    """The API."""
    with api_server(settings, tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def hand(services):
    """Write a job's events."""
    return lambda job_id, attempt=1: Hand(services.redis, job_id, attempt)


def wait_for(condition, seconds=30):
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def settle(redis, job_id, count):
    """Wait until `count` processes follow a job's session."""
    channel = channel_of(job_id.session_id)
    wait_for(lambda: dict(redis.pubsub_numsub(channel))[channel] == count)


def test_the_past_comes_first_and_then_the_present(api, user, submit, hand):
    """Opened in mid-answer: what was said before, then what is said now, then the end of the stream."""
    job_id = submit().job_id
    worker = hand(job_id)
    worker.say("message_started", model="m")
    worker.say(text="one")
    with api.read(job_id, user) as reading:
        assert (reading.status, reading.headers["Content-Type"]) == (200, "text/event-stream")
        assert reading.headers["Cache-Control"] == "no-store"
        assert reading.headers["X-Accel-Buffering"] == "no"
        assert reading.subscribed() == {"job_id": str(job_id), "status": "running", "position": 0, "recovered": True}
        assert reading.comments == ["open"]
        assert 1_000 <= reading.retry < 3_000
        worker.say(text="two")
        worker.say("message_completed", text="onetwo")
        events = reading.events()
    assert ids(events) == worker.written
    assert [e.get("text") for e in events] == [None, "one", "two", "onetwo"]


def test_nothing_is_lost_or_doubled_under_a_fast_publisher(api, user, submit, hand):
    """Streams are opened one after the other while the worker writes as fast as it can: all see the same."""
    job_id = submit().job_id
    worker = hand(job_id)
    publisher = threading.Thread(target=worker.answer, args=(1_500,))
    seen = []
    publisher.start()
    try:
        for _ in range(5):
            with api.read(job_id, user) as reading:
                seen.append(ids(reading.events()))
    finally:
        publisher.join()
    assert seen == [[f"1-{n}" for n in range(1_502)]] * 5


def test_every_prefix_and_its_resume_make_the_log(api, user, submit, hand):
    """By the header and by the query; the header wins; nothing is left after the terminal event: 204."""
    job_id = submit().job_id
    worker = hand(job_id)
    worker.answer(5)
    for cut in range(7):
        after = f"1-{cut - 1}" if cut else None
        with api.read(job_id, user, after) as reading:
            assert ids(reading.events()) == worker.written[cut:]
        with api.read(job_id, user, query=f"?after={after}" if after else "") as reading:
            assert ids(reading.events()) == worker.written[cut:]
    with api.read(job_id, user, "1-6") as reading:
        assert (reading.status, reading.answer.read()) == (204, b"")
    with api.read(job_id, user, "1-4", query="?after=1-0") as reading:
        assert ids(reading.events()) == worker.written[5:]


def test_an_ended_job_is_told_once(api, user, submit, services):
    """At or behind its end there is nothing to tell, whatever the log says: 204, so that a browser comes no more."""
    job_id = submit().job_id
    services.answer(job_id)
    end = str(services.turns.get(job_id).end_id)
    with api.read(job_id, user) as reading:
        assert reading.events()[-1]["id"] == end
    for after in (end, "1-99", "7-0"):
        with api.read(job_id, user, after) as reading:
            assert (reading.status, reading.answer.read()) == (204, b"")
    services.redis.flushdb()
    with api.read(job_id, user, end) as reading:
        assert reading.status == 204


def test_an_ended_job_without_a_log_is_told_by_its_end(api, user, submit, services):
    """The log's life is over: the cursor is not honoured, and the reader is told so before anything else."""
    job_id = submit("hi [[echo=from the item]]").job_id
    services.answer(job_id)
    services.redis.flushdb()
    with api.read(job_id, user, "1-1") as reading:
        assert reading.subscribed() == {"job_id": str(job_id), "status": "completed", "position": 0, "recovered": False}
        (end,) = reading.events()
    assert (end["type"], end["text"]) == ("message_completed", "from the item")


def test_a_cursor_that_the_log_does_not_hold_is_not_recovered(api, user, submit, hand):
    """The log began anew: the reader is told, and gets all there is."""
    job_id = submit().job_id
    worker = hand(job_id, attempt=2)
    worker.answer(1)
    with api.read(job_id, user, "1-7") as reading:
        assert reading.subscribed()["recovered"] is False
        assert ids(reading.events()) == worker.written


def test_the_real_worker_is_followed_from_the_queue_to_the_end(api, user, submit, services):
    """What comes joins to the stored answer; all readers of one job see the same."""
    job_id = submit("one [[delay=0]]").job_id
    with ExitStack() as stack:
        readings = [stack.enter_context(api.read(job_id, user)) for _ in range(3)]
        assert [reading.subscribed()["status"] for reading in readings] == ["queued"] * 3
        services.answer(job_id)
        first, *others = [reading.events() for reading in readings]
    assert all(other == first for other in others)
    assert ids(first) == [f"1-{n}" for n in range(len(first))]
    assert "".join(e["text"] for e in first if e["type"] == "message_delta") == services.turns.get(job_id).answer


def test_only_the_events_of_the_job_are_told(api, user, submit, hand, services):
    """Neither an earlier turn's of the same session nor those of the session's own log."""
    first = submit().job_id
    second = submit(session_id=first.session_id).job_id
    with api.read(second, user) as reading:
        assert reading.subscribed()["position"] == 1
        hand(first).answer(3)
        services.session_log.append(first.session_id, "notice", text="hello")
        worker = hand(second)
        worker.answer(3)
        assert ids(reading.events()) == worker.written
    with api.read(second, user) as reading:
        assert ids(reading.events()) == worker.written


def test_a_silent_hole_in_the_channel_is_filled_from_the_log(api, user, submit, hand, services):
    """Redis says nothing of a message that it dropped: the next one shows it."""
    job_id = submit().job_id
    worker = hand(job_id)
    with api.read(job_id, user) as reading:
        reading.subscribed()
        worker.say("message_started")
        worker.say(publish=False, text="lost")
        worker.say(publish=False, text="lost too")
        worker.say(text="heard")
        again = hand(job_id, attempt=2)
        again.say("message_reset", publish=False)
        again.say("message_completed")
        assert ids(reading.events()) == worker.written + again.written


def test_a_log_that_was_lost_goes_on_with_all_the_text(api, user, submit, hand, services):
    """Redis came back empty: what hangs in the air is not told; what the worker begins the log anew with is, to all."""
    job_id = submit().job_id
    worker = hand(job_id)
    with api.read(job_id, user) as reading:
        reading.subscribed()
        worker.say("message_started")
        seen = next(reading.messages()).json["id"]
        services.redis.delete(key_of(job_id))
        worker._seq += 3
        hangs_in_the_air = worker.say(text="d")
        anew = worker.say("message_snapshot", text="abcd", through=hangs_in_the_air)
        end = worker.say("message_completed", text="abcd")
        assert [seen, *ids(reading.events())] == ["1-0", anew, end]
    with api.read(job_id, user, "1-0") as reading:
        assert reading.subscribed()["recovered"] is False
        assert ids(reading.events()) == [anew, end]


def test_a_cut_channel_is_made_good(api, user, submit, hand, services):
    """What was published while Redis had hung up is read from the log; the stream goes on."""
    job_id = submit().job_id
    worker = hand(job_id)
    with api.read(job_id, user) as reading:
        reading.subscribed()
        worker.say("message_started")
        services.redis.client_kill_filter(_type="pubsub")
        worker.say(text="while nobody listens", publish=False)
        worker.say("message_completed", publish=False)
        assert ids(reading.events()) == worker.written


def test_redis_restarted_in_mid_stream_is_caught_up_with(settings, services, user, submit, tmp_path):
    """Killed, away for a while, and back with its log: nothing is lost or doubled, and the stream stays open."""
    port = free_port()
    own = settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{port}/0")})
    job_id = submit().job_id
    with ExitStack() as stack:
        server = stack.enter_context(running(twin.redis(port, tmp_path / "redis"), tmp_path))
        api = stack.enter_context(api_server(own, tmp_path))
        redis = stack.enter_context(Redis.from_url(own.redis_address, decode_responses=True))
        reading = stack.enter_context(api.read(job_id, user))
        assert reading.subscribed()["status"] == "queued"
        worker = Hand(redis, job_id)
        worker.say("message_started")
        server.send_signal(signal.SIGKILL)
        server.wait()
        assert api.read(job_id, user).status == 503
        stack.enter_context(running(twin.redis(port, tmp_path / "redis"), tmp_path))
        worker.say(text="while nobody listens", publish=False)
        settle(redis, job_id, 1)
        worker.say("message_completed")
        assert ids(reading.events()) == worker.written


def test_nobody_elses_job_can_be_followed(api, user, submit):
    """404, the same as for a job that never was; so for malformed ids."""
    job_id = submit().job_id
    answers = []
    for path in (str(job_id), f"{secrets.token_hex(16)}.1", f"{job_id.session_id}.2", "x", f"{job_id}0"):
        answer = api.get(f"/jobs/{path}/events", "mallory")
        assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")
        answers.append({**answer.json, "request_id": ""})
    assert all(answer == answers[0] for answer in answers)


def test_a_reader_that_is_gone_is_let_go(api, user, submit, hand, services):
    """When the next event cannot be written."""
    job_id = submit().job_id
    with api.read(job_id, user) as reading:
        reading.subscribed()
        settle(services.redis, job_id, 1)
    worker = hand(job_id)
    worker.say("message_started")
    worker.say(text="x")
    worker.say(text="x")
    settle(services.redis, job_id, 0)


def test_a_reader_that_does_not_read_is_cut_off_and_delays_nobody(settings, user, submit, services, tmp_path):
    """It may come back; what waits for it is bounded, by the clock as well as by WS_SEND_QUEUE."""
    job_id = submit().job_id
    with api_server(settings, tmp_path, WS_SEND_QUEUE="50") as api:
        with api.read(job_id, user, receive_buffer=4_096) as slow, api.read(job_id, user) as quick:
            quick.subscribed()
            worker = Hand(services.redis, job_id)
            worker.say("message_started")
            seen = []
            reader = threading.Thread(target=lambda: seen.extend(quick.events()))
            reader.start()
            for _ in range(40):
                for _ in range(10):
                    worker.say(text="x" * 20_000)
                wait_for(lambda: quick.last_event_id == worker.written[-1])
            worker.say("message_completed")
            reader.join(30)
            assert ids(seen) == worker.written
            settle(services.redis, job_id, 0)
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                slow.events()
        with api.read(job_id, user, slow.last_event_id) as again:
            assert ids(again.events()) == worker.written[worker.written.index(slow.last_event_id) + 1 :]


def test_a_stream_ends_with_the_token(api, user, submit, services):
    """Whoever comes back needs another one."""
    job_id = submit().job_id
    with api.read(job_id, user, token_seconds=4) as reading:
        assert reading.subscribed()["status"] == "queued"
        assert reading.events() == []
    settle(services.redis, job_id, 0)


def test_a_stream_ends_with_the_session(api, user, submit):
    """Its open turns are cancelled, and that is told; then there is no such job."""
    job_id = submit().job_id
    with api.read(job_id, user) as reading:
        reading.subscribed()
        assert api.get(f"/sessions/{job_id.session_id}", user, "DELETE").status == 204
        assert [event["type"] for event in reading.events()] == ["message_cancelled"]
    assert api.read(job_id, user).status == 404


def test_sigterm_ends_every_stream_at_once(settings, user, submit, services, tmp_path):
    """Properly, so that readers come back elsewhere with their cursor; one that does not read is cut off. Then it is gone."""
    job_id = submit().job_id
    with api_server(settings, tmp_path) as api, ExitStack() as stack:
        readings = [stack.enter_context(api.read(job_id, user)) for _ in range(20)]
        worker = Hand(services.redis, job_id)
        worker.say("message_started")
        for reading in readings:
            reading.subscribed()
        stuck_job = submit().job_id
        Hand(services.redis, stuck_job).answer(250, "x" * 40_000)
        stuck = stack.enter_context(api.read(stuck_job, user, receive_buffer=4_096))
        stuck.subscribed()
        api.process.send_signal(signal.SIGTERM)
        for reading in readings:
            assert ids(reading.events()) in ([], worker.written)
        assert api.process.wait(13) == 0  # the grace time is 15 s: whoever is still there is cut off by gunicorn then


def test_old_clients_and_odd_ones(api, user, submit, hand):
    """HTTP/1.0 is given the bare stream and the end of the connection; HEAD the headers only; `Accept` is not asked."""
    job_id = submit().job_id
    worker = hand(job_id)
    worker.answer(2)
    request = f"GET /jobs/{job_id}/events HTTP/1.0\r\nAuthorization: Bearer {token(user)}\r\nAccept: text/html\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as raw:
        raw.sendall(request.encode())
        head, _, body = raw.makefile("rb").read().partition(b"\r\n\r\n")
    assert b"200 OK" in head
    assert b"chunked" not in head.lower()
    data = [json.loads(line[6:]) for line in body.decode().split("\n") if line.startswith("data: ")]
    assert (data[0]["type"], ids(data[1:])) == ("subscribed", worker.written)
    head = api.get(f"/jobs/{job_id}/events", user, "HEAD")
    assert (head.status, head.headers["Content-Type"], head.body) == (200, "text/event-stream", b"")
    with api.read(job_id, user, query="") as reading:
        assert reading.events()
        assert reading.headers["Connection"] == "keep-alive"


@pytest.mark.parametrize("cursor", ["-1", "1", "1-", "x", "1-2-3", "01-0", "1-99999999999", " ", "1-0;"])
def test_a_cursor_is_an_event_id_or_refused(api, user, submit, cursor):
    """422 that names the header or the parameter, before anything is opened."""
    job_id = submit().job_id
    by_header = api.get(f"/jobs/{job_id}/events", user, **{"Last-Event-ID": cursor}) if cursor.strip() else None
    by_query = api.get(f"/jobs/{job_id}/events?after={cursor.replace(' ', '+')}", user)
    for answer, place in ((by_header, {"header": "Last-Event-ID"}), (by_query, {"parameter": "after"})):
        if answer is not None:
            assert (answer.status, answer.json["code"]) == (422, "invalid_request")
            assert place.items() <= answer.json["errors"][0].items()
