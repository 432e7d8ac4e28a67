"""Sending wake-ups: the messages that Celery would send, alone and in batches, also to an SQS that does not answer."""

import base64
import json
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from celery import Celery

from chatapp.errors import QueueUnavailable
from chatapp.model import JobId, ModelOptions, Turn, new_session_id
from chatapp.services import build
from config.celery import celery_config
from config.resources import CHAT, CHAT_TASK
from config.settings import Settings

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def turns(number, user="ada"):
    """Turns as the relay has them."""
    session, now = new_session_id(), 1_800_000_000_000
    first = Turn(
        session_id=session,
        number=1,
        user_id=user,
        flow="chat",
        input=(),
        options=ModelOptions("m"),
        created_at=now,
        expires_at=now,
        traceparent=TRACE,
    )
    return [replace(first, number=n + 1) for n in range(number)]


def elsewhere(endpoint):
    """The wake-ups of services that find SQS at another address."""
    settings = {"aws_endpoint_url": endpoint, "sqs_queue_url_prefix": f"{endpoint}/000000000000/x-"}
    return build(Settings.model_validate(settings)).wakeups


@pytest.fixture
def hole():
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def received(services):
    """Take all messages out of the queue: (decoded body, system attributes) each, in no order."""
    url = services.settings.queue_url(CHAT.name)
    services.sqs.purge_queue(QueueUrl=url)

    def received():
        found = []
        while messages := services.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
        ).get("Messages"):
            found += [(decoded(m["Body"]), m["Attributes"]) for m in messages]
        return found

    return received


def decoded(body):
    """Decode a message to its values, without those that are new each time."""
    message = json.loads(base64.b64decode(body))
    message["body"] = json.loads(base64.b64decode(message["body"]))
    for name in ("delivery_tag", "reply_to"):
        del message["properties"][name]
    return message


@pytest.fixture
def requests(services):
    """Count the requests to SQS."""
    counted = Counter()
    services.sqs.meta.events.register("before-call.sqs.*", lambda model, **_: counted.update([model.name]))
    return counted


def test_a_wake_up_is_the_message_that_celery_and_kombu_send_by_themselves(services, received):
    """Value by value, with what SQS is told beside the body."""
    turn = turns(1)[0]
    services.wakeups.send(turn.job_id, user_id=turn.user_id, traceparent=TRACE)
    ((ours, our_attributes),) = received()
    stock = Celery(set_as_current=False)
    stock.config_from_object(celery_config(services.settings, read_timeout=3, tries=1) | {"broker_transport": "sqs"})
    stock.send_task(
        CHAT_TASK,
        kwargs={"job_id": str(turn.job_id)},
        task_id=str(turn.job_id),
        queue=CHAT.name,
        headers={"traceparent": TRACE},
        argsrepr="-",
        kwargsrepr="-",
        MessageGroupId=our_attributes["MessageGroupId"],
    )
    ((theirs, their_attributes),) = received()
    assert ours == theirs
    assert our_attributes["MessageGroupId"] == their_attributes["MessageGroupId"]


def test_many_are_sent_in_requests_of_ten_and_are_the_messages_of_single_sends(services, received, requests):
    """25 turns: 3 requests; each message in the group of its user."""
    many = turns(12, "ada") + turns(13, "bob")
    services.wakeups.send_many(many)
    assert requests == {"SendMessageBatch": 3}
    batched = received()
    for turn in many:
        services.wakeups.send(turn.job_id, user_id=turn.user_id, traceparent=turn.traceparent)
    single = received()

    def by_job(messages):
        return {m["headers"]["id"]: (m, a["MessageGroupId"]) for m, a in messages}

    assert len(batched) == len(many)
    assert by_job(batched) == by_job(single)
    assert len({a["MessageGroupId"] for _, a in batched}) == 2


def test_none_are_sent_without_a_request(services, requests):
    """An empty batch is an error to SQS."""
    services.wakeups.send_many([])
    assert requests == {}


def test_a_single_send_is_one_request(services, requests):
    """Nothing is asked about the queue first."""
    services.wakeups.send(turns(1)[0].job_id, user_id="u")
    assert requests == {"SendMessage": 1}


def test_a_delayed_wake_up_is_delayed_by_sqs(services, received):
    """It counts as delayed, and nobody receives it."""
    services.wakeups.send(turns(1)[0].job_id, user_id="u", delay=600)
    assert received() == []
    name = "ApproximateNumberOfMessagesDelayed"
    url = services.settings.queue_url(CHAT.name)
    assert services.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name] == "1"


@pytest.mark.parametrize(("delay", "seconds"), [(0, None), (0.2, 1), (2, 2), (2.5, 3), (900, 900), (40_000, 900)])
def test_a_delay_is_whole_seconds_never_too_early_and_never_more_than_sqs_takes(services, delay, seconds):
    """A wake-up that comes too early is hidden again; one that is refused is lost."""
    assert services.composer(turns(1)[0].job_id, user_id="u", delay=delay).get("DelaySeconds") == seconds


def test_many_sends_into_a_hole_fail_together_and_not_one_after_the_other(hole):
    """Who waits for a place learns from who was in it."""
    wakeups = elsewhere(hole)

    def send(_):
        began = time.monotonic()
        with pytest.raises(QueueUnavailable):
            wakeups.send(JobId(new_session_id(), 1), user_id="u")
        return time.monotonic() - began

    with ThreadPoolExecutor(60) as pool:
        # 3.4 s for those in a place, and room for a busy machine; one after the other would take 20 s.
        assert max(pool.map(send, range(60))) < 9


def test_after_a_batch_that_was_not_taken_nothing_is_tried_for_a_moment():
    """A refused connection speaks for the next batch, and for single sends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    wakeups = elsewhere(f"http://127.0.0.1:{port}")
    with pytest.raises(QueueUnavailable, match="cannot be reached"):
        wakeups.send_many(turns(2))
    with pytest.raises(QueueUnavailable, match="a moment ago"):
        wakeups.send_many(turns(2))
    with pytest.raises(QueueUnavailable, match="a moment ago"):
        wakeups.send(turns(1)[0].job_id, user_id="u")


def test_a_batch_that_was_taken_in_part_ends_the_sending():
    """SQS says so in an answer that is no error."""
    seen = []

    class Sqs(BaseHTTPRequestHandler):
        def do_POST(self):
            entries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["Entries"]
            seen.append(len(entries))
            failed = {"Id": entries[-1]["Id"], "Code": "InternalError", "SenderFault": False}
            body = json.dumps({"Successful": [], "Failed": [failed]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Sqs) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        wakeups = elsewhere(f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(QueueUnavailable, match=r"1 of 10 messages \(InternalError\)"):
            wakeups.send_many(turns(25))
        server.shutdown()
    assert seen == [10]
