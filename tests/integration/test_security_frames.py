"""Another user's sessions, jobs and sockets over the WebSocket: every frame of the protocol, new ones included as they come.

A refusal is the same as for what nobody has, and whatever is asked, and however often: of another's events not one arrives.
"""

import json
import secrets
import threading
from contextlib import ExitStack
from typing import Any, NamedTuple, get_args

import pytest

from chatapp.frames import Frame
from chatapp.live.events import key_of, owner_key, turns_key
from chatapp.model import JobId
from tests.integration.attack_kit import pair
from tests.integration.ws_kit import Client, Hand, ids, signed_in, token

NOBODYS = "f" * 32

IDENTIFYING = {"auth", "refresh"}
"""They say who somebody is, and name nothing of anybody: tests/integration/test_security_tokens.py."""

ASKED: dict[str, list[dict[str, Any]]] = {
    "subscribe": [
        {"session_id": "{sid}"},
        {"session_id": "{sid}", "resume": {"job_id": "{sid}.1", "after": None}},
        {"session_id": "{sid}", "resume": {"job_id": "{sid}.1", "after": "1-0"}},
        {"session_id": "{sid}", "resume": {"job_id": "{sid}.1", "after": "9999999999-0"}},
        {"session_id": "{sid}", "resume": {"job_id": "{sid}.2"}},
        {"session_id": "{sid}", "resume": {"job_id": "{sid}.999999999"}},
        {"session_id": "{sid}", "log_after": "0-0"},
        {"session_id": "{sid}", "log_after": "0-0", "resume": {"job_id": "{sid}.1"}},
    ],
    "unsubscribe": [{"session_id": "{sid}"}],
    "chat": [
        {"message": "hello", "session_id": "{sid}", "on_busy": busy} for busy in ("enqueue", "reject", "interrupt", "merge")
    ],
    "cancel": [{"job_id": "{sid}.1"}, {"job_id": "{sid}.2"}, {"job_id": "{sid}.0"}],
    "confirm": [{"session_id": "{sid}", "action_id": "a" * 32}],
    "ping": [{}],
}
"""What is asked with every frame. A new frame must be put here, with all the ways in which it can name something."""

HARMLESS = {"unsubscribe": "ack", "ping": "pong"}
"""They succeed whatever they name."""

CASES = [(kind, fields) for kind, variants in ASKED.items() for fields in variants]
every_frame = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {json.dumps(case[1])[:80]}")


@pytest.fixture(scope="module")
def servers(settings, tmp_path_factory):
    """Both servers. Guessing is allowed as fast as it goes: nothing may be protected only by a limit."""
    env = {"RATE_LIMIT_REQUESTS": "100000", "WS_FRAMES_PER_SECOND": "100000"}
    with pair(settings, tmp_path_factory.mktemp("frames"), **env) as running:
        yield running


@pytest.fixture
def theirs(servers, ann):
    """A job of ann's that is being answered."""
    job_id = JobId.parse(servers.post_chat(ann)["job_id"])
    assert job_id is not None
    return job_id


@pytest.fixture
def hand(servers, ann, theirs):
    """Writes its events, as a worker does; the keys from which a subscribe may be served are there too."""
    redis, session_id = servers.services.redis, theirs.session_id
    redis.set(owner_key(session_id), ann, ex=3_600)
    redis.zadd(turns_key(session_id), {"1": 1})
    writing = Hand(redis, theirs)
    writing.say("message_started", model="m")
    writing.say(text="secret", part=0)
    return writing


def named(fields: Any, session_id: str) -> Any:
    """Fill a session's id in."""
    return json.loads(json.dumps(fields).replace("{sid}", session_id))


def flushed(client: Client) -> list[dict[str, Any]]:
    """All that a socket has been sent by now: up to the answer to a ping."""
    mark = secrets.token_hex(8)
    client.send("ping", id=mark)
    found: list[dict[str, Any]] = []
    while not found or found[-1] != {"type": "pong", "id": mark}:
        found.append(client.recv())
    return found[:-1]


def test_every_frame_of_the_protocol_is_attacked():
    """A frame that is added to the protocol must be added here."""
    kinds = {get_args(model.model_fields["type"].annotation)[0] for model in get_args(Frame)}
    assert kinds - IDENTIFYING == ASKED.keys()
    for model in get_args(Frame):
        kind = get_args(model.model_fields["type"].annotation)[0]
        namers = {name for name in model.model_fields if name.endswith("_id")} - {"connection_id"}
        tried = {name for fields in ASKED.get(kind, []) for name in fields}
        assert namers <= tried, f"{kind}: {namers - tried} is named in no attack"


