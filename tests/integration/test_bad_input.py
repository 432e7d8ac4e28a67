"""Bad input against the API as production runs it: gunicorn on gevent, a real Redis, an emulated DynamoDB.

Each case has its problem document, stores nothing, and is followed by a good request that passes.
"""

import base64
import gzip
import http.client
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import boto3
import jwt
import pytest
from redis import Redis

from chatapp.auth import issue
from chatapp.dev.child import Child, http_ok
from chatapp.dev.ports import free_port
from chatapp.live.ratelimit import RateLimiter
from chatapp.provision import Provisioner
from config.settings import Settings
from tests.servers import running

SECRET = "a-secret-of-the-tests-with-enough-bytes"
AUDIENCE = "chat"
LIMIT = 600
WINDOW_SECONDS = 3_600
NOW = int(time.time())


def token(user: str = "ada", **more: Any) -> str:
    """A token that the API trusts."""
    return issue(SECRET, user, **{"seconds": 600, "audience": AUDIENCE, **more})


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Api:
    """A running API and the table of its turns."""

    port: int
    table: str
    dynamodb: Any
    redis: str

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **claims: Any) -> Answer:
        """Send a request as a good client would, but for what the test changes."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            given = {"Authorization": f"Bearer {token(**claims)}", "Content-Type": "application/json", **(headers or {})}
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, {k: v for k, v in given.items() if v is not None})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())

    def raw(self, request: bytes, *, then_close: bool = False) -> Answer | None:
        """Send bytes and read one answer; None when the connection was closed without one."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            try:
                connection.sendall(request)
                if then_close:
                    connection.shutdown(socket.SHUT_WR)
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                return Answer(answer.status, dict(answer.getheaders()), answer.read())
            except (http.client.BadStatusLine, ConnectionError):
                return None

    def head(self, *lines: str, path: str = "/chat") -> bytes:
        """The head of a POST by hand."""
        return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token()}", *lines, "", ""]).encode()

    def turns(self) -> int:
        """Count what is stored."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.table, Select="COUNT", ConsistentRead=True)
        return sum(page["Count"] for page in pages)


@pytest.fixture(scope="module")
def api(valkey: str, aws: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API on tables of its own."""
    port, keys = free_port(), {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    env = {
        **keys,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": aws,
        "SQS_QUEUE_URL_PREFIX": f"{aws}/000000000000/bad-",
        "DYNAMODB_TABLE_PREFIX": "bad-",
        "REDIS_URL": valkey,
        "JWT_SECRET": SECRET,
        "JWT_AUDIENCE": AUDIENCE,
        "API_BIND": f"127.0.0.1:{port}",
        "RATE_LIMIT_REQUESTS": str(LIMIT),
        "RATE_LIMIT_SECONDS": str(WINDOW_SECONDS),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        settings = Settings()
        Provisioner(settings).apply()
    command = (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn_api.py", "chatapp.api:create_app()")
    dynamodb = boto3.client(
        "dynamodb", region_name="us-east-1", endpoint_url=aws, aws_access_key_id="x", aws_secret_access_key="x"
    )
    with running(Child("api", command, env, http_ok(port, "/health/live")), tmp_path_factory.mktemp("api")), closing(dynamodb):
        yield Api(port, settings.table_name("turns"), dynamodb, valkey)


@pytest.fixture
def unchanged(api: Api) -> Iterator[None]:
    """Nothing is stored by the test, and a good request passes after it."""
    before = api.turns()
    yield
    assert api.turns() == before
    assert api.send("POST", "/chat", {"message": "hello"}).status == 202


def assert_problem(answer: Answer | None, status: int, code: str) -> None:
    """The answer is the problem, whole."""
    assert answer is not None
    assert answer.status == status, answer.body[:300]
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert problem["type"] == f"urn:chatapp:problem:{code}"


def signed(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token by hand."""
    given = {"sub": "ada", "exp": NOW + 600, "aud": AUDIENCE, **claims}
    return jwt.encode({k: v for k, v in given.items() if v is not None}, secret, algorithm=algorithm)


TOKENS = {
    "none": None,
    "empty": "",
    "no scheme": token(),
    "basic": "Basic YWRhOmFkYQ==",
    "garbage": "Bearer x.y.z",
    "alg none": f"Bearer {jwt.encode({'sub': 'ada', 'exp': NOW + 600, 'aud': AUDIENCE}, None, algorithm='none')}",
    "expired": f"Bearer {signed(exp=NOW - 60)}",
    "wrong audience": f"Bearer {signed(aud='other')}",
    "no audience": f"Bearer {signed(aud=None)}",
    "no subject": f"Bearer {signed(sub=None)}",
    "no end": f"Bearer {signed(exp=None)}",
    "another secret": f"Bearer {signed('x' * 40)}",
    "another algorithm": f"Bearer {signed(SECRET * 2, 'HS512')}",
    "empty signature": f"Bearer {token().rpartition('.')[0]}.",
    "7 KB": "Bearer " + "x" * 7_000,
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("authorization", TOKENS.values(), ids=TOKENS.keys())
def test_who_is_not_authenticated(api, authorization):
    """No token, a bad token, `none`, expired, another audience: 401."""
    answer = api.send("POST", "/chat", {"message": "hello"}, {"Authorization": authorization})
    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.usefixtures("unchanged")
def test_a_doubled_authorization(api):
    """Two tokens are none."""
    head = api.head(f"Authorization: Bearer {token('bob')}", "Content-Type: application/json", "Content-Length: 15")
    assert_problem(api.raw(head + b'{"message":"a"}'), 401, "unauthenticated")


@pytest.mark.parametrize("size", [9_000, 100_000])
def test_a_token_that_is_too_long(api, size):
    """Gunicorn or we refuse it; the API lives on."""
    answer = api.raw(f"GET /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {'x' * size}\r\n\r\n".encode())
    assert answer is None or answer.status in (400, 401, 431)
    assert api.send("GET", "/sessions").status == 200


BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "malformed_request"),
    "brace": (b"{", 400, "malformed_request"),
    "not JSON": (b"message=hello", 400, "malformed_request"),
    "lone surrogate": (b'{"message":"\\ud83d"}', 400, "malformed_request"),
    "invalid UTF-8": (b'{"message":"\xc3\x28"}', 400, "malformed_request"),
    "UTF-16": ('{"message":"hello"}'.encode("utf-16"), 400, "malformed_request"),
    "BOM": (b'\xef\xbb\xbf{"message":"hello"}', 400, "malformed_request"),
    "100,000 levels": (b"[" * 100_000, 400, "malformed_request"),
    "100,000 levels, closed": (b'{"message":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "malformed_request"),
    "5,000 digits": (b'{"message":"a","temperature":' + b"9" * 5_000 + b"}", 400, "malformed_request"),
    "NaN": (b'{"message":"a","temperature":NaN}', 400, "malformed_request"),
    "duplicate keys": (b'{"message":"a","message":"b"}', 400, "malformed_request"),
    "array": (b"[]", 422, "invalid_request"),
    "null": (b"null", 422, "invalid_request"),
    "number": (b"17", 422, "invalid_request"),
    "no message": (b"{}", 422, "invalid_request"),
    "message of the wrong type": (b'{"message":17}', 422, "invalid_request"),
    "empty message": (b'{"message":""}', 422, "invalid_request"),
    "blank message": (b'{"message":" \\u2003\\n"}', 422, "invalid_request"),
    "NUL": (b'{"message":"a\\u0000b"}', 422, "invalid_request"),
    "message too long": (b'{"message":"' + b"x" * 32_001 + b'"}', 422, "invalid_request"),
    "unknown field": (b'{"message":"a","role":"system"}', 422, "invalid_request"),
    "10,000 metadata keys": (
        json.dumps({"message": "a", "metadata": {f"k{n}": "v" for n in range(10_000)}}).encode(),
        422,
        "invalid_request",
    ),
    "infinite temperature": (b'{"message":"a","temperature":1e999}', 422, "invalid_request"),
    "on_busy": (b'{"message":"a","on_busy":"queue"}', 422, "invalid_request"),
    "callback": (b'{"message":"a","callback_url":"http://169.254.169.254/"}', 422, "invalid_request"),
    "model": (b'{"message":"a","model":"gpt-99"}', 422, "invalid_request"),
    "session id": (b'{"message":"a","session_id":"../../etc/passwd"}', 422, "invalid_request"),
    "unknown session": (b'{"message":"a","session_id":"' + b"0" * 32 + b'"}', 404, "not_found"),
    "10 MB": (b'{"message":"' + b"x" * 10_000_000 + b'"}', 413, "too_large"),
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("body", "status", "code"), BODIES.values(), ids=BODIES.keys())
def test_bad_bodies(api, body, status, code):
    """Each has its problem; none is a 500; nothing is stored."""
    if len(body) > 1_000_000:  # the refusal comes before the body is read: the client may still be sending
        head = api.head("Content-Type: application/json", f"Content-Length: {len(body)}")
        assert_problem(api.raw(head + body[:1000]), status, code)
    else:
        assert_problem(api.send("POST", "/chat", body), status, code)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("headers", [(), ("Connection: close",)], ids=["kept", "closed"])
def test_who_sends_all_of_a_body_that_is_too_large_reads_why_it_was_refused(api, headers):
    """The connection is not reset while the rest of the body is on its way."""
    body = b'{"message":"' + b"x" * 20_000_000 + b'"}'
    head = api.head("Content-Type: application/json", f"Content-Length: {len(body)}", *headers)
    assert_problem(api.raw(head + body), 413, "too_large")


@pytest.mark.usefixtures("unchanged")
def test_a_gzip_bomb_is_not_inflated(api):
    """A Content-Encoding is refused before anything is read."""
    bomb = gzip.compress(b"x" * 100_000_000)
    assert_problem(api.send("POST", "/chat", bomb, {"Content-Encoding": "gzip"}), 415, "unsupported_media_type")
    assert_problem(api.send("POST", "/chat", b"a=b", {"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    assert_problem(api.send("POST", "/chat", b"{}", {"Content-Type": None}), 415, "unsupported_media_type")


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.usefixtures("unchanged")
def test_a_chunked_body_is_counted_while_it_is_read(api):
    """Without a length the limit still holds; below it chunks are fine."""
    head = api.head("Content-Type: application/json", "Transfer-Encoding: chunked")
    assert_problem(api.raw(head + chunk(b"x" * 1000) * 300 + chunk(b"")), 413, "too_large")
    assert_problem(api.raw(head + chunk(b'{"mess') + chunk(b'age":') + chunk(b"")), 400, "malformed_request")


def test_a_chunked_body_within_the_limit_is_read(api):
    """Some clients know no length."""
    head = api.head("Content-Type: application/json", "Transfer-Encoding: chunked")
    answer = api.raw(head + chunk(b'{"mess') + chunk(b'age":"hello"}') + chunk(b""))
    assert answer is not None
    assert answer.status == 202


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("chunks", [b"ZZ\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n", b"2\r\n{}too long\r\n0\r\n\r\n"])
def test_chunks_that_are_none(api, chunks):
    """The caller's fault, and said so."""
    head = api.head("Content-Type: application/json", "Transfer-Encoding: chunked")
    assert_problem(api.raw(head + chunks), 400, "malformed_request")


def test_no_header_says_where_the_api_is_mounted(api):
    """SCRIPT_NAME is a matter of our own configuration."""
    answer = api.raw(b"GET /health/live HTTP/1.1\r\nHost: x\r\nSCRIPT_NAME: /health\r\nConnection: close\r\n\r\n")
    assert answer is None or answer.status in (200, 400)


@pytest.mark.parametrize("temperature", [1e-131, 5e-324, 0.123456789])
def test_the_smallest_temperatures_fit(api, temperature):
    """They are rounded to what means something."""
    assert api.send("POST", "/chat", {"message": "x", "temperature": temperature}).status == 202


@pytest.mark.usefixtures("unchanged")
def test_a_body_shorter_than_its_length(api):
    """What was cut off is not taken for the whole, even where it happens to be JSON."""
    head = api.head("Content-Type: application/json", "Content-Length: 50")
    answer = api.raw(head + b'{"message":"hello"}', then_close=True)
    if answer is not None:
        assert_problem(answer, 400, "malformed_request")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /sessions HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
        b"GET /sessions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /sessions HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\x00b\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["20 KB URL", "200 headers", "negative length", "two lengths", "NUL header", "nonsense"],
)
def test_what_is_no_http_ends_before_us(api, request_):
    """Gunicorn refuses it; the API lives on."""
    answer = api.raw(request_)
    assert answer is None or 400 <= answer.status < 500
    assert api.send("GET", "/sessions").status == 200


def test_one_byte_a_second_holds_up_nobody_else(api):
    """Twenty slow bodies: others are answered all the while."""
    slow = [socket.create_connection(("127.0.0.1", api.port), timeout=5) for _ in range(20)]
    try:
        for connection in slow:
            connection.sendall(api.head("Content-Type: application/json", "Content-Length: 100") + b"{")
        before = time.monotonic()
        assert api.send("POST", "/chat", {"message": "hello"}).status == 202
        assert time.monotonic() - before < 10  # who waited for one of them would wait for ever
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("key", ["", "x" * 300, "a b", "\xe9"])
def test_malformed_idempotency_keys(api, key):
    """1 to 255 visible ASCII characters."""
    answer = api.send("POST", "/chat", {"message": "hello"}, {"Idempotency-Key": key})
    assert_problem(answer, 422, "invalid_request")
    assert answer.json["errors"][0]["header"] == "Idempotency-Key"


def test_one_key_is_one_job(api):
    """A replay gives the same job; another payload is refused; another user has keys of their own. One turn each is stored."""
    before, key = api.turns(), {"Idempotency-Key": f"key-{time.time_ns()}"}
    first = api.send("POST", "/chat", {"message": "hello"}, key)
    again = api.send("POST", "/chat", {"message": [{"kind": "text", "text": "hello"}]}, key)
    assert (first.status, again.status, first.json["job_id"]) == (202, 202, again.json["job_id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert_problem(api.send("POST", "/chat", {"message": "other"}, key), 422, "idempotency_mismatch")
    theirs = api.send("POST", "/chat", {"message": "hello"}, key, user="bob")
    assert theirs.json["job_id"] != first.json["job_id"]
    assert api.turns() == before + 2


@pytest.fixture(scope="module")
def theirs(api) -> str:
    """A session of bob, with one turn."""
    session: str = api.send("POST", "/chat", {"message": "hello"}, user="bob").json["session_id"]
    return session


FOREIGN = [
    ("GET", "/jobs/{s}.1", None),
    ("GET", "/jobs/{s}.1?wait=1", None),
    ("GET", "/sessions/{s}", None),
    ("PATCH", "/sessions/{s}", {"title": "mine"}),
    ("DELETE", "/sessions/{s}", None),
    ("GET", "/sessions/{s}/conversation", None),
    ("POST", "/chat", {"message": "hello", "session_id": "{s}"}),
]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("method", "path", "body"), FOREIGN)
def test_what_is_anothers_is_unknown(api, theirs, method, path, body):
    """The same bytes as for an id that nobody has."""

    def ask(session: str) -> Answer:
        filled = json.loads(json.dumps(body).replace("{s}", session))
        return api.send(method, path.replace("{s}", session), filled, {"X-Request-ID": "same"})

    foreign, unknown = ask(theirs), ask("f" * 32)
    assert_problem(foreign, 404, "not_found")
    assert foreign.body == unknown.body
    assert api.send("GET", f"/sessions/{theirs}", user="bob").status == 200


@pytest.mark.parametrize("path", ["/jobs/{}", "/sessions/{}", "/sessions/{}/conversation"])
@pytest.mark.parametrize(
    "wrong", ["x", "a" * 3_000, "A" * 32, "0" * 32 + ".0", "..%2f..%2fetc", "%00", "%0d%0aX-Evil:1", "0" * 32 + "%0a", "%ff%fe"]
)
def test_malformed_ids(api, path, wrong):
    """404, and nothing of the id in the headers."""
    answer = api.send("GET", path.format(wrong))
    assert_problem(answer, 404, "not_found")
    assert "X-Evil" not in answer.headers


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=" + "9" * 3_000,
        "limit=1&limit=2",
        "cursor=%00",
        "cursor=" + "A" * 100,
        "cursor=W10=",
        "x=1",
    ],
)
def test_malformed_pages(api, query):
    """422 before or by the store; never a 500."""
    assert_problem(api.send("GET", f"/sessions?{query}"), 422, "invalid_request")


@pytest.mark.parametrize(
    "content", ['["0",1e999]', '["0",NaN]', '["0",1' + "0" * 90 + "]", '["\\ud800",1]', '["",1]', "[" * 150, '["0",-1]']
)
def test_forged_cursors(api, content):
    """A cursor is only base64: what is in it is checked too. At worst it finds nothing."""
    answer = api.send("GET", f"/sessions?cursor={base64.urlsafe_b64encode(content.encode()).decode()}")
    assert answer.status in (200, 422), answer.body


def test_the_limit(api):
    """Over it: 429 with Retry-After and what is left; nothing is stored; others are not touched."""
    user, before = f"eager-{time.time_ns()}", api.turns()
    with Redis.from_url(api.redis) as redis:
        limiter = RateLimiter(redis, requests=LIMIT, seconds=WINDOW_SECONDS)
        while limiter.take(user).remaining:
            pass
    answer = api.send("POST", "/chat", {"message": "hello"}, user=user)
    assert_problem(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= WINDOW_SECONDS / LIMIT
    assert answer.headers["RateLimit-Policy"] == f'"user";q={LIMIT};w={WINDOW_SECONDS}'
    assert answer.headers["RateLimit"].startswith('"user";r=0;t=')
    assert api.turns() == before
    good = api.send("POST", "/chat", {"message": "hello"})
    assert good.status == 202
    assert good.headers["RateLimit"] > '"user";r='
