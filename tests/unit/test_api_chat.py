"""POST /chat over fakes: what is taken, what is refused, what goes to submit."""

import json

import pytest

from chatapp.api import create_app
from chatapp.errors import LiveUnavailable, SessionBusy, SessionContended, StoreUnavailable, TooManyOpenTurns
from tests.fakes import bearer, fake_services


@pytest.fixture
def services():
    """Services with small limits."""
    return fake_services(llm_model="m1", llm_models="m2", max_message_chars=100, max_body_bytes=4096, max_output_tokens=500)


@pytest.fixture
def client(services):
    """A client of the app."""
    return create_app(services).test_client()


def post(client, body, headers=None, **more):
    """Post to /chat as ada."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post("/chat", data=data, headers={"Content-Type": "application/json", **bearer(), **(headers or {})}, **more)


def test_a_message_is_accepted(client, services):
    """202 at once, with the job and where to find it."""
    answer = post(client, {"message": "hello"})
    assert answer.status_code == 202
    job_id = answer.json["job_id"]
    assert answer.headers["Location"] == f"/jobs/{job_id}" == answer.json["links"]["self"]
    assert answer.json["session_id"] == job_id.split(".")[0]
    assert {k: answer.json[k] for k in ("status", "position", "created_at")} == {
        "status": "queued",
        "position": 0,
        "created_at": "2027-01-15T08:00:00.000Z",
    }
    assert answer.json["links"]["cancel"] == f"/jobs/{job_id}/cancel"
    assert "following" not in answer.json
    assert services.limiter.taken == 1


def test_all_fields_reach_submit(client, services):
    """What the caller chose is what is stored with the turn."""
    first = post(client, {"message": "one"}).json
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    chosen = {
        "message": [{"kind": "text", "text": "a"}, {"kind": "text", "text": "b"}],
        "session_id": first["session_id"],
        "flow": "chat",
        "on_busy": "reject",
        "restart": "fail",
        "model": "m2",
        "instructions": "be brief",
        "temperature": 1,
        "max_output_tokens": 7,
        "metadata": {"k": "v"},
    }
    assert post(client, chosen, {"traceparent": trace}).status_code == 202
    seen = services.submit.seen[-1]
    assert seen.input == ({"kind": "text", "text": "a"}, {"kind": "text", "text": "b"})
    assert (seen.user_id, seen.session_id, seen.on_busy, seen.restart) == ("ada", first["session_id"], "reject", "fail")
    options = seen.options
    assert (options.model, options.instructions, options.temperature, options.max_output_tokens) == ("m2", "be brief", 1, 7)
    assert seen.metadata == {"k": "v"}
    assert seen.traceparent == trace


def test_defaults_are_stored(client, services):
    """A request that chooses nothing gets the settings' model and limit."""
    post(client, {"message": "hello"}, {"traceparent": "00-zz-1-01"})
    seen = services.submit.seen[0]
    assert (seen.options.model, seen.options.max_output_tokens, seen.on_busy, seen.restart) == ("m1", 500, "enqueue", "reset")
    assert seen.traceparent is None