@every_frame
def test_what_is_anothers_is_as_unknown_as_what_nobody_has(servers, hand, theirs, eve, case):
    """The same answer, byte for byte, and none of it an event."""
    kind, fields = case
    with signed_in(servers.ws, eve) as client:
        answers = []
        for session_id in (theirs.session_id, NOBODYS):
            client.send(kind, id="q", **named(fields, session_id))
            answers.append(flushed(client))
        assert answers[0] == answers[1]
        assert [answer["type"] for answer in answers[0]] == [HARMLESS.get(kind, "refused")]
        assert kind in HARMLESS or answers[0][0]["code"] == "not_found"
        hand.say(text="more", part=0)
        assert flushed(client) == []


@every_frame
def test_who_has_not_authenticated_is_told_nothing(servers, hand, theirs, case):
    """`unauthenticated` to everything but a ping, whether the ids are of something or not."""
    kind, fields = case
    with Client(servers.ws) as client:
        client.expect("connected")
        answers = []
        for session_id in (theirs.session_id, NOBODYS):
            client.send(kind, id="q", **named(fields, session_id))
            answers.append(flushed(client))
        assert answers[0] == answers[1]
        assert answers[0][0].get("code") == ("unauthenticated" if kind != "ping" else None)
        hand.say(text="more", part=0)
        assert flushed(client) == []


def test_not_one_event_arrives_whatever_is_guessed_while_they_flow(servers, hand, theirs, ann, eve):
    """Every frame over and over from six sockets, in the middle of an answer: ann sees all of it, eve nothing."""
    heard: list[dict[str, Any]] = []
    stop = threading.Event()

    def guess(client: Client) -> None:
        while not stop.is_set():
            for kind, fields in CASES:
                client.send(kind, **named(fields, theirs.session_id))
            heard.extend(flushed(client))
        heard.extend(flushed(client))

    with ExitStack() as stack:
        owner = stack.enter_context(signed_in(servers.ws, ann))
        assert owner.ask("subscribe", session_id=theirs.session_id)["type"] == "subscribed"
        guessers = [stack.enter_context(signed_in(servers.ws, eve)) for _ in range(6)]
        threads = [threading.Thread(target=guess, args=(client,)) for client in guessers]
        for thread in threads:
            thread.start()
        for n in range(300):
            hand.say(text=f"secret {n}", part=0)
        hand.say("message_completed", text="all of the secret")
        seen = owner.events(theirs)
        stop.set()
        for thread in threads:
            thread.join(20)
    assert ids(seen) == hand.written
    assert len(heard) > len(CASES), "nothing was guessed"
    assert {answer["type"] for answer in heard} <= {"refused", "ack", "pong"}
    assert "secret" not in json.dumps(heard)
    assert servers.send("GET", f"/jobs/{theirs}", user=ann).json["status"] == "queued", "somebody has cancelled it"


def test_what_was_followed_before_a_refusal_is_followed_still(servers, theirs, hand, eve):
    """A refused guess takes nothing of the guesser's own away, and adds nothing to it."""
    mine = JobId.parse(servers.post_chat(eve)["job_id"])
    assert mine is not None
    with signed_in(servers.ws, eve) as client:
        assert client.ask("subscribe", session_id=mine.session_id)["type"] == "subscribed"
        assert client.ask("subscribe", session_id=theirs.session_id)["code"] == "not_found"
        hand.say(text="secret", part=0)
        writing = Hand(servers.services.redis, mine)
        writing.say("message_started", model="m")
        assert [(event["job_id"], event["id"]) for event in flushed(client)] == [(str(mine), "1-0")]


def test_a_session_that_is_deleted_while_it_is_followed_is_unknown_from_then_on(servers, theirs, hand, ann):
    """Also to its owner, on a socket that followed it."""
    with signed_in(servers.ws, ann) as client:
        assert client.ask("subscribe", session_id=theirs.session_id)["type"] == "subscribed"
        flushed(client)
        assert servers.send("DELETE", f"/sessions/{theirs.session_id}", user=ann).status == 204
        assert client.ask("subscribe", session_id=theirs.session_id)["code"] == "not_found"
        assert client.ask("cancel", job_id=str(theirs))["code"] == "not_found"


def test_a_deleted_session_does_not_come_back_with_a_late_wake_up(servers, theirs, ann):
    """A message that is still queued has the end published again: Redis knows the session then, but nobody is shown it."""
    assert servers.send("DELETE", f"/sessions/{theirs.session_id}", user=ann).status == 204
    turn = servers.services.turns.get(theirs)
    assert servers.services.events.publish_end(turn, wait=30)
    with signed_in(servers.ws, ann) as client:
        answer = client.ask("subscribe", session_id=theirs.session_id, resume={"job_id": str(theirs)})
        assert answer.get("code") == "not_found"


