"""What stands around every route: authentication, CORS, ids, headers, errors."""

import logging
from urllib.parse import unquote

import pytest

from chatapp.api import create_app
from chatapp.api.operations import operation
from tests.fakes import bearer, fake_services

PUBLIC = {
    "GET /",
    "GET /docs",
    "GET /static/<path:name>",
    "GET /docs/<name>",
    "GET /docs/<name>.md",
    "GET /openapi.json",
    "GET /asyncapi.json",
    "GET /app-config",
    "GET /health/live",
    "GET /health/ready",
    "GET /health/redis",
}
IDS = {"session_id": "0" * 32, "job_id": "0" * 32 + ".1", "action_id": "a1-0", "name": "nothing"}


def app_of(**settings):
    """An app over fakes."""
    return create_app(fake_services(**settings))


def routes(app):
    """Every route: its name, method and a path of it."""
    for rule in app.url_map.iter_rules():
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            yield f"{method} {rule.rule}", method, rule.build({name: IDS[name] for name in rule.arguments})[1]


def test_every_route_is_authenticated_or_listed_as_public():
    """A new route is closed until somebody opens it here."""
    app = app_of()
    client = app.test_client()
    opened = set()
    for name, method, path in routes(app):
        with client.open(path, method=method) as answer:
            if answer.status_code != 401:
                opened.add(name)
    assert opened == PUBLIC


def test_a_view_without_a_description_does_not_start():
    """Nobody can forget to say who may call a view."""
    from chatapp.api import health, operations

    app = app_of()
    app.add_url_rule("/new", "new", lambda: "")
    with pytest.raises(LookupError, match="new"):
        operations.check(app)
    assert operations.of_endpoint(app, "health.live").public
    assert health.live.operation.summary
    assert operation


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "bearer  ",
        "Bearer a b",
        "Bearer {t},Bearer {t}",
        "Bearer {t}, Bearer x",
        "{t}",
        "Bearer x.y.z",
        "Token {t}",
    ],
)
def test_no_wrong_or_doubled_authorization_is_a_401(header):
    """With the challenge that RFC 9110 asks for, and nothing read of the body."""
    good = bearer()["Authorization"]
    token = good.removeprefix("Bearer ")
    headers = {} if header is None else {"Authorization": header.replace("{t}", token)}
    client = app_of().test_client()
    answer = client.post("/chat", data=b"x" * 10_000_000, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="chatapp"')
    assert ("invalid_token" in answer.headers["WWW-Authenticate"]) == bool(header)
    assert client.get("/sessions", headers={"Authorization": good.replace("Bearer", "bearer")}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/sessions//x", 404, "not_found"),
        ("GET", "/chat/", 404, "not_found"),
        ("GET", "/sessions/../../etc/passwd", 404, "not_found"),
        ("GET", "/static/../__init__.py", 404, "not_found"),
        ("GET", "/static/%2e%2e/__init__.py", 404, "not_found"),
        ("GET", "/static//etc/passwd", 404, "not_found"),
        ("GET", "/static/%00", 404, "not_found"),
        ("GET", "/chat", 405, "method_not_allowed"),
        ("PUT", "/sessions", 405, "method_not_allowed"),
        ("BREW", "/chat", 405, "method_not_allowed"),
    ],
)
def test_flasks_own_errors_are_problems_too(method, path, status, code):
    """404 and 405 look like all the others; a 405 says what is allowed."""
    answer = app_of().test_client().open(method=method, headers=bearer(), environ_overrides={"PATH_INFO": unquote(path)})
    assert (answer.status_code, answer.json["code"], answer.mimetype) == (status, code, "application/problem+json")
    assert {"type", "title", "status", "detail", "code", "request_id", "retryable"} <= answer.json.keys()
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert ("Allow" in answer.headers) == (status == 405)


