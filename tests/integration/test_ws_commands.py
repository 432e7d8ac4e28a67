"""The frames `chat`, `cancel` and `confirm`: what HTTP does, over the socket, against a real gunicorn."""

import json
import secrets
import threading

import pytest

from chatapp.model import Ending, EventId, JobId, Status
from chatapp.requests import ChatRequest
from tests.faults.kinds import status
from tests.faults.proxy import FaultProxy
from tests.integration.ws_kit import Client, Hand, ids, signed_in, ws_server


@pytest.fixture(scope="module")
def dynamo(aws):
    """A way to SQS and DynamoDB for the server alone, that fails when it is told to."""
    with FaultProxy(int(aws.rsplit(":", 1)[1])) as running:
        yield running


@pytest.fixture(scope="module")
def url(settings, dynamo, tmp_path_factory):
    """A server that asks DynamoDB and SQS by way of the proxy."""
    env = {
        "AWS_ENDPOINT_URL": dynamo.url,
        "SQS_QUEUE_URL_PREFIX": settings.sqs_queue_url_prefix.replace(settings.aws_endpoint_url, dynamo.url),
        "RATE_LIMIT_REQUESTS": "5",
        "MAX_OPEN_TURNS": "2",
        "MAX_MESSAGE_CHARS": "100",
        "WS_MAX_SUBSCRIPTIONS": "3",
    }
    with ws_server(settings, tmp_path_factory.mktemp("ws"), **env) as address:
        yield address


def said(client, job_id):
    """The frames up to a job's end, without those of other kinds."""
    return ids(client.events(job_id))


def test_a_chat_is_acknowledged_and_then_followed(url, user, services):
    """A new session begins; `subscribed` and the job's events come after the `ack`."""
    with signed_in(url, user) as client:
        ack = client.ask("chat", message="hello", id="c1")
        assert {name: ack[name] for name in ("type", "id", "status", "position")} == {
            "type": "ack",
            "id": "c1",
            "status": "queued",
            "position": 0,
        }
        job_id = JobId.parse(ack["job_id"])
        assert ack["session_id"] == job_id.session_id
        subscribed = client.expect("subscribed")
        assert "id" not in subscribed
        assert [turn["job_id"] for turn in subscribed["turns"]] == [ack["job_id"]]
        worker = Hand(services.redis, job_id)
        worker.answer(3)
        assert said(client, job_id) == worker.written
    assert services.turns.get(job_id).user_id == user


def test_the_ack_comes_before_the_events_of_its_job(url, user, services):
    """Also in a session that is followed and speaks all the time."""
    with signed_in(url, user) as client:
        first = JobId.parse(client.ask("chat", message="one")["job_id"])
        client.expect("subscribed")
        second = JobId(first.session_id, 2)
        hand = Hand(services.redis, second)
        speaking = threading.Event()

        def speak():
            hand.say("message_started", model="m")
            while not speaking.wait(0.002):  # a thousand while the chat is stored would be too many for its socket
                hand.say(text="x", part=0)

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            client.send("chat", message="two", session_id=first.session_id, id="c2")
            received = [client.recv()]
            while received[-1].get("id") != "c2":
                received.append(client.recv())
        finally:
            speaking.set()
            thread.join()
        hand.say("message_completed", text="all")
        assert received[-1]["job_id"] == str(second)
        # What was said before the session had a second turn is another matter: nobody says it in earnest.
        rest = client.events(second)
        seen = [e["id"] for e in received if e.get("job_id") == str(second) and e["type"] != "ack"] + ids(rest)
        assert seen == hand.written


