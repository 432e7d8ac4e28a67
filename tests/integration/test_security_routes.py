"""Another user's sessions, jobs and sockets over HTTP: every route of the URL map, new ones included as they come.

What is somebody else's is answered with the same bytes as what nobody has: a caller learns not even that it exists.
"""

import itertools
import json
import re
import secrets
import time
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

import jwt
import pytest

from chatapp.api import create_app
from chatapp.api.operations import Operation, of_endpoint
from chatapp.auth import issue
from config.settings import DEV_JWT_SECRET
from tests.fakes import fake_services
from tests.integration.attack_kit import Answer, Pair, pair
from tests.integration.ws_kit import signed_in

PUBLIC = {
    "GET /",
    "GET /docs",
    "GET /docs/<name>",
    "GET /docs/<name>.md",
    "GET /static/<path:name>",
    "GET /openapi.json",
    "GET /app-config",
    "GET /asyncapi.json",
    "GET /health/live",
    "GET /health/ready",
    "GET /health/redis",
    "POST /webhook/ingest",
    "POST /hooks/template-fired",
}
"""What may be called without a token (the last two are signed). A route that joins them must be put here, by hand."""

READ_BY_ADMINS = [(method, path) for path in ("/metrics/sessions", "/debug/dynamo/tables") for method in ("GET", "HEAD")]
SCOPED = {f"{method} {rule}": "admin" for method, rule in (("POST", "/notify"), *READ_BY_ADMINS)}
"""What a token must carry a scope for."""

BODIES: dict[str, dict[str, Any]] = {
    "ChatRequest": {"message": "hello"},
    "NewSession": {},
    "Notification": {"text": "hello", "all": True},
    "SessionChange": {"title": "mine now"},
    "StateChange": {"name": "mine now"},
}
"""The least that a body of each model holds. A new model must be given one."""

ID_FIELD = re.compile(r"(session|job|turn|action|connection|socket|user)_id$")
UNKNOWN_SESSION, UNKNOWN_SOCKET = "f" * 32, "e" * 32


@dataclass(frozen=True)
class Route:
    """A route, for one method."""

    method: str
    rule: str
    arguments: frozenset[str]
    operation: Operation

    @property
    def name(self) -> str:
        """As it stands in lists."""
        return f"{self.method} {self.rule}"

    @property
    def body(self) -> dict[str, Any] | None:
        """The least that it takes."""
        return None if self.operation.body is None else dict(BODIES[self.operation.body.__name__])

    def path(self, ids: dict[str, str]) -> str:
        """Its path with these ids."""
        return re.sub(r"<(?:\w+:)?(\w+)>", lambda m: ids[m[1]], self.rule)


def _routes() -> list[Route]:
    app = create_app(fake_services())
    return [
        Route(method, rule.rule, frozenset(rule.arguments), of_endpoint(app, rule.endpoint))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"OPTIONS"})
    ]


ROUTES = _routes()
CLOSED = [route for route in ROUTES if not route.operation.public]
OWNED = [route for route in CLOSED if route.arguments]
named = pytest.mark.parametrize("route", OWNED, ids=lambda route: route.name)


@pytest.fixture(scope="module")
def servers(settings, tmp_path_factory):
    """Both servers."""
    with pair(settings, tmp_path_factory.mktemp("routes"), RATE_LIMIT_REQUESTS="100000") as running:
        yield running


def ask(servers: Pair, route: Route, ids: dict[str, str], user: str | None, body: Any = None) -> Answer:
    """Call a route."""
    shown = {"X-Request-ID": "the-same"}
    return servers.send(route.method, route.path(ids), user=user, body=route.body if body is None else body, headers=shown)


