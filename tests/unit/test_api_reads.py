"""Jobs, sessions and conversations over fakes."""

import json
from dataclasses import replace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from chatapp.api import create_app
from chatapp.model import EventId, JobId, Status, Usage
from tests.fakes import HOUR_MS, bearer, fake_services


@pytest.fixture
def services():
    """Services in memory."""
    return fake_services()


@pytest.fixture
def client(services):
    """A client of the app."""
    return create_app(services).test_client()


@pytest.fixture
def job(client) -> str:
    """The id of a queued job of ada."""
    return client.post("/chat", json={"message": "hello"}, headers=bearer()).json["job_id"]


def change(services, job, **fields) -> None:
    """Change a stored turn."""
    key = JobId.parse(job)
    services.turns.all[key] = replace(services.turns.all[key], **fields)


def get(client, path, user="ada", **headers):
    """Read as a user."""
    return client.get(path, headers={**bearer(user), **headers})


def test_a_queued_job(client, job):
    """A turn that waits says so, and where it stands."""
    answer = get(client, f"/jobs/{job}")
    assert answer.status_code == 200
    assert answer.json == {
        "job_id": job,
        "session_id": job.split(".")[0],
        "flow": "chat",
        "status": "queued",
        "position": 0,
        "attempt": 0,
        "failures": 0,
        "model": "gpt-5-mini",
        "metadata": {},
        "created_at": "2027-01-15T08:00:00.000Z",
    }


def test_a_completed_job(client, services, job):
    """Answer, usage and times."""
    now = services.clock.now()
    change(
        services,
        job,
        status=Status.COMPLETED,
        attempt=1,
        answer="hi",
        answer_model="m-2027",
        finish_reason="stop",
        usage=Usage(3, 4, cached_tokens=1),
        started_at=now + 1,
        ended_at=now + 2,
        end_id=EventId(1, 2),
    )
    shown = get(client, f"/jobs/{job}").json
    assert (shown["status"], shown["answer"], shown["model"], shown["finish_reason"]) == ("completed", "hi", "m-2027", "stop")
    assert shown["usage"] == {"input_tokens": 3, "output_tokens": 4, "cached_tokens": 1}
    assert shown["ended_at"] == "2027-01-15T08:00:00.002Z"


def test_a_failed_job(client, services, job):
    """The error as the events gave it, and no more of what is stored."""
    change(
        services, job, status=Status.FAILED, error={"code": "expired", "message": "too late", "retryable": True, "inside": "x"}
    )
    assert get(client, f"/jobs/{job}").json["error"] == {"code": "expired", "message": "too late", "retryable": True}


WORD = {"code": "provider_unavailable", "message": "away", "retryable": True}


def test_a_job_that_waits_for_a_retry(client, services, job):
    """Its last error is not a final one, and the time of the next attempt is told, also when that is overdue."""
    due = services.clock.now() + 2_000
    change(services, job, attempt=1, failures=1, due=due, error=WORD)
    for _ in range(2):
        shown = get(client, f"/jobs/{job}").json
        assert (shown["status"], shown["failures"], shown["last_error"], "error" in shown) == ("queued", 1, WORD, False)
        assert shown["retry_at"] == "2027-01-15T08:00:02.000Z"
        services.clock.ms += 5_000


def test_a_job_that_waits_for_the_breaker(client, services, job):
    """It has not failed, and is due later."""
    change(services, job, due=services.clock.now() + 10_000)
    assert get(client, f"/jobs/{job}").json["retry_at"] == "2027-01-15T08:00:10.000Z"


def test_a_job_that_runs_again_or_has_ended_well_shows_no_error_as_its_own(client, services, job):
    """While it is open it is the last error, and once it is answered it is none."""
    change(services, job, status=Status.RUNNING, attempt=2, failures=1, error=WORD)
    running = get(client, f"/jobs/{job}").json
    assert (running["last_error"], "error" in running, "retry_at" in running) == (WORD, False, False)
    change(services, job, status=Status.COMPLETED, answer="hi")
    ended = get(client, f"/jobs/{job}").json
    assert ended.keys().isdisjoint({"error", "last_error", "retry_at"})
    assert get(client, f"/sessions/{job.split('.')[0]}/conversation").json["messages"][0]["error"] is None


def event(type_, **fields) -> str:
    """An event of a log."""
    return json.dumps({"type": type_, **fields})


