"""DESIGN section 8, counted and not timed: requests per accepted chat and per answered turn."""

import secrets
import threading
from collections import Counter
from time import monotonic

import pytest
from redis import Redis

from chatapp.api import create_app
from chatapp.auth import issue
from chatapp.model import JobId
from config.settings import DEV_JWT_SECRET


@pytest.fixture
def counts(services):
    """Count the requests of these services: DynamoDB and SQS by botocore's events, Redis by its own statistics."""
    counted = Counter()
    lock = threading.Lock()

    def count(model, **_):
        with lock:
            counted[f"{model.service_model.service_name}.{model.name}"] += 1

    services.dynamodb.meta.events.register("before-call.dynamodb.*", count)
    sent = services.wakeups.send

    def send(*args, **kwargs):
        counted["sqs.send"] += 1
        return sent(*args, **kwargs)

    services.wakeups.send = send
    return counted


@pytest.fixture
def redis_calls(valkey):
    """Run something and count the commands that clients sent meanwhile, as MONITOR shows them; a script's own are not counted."""

    def calls(run):
        mark = secrets.token_hex(8)
        with Redis.from_url(valkey, decode_responses=True) as probe, Redis.from_url(valkey, decode_responses=True) as marker:
            marker.ping()  # its connection is made before anything is counted
            with probe.monitor() as monitor:
                run()
                marker.echo(mark)
                count = 0
                while mark not in (command := monitor.next_command())["command"]:
                    count += command["client_type"] != "lua"
                return count

    return calls


@pytest.fixture
def post(services, user):
    """Post as a client does, through the whole API."""
    client = create_app(services).test_client()
    token = issue(DEV_JWT_SECRET, user, seconds=600)

    def post(message="[[echo=hi]]", key=None, **body):
        headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
        answer = client.post("/chat", json={"message": message, **body}, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json

    post()  # scripts are loaded and connections made
    return post


def test_a_chat_in_a_new_session_costs_one_transaction_one_send_and_one_redis_call(post, counts, redis_calls):
    """A key adds nothing."""
    assert redis_calls(lambda: post(key="a-key")) == 1
    assert counts == {"dynamodb.TransactWriteItems": 1, "sqs.send": 1}


def test_a_chat_in_a_session_that_exists_costs_one_read_more(post, counts, redis_calls):
    """The session is read first, then the transaction."""
    session_id = post()["session_id"]
    counts.clear()
    assert redis_calls(lambda: post(session_id=session_id, key="another-key")) == 1
    assert counts == {"dynamodb.GetItem": 1, "dynamodb.TransactWriteItems": 1, "sqs.send": 1}


def answer(services, told):
    services.answer(JobId.parse(told["job_id"]))


def test_an_answered_turn_costs_four_requests(post, services, counts):
    """Session, claim, end, head."""
    told = post()
    counts.clear()
    answer(services, told)
    assert counts == {"dynamodb.GetItem": 2, "dynamodb.UpdateItem": 1, "dynamodb.TransactWriteItems": 1}


def test_a_turn_without_a_cached_history_reads_it_with_the_session(post, services, counts):
    """One batch instead of one read."""
    told = post()
    answer(services, told)
    services.redis.delete(f"context:{{{told['session_id']}}}")
    told = post(session_id=told["session_id"])
    counts.clear()
    answer(services, told)
    assert counts == {
        "dynamodb.BatchGetItem": 1,
        "dynamodb.GetItem": 1,
        "dynamodb.UpdateItem": 1,
        "dynamodb.TransactWriteItems": 1,
    }


def test_a_waiting_turn_costs_one_send(post, services, counts):
    """The end of the head wakes the next."""
    first = post()
    post(session_id=first["session_id"])
    counts.clear()
    answer(services, first)
    assert counts["sqs.send"] == 1


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
        costs[number] = dict(counts)
    assert costs[60] == costs[10]
    counts.clear()
    answer(services, told)
    assert sum(counts.values()) == 4
