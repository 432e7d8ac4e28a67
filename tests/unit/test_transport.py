"""The hardened transport: what it reads, and what it does with SQS, without a server."""

import json
import logging
from queue import Empty

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection
from kombu.utils.imports import symbol_by_name

from config.celery import celery_config, worker_config
from config.resources import CHAT_TASK
from config.settings import Settings
from tasks.consumer import Consumer
from tasks.envelope import MAX_BYTES, Poison, read
from tasks.gate import Gate, gate
from tasks.transport import Transport
from tests.wakeups import b64, call, poison, wake_up

JOB = "0123456789abcdef0123456789abcdef.7"
URL = "http://127.0.0.1:1/000000000000/chat"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(JOB),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)


def poison_of(raw):
    try:
        read(raw, "chat")
    except Poison as poison:
        return poison
    return None


# --- the envelope


def test_a_wake_up_is_written_anew_from_what_was_checked():
    """No header of a stranger's reaches Celery: not a time limit, not a reply address."""
    strange = {"traceparent": "00-1", "timelimit": [1, 1], "shadow": "x", "stamps": {"a": 1}}
    payload = read(wake_up(JOB, headers=strange), "chat").payload("receipt", {"routing_key": "chat"})
    assert json.loads(payload["body"])[:2] == [[], {"job_id": JOB}]
    own = {"task": CHAT_TASK, "id": JOB, "root_id": JOB, "argsrepr": "-", "kwargsrepr": "-", "traceparent": "00-1"}
    assert payload["headers"] == own
    assert payload["properties"] == {
        "correlation_id": JOB,
        "delivery_tag": "receipt",
        "delivery_info": {"routing_key": "chat"},
    }


@pytest.mark.parametrize("kind", poison(JOB))
def test_every_other_message_is_poison_with_a_reason(kind):
    """Each is told apart by a word."""
    raw, reason = poison(JOB)[kind]
    assert poison_of(raw).reason == reason


@pytest.mark.parametrize(("raw", "reason"), [("", "empty"), ("x" * (MAX_BYTES + 1), "too_large")])
def test_what_sqs_itself_would_hardly_carry_is_poison_too(raw, reason):
    """Its limits are AWS's to change."""
    assert poison_of(raw).reason == reason


@pytest.mark.parametrize(
    ("raw", "job"),
    [
        (wake_up("x", body=call(job_id=JOB)), None),  # read: no poison
        (wake_up("x", task="unknown", body=call(job_id=JOB)), JOB),  # by the argument
        (wake_up(JOB, body="%%%"), JOB),  # by the id
        (wake_up("x", body="%%%"), None),
        (wake_up(JOB, body=call(job_id="x")), None),  # it names another thing than its id: neither is believed
    ],
)
def test_poison_says_which_job_it_is_about_where_that_can_be_read(raw, job):
    """So that the turn can be ended."""
    found = poison_of(raw)
    assert (found and found.about) == job


@given(JSON)
def test_any_json_is_read_or_poison(value):
    """Nothing else is raised, whatever it holds."""
    assert poison_of(b64(value)) is not None


@given(
    JSON, st.sampled_from(["headers", "properties", "body", "content_type", "content_encoding", "task", "id", "eta", "kwargs"])
)
def test_a_wake_up_with_anything_in_any_place_is_read_or_poison(value, place):
    """Nothing else is raised, and what is said holds none of its content."""
    if place in ("task", "id", "eta"):
        raw = wake_up(JOB, headers={place: value})
    elif place == "headers":
        raw = b64({"headers": value, "properties": {}})
    elif place == "kwargs":
        raw = wake_up(JOB, body=b64([[], value, {}]))
    else:
        raw = wake_up(JOB, **{place: value})
    said = poison_of(raw)
    assert said is None or (len(said.detail) < 100 and JOB not in said.detail)


# --- the consumer


def test_a_worker_is_configured_with_the_transport_and_the_consumer_of_ours():
    """Both are named by text; who only sends has neither."""
    settings = Settings.model_validate(
        {"aws_endpoint_url": "http://127.0.0.1:1", "sqs_queue_url_prefix": "http://127.0.0.1:1/0/x-"}
    )
    config = worker_config(settings, bury=print)
    assert symbol_by_name(config["broker_transport"]) is Transport
    assert symbol_by_name(config["worker_consumer"]) is Consumer
    assert not {"broker_transport", "worker_consumer"} & set(celery_config(settings, read_timeout=3, tries=1))