def test_a_running_job_shows_the_text_so_far(client, services, job):
    """Deltas after the last reset or snapshot; reasoning is not the answer."""
    change(services, job, status=Status.RUNNING, attempt=2)
    services.events.logs[JobId.parse(job)] = [
        event("message_started", model="m"),
        event("message_delta", part=0, kind="text", text="lost"),
        event("message_retrying", retry_in=2.1, reason="provider_unavailable", failures=1),
        event("message_reset", model="m"),
        event("message_delta", part=0, kind="reasoning", text="hmm"),
        event("message_delta", part=0, kind="text", text="a"),
        event("message_snapshot", text="ab", through="2-1"),
        event("something_new", text="x"),
        event("message_delta", part=0, kind="text", text="c"),
    ]
    assert get(client, f"/jobs/{job}").json["answer_partial"] == "abc"


def test_a_running_job_is_shown_without_redis(client, services, job):
    """The turn is the truth; the live text is a courtesy."""
    change(services, job, status=Status.RUNNING, attempt=1)
    services.events.failure = RedisConnectionError("refused")
    answer = get(client, f"/jobs/{job}")
    assert (answer.status_code, answer.json["status"], "answer_partial" in answer.json) == (200, "running", False)


def test_wait_answers_with_the_end(client, services, job):
    """`?wait=` holds until the job has ended."""
    services.until_ended.on_wait = lambda: change(services, job, status=Status.COMPLETED, answer="hi")
    assert get(client, f"/jobs/{job}").json["status"] == "queued"
    assert get(client, f"/jobs/{job}?wait=20").json["answer"] == "hi"


@pytest.mark.parametrize(
    "query", ["wait=-1", "wait=21", "wait=x", "wait=", "wait=1e1", "wait=1&wait=2", "wait=" + "9" * 5000, "hold=1"]
)
def test_a_wrong_query_is_a_422(client, job, query):
    """Parameters are checked as strictly as bodies."""
    answer = get(client, f"/jobs/{job}?{query}")
    assert answer.status_code == 422
    assert answer.json["errors"][0]["parameter"] == query.split("=")[0]


@pytest.mark.parametrize(
    "wrong",
    [
        "x",
        "0" * 32,
        "{s}",
        "{s}.0",
        "{s}.01",
        "{s}.2",
        "{s}.1x",
        "{s}.-1",
        "{s}.9999999999",
        "%2e%2e",
        "{s}.1%0a",
        "a" * 4000,
        "%00",
    ],
)
def test_an_unknown_or_malformed_job_is_a_404(client, job, wrong):
    """All the same answer."""
    path = wrong.replace("{s}", job.split(".")[0])
    known = get(client, f"/jobs/{'f' * 32}.1", **{"X-Request-ID": "same"})
    answer = get(client, f"/jobs/{path}", **{"X-Request-ID": "same"})
    assert (answer.status_code, answer.data) == (404, known.data)


BODIES = {"PATCH /sessions/<session_id>": {"title": "mine now"}, "PATCH /sessions/<session_id>/state": {"name": "mine now"}}
"""What a route needs before it looks at its ids."""


def test_what_is_anothers_is_unknown(client, services, job):
    """Every route with ids, with another user's: the very bytes of an unknown one."""
    tried = set()
    for rule in client.application.url_map.iter_rules():
        if not rule.arguments & {"session_id", "job_id"}:
            continue
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            name = f"{method} {rule.rule}"
            answers = []
            for session in (job.split(".")[0], "f" * 32):
                path = rule.build({name: session + (".1" if name == "job_id" else "") for name in rule.arguments})[1]
                headers = {**bearer("bob"), "X-Request-ID": "same"}
                answers.append(client.open(path, method=method, json=BODIES.get(name), headers=headers))
            assert (answers[0].status_code, answers[0].data) == (404, answers[1].data), name
            tried.add(name)
    assert len(tried) >= 7
    assert get(client, f"/jobs/{job}").json["status"] == "queued"
    assert get(client, f"/sessions/{job.split('.')[0]}").status_code == 200


def test_an_expired_session_is_gone_but_its_job_stays(client, services, job):
    """A session lives 24 hours after its last use, a turn a week."""
    services.clock.ms += 25 * HOUR_MS
    late = bearer(seconds=30 * 24 * 3600)
    assert client.get(f"/sessions/{job.split('.')[0]}", headers=late).status_code == 404
    assert client.get(f"/jobs/{job}", headers=late).status_code == 200
    services.clock.ms += 7 * 24 * HOUR_MS
    assert client.get(f"/jobs/{job}", headers=late).status_code == 404


