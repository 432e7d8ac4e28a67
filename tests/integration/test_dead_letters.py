"""Dead-letter queues on the emulator: what is put there comes out as it was, and who looks takes nothing away."""

import base64
import contextlib
import json
import socket
import time
from dataclasses import replace

import pytest

from chatapp.deadletters import Kind
from chatapp.errors import ProviderUnavailable, QueueUnavailable
from chatapp.flows.ending import told
from chatapp.model import JobId, Status, new_session_id
from chatapp.services import build
from config.resources import CHAT, MAX_RECEIVE_COUNT
from config.settings import Settings


@pytest.fixture(autouse=True)
def _empty(services):
    for name in (CHAT.name, CHAT.dlq):
        services.sqs.purge_queue(QueueUrl=services.settings.queue_url(name))


@pytest.fixture
def failed(submit, services):
    """Make a turn as it is when it has failed for good."""

    def failed():
        error = told(ProviderUnavailable("the provider answered 500"))
        return replace(services.turns.get(submit().job_id), status=Status.FAILED, attempt=4, error=error)

    return failed


def letters(services, **options):
    with services.dead_letters.hold(CHAT.name, **options) as hold:
        return list(hold)


def bodies(services, queue):
    """The bodies that are visible in a queue; they are hidden from then on."""
    url, found = services.settings.queue_url(queue), []
    while messages := services.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [m["Body"] for m in messages]
    return found


def test_a_failed_turn_is_put_there_with_its_reason_its_job_and_its_attempt(failed, services):
    """All that an operator asks first, without a look into the body."""
    turn = failed()
    services.dead_letters.put(turn)
    (letter,) = letters(services)
    assert (letter.kind, letter.reason, letter.detail) == (Kind.TURN, "provider_unavailable", "the provider answered 500")
    assert (letter.job_id, letter.attempt, letter.receives) == (turn.job_id, turn.attempt, 1)
    assert abs(letter.dead_at - services.clock.now()) < 60_000


def test_what_is_put_there_is_a_working_wake_up(failed, services):
    """So that AWS's own redrive, which moves messages as they are, wakes a worker for the turn."""
    turn = failed()
    services.dead_letters.put(turn)
    (body,) = bodies(services, CHAT.dlq)
    message = json.loads(base64.b64decode(body))
    assert message["headers"]["id"] == str(turn.job_id)
    assert json.loads(base64.b64decode(message["body"]))[:2] == [[], {"job_id": str(turn.job_id)}]


def test_poison_is_kept_as_it_was_received(services):
    """And goes back to its queue like that."""
    received = ["no json", "{}", "  x  ", "é ✓ \U0001f600", "bm90IGpzb24=", '{"id": 7}\r\n\t', "x" * 200_000]
    for body in received:
        services.dead_letters.put_raw(CHAT.name, body, reason="not_json", detail="Expecting value")
    with services.dead_letters.hold(CHAT.name) as hold:
        for letter in hold:
            assert (letter.kind, letter.reason, letter.detail) == (Kind.POISON, "not_json", "Expecting value")
            assert (letter.job_id, letter.attempt) == (None, None)
            hold.send_back(letter)
    assert sorted(bodies(services, CHAT.name)) == sorted(received)
    assert bodies(services, CHAT.dlq) == []


def test_poison_that_names_its_job_says_so(services):
    """With the attempt, where that is known."""
    job_id = JobId(new_session_id(), 7)
    services.dead_letters.put_raw(CHAT.name, "x", reason="unknown_task", about=job_id, attempt=3)
    services.dead_letters.put_raw(CHAT.name, "y", reason="unknown_task", about=job_id)
    by_body = {letter.body: letter for letter in letters(services)}
    assert (by_body["x"].job_id, by_body["x"].attempt) == (job_id, 3)
    assert (by_body["y"].job_id, by_body["y"].attempt) == (job_id, None)


def test_a_detail_of_any_characters_and_any_length_is_taken(services):
    """SQS refuses most control characters: what cannot be shown is replaced, what is too long is cut."""
    services.dead_letters.put_raw(CHAT.name, "x", reason="not_json", detail="a\x00b\x1b[2J\ud800\u202e" + "z" * 1_000)
    (letter,) = letters(services)
    assert letter.detail.startswith("a\ufffdb\ufffd[2J\ufffd\ufffdz")
    assert len(letter.detail) == 300