UNREADABLE = {
    "empty": b"",
    "brace": b"{",
    "text": b"hello",
    "two documents": b'{"message":"a"} {"message":"b"}',
    "NaN": b'{"message":"a","temperature":NaN}',
    "infinity": b'{"message":"a","temperature":-Infinity}',
    "lone surrogate": b'{"message":"\\ud800"}',
    "lone low surrogate": b'{"message":"\\udc00x"}',
    "surrogate key": b'{"message":"a","metadata":{"\\ud800":"x"}}',
    "invalid UTF-8": b'{"message":"\xff"}',
    "encoded surrogate": b'{"message":"\xed\xa0\x80"}',
    "raw control character": b'{"message":"a\nb"}',
    "raw NUL": b'{"message":"a\x00b"}',
    "UTF-16": '{"message":"a"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"message":"a"}'.encode("utf-16-le"),
    "BOM": b'\xef\xbb\xbf{"message":"a"}',
    "deep array": b'{"message":' + b"[" * 4000,
    "deep object": b'{"a":' * 700,
    "number of 3,900 digits, no end": b'{"temperature":' + b"9" * 3900,
    "duplicate key": b'{"message":"a","message":"b"}',
    "duplicate nested key": b'{"message":"a","metadata":{"k":"1","k":"2"}}',
    "single quotes": b"{'message':'a'}",
    "comment": b'{"message":"a"} // x',
    "trailing comma": b'{"message":"a",}',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_not_strict_json_is_a_400(client, services, body):
    """Nothing is guessed, nothing reaches submit, nothing is counted; a good request passes after it."""
    answer = post(client, body)
    assert (answer.status_code, answer.json["code"]) == (400, "malformed_request")
    assert answer.mimetype == "application/problem+json"
    assert services.submit.seen == []
    assert services.limiter.taken == 0
    assert post(client, {"message": "hello"}).status_code == 202


def with_(**fields):
    """A good message with other fields."""
    return {"message": "hello", **fields}


INVALID = {
    "root array": ([], ""),
    "root text": ("hello", ""),
    "root number": (5, ""),
    "root null": (None, ""),
    "no message": ({}, "/message"),
    "message null": ({"message": None}, "/message"),
    "message number": ({"message": 5}, "/message"),
    "message object": ({"message": {"text": "a"}}, "/message"),
    "message empty": ({"message": ""}, "/message"),
    "message blank": ({"message": " \n\t\u2003"}, "/message"),
    "message NUL": ({"message": "a\x00b"}, "/message"),
    "message too long": ({"message": "x" * 101}, "/message"),
    "no parts": ({"message": []}, "/message"),
    "parts blank": ({"message": [{"kind": "text", "text": " "}]}, "/message"),
    "parts too long together": ({"message": [{"kind": "text", "text": "x" * 60}] * 2}, "/message"),
    "17 parts": ({"message": [{"kind": "text", "text": "x"}] * 17}, "/message"),
    "part a text": ({"message": ["a"]}, "/message/0"),
    "part unknown": ({"message": [{"kind": "image", "text": "a"}]}, "/message/0/kind"),
    "part text a number": ({"message": [{"kind": "text", "text": 5}]}, "/message/0/text"),
    "part with a role": ({"message": [{"kind": "text", "text": "a", "role": "system"}]}, "/message/0/role"),
    "role": (with_(role="system"), "/role"),
    "messages": (with_(messages=[{"role": "system", "content": "x"}]), "/messages"),
    "user id": (with_(user_id="bob"), "/user_id"),
    "odd field name": (with_(**{"a/b~c": 1}), "/a~1b~0c"),
    "callback number": (with_(callback_url=5), "/callback_url"),
    "callback private": (with_(callback_url="http://169.254.169.254/latest"), "/callback_url"),
    "callback user": (with_(callback_url="https://a:b@example.org/"), "/callback_url"),
    "callback scheme": (with_(callback_url="ftp://example.org/"), "/callback_url"),
    "on_busy unknown": (with_(on_busy="queue"), "/on_busy"),
    "on_busy list": (with_(on_busy=[]), "/on_busy"),
    "restart": (with_(restart="maybe"), "/restart"),
    "flow": (with_(flow="../chat"), "/flow"),
    "model": (with_(model="gpt-9"), "/model"),
    "model number": (with_(model=5), "/model"),
    "instructions blank": (with_(instructions=" "), "/instructions"),
    "instructions long": (with_(instructions="x" * 101), "/instructions"),
    "instructions NUL": (with_(instructions="a\x00"), "/instructions"),
    "temperature text": (with_(temperature="1"), "/temperature"),
    "temperature bool": (with_(temperature=True), "/temperature"),
    "temperature 3": (with_(temperature=3), "/temperature"),
    "temperature -1": (with_(temperature=-1), "/temperature"),
    "tokens 0": (with_(max_output_tokens=0), "/max_output_tokens"),
    "tokens over": (with_(max_output_tokens=501), "/max_output_tokens"),
    "tokens 1.5": (with_(max_output_tokens=1.5), "/max_output_tokens"),
    "tokens huge": (with_(max_output_tokens=10**300), "/max_output_tokens"),
    "session number": (with_(session_id=5), "/session_id"),
    "session word": (with_(session_id="abc"), "/session_id"),
    "session upper": (with_(session_id="A" * 32), "/session_id"),
    "session line break": (with_(session_id="a" * 32 + "\n"), "/session_id"),
    "session traversal": (with_(session_id="../" * 10 + "aa"), "/session_id"),
    "session 3 KB": (with_(session_id="a" * 3000), "/session_id"),
    "session other digits": (with_(session_id="١" * 32), "/session_id"),
    "connection": (with_(connection_id="a b"), "/connection_id"),
    "metadata list": (with_(metadata=[]), "/metadata"),
    "metadata 17": (with_(metadata={f"k{n}": "v" for n in range(17)}), "/metadata"),
    "metadata number": (with_(metadata={"k": 1}), "/metadata/k"),
    "metadata nested": (with_(metadata={"k": {"a": "b"}}), "/metadata/k"),
    "metadata long": (with_(metadata={"k": "x" * 513}), "/metadata/k"),
    "metadata NUL": (with_(metadata={"k": "\x00"}), "/metadata/k"),
}


@pytest.mark.parametrize(("body", "pointer"), INVALID.values(), ids=INVALID.keys())
def test_a_wrong_field_is_a_422_that_names_it(client, services, body, pointer):
    """The pointer leads to what is wrong; nothing reaches submit."""
    answer = post(client, body)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request"), answer.json
    assert pointer in [e["pointer"] for e in answer.json["errors"]]
    assert services.submit.seen == []
    assert post(client, {"message": "hello"}).status_code == 202


def test_an_infinite_number_is_refused(client):
    """1e999 is JSON, but no number of ours."""
    answer = post(client, b'{"message":"a","temperature":1e999}')
    assert answer.status_code == 422
    assert answer.json["errors"][0]["pointer"] == "/temperature"


def test_a_callback_belongs_to_what_was_asked(client, services):
    """It reaches submit, and the same key with another one is another request."""
    url = "https://example.org/ended?token=1"
    key = {"Idempotency-Key": "k1"}
    assert post(client, {"message": "hello", "callback_url": url}, key).status_code == 202
    assert services.submit.seen[-1].callback == url
    assert post(client, {"message": "hello", "callback_url": url}, key).headers["Idempotency-Replayed"] == "true"
    for other in ({"callback_url": url + "2"}, {}):
        assert post(client, {"message": "hello", **other}, key).json["code"] == "idempotency_mismatch"
    assert post(client, {"message": "hello"}).status_code == 202
    assert services.submit.seen[-1].callback is None


def test_in_production_a_callback_is_https_and_signed():
    """Without a secret of one's own none is taken: its receiver could not tell that it was us."""
    ours = "whsec_" + "a" * 40
    for secrets, url, taken in (
        (ours, "https://example.org/", True),
        (ours, "http://example.org/", False),
        ("", "https://example.org/", False),
    ):
        services = fake_services(outbound_webhook_secrets=secrets)
        services.settings = services.settings.model_copy(update={"env": "production"})
        assert (post(create_app(services).test_client(), {"message": "a", "callback_url": url}).status_code == 202) is taken


@pytest.mark.parametrize("on_busy", ["enqueue", "reject", "interrupt", "merge"])
def test_what_to_do_with_a_busy_session_is_up_to_submit(client, services, on_busy):
    """Each way is passed on as it was asked for."""
    assert post(client, with_(on_busy=on_busy)).status_code == 202
    assert services.submit.seen[-1].on_busy == on_busy


def test_a_message_that_joined_a_waiting_job_says_so(client, services):
    """`merged` is there only when it is true: another message's job answers this one."""
    first = post(client, with_())
    assert "merged" not in first.json
    services.submit.merge_into = first.json["job_id"]
    joined = post(client, with_(session_id=first.json["session_id"], on_busy="merge"))
    assert (joined.status_code, joined.json["merged"], joined.json["job_id"]) == (202, True, first.json["job_id"])


def test_many_errors_are_cut(client):
    """A body of many wrong keys is answered shortly."""
    answer = post(client, with_(**{f"x{n}": 1 for n in range(300)}))
    assert answer.status_code == 422
    assert len(answer.json["errors"]) == 20


def test_inputs_are_not_shown_back(client):
    """An error names the field and never repeats what was in it."""
    assert b"s3cret" not in post(client, with_(session_id="s3cret", model="s3cret", metadata={"k": ["s3cret"]})).data


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": ""},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/jsonx"},
        {"Content-Type": "application/json, application/json"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br, gzip"},
    ],
)
def test_other_media_are_a_415(client, services, headers):
    """Only plain UTF-8 application/json is read."""
    answer = post(client, {"message": "hello"}, headers)
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
    assert services.submit.seen == []


