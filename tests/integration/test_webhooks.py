"""Webhooks from outside: who may call, what may be sent, and what is kept, against the API as production runs it."""

import json
import secrets

import pytest

from chatapp.api import create_app
from chatapp.incoming.signature import HEADER, sign
from chatapp.model import JobId
from chatapp.services import build
from config.settings import DEV_WEBHOOK_SECRET, Settings
from tests.integration.webhook_kit import INGEST, SECRETS, TEMPLATE, gateway, message

MB = 1_048_576


@pytest.fixture(scope="module")
def api(settings, tmp_path_factory):
    """The API with two active secrets."""
    with gateway(settings, tmp_path_factory.mktemp("api"), WEBHOOK_SECRETS=",".join(SECRETS)) as made:
        yield made


@pytest.fixture
def turn_of(services):
    """Read the turn that an answer speaks of."""
    return lambda answer: services.turns.get(JobId.parse(answer.json["job_id"]))


def test_a_signed_message_is_kept_before_it_is_answered(api, services, turn_of):
    """202 names the turn, which is stored: for the orchestrator, under the phone's number, with its reply owed."""
    phone = api.phone()
    answer = api.send(message(phone, 'cheguei 🏥 ção \u2028 "x"'))
    assert answer.status == 202, answer.body
    assert set(answer.json) == {"job_id", "session_id", "status"}
    assert answer.json["status"] == "queued"
    assert "idempotency-replayed" not in answer.headers
    turn, session = turn_of(answer), services.sessions.get(answer.json["session_id"])
    assert turn.input == ({"kind": "text", "text": 'cheguei 🏥 ção \u2028 "x"'},)
    assert (turn.flow, turn.callback, session.contact, session.flow) == ("orchestrator", "outbound", phone, "orchestrator")
    assert session.user_id.startswith("webhook:")
    assert phone[1:] not in session.user_id
    week = services.settings.phone_session_days * 86_400_000
    assert abs(session.expires_at - session.updated_at - week) < 1_000


@pytest.mark.parametrize("secret", SECRETS)
def test_each_active_secret_signs(api, secret):
    """A secret is replaced while both are in use."""
    assert api.send(message(api.phone()), secret=secret).status == 202


GOOD = sign(SECRETS[0].encode(), b"{}")
BAD_SIGNATURES = {
    "missing": None,
    "empty": "",
    "truncated": GOOD[:-1],
    "longer": GOOD + "0",
    "upper case": GOOD.upper(),
    "upper-case digits": "sha256=" + GOOD[7:].upper(),
    "no prefix": GOOD[7:],
    "sha1": "sha1=" + GOOD[7:47],
    "called sha1": "sha1=" + GOOD[7:],
    "another secret's": sign(b"nobody's secret at all", b"{}"),
    "of nothing": sign(SECRETS[0].encode(), b""),
    "not ASCII": "sha256=\xe9" + GOOD[8:],
    "two": f"{GOOD}, {GOOD}",
}


@pytest.mark.parametrize("signature", BAD_SIGNATURES.values(), ids=BAD_SIGNATURES)
@pytest.mark.parametrize("path", [INGEST, TEMPLATE])
def test_who_does_not_sign_learns_nothing(api, path, signature):
    """401, the same for a body that could be read and for one that could not: it is not parsed."""
    for body in (b"{}", b"{", b"[]"):
        given = signature if signature is None or body == b"{}" else signature + "x"
        answer = api.post(path, body, **{HEADER: given})
        assert (answer.status, answer.json["code"]) == (401, "bad_signature")
        assert "errors" not in answer.json
        assert answer.headers["www-authenticate"].startswith("Hub-Signature")


def test_a_token_does_not_stand_for_a_signature(api):
    """A user's bearer token opens nothing here."""
    assert api.post(INGEST, b"{}", Authorization="Bearer x").status == 401


