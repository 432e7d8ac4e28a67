"""What is owed is delivered: read from the tables when it is sent, signed, and without a trace in the logs."""

import logging
import secrets

import pytest

from chatapp.effects import OUTBOUND, Effect, EffectId, EffectStatus
from chatapp.flows.effect_life import outcome_of
from chatapp.flows.port import Flow, Offer, Propose, done, put, say
from chatapp.flows.submit import Submission
from chatapp.model import ModelOptions, Status, text_of, text_part
from chatapp.ports import CallOutcome
from chatapp.services import build
from chatapp.stores.dynamo import call
from config.settings import Settings
from tests.outbound_kit import documented_verify, receiving

SECRET = f"whsec_{secrets.token_hex(20)}"
PHONE = "+5511987650123"

verify = documented_verify()


class Proposing(Flow):
    """Takes a note, or proposes an action; speaks the language that it is told."""

    name = "proposing"

    def run(self, asked):
        said = text_of(asked.turn.input)
        if "propose" in said:
            yield from say("Shall I?")
            yield Propose("check_in", {"unit": "4B", "weight": 1.5}, "Check in at 4B")
            yield Offer(("sim", "não"))
        yield put(Language="pt")
        yield done(asked)


@pytest.fixture(scope="module")
def receiver():
    with receiving() as running:
        yield running


@pytest.fixture
def services(settings, receiver):
    """Services whose targets are all the receiver."""
    url = receiver.url
    receiver.requests.clear()
    receiver.answers.clear()
    made = build(
        Settings.model_validate(
            settings.model_dump(exclude_unset=True)
            | {
                "callback_private": True,
                "outbound_webhook_url": f"{url}/outbound",
                "outbound_webhook_secrets": SECRET,
                "action_urls": {"check_in": {"url": f"{url}/check-in", "status_url": f"{url}/status?of=check-in"}},
            }
        )
    )
    made.answered_flows[Proposing.name] = Proposing()
    yield made
    made.redis.close()


@pytest.fixture
def ended(services, user):
    """Submit a text and end its turn. Returns: the turn."""

    def ended(text, *, cancel=False, **fields):
        message = Submission(user_id=user, input=(text_part(text),), options=ModelOptions(f"model-{user}"), **fields)
        job_id = services.submit(message).job_id
        if cancel:
            services.cancel(services.turns.get(job_id))
        else:
            services.answer(job_id)
        return services.turns.get(job_id)

    return ended


def owed(services, turn):
    """The delivery of a turn's end, as it was stored with it."""
    return services.effects.get(EffectId.reply(turn.session_id, turn.number))


def received(receiver):
    """The last request, whose signature is right."""
    last = receiver.requests[-1]
    verify(SECRET, last.headers, last.body)
    return last


def set_contact(services, session_id):
    """Make it a session of a phone's."""
    table = services.settings.table_name("sessions")
    update = {"UpdateExpression": "SET Contact = :phone"}
    services.dynamodb.update_item(**call(table, key={"SessionId": session_id}, values={"phone": PHONE}, **update))


def test_a_completed_job_is_told_to_its_callback(services, receiver, ended):
    """With all that a client would have read from the job."""
    turn = ended("[[echo=olá 👋]]", callback=f"{receiver.url}/ended?token=1", metadata={"order": "17"})
    services.effect_runner(owed(services, turn).id)
    assert owed(services, turn).status is EffectStatus.EXECUTED
    got = received(receiver)
    assert (got.path, got.headers["content-type"], got.headers["webhook-id"]) == (
        "/ended?token=1",
        "application/json",
        f"{turn.session_id}/d1",
    )
    assert got.json == {
        "type": "message.completed",
        "timestamp": got.json["timestamp"],
        "data": {
            "job_id": str(turn.job_id),
            "session_id": turn.session_id,
            "text": "olá 👋",
            "quick_replies": [],
            "error": None,
            "usage": turn.usage.as_dict(),
            "model": turn.answer_model,
            "finish_reason": "stop",
            "metadata": {"order": "17"},
        },
    }