def test_a_charset_of_utf8_is_fine(client):
    """Many clients say it."""
    assert post(client, {"message": "hello"}, {"Content-Type": "application/json; charset=UTF-8"}).status_code == 202


def test_a_large_body_is_a_413(client, services):
    """The length is refused before the body is read."""
    answer = post(client, {"message": "x" * 5000})
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert services.submit.seen == []


def test_the_body_limit_is_exact(client):
    """The last byte that is allowed passes, the next does not; also when no length was sent."""
    for size, status in ((4096, 202), (4097, 413)):
        body = b'{"message":"a"}'.ljust(size)
        assert post(client, body).status_code == status
        unsized = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
        assert post(client, body, environ_overrides=unsized).status_code == status


def test_the_limit_is_counted_and_told(client, services):
    """RateLimit headers on what passes; a 429 with Retry-After on what does not; nothing stored then."""
    services.limiter.left = 1
    first = post(client, {"message": "hello"})
    assert first.headers["RateLimit-Policy"] == '"user";q=10;w=60'
    assert first.headers["RateLimit"] == '"user";r=0;t=13'
    second = post(client, {"message": "hello"})
    assert (second.status_code, second.json["code"], second.json["retryable"]) == (429, "rate_limited", True)
    assert second.headers["Retry-After"] == "6"
    assert len(services.submit.seen) == 1