CONNECTIONS = {
    "another's": lambda socket_id: socket_id,
    "in capitals": lambda socket_id: socket_id.upper(),
    "nobody's": lambda _socket_id: "e" * 32,
    "the registry's key": lambda socket_id: f"socket_auth-{socket_id}",
}


@pytest.mark.parametrize("forged", CONNECTIONS.values(), ids=CONNECTIONS.keys())
def test_a_message_cannot_be_sent_to_anothers_socket(servers, ann, eve, forged):
    """`connection_id` of somebody else's socket: accepted, not followed, and that socket hears nothing of the job."""
    with Client(servers.ws, bearer=token(ann)) as socket:
        socket_id = socket.expect("connected")["connection_id"]
        posted = servers.post_chat(eve, connection_id=forged(socket_id))
        assert posted["following"] is False
        job_id = JobId.parse(posted["job_id"])
        assert job_id is not None
        Hand(servers.services.redis, job_id).answer(3)
        assert flushed(socket) == []
        assert servers.services.redis.hget(f"socket_auth:{socket_id}", "sessionId") == ""


@pytest.mark.parametrize("forged", ["a:b", "*", "../x", "{x}", "a b", "a\nb", "", "x" * 129, "é"])
def test_a_connection_id_cannot_name_another_key(servers, eve, forged):
    """What could be more than a name is refused before it is a part of a key."""
    answer = servers.send("POST", "/chat", user=eve, body={"message": "hello", "connection_id": forged})
    assert (answer.status, answer.json["code"]) == (422, "invalid_request")


REFUSALS = {("refused", "not_found"), ("refused", "live_unavailable")}
FORGERIES: dict[str, Any] = {
    "the owner": lambda _redis, _keys: None,
    "no owner": lambda redis, keys: redis.delete(keys.owner),
    "no turns": lambda redis, keys: redis.delete(keys.turns),
    "no owner and no turns": lambda redis, keys: redis.delete(keys.owner, keys.turns),
    "nothing at all": lambda redis, keys: redis.delete(*keys),
    "an owner that is empty": lambda redis, keys: redis.set(keys.owner, ""),
    "an owner that begins alike": lambda redis, keys: redis.set(keys.owner, "eve"),
    "an owner that is a pattern": lambda redis, keys: redis.set(keys.owner, "*"),
    "an owner that is a list": lambda redis, keys: redis.delete(keys.owner) and redis.lpush(keys.owner, "eve"),
    "an owner that is a set": lambda redis, keys: redis.delete(keys.owner) and redis.sadd(keys.owner, "eve"),
    "an owner that is a hash": lambda redis, keys: redis.delete(keys.owner) and redis.hset(keys.owner, "eve", "eve"),
    "turns that are a text": lambda redis, keys: redis.set(keys.turns, "1"),
    "turns that are none": lambda redis, keys: redis.zadd(keys.turns, {"-1": 2, "0": 0, "99999999999": 3}),
    "a log that is a text": lambda redis, keys: redis.set(keys.log, "secret"),
    "an event that is garbage": lambda redis, keys: redis.xadd(keys.log, {"e": "secret"}),
}
"""What may stand in Redis of a session, besides the truth. Those that only take something away must not cut ann off."""


class Keys(NamedTuple):
    """The keys from which a subscribe may be served."""

    owner: str
    turns: str
    log: str


@pytest.mark.parametrize("forgery", FORGERIES)
def test_redis_lets_nobody_resume_anothers_session(servers, theirs, hand, people, forgery):
    """With the keys from which a subscribe may be served there, gone, or of another kind: eve is refused, ann is not cut off."""
    (ann, eve), session_id = people, theirs.session_id
    FORGERIES[forgery](servers.services.redis, Keys(owner_key(session_id), turns_key(session_id), key_of(theirs)))
    with signed_in(servers.ws, eve) as client:
        for fields in ASKED["subscribe"]:
            client.send("subscribe", **named(fields, session_id))
        answers = flushed(client)
        assert {(answer["type"], answer.get("code")) for answer in answers} <= REFUSALS
        assert "secret" not in json.dumps(answers)
    if forgery.startswith(("the ", "no")):
        with signed_in(servers.ws, ann) as client:
            assert client.ask("subscribe", session_id=session_id, resume={"job_id": str(theirs)})["type"] == "subscribed"
    servers.serves_others()