def test_a_job_that_failed_or_was_cancelled_is_told_too(services, receiver, ended):
    """Whichever way it ends: who waits for the callback waits for each of them."""
    failed = ended("[[status=400]]", callback=receiver.url)
    assert services.caller.call(owed(services, failed)).outcome is CallOutcome.DONE
    told = received(receiver).json
    assert (told["type"], told["data"]["error"]["code"]) == ("message.failed", "model_request_invalid")
    cancelled = ended("hello", callback=receiver.url, cancel=True)
    assert services.caller.call(owed(services, cancelled)).outcome is CallOutcome.DONE
    told = received(receiver).json
    assert (told["type"], told["data"]["text"], told["data"]["error"]) == ("message.cancelled", None, None)


def test_a_retry_tells_the_same_callback(services, receiver, ended):
    """It is a new job, with a delivery of its own."""
    first = ended("[[status=400]]", callback=receiver.url)
    again = services.turns.get(services.retry(first).job_id)
    assert again.callback == first.callback == receiver.url


def test_what_is_sent_again_keeps_its_id(services, receiver, ended):
    """So that a receiver that took the first drops the second; one that is gone is left alone."""
    delivery = owed(services, ended("hello", callback=receiver.url))
    receiver.answers.append((503, {"Retry-After": "7"}, b"busy"))
    refused = services.caller.call(delivery)
    taken = services.caller.call(delivery)
    first, second = receiver.requests[-2:]
    assert (refused.outcome, refused.retry_after, taken.outcome) == (CallOutcome.RETRY_LATER, 7, CallOutcome.DONE)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    receiver.answers.append((410, {}, b""))
    assert services.caller.call(delivery).outcome is CallOutcome.REFUSED


def test_a_webhooks_reply_goes_to_the_phone(services, receiver, ended):
    """To the one URL of ours, with the number and what may be chosen."""
    turn = ended("propose", flow="proposing", callback=OUTBOUND)
    set_contact(services, turn.session_id)
    assert services.caller.call(owed(services, turn)).outcome is CallOutcome.DONE
    got = received(receiver)
    data = got.json["data"]
    assert (got.path, data["to"], data["text"], data["quick_replies"]) == ("/outbound", PHONE, "Shall I?", ["sim", "não"])


def test_nothing_is_sent_where_there_is_nothing_to_tell(services, receiver, ended):
    """A note was taken without a word; the session was deleted meanwhile; the turn is gone."""
    silent = ended("note", flow="proposing", callback=OUTBOUND)
    assert (silent.status, silent.answer) == (Status.COMPLETED, "")
    deleted = ended("hello", callback=receiver.url)
    services.delete_session(deleted.session_id, user_id=deleted.user_id)
    gone = owed(services, ended("hello", callback=receiver.url))
    missing = Effect(**{n: getattr(gone, n) for n in gone.__slots__} | {"payload": {"turn": 9}})
    for delivery in (owed(services, silent), owed(services, deleted), missing):
        assert services.caller.call(delivery).outcome is CallOutcome.DONE
    assert receiver.requests == []


def test_what_was_owed_when_its_session_was_ended_is_delivered(services, receiver, ended):
    """Its user has asked for what it came to, not for silence."""
    turn = ended("hello", callback=receiver.url)
    services.commands.end(turn.user_id, turn.session_id, allow=lambda: None)
    assert services.caller.call(owed(services, turn)).outcome is CallOutcome.DONE
    assert received(receiver).json["data"]["job_id"] == str(turn.job_id)


def test_a_private_callback_is_refused_unless_it_is_allowed(settings, receiver, services, ended):
    """The receiver sees nothing; the operator's own URLs may be private."""
    delivery = owed(services, ended("hello", callback=receiver.url))
    careful = build(settings.model_copy(update={"outbound_webhook_url": receiver.url}))
    refused = careful.caller.call(delivery)
    assert (refused.outcome, refused.error["code"]) == (CallOutcome.REFUSED, "address_refused")
    assert receiver.requests == []
    reply = owed(services, ended("hello", callback=OUTBOUND))
    assert careful.caller.call(reply).outcome is CallOutcome.DONE
    careful.redis.close()