@pytest.mark.parametrize(
    ("failure", "status", "retry_after"),
    [
        (SessionBusy(), 409, None),
        (TooManyOpenTurns(), 429, "1"),
        (StoreUnavailable(), 503, "1"),
        (SessionContended(retry_after=2.1), 503, "3"),
    ],
)
def test_what_submit_raises_becomes_a_problem(client, services, failure, status, retry_after):
    """Each with its code, whether it may be tried again, and when."""
    services.submit.failure = failure
    answer = post(client, {"message": "hello"})
    assert (answer.status_code, answer.json["code"], answer.json["retryable"]) == (status, failure.code, True)
    assert answer.headers.get("Retry-After") == retry_after


def test_a_key_replays_the_answer(client, services):
    """The same key and payload give the same 202, however the payload is written and whatever socket asks."""
    key = {"Idempotency-Key": "k-1"}
    first = post(client, b'{"message":"hello","temperature":1}', key)
    again = post(client, b'{ "temperature": 1.0, "message": [{"text": "hello", "kind": "text"}], "connection_id": "c2" }', key)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.status_code, again.json["job_id"]) == (202, first.json["job_id"])
    alias = post(client, {"message": "hello", "temperature": 1}, {"X-Idempotency-Key": "k-1"})
    assert alias.headers["Idempotency-Replayed"] == "true"
    assert len(services.submit.seen) == 1