def test_a_crash_is_a_500_that_shows_nothing(caplog):
    """The traceback goes to the log with the request id, not to the client."""
    services = fake_services()
    services.submit.failure = RuntimeError("the secret of the house")
    client = create_app(services).test_client()
    with caplog.at_level(logging.ERROR):
        answer = client.post("/chat", json={"message": "hello"}, headers={**bearer(), "X-Request-ID": "req-1"})
    assert (answer.status_code, answer.json["code"], answer.json["request_id"]) == (500, "internal_error", "req-1")
    assert b"secret" not in answer.data
    assert "req-1" in caplog.text
    assert "the secret of the house" in caplog.text


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2:3_X", True), ("", False), ("a b", False), ("x" * 129, False), ("é", False), ("a\x1b[1m", False)]
)
def test_a_request_id_is_kept_if_it_is_harmless(given, kept):
    """It ends up in log lines and headers."""
    answer = app_of().test_client().get("/health/live", headers={"X-Request-ID": given})
    assert (answer.headers["X-Request-ID"] == given) is kept
    assert len(answer.headers["X-Request-ID"]) >= 8


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.mark.parametrize(
    ("settings", "origin", "allowed"),
    [
        ({}, "http://localhost:3000", True),
        ({}, "http://127.0.0.1:5173", True),
        ({}, "http://localhost", True),
        ({}, "https://localhost:3000", True),
        ({}, "http://localhost.evil.org", False),
        ({}, "", False),
        ({}, "http://localhost:3000.evil.org", False),
        ({}, "http://evil.org/http://localhost:3000", False),
        ({}, "null", False),
        ({"cors_origins": "https://app.example.org"}, "https://app.example.org", True),
        ({"cors_origins": "https://app.example.org"}, "https://app.example.org.evil.org", False),
        ({"cors_origins": "https://app.example.org"}, "https://evil-app.example.org", False),
        ({"cors_origins": "https://app.example.org"}, "http://app.example.org", False),
        ({"cors_origins": "https://app.example.org"}, "http://localhost:3000", False),
        ({"env": "test"}, "http://localhost:3000", False),
    ],
)
def test_cors_is_an_allow_list(settings, origin, allowed):
    """The preflight needs no token; errors carry the headers as well; there is never a star."""
    client = app_of(**settings).test_client()
    preflight = client.options("/chat", headers={"Origin": origin, **PREFLIGHT})
    refused = client.post("/chat", headers={"Origin": origin})
    assert (preflight.status_code, refused.status_code) == (204, 401)
    for answer in (preflight, refused):
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
        assert "Origin" in answer.headers["Vary"]
    if allowed:
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
        exposed = refused.headers["Access-Control-Expose-Headers"]
        assert all(name in exposed for name in ("Location", "Retry-After", "RateLimit", "X-Request-ID", "Idempotency-Replayed"))


def test_every_answer_is_safe_to_open_in_a_browser():
    """Data cannot be framed, sniffed or kept; pages run only our own files."""
    client = app_of().test_client()
    data = client.get("/sessions", headers=bearer())
    assert data.headers["Cache-Control"] == "no-store"
    assert data.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    with client.get("/docs") as page:
        assert page.status_code == 200
        policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "connect-src 'self' ws://127.0.0.1:8001" in policy


def test_health_says_what_is_up():
    """Ready needs the store; without Redis or SQS messages are still accepted."""
    services = fake_services()
    client = create_app(services).test_client()
    assert client.get("/health/live").json == {"status": "UP"}
    assert client.get("/health/redis").json == {"redis": "UP"}
    services.health.parts |= {"redis": False, "sqs": False}
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json["parts"]) == (200, {"dynamodb": "UP", "sqs": "DOWN", "redis": "DOWN"})
    assert (client.get("/health/redis").status_code, client.get("/health/redis").json) == (503, {"redis": "DOWN"})
    services.health.parts["dynamodb"] = False
    assert client.get("/health/ready").status_code == 503


def test_an_open_breaker_is_shown_and_does_not_make_the_api_unready():
    """It is the provider's trouble: restarting or removing this process would mend nothing."""
    services = fake_services()
    client = create_app(services).test_client()
    assert client.get("/health/ready").json["breakers"] == {"llm.example.com/m": {"state": "closed"}}
    services.breakers.open_seconds = 12
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json["status"]) == (200, "UP")
    assert ready.json["breakers"] == {"llm.example.com/m": {"state": "open", "retry_after": 12}}


def test_the_page_signs_in_by_itself_in_development_only():
    """Never in production, never where an identity provider signs."""
    dev = fake_services()
    shown = create_app(dev).test_client().get("/app-config").json
    assert shown["ws_url"] == "ws://127.0.0.1:8001/ws"
    assert shown["models"] == ["gpt-5-mini"]
    assert shown["flows"] == [{"name": "chat", "opens": False}, {"name": "interview", "opens": True}]
    assert dev.tokens.verify(shown["dev_token"]).user_id == "demo"
    production = {
        "env": "production",
        "sqs_queue_url_prefix": "https://sqs.eu-west-1.amazonaws.com/1/x-",
        "openai_api_key": "k",
        "public_ws_url": "wss://ws.example.org/ws",
    }
    for settings in ({"env": "test"}, production, {"jwt_secret": None, "jwt_jwks_url": "http://127.0.0.1:1/jwks"}):
        assert app_of(**settings).test_client().get("/app-config").json["dev_token"] is None