def told(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """All that a caller can see and compare, but for the time and what is left of the limit."""
    changing = {"date", "ratelimit"}
    return answer.status, {k: "" if k in changing else v for k, v in answer.headers.items()}, answer.body


def ids_of(session_id: str, turn: int = 1) -> dict[str, str]:
    """Every id that a path may ask for."""
    return {"session_id": session_id, "job_id": f"{session_id}.{turn}", "action_id": "a" * 32, "name": "nothing"}


def state_of(servers: Pair, ann: str, session_id: str) -> tuple[Any, ...]:
    """All that the owner sees."""
    paths = (f"/sessions/{session_id}", f"/sessions/{session_id}/conversation", f"/jobs/{session_id}.1", "/sessions")
    return tuple(servers.send("GET", path, user=ann).json for path in paths)


@pytest.fixture
def theirs(servers, ann):
    """A session of ann's with a job that waits; it must be as it was when the test is over."""
    session_id = servers.post_chat(ann)["session_id"]
    before = state_of(servers, ann, session_id)
    assert before[0]["session_id"] == session_id
    yield session_id
    assert state_of(servers, ann, session_id) == before


def test_the_list_of_public_routes_is_pinned():
    """Nothing is open but what is listed, and every other route answers 401 to a stranger."""
    assert {route.name for route in ROUTES if route.operation.public and route.method != "HEAD"} == PUBLIC
    assert len(OWNED) >= 8, "the walk over the URL map finds too little"


def test_the_list_of_scopes_is_pinned():
    """What only an admin may do is listed."""
    assert {route.name: route.operation.scope for route in CLOSED if route.operation.scope} == SCOPED


NO_ADMINS: dict[str, dict[str, Any]] = {
    "no scope": {},
    "another scope": {"scope": "chat"},
    "in capitals": {"scope": "ADMIN"},
    "begins alike": {"scope": "administrator admin:read"},
    "a list": {"scope": ["admin"]},
    "with a comma": {"scope": "chat,admin"},
    "other claims": {"scopes": "admin", "scp": "admin", "permissions": ["admin"], "role": "admin", "admin": True},
    "a name": {"sub": "admin"},
}


@pytest.mark.parametrize("claims", NO_ADMINS.values(), ids=NO_ADMINS.keys())
@pytest.mark.parametrize("route", [route for route in CLOSED if route.operation.scope], ids=lambda route: route.name)
def test_who_is_no_admin_is_told_so_and_nothing_else(servers, theirs, ann, route, claims):
    """403 with the same bytes, whatever is named, and nothing reaches anybody."""
    bearer = jwt.encode({"sub": "eve", "exp": int(time.time()) + 600, **claims}, DEV_JWT_SECRET, algorithm="HS256")
    given = {"Authorization": f"Bearer {bearer}", "X-Request-ID": "the-same"}
    path = route.path(ids_of(theirs))
    with signed_in(servers.ws, ann) as socket:
        targets = ({"all": True}, {"user_id": ann}, {"user_id": "nobody"}, {"session_id": theirs}, {"nonsense": 1}, {})
        answers = [servers.send(route.method, path, body={"text": "x", **target}, headers=given) for target in targets]
        assert socket.ask("ping", id=1) == {"type": "pong", "id": 1}
    assert {answer.status for answer in answers} == {403}
    assert len({answer.body for answer in answers}) == 1


def test_an_admin_pushes_and_reads_nobodys_sessions(servers, theirs, ann):
    """The scope opens what is listed; what is a user's stays a user's."""
    bearer = {"Authorization": f"Bearer {issue(DEV_JWT_SECRET, 'root', seconds=60, scopes=('admin',))}"}
    assert servers.send("POST", "/notify", body={"text": "x", "user_id": "nobody"}, headers=bearer).status == 202
    for path in (f"/sessions/{theirs}", f"/jobs/{theirs}.1", f"/jobs/{theirs}.1/events"):
        assert servers.send("GET", path, headers=bearer).status == 404


@pytest.mark.parametrize("route", CLOSED, ids=lambda route: route.name)
def test_without_a_token_nothing_is_told(servers, theirs, route):
    """401 with the same bytes, whether the ids are of something or not."""
    answers = [ask(servers, route, ids_of(session), None) for session in (theirs, UNKNOWN_SESSION, "x")]
    assert [answer.status for answer in answers] == [401] * 3
    assert told(answers[0]) == told(answers[1]) == told(answers[2])


@named
def test_what_is_anothers_is_as_unknown_as_what_nobody_has(servers, theirs, eve, route):
    """404 with the same headers and bytes, on every route with an id in its path."""
    unknown = ask(servers, route, ids_of(UNKNOWN_SESSION), eve)
    assert unknown.status == 404, unknown.body
    for turn in (1, 2):
        assert told(ask(servers, route, ids_of(theirs, turn), eve)) == told(unknown)


@named
def test_what_has_ended_or_was_deleted_is_as_unknown(servers, ann, eve, route):
    """The state of another's session shows nowhere."""
    unknown = told(ask(servers, route, ids_of(UNKNOWN_SESSION), eve))
    ended, deleted = (servers.post_chat(ann)["session_id"] for _ in range(2))
    servers.send("POST", f"/jobs/{ended}.1/cancel", user=ann)
    servers.send("DELETE", f"/sessions/{deleted}", user=ann)
    assert told(ask(servers, route, ids_of(ended), eve)) == unknown
    assert told(ask(servers, route, ids_of(deleted), eve)) == unknown


MALFORMED = ["x", "F" * 32, "f" * 31, "f" * 33, "%00", "..%2f" + "f" * 32, "f" * 32 + "%0a", "%F0%9F%92%A9", "*", "f" * 4_000]


@named
def test_malformed_ids_are_unknown(servers, eve, route):
    """404, never a 500, and nothing of the id comes back in a header."""
    for session_id in MALFORMED:
        answer = ask(servers, route, ids_of(session_id), eve)
        assert answer.status == 404, (session_id, answer.body)
        assert all(session_id not in value for value in answer.headers.values() if len(session_id) > 3)
    for turn in ("0", "-1", "01", "1.5", "9999999999", "1%20", "٣"):
        ids = {**ids_of(UNKNOWN_SESSION), "job_id": f"{UNKNOWN_SESSION}.{turn}".replace("٣", "%D9%A3")}
        assert ask(servers, route, ids, eve).status == 404, turn


@named
def test_other_methods_say_nothing_of_ids(servers, theirs, eve, route):
    """405 and OPTIONS do not depend on whose something is."""
    for method in ("PUT", "TRACE", "OPTIONS", "PROPFIND"):
        answers = [
            servers.send(method, route.path(ids_of(s)), user=eve, headers={"X-Request-ID": "x"}) for s in (theirs, "f" * 32)
        ]
        assert told(answers[0]) == told(answers[1])
        assert answers[0].status in (200, 204, 404, 405), answers[0].body


def _fields(model: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every field of a body that names somebody's something, by its path; also inside models and unions of models."""
    found = []
    for name, field in model.model_fields.items():
        if ID_FIELD.search(name):
            found.append((*prefix, name))
        annotations = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else (field.annotation,)
        for inner in annotations:
            if hasattr(inner, "model_fields"):
                found += _fields(inner, (*prefix, name))
    return found


BODY_IDS = [(route, path) for route in CLOSED if route.operation.body for path in _fields(route.operation.body)]


def _filled(body: dict[str, Any], path: tuple[str, ...], value: str) -> dict[str, Any]:
    filled: dict[str, Any] = json.loads(json.dumps(body))
    place = filled
    for step in path[:-1]:
        place = place.setdefault(step, {})
    place[path[-1]] = value
    return filled


@pytest.mark.parametrize(("route", "path"), BODY_IDS, ids=lambda part: part.name if isinstance(part, Route) else ".".join(part))
def test_ids_in_bodies_are_as_unknown(servers, theirs, people, route, path):
    """Every field of every body: another's value is answered like one that nobody has."""
    ann, eve = people
    with signed_in(servers.ws, ann) as socket:
        connection_id = servers.services.sockets.sockets_of(ann)[0]
        values = {
            "session_id": (theirs, UNKNOWN_SESSION),
            "job_id": (f"{theirs}.1", f"{UNKNOWN_SESSION}.1"),
            "connection_id": (connection_id, UNKNOWN_SOCKET),
            "socket_id": (connection_id, UNKNOWN_SOCKET),
            "user_id": (ann, "nobody"),
            "action_id": ("a" * 32, "b" * 32),
        }
        bodies = [_filled(route.body or {}, path, value) for value in values[path[-1]]]
        foreign, unknown = (ask(servers, route, ids_of(UNKNOWN_SESSION), eve, body) for body in bodies)
        assert socket.ask("ping", id=1) == {"type": "pong", "id": 1}  # nothing else has come
    assert _anonymous(foreign) == _anonymous(unknown)
    assert foreign.status in (403, 404) or foreign.json.get("following") is False, foreign.body


def _anonymous(answer: Answer) -> tuple[int, list[str], str]:
    """An answer without the ids and times that are new in it."""
    without_ids = re.sub(r"[0-9a-f]{32}", "ID", answer.body.decode())
    return answer.status, sorted(answer.headers), re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", without_ids)


def test_bodies_that_name_something_are_found():
    """The walk over the models sees the fields that exist."""
    assert {"session_id", "connection_id"} <= {path[-1] for _, path in BODY_IDS}


def test_an_idempotency_key_finds_nothing_of_anothers(servers, theirs, ann, eve):
    """The same key and message of another user make another job; ann's replay is still hers."""
    key = {"Idempotency-Key": secrets.token_hex(8)}
    hers, its, again = (
        servers.send("POST", "/chat", user=who, body={"message": "same"}, headers=key).json["job_id"] for who in (ann, eve, ann)
    )
    assert (hers == again, hers == its) == (True, False)
    servers.send("DELETE", f"/sessions/{hers[:32]}", user=ann)


def test_the_list_of_sessions_holds_ones_own_only(servers, theirs, ann, eve):
    """Also with a cursor that was made for the other user's list."""
    others = [servers.post_chat(ann)["session_id"] for _ in range(2)]
    mine = servers.post_chat(eve)["session_id"]
    cursor = servers.send("GET", "/sessions?limit=1", user=ann).json["cursor"]
    pages = (servers.send("GET", path, user=eve) for path in ("/sessions", f"/sessions?cursor={cursor}", "/sessions?limit=100"))
    found = {session["session_id"] for page in pages if page.status == 200 for session in page.json["sessions"]}
    assert found <= {mine}
    for session_id in others:
        servers.send("DELETE", f"/sessions/{session_id}", user=ann)


def test_a_user_name_reaches_nobody_elses_by_its_form(servers, ann, theirs):
    """Names that hold another's, a pattern, a separator of our keys or another case are other users."""
    lookalikes = [ann.upper(), f" {ann}", f"{ann} ", f"{ann}:", f"{ann}*", "*", f"{ann}%00", f"{ann}}}", f"{{{ann}"]
    for name in lookalikes:
        assert servers.send("GET", f"/sessions/{theirs}", user=name).status in (401, 404), name
        listed = servers.send("GET", "/sessions", user=name)
        assert listed.status == 401 or listed.json["sessions"] == [], name


def test_ids_cannot_be_counted_up(servers, ann):
    """128 random bits: no two begin alike, and a neighbour of one is nobody's."""
    made = [servers.post_chat(ann)["session_id"] for _ in range(8)]
    assert all(a[:8] != b[:8] for a, b in itertools.combinations(made, 2))
    for session_id in made[:2]:
        neighbour = f"{int(session_id, 16) + 1:032x}"[-32:]
        assert servers.send("GET", f"/sessions/{neighbour}", user=ann).status == 404