def test_the_same_key_is_accepted_once(url, user, services):
    """A client that did not see the `ack` sends the frame again, over whatever socket; another message is refused."""
    key = secrets.token_hex(8)
    with signed_in(url, user) as client:
        first = client.ask("chat", message="hello", idempotency_key=key)
    # What HTTP does with the same key and message: it is one rule.
    asked = ChatRequest.model_validate({"message": "hello"}, context=services.settings)
    assert services.commands.chat(user, asked, allow=lambda: None, key=key).replayed
    with signed_in(url, user) as client:
        again = client.ask("chat", message="hello", idempotency_key=key, id=2)
        assert (again["id"], again["job_id"]) == (2, first["job_id"])
        client.expect("subscribed")
        other = client.ask("chat", message="something else", idempotency_key=key)
        assert (other["type"], other["code"], other["retryable"]) == ("refused", "idempotency_mismatch", False)
    assert services.sessions.get(first["session_id"]).turn_count == 1


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "/message"),
        ({"message": " "}, "/message"),
        ({"message": "x" * 101}, "/message"),
        ({"message": [{"kind": "text"}]}, "/message/0/text"),
        ({"message": "x", "on_busy": "explode"}, "/on_busy"),
        ({"message": "x", "session_id": "nope"}, "/session_id"),
        ({"message": "x", "idempotency_key": "two words"}, "/idempotency_key"),
        ({"message": "x", "connection_id": "a"}, "/connection_id"),
        ({"message": "x", "nonsense": 1}, "/nonsense"),
        ({"message": "x", "model": "unheard-of"}, "/model"),
    ],
)
def test_a_wrong_field_is_named(url, user, fields, pointer):
    """With the code of the HTTP API; however often, the socket lives on."""
    with signed_in(url, user) as client:
        for n in range(12):
            answer = client.ask("chat", id=n, **fields)
            assert (answer["type"], answer["id"], answer["code"], answer["retryable"]) == ("refused", n, "invalid_request", False)
            assert [error["pointer"] for error in answer["errors"]] == [pointer]


def test_what_is_not_yours_is_not_there(url, user, services):
    """The same answer as for what never was."""
    foreign = services.sessions.create(user_id="somebody-else", flow="chat")
    with signed_in(url, user) as client:
        for session_id in (foreign.id, secrets.token_hex(16)):
            answers = [
                client.ask("chat", message="x", session_id=session_id),
                client.ask("cancel", job_id=f"{session_id}.1"),
                client.ask("confirm", session_id=session_id, action_id="a"),
            ]
            assert [a["code"] for a in answers] == ["not_found"] * 3
            assert len({a["message"] for a in answers[1:]}) == 1
        assert client.ask("cancel", job_id="nonsense")["code"] == "not_found"


def test_commands_need_a_user(url):
    """Nothing is done for who has not said who they are."""
    with Client(url) as client:
        client.expect("connected")
        for frame in ({"type": "chat", "message": "x"}, {"type": "cancel", "job_id": "x"}):
            client.ws.send(json.dumps(frame))
            assert client.recv()["code"] == "unauthenticated"


def test_a_queued_job_is_cancelled_and_one_that_has_ended_says_how(url, user):
    """`ack {status}`; the event of its end comes too."""
    with signed_in(url, user) as client:
        job_id = client.ask("chat", message="hello")["job_id"]
        client.expect("subscribed")
        client.send("cancel", job_id=job_id, id="x")
        received = sorted((client.recv() for _ in range(2)), key=lambda frame: frame["type"])
        assert received[0] == {"type": "ack", "id": "x", "status": "cancelled"}
        assert (received[1]["type"], received[1]["job_id"]) == ("message_cancelled", job_id)
        assert client.ask("cancel", job_id=job_id) == {"type": "ack", "status": "cancelled"}


def test_a_job_that_was_completed_stays_completed(url, user, services):
    """An end that was stored first wins."""
    with signed_in(url, user) as client:
        job_id = JobId.parse(client.ask("chat", message="hello")["job_id"])
        client.expect("subscribed")
        complete(services, job_id)
        assert client.ask("cancel", job_id=str(job_id)) == {"type": "ack", "status": "completed"}


def complete(services, job_id):
    """End a turn as its worker would."""
    now = services.clock.now()
    _, turn = services.turns.claim(job_id, claim_id="c", now=now, lease_end=now + 10_000)
    ending = Ending(status=Status.COMPLETED, end_id=EventId(turn.attempt, 1), at=now, by="c", holder=True, answer="done")
    assert services.turns.end(turn, ending)[0]