def test_a_key_with_another_payload_is_a_422(client):
    """One key stands for one request."""
    key = {"Idempotency-Key": "k-1"}
    post(client, {"message": "hello"}, key)
    answer = post(client, {"message": "other"}, key)
    assert (answer.status_code, answer.json["code"]) == (422, "idempotency_mismatch")


def test_keys_of_two_users_do_not_meet(client, services):
    """The key that is stored holds the user, and not the key itself."""
    key = {"Idempotency-Key": "k-1"}
    first = post(client, {"message": "hello"}, key)
    other = post(client, {"message": "hello"}, {**key, **bearer("bob")})
    assert first.json["job_id"] != other.json["job_id"]
    stored = {s.idempotency.key for s in services.submit.seen}
    assert len(stored) == 2
    assert all(len(k) == 64 for k in stored)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é", "a\x7fb", "\ttab"])
def test_a_malformed_key_is_a_422(client, services, key):
    """1 to 255 visible ASCII characters."""
    answer = post(client, {"message": "hello"}, {"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json["errors"][0]["header"] == "Idempotency-Key"
    assert services.submit.seen == []


def test_two_different_keys_are_a_422(client):
    """The alias may repeat the key, not contradict it."""
    assert post(client, with_(), {"Idempotency-Key": "a", "X-Idempotency-Key": "b"}).status_code == 422
    assert post(client, with_(), {"Idempotency-Key": "a", "X-Idempotency-Key": "a"}).status_code == 202


@pytest.mark.parametrize("failure", [None, LiveUnavailable(), RuntimeError("boom")])
def test_a_socket_that_cannot_follow_fails_nothing(client, services, failure):
    """The message is kept; `following` says what became of the socket."""
    services.sockets.known = "mine"
    assert post(client, with_(connection_id="mine")).json["following"] is True
    services.sockets.failure = failure
    answer = post(client, with_(connection_id="other"))
    assert (answer.status_code, answer.json["following"]) == (202, False)


def test_a_foreign_session_is_an_unknown_one(client):
    """The same 404 in every byte but the request id."""
    theirs = post(client, with_(), bearer("bob")).json["session_id"]
    answers = [post(client, with_(session_id=s), {"X-Request-ID": "same"}) for s in (theirs, "0" * 32)]
    assert [a.status_code for a in answers] == [404, 404]
    assert answers[0].data == answers[1].data


def test_with_every_breaker_open_nothing_is_accepted(client, services):
    """What would fail at once is refused before it is kept, and told when to come back; afterwards all is as before."""
    services.breakers.open_seconds = 11.2
    answer = post(client, with_(), {"Idempotency-Key": "k-1"})
    assert (answer.status_code, answer.json["code"], answer.json["retryable"]) == (503, "provider_unavailable", True)
    assert answer.headers["Retry-After"] == "12"
    assert services.submit.seen == []
    services.breakers.open_seconds = None
    assert post(client, with_(), {"Idempotency-Key": "k-1"}).status_code == 202


def test_what_was_accepted_is_answered_the_same_while_the_breakers_are_open(client, services):
    """A client that lost its 202 finds its job again; the same key with another payload is still a 422."""
    first = post(client, with_(), {"Idempotency-Key": "k-1"})
    services.breakers.open_seconds = 11
    again = post(client, with_(), {"Idempotency-Key": "k-1"})
    assert (again.status_code, again.json["job_id"]) == (202, first.json["job_id"])
    assert post(client, with_(message="other"), {"Idempotency-Key": "k-1"}).json["code"] == "idempotency_mismatch"
    assert post(client, with_(), {"Idempotency-Key": "k-2"}).status_code == 503


def test_who_would_rather_wait_is_accepted_while_the_breakers_are_open():
    """ON_BREAKER_OPEN=wait: the turn becomes due when the provider may be tried."""
    services = fake_services(on_breaker_open="wait")
    services.breakers.open_seconds = 11
    assert post(create_app(services).test_client(), with_()).status_code == 202
