"""DESIGN section 8, counted and not timed: requests per accepted chat and per answered turn."""

import secrets
import threading
from collections import Counter
from time import monotonic

import boto3
import pytest
from redis import Redis

from chatapp.api import create_app
from chatapp.auth import issue
from chatapp.model import JobId
from config.settings import DEV_JWT_SECRET


class Counts:
    """Requests since the last `clear`: to DynamoDB by botocore's events, to SQS by what the queue holds."""

    def __init__(self, services):
        self._dynamodb, self._lock = Counter(), threading.Lock()
        services.dynamodb.meta.events.register("before-call.dynamodb.*", self._count)
        settings = services.settings
        self._sqs = boto3.client("sqs", region_name=settings.aws_region, endpoint_url=settings.aws_endpoint_url)
        self._queue_url = settings.queue_url("chat")
        self.clear()

    def _count(self, model, **_):
        with self._lock:
            self._dynamodb[model.name] += 1

    def _queued(self):
        name = "ApproximateNumberOfMessages"
        answer = self._sqs.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def clear(self):
        self._dynamodb.clear()
        self._before = self._queued()

    def now(self):
        sent = self._queued() - self._before
        return dict(self._dynamodb) | ({"SendMessage": sent} if sent else {})


@pytest.fixture
def counts(services):
    """Count the requests of these services."""
    return Counts(services)


@pytest.fixture
def redis_calls(valkey):
    """Run something and count the commands that clients sent meanwhile, as MONITOR shows them; a script's own are not counted.

    Nor is the breaker's state, which a process reads once in a second and not per request (test_breaker.py counts that).
    """

    def calls(run):
        mark = secrets.token_hex(8)
        with Redis.from_url(valkey, decode_responses=True) as probe, Redis.from_url(valkey, decode_responses=True) as marker:
            marker.ping()  # its connection is made before anything is counted
            with probe.monitor() as monitor:
                run()
                marker.echo(mark)
                count = 0
                while mark not in (command := monitor.next_command())["command"]:
                    count += command["client_type"] != "lua" and "breaker:{" not in command["command"]
                return count

    return calls


@pytest.fixture
def post(services, user, counts):
    """Post as a client does, through the whole API."""
    client = create_app(services).test_client()
    token = issue(DEV_JWT_SECRET, user, seconds=600)

    def post(message="[[echo=hi]]", key=None, **body):
        headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
        answer = client.post("/chat", json={"message": message, **body}, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json

    post()  # scripts are loaded and connections made
    counts.clear()
    return post


def test_a_chat_in_a_new_session_costs_one_transaction_one_send_and_one_redis_call(post, counts, redis_calls):
    """A key adds nothing."""
    assert redis_calls(lambda: post(key="a-key")) == 1
    assert counts.now() == {"TransactWriteItems": 1, "SendMessage": 1}


def test_a_chat_in_a_session_that_exists_costs_one_read_more(post, counts, redis_calls):
    """The session is read first, then the transaction."""
    session_id = post()["session_id"]
    counts.clear()
    assert redis_calls(lambda: post(session_id=session_id, key="another-key")) == 1
    assert counts.now() == {"GetItem": 1, "TransactWriteItems": 1, "SendMessage": 1}


def answer(services, told):
    services.answer(JobId.parse(told["job_id"]))


def test_an_answered_turn_costs_four_requests(post, services, counts):
    """Session, claim, end, head."""
    told = post()
    counts.clear()
    answer(services, told)
    assert counts.now() == {"GetItem": 2, "UpdateItem": 1, "TransactWriteItems": 1}


def test_a_turn_without_a_cached_history_reads_it_with_the_session(post, services, counts):
    """One batch instead of one read."""
    told = post()
    answer(services, told)
    services.redis.delete(f"context:{{{told['session_id']}}}")
    told = post(session_id=told["session_id"])
    counts.clear()
    answer(services, told)
    assert counts.now() == {
        "BatchGetItem": 1,
        "GetItem": 1,
        "UpdateItem": 1,
        "TransactWriteItems": 1,
    }


def test_a_waiting_turn_costs_one_send(post, services, counts):
    """The end of the head wakes the next."""
    first = post()
    post(session_id=first["session_id"])
    counts.clear()
    answer(services, first)
    assert counts.now()["SendMessage"] == 1


def test_redis_calls_are_bounded_by_ticks_and_not_by_tokens(post, services, redis_calls):
    """Three thousand tokens cost no more calls than their time has ticks, and a few."""
    told = post("[[tokens=3000]] [[delay=0]]")
    began = monotonic()
    calls = redis_calls(lambda: answer(services, told))
    assert calls < (monotonic() - began) / 0.04 + 10


def test_turn_sixty_costs_what_turn_ten_did(post, services, counts):
    """In requests: the length of a conversation does not matter."""
    told = post()
    costs = {}
    for number in range(2, 61):
        answer(services, told)
        counts.clear()
        told = post(session_id=told["session_id"])
        assert told["job_id"].endswith(f".{number}")
        costs[number] = counts.now()
    assert costs[60] == costs[10]
    counts.clear()
    answer(services, told)
    assert sum(counts.now().values()) == 4