def test_a_user_who_sends_too_much_is_told_when_to_come_back(url, user):
    """The limit of the HTTP API, counted together with it; the socket lives on, and what runs can still be stopped."""
    with signed_in(url, user) as client:
        for _ in range(5):
            job_id = client.ask("chat", message="hello")["job_id"]
            client.expect("subscribed") if _ < 3 else None
        answer = client.ask("chat", message="one too many", id=6)
        assert (answer["type"], answer["id"], answer["code"], answer["retryable"]) == ("refused", 6, "rate_limited", True)
        assert 0 < answer["retry_after"] <= 60
        assert client.ask("cancel", job_id=job_id)["status"] == "cancelled"


def test_a_session_with_too_many_open_turns_takes_no_more(url, user):
    """Until one has ended."""
    with signed_in(url, user) as client:
        session_id = client.ask("chat", message="one")["session_id"]
        client.expect("subscribed")
        assert client.ask("chat", message="two", session_id=session_id)["position"] == 1
        answer = client.ask("chat", message="three", session_id=session_id)
        assert (answer["code"], answer["retryable"]) == ("too_many_open_turns", True)


def test_while_dynamodb_is_away_a_chat_is_refused_and_the_socket_lives_on(url, dynamo, user):
    """Retryable; the same frame with the same key is accepted once it is back."""
    key = secrets.token_hex(8)
    with signed_in(url, user) as client:
        with dynamo.fault("DynamoDB_20120810.*", status(500)) as rule:
            answer = client.ask("chat", message="hello", idempotency_key=key)
            assert (answer["type"], answer["code"], answer["retryable"]) == ("refused", "store_unavailable", True)
            assert rule.hits
        assert client.ask("chat", message="hello", idempotency_key=key)["type"] == "ack"


def test_a_slow_dynamodb_delays_only_the_socket_that_asked_it(url, dynamo, user, submit, services):
    """The events that came meanwhile are sent afterwards, in order, and the job is followed."""
    job_id = submit().job_id
    worker = Hand(services.redis, job_id)
    with signed_in(url, user) as asking, signed_in(url, user) as other:
        for client in (asking, other):
            client.ask("subscribe", session_id=job_id.session_id)
        dynamo.hole()
        try:
            asking.send("chat", message="hello", id="slow")
            worker.answer(20)
            assert said(other, job_id) == worker.written
            assert other.ask("ping", id=1) == {"type": "pong", "id": 1}
        finally:
            dynamo.heal()
            dynamo.cut()
        received = [asking.recv()]
        while received[-1]["type"] != "message_completed":
            received.append(asking.recv())
        assert received[0]["id"] == "slow"
        assert ids([e for e in received if e.get("job_id") == str(job_id)]) == worker.written


def test_a_job_that_cannot_be_followed_yet_is_followed_later(url, user, submit):
    """The socket follows as many sessions as it may: the message is taken all the same, and followed when there is room."""
    with signed_in(url, user) as client:
        followed = [submit(session_id=None).job_id.session_id for _ in range(3)]
        for session_id in followed:
            client.ask("subscribe", session_id=session_id)
        ack = client.ask("chat", message="hello")
        assert ack["type"] == "ack"
        assert client.ask("unsubscribe", session_id=followed[0])["type"] == "ack"
        assert client.expect("subscribed")["session_id"] == ack["session_id"]


def test_a_job_that_was_accepted_before_is_brought_to_who_asks_again(url, user, services):
    """Its ack was lost with the socket, and it has ended since: the session is followed already, and the job comes whole."""
    with signed_in(url, user) as client:
        job_id = JobId.parse(client.ask("chat", message="hello", idempotency_key="again")["job_id"])
    Hand(services.redis, job_id).answer(1)
    turn = services.turns.claim(job_id, claim_id="c", now=services.clock.now(), lease_end=2**42)[1]
    ending = Ending(
        status=Status.COMPLETED, end_id=EventId(1, 2), at=services.clock.now(), by=turn.claim_id, holder=True, answer="all"
    )
    assert services.turns.end(turn, ending)[0]
    with signed_in(url, user) as client:
        assert client.ask("subscribe", session_id=job_id.session_id)["turns"] == []
        assert client.ask("chat", message="hello", idempotency_key="again")["job_id"] == str(job_id)
        assert said(client, job_id) == ["1-0", "1-1", "1-2"]