@pytest.mark.parametrize(
    "refuse",
    [
        lambda consumer, message: consumer.on_decode_error(message, ValueError("canary")),
        lambda consumer, message: consumer.on_unknown_message("canary", message),
        lambda consumer, message: consumer.on_unknown_task("canary", message, KeyError("canary")),
        lambda consumer, message: consumer.on_invalid_task("canary", message, ValueError("canary")),
    ],
)
def test_a_message_that_came_as_far_as_celery_is_left_in_its_queue(channel, sqs, caplog, refuse):
    """It is neither acked nor written to the log, and its slot is free again."""
    sqs.will_give(wake_up(JOB))
    channel.drain_events()
    refuse(Consumer.__new__(Consumer), channel.got[0])
    assert sqs.asked == []
    assert channel.qos.can_consume_max_estimate() == 5
    assert "canary" not in caplog.text


# --- the gate


def test_the_gate_is_open_when_no_reason_is_left():
    """Each takes back its own reason only."""
    one = Gate()
    one.close("paused")
    one.close("shutdown")
    one.open("paused")
    one.open("never given")
    assert (one.is_open, one.reasons) == (False, {"shutdown"})
    one.open("shutdown")
    assert one.is_open


# --- the channel


class Sqs:
    """A client that answers what the test wants and notes what it is asked."""

    def __init__(self):
        self.answers = []
        self.asked = []
        self.fails = None

    def receive_message(self, **_asked):
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    def delete_message(self, **asked):
        self._note("delete", asked["ReceiptHandle"])

    def change_message_visibility_batch(self, **asked):
        self._note("release", *(e["ReceiptHandle"] for e in asked["Entries"]))

    def _note(self, *what):
        self.asked.append(what)
        if self.fails:
            raise self.fails

    def will_give(self, *bodies):
        self.answers.append({"Messages": [{"Body": body, "ReceiptHandle": f"r{n}"} for n, body in enumerate(bodies)]})


@pytest.fixture
def sqs():
    return Sqs()


@pytest.fixture
def buried():
    return []


@pytest.fixture
def channel(sqs, buried):
    """A channel that consumes; what Celery would get is in `channel.got`."""
    options = {"bury": lambda *poison: buried.append(poison), "predefined_queues": {"chat": {"url": URL}}, "polling_interval": 0}
    connection = Connection("sqs://127.0.0.1:1", transport=Transport, transport_options=options)
    made = connection.channel()
    made.connection._predefined_queue_clients["chat"] = sqs
    made.got = []
    made.basic_consume("chat", no_ack=False, callback=made.got.append, consumer_tag="t")
    made.basic_qos(prefetch_count=5)
    yield made
    for reason in gate.reasons:
        gate.open(reason)


def error(code, status=400):
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "ReceiveMessage")


def test_a_message_comes_from_the_queue_it_came_from(channel, sqs):
    """What it says of itself would route its ack to a queue that there is not."""
    sqs.will_give(wake_up(JOB, properties={"body_encoding": "base64", "delivery_info": {"routing_key": "elsewhere"}}))
    channel.drain_events()
    [got] = channel.got
    assert got.delivery_info["routing_key"] == "chat"
    assert got.delivery_info["sqs_queue"] == URL
    assert got.properties["delivery_info"]["sqs_message"]["ReceiptHandle"] == "r0"
    got.ack()
    assert sqs.asked == [("delete", "r0")]


@pytest.mark.parametrize(
    "failure",
    [
        error("ServiceUnavailable", 503),
        error("AccessDenied", 403),
        error("RequestThrottled"),
        EndpointConnectionError(endpoint_url=URL),
        ReadTimeoutError(endpoint_url=URL),
        ValueError("not JSON"),
        {"Messages": [{"MessageId": "without a body"}]},
        {"Messages": "text"},
        OSError("reset"),
    ],
)
def test_a_receive_that_fails_is_tried_again_a_second_later(channel, sqs, failure, caplog):
    """Whatever it fails with, nothing is raised, and no request is sent meanwhile."""
    sqs.answers.append(failure)
    for _ in range(3):
        with pytest.raises(Empty):
            channel.drain_events()
    assert not sqs.answers
    sqs.will_give(wake_up(JOB))
    with pytest.raises(Empty):
        channel.drain_events()
    assert sqs.answers  # not asked yet
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    channel._poll_at -= 1
    channel.drain_events()
    assert len(channel.got) == 1