def test_a_deleted_session_takes_its_jobs_along(client, job):
    """204, and from then on nothing of it is there."""
    session = job.split(".")[0]
    answer = client.delete(f"/sessions/{session}", headers=bearer())
    assert (answer.status_code, answer.headers.get("Content-Type")) == (204, None)
    for path in (f"/sessions/{session}", f"/sessions/{session}/conversation", f"/jobs/{job}"):
        assert get(client, path).status_code == 404
    assert client.delete(f"/sessions/{session}", headers=bearer()).status_code == 404
    assert get(client, "/sessions").json["sessions"] == []


def test_sessions_are_made_listed_and_renamed(client):
    """201 with its place; newest first; paged by a cursor."""
    made = [client.post("/sessions", json={"title": f"t{n}"}, headers=bearer()) for n in range(3)]
    assert [m.status_code for m in made] == [201] * 3
    assert made[0].headers["Location"] == f"/sessions/{made[0].json['session_id']}"
    first = get(client, "/sessions?limit=2").json
    assert [s["title"] for s in first["sessions"]] == ["t2", "t1"]
    rest = get(client, f"/sessions?limit=2&cursor={first['cursor']}").json
    assert ([s["title"] for s in rest["sessions"]], rest["cursor"]) == (["t0"], None)
    renamed = client.patch(made[0].headers["Location"], json={"title": "new"}, headers=bearer())
    assert (renamed.status_code, renamed.json["title"]) == (200, "new")
    assert get(client, "/sessions", user="bob").json == {"sessions": [], "cursor": None}


@pytest.mark.parametrize(
    "body",
    [{"title": ""}, {"title": " "}, {"title": "x" * 201}, {"title": "a\nb"}, {"title": "\x1b[1m"}, {"title": 5}, {"x": 1}, []],
)
def test_a_wrong_session_is_a_422(client, body):
    """Titles are one short line."""
    assert client.post("/sessions", json=body, headers=bearer()).status_code == 422
    made = client.post("/sessions", json={}, headers=bearer())
    assert made.status_code == 201
    assert client.patch(made.headers["Location"], json=body, headers=bearer()).status_code == 422
    assert client.patch(made.headers["Location"], json={}, headers=bearer()).status_code == 422


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=99999999999999999999",
        "limit=x",
        "cursor=",
        "cursor=a%20b",
        "cursor=" + "a" * 300,
    ],
)
def test_a_wrong_page_is_a_422(client, query):
    """Limits and cursors are checked before anything is read."""
    assert get(client, f"/sessions?{query}").status_code == 422


def test_a_conversation_is_read_page_by_page(client, services, job):
    """Newest page first, each page oldest first; a job's status goes with its messages."""
    session = job.split(".")[0]
    for n in (2, 3, 4):
        client.post("/chat", json={"message": f"m{n}", "session_id": session}, headers=bearer())
    change(services, job, status=Status.COMPLETED, answer="a1")
    change(
        services, f"{session}.2", status=Status.FAILED, error={"code": "provider_unavailable", "message": "x", "retryable": True}
    )
    change(services, f"{session}.3", status=Status.CANCELLED, answer="part")
    page = get(client, f"/sessions/{session}/conversation?limit=2").json
    assert [(m["role"], m["text"], m["status"]) for m in page["messages"]] == [
        ("user", "m3", "cancelled"),
        ("assistant", "part", "cancelled"),
        ("user", "m4", "queued"),
    ]
    before = get(client, f"/sessions/{session}/conversation?limit=2&cursor={page['cursor']}").json
    assert [(m["role"], m["text"]) for m in before["messages"]] == [("user", "hello"), ("assistant", "a1"), ("user", "m2")]
    assert before["messages"][2]["error"]["code"] == "provider_unavailable"
    assert before["cursor"] is None
    assert before["messages"][0]["job_id"] == job


@pytest.mark.parametrize("cursor", ["0", "-1", "x", "9999999999", "1.5"])
def test_a_wrong_conversation_cursor_is_a_422(client, job, cursor):
    """It is a turn's number."""
    assert get(client, f"/sessions/{job.split('.')[0]}/conversation?cursor={cursor}").status_code == 422


def test_reads_cost_nothing(client, services, job):
    """Only what writes is counted."""
    taken = services.limiter.taken
    for path in (f"/jobs/{job}", "/sessions", f"/sessions/{job.split('.')[0]}/conversation"):
        assert "RateLimit" not in get(client, path).headers
    assert services.limiter.taken == taken