def test_a_message_that_was_received_too_often_tells_its_job_by_its_body(submit, services):
    """SQS moves it here without a word."""
    job_id = submit().job_id
    url = services.settings.queue_url(CHAT.name)
    services.sqs.send_message(QueueUrl=url, MessageBody="not readable at all")
    for _ in range(MAX_RECEIVE_COUNT + 1):
        services.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
    found = {letter.job_id: letter for letter in letters(services)}
    assert set(found) == {job_id, None}
    assert {(x.kind, x.reason) for x in found.values()} == {(Kind.COUNTED, "received_too_often")}


def test_looking_takes_nothing_away(failed, services):
    """Twice the same, at once, also when whoever looks fails in the middle."""
    for _ in range(12):
        services.dead_letters.put(failed())
    first = {letter.id for letter in letters(services)}
    with contextlib.suppress(RuntimeError), services.dead_letters.hold(CHAT.name) as hold:
        next(iter(hold))
        raise RuntimeError
    assert len(first) == 12
    assert {letter.id for letter in letters(services)} == first


def test_what_is_held_is_hidden_from_others(failed, services):
    """Two operators do not do the same."""
    services.dead_letters.put(failed())
    with services.dead_letters.hold(CHAT.name) as hold:
        assert len(list(hold)) == 1
        assert letters(services) == []
    assert len(letters(services)) == 1


@pytest.mark.parametrize("limit", [1, 11])
def test_no_more_than_the_limit_is_held(failed, services, limit):
    """The rest is never received."""
    for _ in range(13):
        services.dead_letters.put_raw(CHAT.name, "x", reason="not_json")
    assert len(letters(services, limit=limit)) == limit
    assert sorted(letter.receives for letter in letters(services)) == [1] * (13 - limit) + [2] * limit


def test_what_is_deleted_is_gone_and_the_rest_is_not(failed, services):
    """One by one."""
    gone, left = failed(), failed()
    services.dead_letters.put(gone)
    services.dead_letters.put(left)
    with services.dead_letters.hold(CHAT.name) as hold:
        for letter in hold:
            if letter.job_id == gone.job_id:
                hold.delete(letter)
    assert [letter.job_id for letter in letters(services)] == [left.job_id]


def test_what_comes_back_at_once_does_not_go_round_for_ever(services):
    """A worker that still cannot read it puts it here again, as a new message, while the others are seen to."""
    url, began = services.settings.queue_url(CHAT.name), time.monotonic()
    services.dead_letters.put_raw(CHAT.name, "poison", reason="not_json")
    with services.dead_letters.hold(CHAT.name) as hold:
        for letter in hold:
            hold.send_back(letter)
            (back,) = services.sqs.receive_message(QueueUrl=url)["Messages"]
            services.dead_letters.put_raw(CHAT.name, back["Body"], reason="not_json")
            services.sqs.delete_message(QueueUrl=url, ReceiptHandle=back["ReceiptHandle"])
            assert time.monotonic() - began < 5
    assert [letter.body for letter in letters(services)] == ["poison"]


def test_an_sqs_that_does_not_answer_is_said_in_bounded_time(failed):
    """The turn stays marked, and the relay comes back to it."""
    turn = failed()
    with socket.create_server(("127.0.0.1", 0)) as hole:
        endpoint = f"http://127.0.0.1:{hole.getsockname()[1]}"
        prefix = f"{endpoint}/000000000000/x-"
        away = build(Settings.model_validate({"aws_endpoint_url": endpoint, "sqs_queue_url_prefix": prefix})).dead_letters
        with pytest.raises(QueueUnavailable):
            away.put(turn)
    for attempt in (lambda: away.put(turn), lambda: away.put_raw(CHAT.name, "x", reason="y"), lambda: list(away.hold(CHAT.name))):
        with pytest.raises(QueueUnavailable, match="cannot be reached"):
            attempt()