@pytest.mark.parametrize("failure", [error("InternalError", 500), error("AccessDenied", 403), OSError("reset")])
def test_a_delete_that_fails_raises_nothing_and_gives_its_slot_back(channel, sqs, failure, caplog):
    """Of many in one second, one is logged."""
    sqs.will_give(*[wake_up(JOB)] * 5)
    channel.drain_events()
    assert not channel.qos.can_consume()
    sqs.fails = failure
    for got in channel.got:
        got.ack()
    assert channel.qos.can_consume_max_estimate() == 5
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_a_reject_never_deletes_and_a_requeue_makes_it_visible(channel, sqs):
    """The message stays in its queue either way."""
    sqs.will_give(*[wake_up(JOB)] * 2)
    channel.drain_events()
    channel.got[0].reject()
    channel.got[1].requeue()
    assert sqs.asked == [("release", "r1")]
    assert channel.qos.can_consume_max_estimate() == 5


def test_settling_twice_frees_one_slot(channel, sqs):
    """A slot too many would be a message that waits in memory, out of everybody's sight."""
    sqs.will_give(*[wake_up(JOB)] * 5)
    channel.drain_events()
    for _ in range(3):
        channel.basic_ack("r0")
        channel.basic_reject("r1", requeue=True)
        channel.basic_ack("unknown")
        channel.basic_reject("unknown", requeue=True)
    assert channel.qos.can_consume_max_estimate() == 2


def test_poison_is_put_away_after_the_good_ones_and_then_deleted(channel, sqs, buried):
    """Putting away takes time, in which nobody else sees the good ones."""
    sqs.will_give("poison", wake_up(JOB))
    channel.drain_events()
    assert len(channel.got) == 1
    assert buried == [("chat", "poison", "not_base64", "the text is not base64", None)]
    assert sqs.asked == [("delete", "r0")]


def test_poison_that_cannot_be_put_away_is_left_in_its_queue(channel, sqs, caplog):
    """Nothing is lost, and the worker goes on."""

    def away(*_poison):
        raise OSError("the dead-letter queue is away")

    channel._bury = away
    sqs.will_give("poison", wake_up(JOB))
    channel.drain_events()
    assert (len(channel.got), sqs.asked) == (1, [])
    assert any("could not be put away" in r.message for r in caplog.records)


def test_a_channel_without_a_place_for_poison_does_not_start():
    """Forgetting to say where poison goes is seen at once."""
    options = {"predefined_queues": {"chat": {"url": URL}}}
    with pytest.raises(KeyError, match="bury"):
        Connection("sqs://127.0.0.1:1", transport=Transport, transport_options=options).channel()


def test_a_message_that_celery_refuses_is_left_and_the_next_one_is_taken(channel, sqs, caplog):
    """Stock would end the worker."""
    refused = []

    def refuse(raw):
        if not refused:
            refused.append(raw)
            raise AttributeError("celery")
        channel.got.append(raw)

    channel.connection._callbacks["chat"] = refuse
    sqs.will_give(*[wake_up(JOB)] * 2)
    with caplog.at_level(logging.CRITICAL):
        channel.drain_events()
    assert (len(channel.got), sqs.asked) == (1, [])


def test_while_the_gate_is_closed_nothing_is_asked_for(channel, sqs):
    """For any reason."""
    gate.close("paused")
    sqs.will_give(wake_up(JOB))
    with pytest.raises(Empty):
        channel.drain_events()
    assert (len(sqs.answers), channel.got) == (1, [])


def test_what_a_poll_returns_while_the_gate_is_closed_is_given_back_at_once(channel, sqs, buried):
    """Also what came with messages that Celery has taken before it was closed, and poison."""
    sqs.will_give(wake_up(JOB), wake_up(JOB), "poison")
    channel.connection._callbacks["chat"] = lambda raw: (channel.got.append(raw), gate.close("shutdown"))
    channel.drain_events()
    assert (len(channel.got), buried, sqs.asked) == (1, [], [("release", "r1", "r2")])


def test_giving_back_that_fails_raises_nothing(channel, sqs, caplog):
    """The messages become visible by themselves."""

    def closing():
        gate.close("shutdown")
        return {"Messages": [{"Body": "x", "ReceiptHandle": "r0"}]}

    sqs.answers.append(closing)
    sqs.fails = error("InternalError", 500)
    channel.drain_events()
    assert sqs.asked == [("release", "r0")]
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_no_more_is_asked_for_than_slots_are_free(channel, sqs):
    """A message that waited in memory would be hidden from workers that have time for it."""
    asked = []
    receive = sqs.receive_message
    sqs.receive_message = lambda **k: (asked.append(k["MaxNumberOfMessages"]), receive(**k))[1]
    sqs.will_give(*[wake_up(JOB)] * 2)
    channel.drain_events()
    sqs.answers.append({"Messages": [{"Body": wake_up(JOB), "ReceiptHandle": f"s{n}"} for n in range(3)]})
    channel.drain_events()
    with pytest.raises(Empty):
        channel.drain_events()
    assert asked == [5, 3]