def proposed(services, ended):
    """An action that was confirmed."""
    turn = ended("propose", flow="proposing")
    session = services.sessions.get(turn.session_id)
    return services.actions.confirm(session, "a1-0", by="http")


def test_an_action_is_carried_out_at_its_url(services, receiver, ended):
    """Signed, under a key of its own; what the target says of it is kept."""
    action = proposed(services, ended)
    receiver.answers.append((201, {}, b'{"reference": "r1"}'))
    called = services.caller.call(action)
    got = received(receiver)
    assert (called.outcome, called.result) == (CallOutcome.DONE, {"reference": "r1"})
    assert (got.path, got.headers["idempotency-key"]) == ("/check-in", str(action.id))
    assert got.json["payload"] == {"unit": "4B", "weight": 1.5}
    assert got.json.keys() == {"action_id", "name", "session_id", "user_id", "payload", "confirmed_at"}
    assert (got.json["action_id"], got.json["name"], got.json["user_id"]) == ("a1-0", "check_in", action.user_id)


def test_a_target_is_asked_what_became_of_a_call(services, receiver, ended):
    """By the key, where it has a URL for that."""
    action = proposed(services, ended)
    receiver.answers.append((200, {}, b'{"status": "executed", "result": {"reference": "r1"}}'))
    called = services.caller.status(action)
    got = received(receiver)
    assert (called.outcome, called.result) == (CallOutcome.DONE, {"reference": "r1"})
    assert (got.method, got.path) == ("GET", f"/status?of=check-in&idempotency_key={action.id.session_id}%2Fa1-0")
    assert got.headers["idempotency-key"] == str(action.id)
    other = Effect(**{n: getattr(action, n) for n in action.__slots__} | {"name": "unheard_of"})
    assert services.caller.status(other) is None
    refused = services.caller.call(other)
    assert (refused.outcome, refused.error["code"], refused.dead_letter) == (CallOutcome.REFUSED, "no_target", True)


def test_an_actions_outcome_is_told_in_the_sessions_language(services, receiver, ended):
    """A short sentence for the user, and the action as it stood."""
    action = proposed(services, ended)
    set_contact(services, action.id.session_id)
    delivery = outcome_of(action, EffectStatus.EXECUTED, services.clock.now())
    assert services.caller.call(delivery).outcome is CallOutcome.DONE
    told = received(receiver).json
    assert (told["type"], told["data"]["to"]) == ("action.executed", PHONE)
    assert told["data"]["text"] == "Pronto, registrado: Check in at 4B"
    assert (told["data"]["action"]["action_id"], told["data"]["action"]["status"]) == ("a1-0", "executed")


def test_without_a_url_or_a_secret_nothing_goes_out(settings, services, ended):
    """An operator has to mend it."""
    turn = ended("hello", callback=OUTBOUND)
    bare = build(settings)
    silent = build(settings.model_copy(update={"env": "production", "outbound_webhook_url": "http://127.0.0.1:1/"}))
    for lacking in (bare, silent):
        refused = lacking.caller.call(owed(services, turn))
        assert (refused.outcome, refused.error["code"], refused.dead_letter) == (CallOutcome.REFUSED, "no_target", True)
        lacking.redis.close()


def test_nothing_of_what_is_sent_is_logged_or_told(services, receiver, ended, caplog):
    """Not at any level: no text, number, secret, nor the path of a callback, which may hold a token."""
    caplog.set_level(logging.DEBUG, logger="chatapp")
    turn = ended("propose [[echo=canaryanswer]]", flow="proposing", callback=OUTBOUND)
    set_contact(services, turn.session_id)
    receiver.answers += [(500, {}, b"canarybody"), (200, {"Content-Length": "999"}, b"canarybody")]
    told = [services.caller.call(owed(services, turn)) for _ in range(2)]
    other = ended("hello", callback="http://127.0.0.1:9/canarypath?canaryquery")
    told.append(services.caller.call(owed(services, other)))
    written = caplog.text + repr(told)
    assert "canary" not in written
    assert PHONE not in written
    assert SECRET not in written
    assert [t.outcome for t in told] == [CallOutcome.RETRY_LATER, CallOutcome.DONE, CallOutcome.NOT_SENT]