def test_a_body_that_was_changed_by_one_byte_is_refused(api, services):
    """Wherever the byte stands."""
    body = json.dumps(message(api.phone(), "PA 120x80 😷\t\\u0041")).encode()
    signature = sign(SECRETS[0].encode(), body)
    for place in (0, len(body) // 2, len(body) - 1):
        changed = bytearray(body)
        changed[place] ^= 1
        assert api.post(INGEST, bytes(changed), **{HEADER: signature}).status == 401
    assert api.post(INGEST, body, **{HEADER: GOOD}).status == 401
    assert api.post(INGEST, body + b" ", **{HEADER: signature}).status == 401
    assert api.post(INGEST, body, **{HEADER: signature}).status == 202


@pytest.mark.parametrize("key", ["same", "other", "none"])
def test_a_replayed_request_makes_no_second_turn(api, services, key):
    """Same answer, one turn: also under a key of the attacker's own, as a header is not signed."""
    body = message(api.phone())
    first = api.send(body, **{"X-Idempotency-Key": "k-" + body["message_id"]})
    again = api.send(
        body, **{"X-Idempotency-Key": {"same": "k-" + body["message_id"], "other": secrets.token_hex(8), "none": None}[key]}
    )
    assert (first.status, again.status) == (202, 202)
    assert again.body == first.body
    assert again.headers["idempotency-replayed"] == "true"
    assert services.sessions.get(first.json["session_id"]).turn_count == 1


def test_a_header_claims_no_message_id(api):
    """It is not signed: a captured request that is repeated under it keeps the message of that id not out."""
    captured, coming = message(api.phone(), "hello"), message(api.phone())
    assert api.send(captured, **{"X-Idempotency-Key": coming["message_id"]}).status == 202
    assert api.send(coming).status == 202


@pytest.mark.parametrize("header", ["X-Idempotency-Key", "Idempotency-Key"])
def test_a_key_with_another_payload_is_refused(api, header):
    """Under each name of the header."""
    phone, key = api.phone(), secrets.token_hex(8)
    assert api.send(message(phone), **{header: key}).status == 202
    answer = api.send(message(phone), **{header: key})
    assert (answer.status, answer.json["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize("keys", [(None, None), ("a", "b")], ids=["without keys", "with keys"])
@pytest.mark.parametrize("changed", ["text", "phoneNumber"])
def test_a_message_id_with_another_text_or_phone_is_refused(api, services, keys, changed):
    """422 and no second turn, whatever keys come with it."""
    body = message(api.phone())
    one, two = (key and key + secrets.token_hex(4) for key in keys)
    first = api.send(body, **{"X-Idempotency-Key": one})
    other = body | {changed: {"text": "fui embora", "phoneNumber": api.phone()}[changed]}
    answer = api.send(other, **{"X-Idempotency-Key": two})
    assert (answer.status, answer.json["code"]) == (422, "idempotency_mismatch")
    assert services.sessions.get(first.json["session_id"]).turn_count == 1


def test_one_phone_has_one_session_however_it_is_written(api, services):
    """The number's punctuation does not matter; another number is another conversation and user."""
    phone = api.phone()
    spellings = [phone, phone[1:], "00" + phone[1:], f"+55 (11) {phone[5:10]}-{phone[10:]}"]
    sessions = {api.send(message(spelling)).json["session_id"] for spelling in spellings}
    assert len(sessions) == 1
    other = api.send(message(api.phone())).json["session_id"]
    assert other not in sessions
    assert services.sessions.get(other).user_id != services.sessions.get(sessions.pop()).user_id


def test_unknown_fields_are_kept_and_not_trusted(api, services, turn_of):
    """What looks like ours changes nothing: not the session, nor the user, the flow or the state."""
    victim = api.send(message(api.phone())).json
    hostile = {
        "session_id": victim["session_id"],
        "user_id": services.sessions.get(victim["session_id"]).user_id,
        "role": "system",
        "flow": "chat",
        "state": {"a": 1},
        "callback": "http://127.0.0.1/",
        "model": "gpt-9",
        "id": 7,
        "parts": [],
        "model_config": {},
        "deep": json.loads("[" * 60 + "]" * 60),
        "big": 2**80,
        "": 0.1,
    }
    answer = api.send(message(api.phone(), "olá", **hostile))
    assert answer.status == 202, answer.body
    turn, session = turn_of(answer), services.sessions.get(answer.json["session_id"])
    assert session.id != victim["session_id"]
    assert (turn.flow, turn.callback, turn.options.model, session.state) == (
        "orchestrator",
        "outbound",
        services.settings.llm_model,
        {},
    )
    assert session.user_id != hostile["user_id"]
    said, kept = turn.input
    assert said == {"kind": "text", "text": "olá"}
    assert (kept["kind"], json.loads(kept["fields"])) == ("webhook", hostile)


def test_what_is_kept_of_unknown_fields_is_bounded(api, turn_of):
    """Those that fit, and that JSON can write; how many were left out is told."""
    body = json.dumps(message(api.phone(), small=1, huge="x" * 100_000, beyond="N", last=2)).replace('"N"', "1e999")
    kept = turn_of(api.send(body.encode())).input[1]
    assert (json.loads(kept["fields"]), kept["dropped"]) == ({"small": 1, "last": 2}, 2)


REFUSED = {
    "an array": (b"[]", 422),
    "a batch": (json.dumps([message("+5511987654321")] * 1_000).encode(), 422),
    "text": (b'"hello"', 422),
    "null": (b"null", 422),
    "nothing": (b"", 400),
    "half": (b'{"message_id": "a', 400),
    "a key twice": (b'{"text": "a", "text": "b"}', 400),
    "NaN": (b'{"text": NaN}', 400),
    "UTF-16": ('{"text": "a"}'.encode("utf-16"), 400),
    "a lone surrogate": (b'{"text": "\\ud800"}', 400),
    "very deep": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "1 MB": (b'{"text": "' + b"a" * MB + b'"}', 413),
    "3 MB": (b'{"text": "' + b"a" * 3 * MB + b'"}', 413),
}


@pytest.mark.parametrize(("body", "status"), REFUSED.values(), ids=REFUSED)
def test_bodies_that_are_refused(api, body, status):
    """Signed or not, what is no object in strict JSON comes to nothing."""
    assert api.send(body).status == status


FIELDS = {
    "no id": {"message_id": None},
    "empty id": {"message_id": ""},
    "long id": {"message_id": "x" * 256},
    "a number for an id": {"message_id": 7},
    "line break in id": {"message_id": "a\nb"},
    "no text": {"text": None},
    "blank text": {"text": " \n"},
    "NUL": {"text": "a\x00b"},
    "long text": {"text": "a" * 32_001},
    "parts": {"text": [{"kind": "text", "text": "a"}]},
    "no phone": {"phoneNumber": None},
    "a number for a phone": {"phoneNumber": 5511987654321},
    "a local phone": {"phoneNumber": "011 98765-4321"},
    "a short phone": {"phoneNumber": "+551199"},
    "a long phone": {"phoneNumber": "+5511987654321000"},
    "letters": {"phoneNumber": "+55 11 98765 CALL"},
    "other digits": {"phoneNumber": "+٥٥١١٩٨٧٦٥٤٣٢١"},
    "two phones": {"phoneNumber": "+5511987654321,+5511987654322"},
    "a plus too many": {"phoneNumber": "++5511987654321"},
}


@pytest.mark.parametrize("wrong", FIELDS.values(), ids=FIELDS)
def test_fields_that_are_refused(api, wrong):
    """422 that names the field and does not repeat what was sent."""
    name = next(iter(wrong))
    body = {k: v for k, v in (message("+5511987654321") | wrong).items() if v is not None}
    answer = api.send(body)
    assert (answer.status, answer.json["code"]) == (422, "invalid_request")
    assert [error["pointer"] for error in answer.json["errors"]] == [f"/{name}"]
    assert "98765" not in answer.body.decode()


def test_a_form_is_refused(api):
    """Only JSON is understood, and it is looked at only after the signature."""
    assert api.send(b"a=1", **{"Content-Type": "application/x-www-form-urlencoded"}).status == 415


@pytest.mark.parametrize("header", ["X-Template-Idempotency-Key", "X-Idempotency-Key"])
def test_a_template_that_was_fired_becomes_a_turn_without_a_reply(api, services, turn_of, header):
    """In the same session as the phone's messages; its twins are answered the same."""
    phone = api.phone()
    session_id = api.send(message(phone)).json["session_id"]
    body = {
        "phoneNumber": phone,
        "template": "shift_starts",
        "text": "Chegou?",
        "template_id": secrets.token_hex(8),
        "lang": "pt",
    }
    key = {header: secrets.token_hex(8)}
    first, again = api.send(body, TEMPLATE, **key), api.send(body, TEMPLATE, **key)
    assert (first.status, again.body, again.headers["idempotency-replayed"]) == (202, first.body, "true")
    assert first.json["session_id"] == session_id
    turn = turn_of(first)
    assert turn.input[0] == {"kind": "template", "name": "shift_starts", "text": "Chegou?"}
    assert turn.callback is None
    assert api.send(body | {"template": "shift_ends"}, TEMPLATE).status == 422
    assert services.sessions.get(session_id).turn_count == 2


def test_a_template_without_an_id_is_told_from_its_repetition(api, services):
    """By what it says, also under another key."""
    body = {"phoneNumber": api.phone(), "template": "shift_starts"}
    first = api.send(body, TEMPLATE)
    assert api.send(body, TEMPLATE, **{"X-Template-Idempotency-Key": "a"}).body == first.body
    assert api.send(body | {"template": "shift_ends"}, TEMPLATE).json["job_id"] != first.json["job_id"]
    assert services.sessions.get(first.json["session_id"]).turn_count == 2


def test_keys_that_differ_are_refused(api):
    """Nobody knows which one is meant."""
    body = {"phoneNumber": api.phone(), "template": "t"}
    answer = api.send(body, TEMPLATE, **{"X-Idempotency-Key": "a", "X-Template-Idempotency-Key": "b"})
    assert (answer.status, answer.json["errors"][0]["header"]) == (422, "X-Template-Idempotency-Key")


def test_the_queue_and_the_log_never_hear_the_number(api, services, sqs):
    """The message holds ids only; what fair queues group by cannot be traced to the number."""
    phone = api.phone()
    assert api.send(message(phone)).status == 202
    url = services.settings.queue_url("chat")
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"]).get("Messages", [])
    assert found
    assert phone[1:] not in json.dumps(found)
    assert phone[1:] not in api.log()


PRODUCTION = {
    "env": "production",
    "jwt_secret": "x" * 32,
    "sqs_queue_url_prefix": "https://sqs.eu-west-1.amazonaws.com/1/chatapp-",
    "openai_api_key": "k",
    "public_ws_url": "wss://chat.example.com/ws",
}


def test_without_a_secret_development_has_its_own(settings):
    """It is known to everybody, so that a first try needs no setting."""
    body = b"{}"
    build(settings).signatures.check(body, sign(DEV_WEBHOOK_SECRET.encode(), body))


def test_without_a_secret_production_has_no_webhooks(caplog):
    """404 like any unknown path, and one line in the log that says why."""
    client = create_app(build(Settings(_env_file=None, **PRODUCTION))).test_client()
    answers = [client.post(path, data=b"{}", headers={HEADER: GOOD}) for path in (INGEST, TEMPLATE, INGEST)]
    assert [a.status_code for a in answers] == [404, 404, 404]
    assert caplog.text.count("WEBHOOK_SECRETS is not set") == 1
