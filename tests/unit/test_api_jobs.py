"""POST /jobs/{id}/cancel and /retry over fakes."""

from dataclasses import replace

import pytest

from chatapp.api import create_app
from chatapp.errors import NotFound, SessionContended, StoreUnavailable, TooManyOpenTurns
from chatapp.model import EventId, JobId, Status
from tests.fakes import bearer, fake_services

FAILED = {"code": "provider_unavailable", "message": "away", "retryable": True}


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


def end(services, job, status=Status.FAILED, **fields) -> None:
    """End a stored turn."""
    change(services, job, status=status, attempt=2, end_id=EventId(2, 0), ended_at=services.clock.now(), **fields)


def post(client, path, user="ada", **options):
    """Post without a body, as most clients do."""
    return client.post(path, headers={**bearer(user), **options.pop("headers", {})}, **options)


def test_a_queued_job_is_cancelled_at_once(client, job):
    """200 and the ended job; the same again, however often it is asked."""
    for _ in range(3):
        answer = post(client, f"/jobs/{job}/cancel")
        assert (answer.status_code, answer.json["status"], answer.json["job_id"]) == (200, "cancelled", job)


def test_a_running_job_is_cancelled_soon(client, services, job):
    """202 while its worker has yet to hear of it, and 200 once it has ended."""
    change(services, job, status=Status.RUNNING, attempt=1)
    answers = [post(client, f"/jobs/{job}/cancel") for _ in range(2)]
    assert [(a.status_code, a.json["status"], a.json["cancelling"]) for a in answers] == [(202, "running", True)] * 2
    assert services.turns.all[JobId.parse(job)].cancel_requested
    end(services, job, Status.CANCELLED, answer="what there was")
    ended = post(client, f"/jobs/{job}/cancel")
    assert (ended.status_code, ended.json["status"], ended.json["answer"]) == (200, "cancelled", "what there was")
    assert "cancelling" not in ended.json


def test_an_end_that_came_first_wins(client, services, job):
    """Cancelling what is completed answers what it is."""
    end(services, job, Status.COMPLETED, answer="hi")
    answer = post(client, f"/jobs/{job}/cancel")
    assert (answer.status_code, answer.json["status"], answer.json["answer"]) == (200, "completed", "hi")


def test_cancelling_is_never_rate_limited(client, services, job):
    """Who may post nothing more must still be able to stop what runs."""
    services.limiter.left = 0
    assert post(client, f"/jobs/{job}/cancel").status_code == 200


def test_a_job_that_vanishes_while_it_is_cancelled_is_a_404(client, services, job):
    """As if it had never been."""
    services.cancel = lambda _turn: None
    assert post(client, f"/jobs/{job}/cancel").status_code == 404


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.COMPLETED])
def test_an_ended_job_is_tried_again_in_a_new_one(client, services, job, status):
    """202 with the new job, which says what it repeats; so does the job itself, and its messages."""
    end(services, job, status, error=FAILED if status is Status.FAILED else None)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = post(client, f"/jobs/{job}/retry", headers={"traceparent": trace})
    session = job.split(".")[0]
    again = f"{session}.2"
    assert (answer.status_code, answer.json["job_id"], answer.json["retry_of"]) == (202, again, job)
    assert answer.headers["Location"] == f"/jobs/{again}" == answer.json["links"]["self"]
    assert "Idempotency-Replayed" not in answer.headers
    assert services.retry.seen == [trace]
    assert client.get(f"/jobs/{again}", headers=bearer()).json["retry_of"] == job
    messages = client.get(f"/sessions/{session}/conversation", headers=bearer()).json["messages"]
    assert [m.get("retry_of") for m in messages if m["role"] == "user"] == [None, job]


def test_a_second_retry_gives_the_same_job(client, services, job):
    """A double click is one retry, and says so."""
    end(services, job, error=FAILED)
    first, second = [post(client, f"/jobs/{job}/retry") for _ in range(2)]
    assert (second.status_code, second.json["job_id"]) == (202, first.json["job_id"])
    assert second.headers["Idempotency-Replayed"] == "true"


def test_an_open_job_is_not_tried_again(client, services, job):
    """409: it may still end by itself."""
    answer = post(client, f"/jobs/{job}/retry")
    assert (answer.status_code, answer.json["code"], answer.json["retryable"]) == (409, "not_ended", True)


def test_a_retry_counts_as_a_message(client, services, job):
    """It costs what a message costs."""
    end(services, job)
    services.limiter.left = 1
    assert post(client, f"/jobs/{job}/retry").headers["RateLimit"] == '"user";r=0;t=13'
    assert post(client, f"/jobs/{job}/retry").status_code == 429


@pytest.mark.parametrize(
    ("failure", "status"), [(NotFound(), 404), (TooManyOpenTurns(), 429), (StoreUnavailable(), 503), (SessionContended(), 503)]
)
def test_what_retry_raises_becomes_a_problem(client, services, job, failure, status):
    """As for a message."""
    end(services, job)
    services.submit.failure = failure
    answer = post(client, f"/jobs/{job}/retry")
    assert (answer.status_code, answer.json["code"]) == (status, failure.code)


def test_with_every_breaker_open_nothing_is_tried_again(client, services, job):
    """It would fail at once; what was accepted before is answered the same."""
    end(services, job)
    services.breakers.open_seconds = 11
    refused = post(client, f"/jobs/{job}/retry")
    assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (503, "provider_unavailable", "11")
    services.breakers.open_seconds = None
    again = post(client, f"/jobs/{job}/retry").json["job_id"]
    services.breakers.open_seconds = 11
    assert post(client, f"/jobs/{job}/retry").json["job_id"] == again


@pytest.mark.parametrize("verb", ["cancel", "retry"])
@pytest.mark.parametrize(
    "sent",
    [
        (b"", "", None),
        (b"", "application/json", None),
        (b"{}", "application/json", None),
        (b" { } ", "application/json; charset=utf-8", None),
        (b'{"a":1}', "application/json", 422),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b"{", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b" " * 300_000, "application/json", 413),
    ],
)
def test_no_body_is_needed_and_none_that_says_anything_is_taken(client, services, job, verb, sent):
    """Nothing is done on a request that says more than is understood: body, Content-Type, and the status of the refusal."""
    data, kind, status = sent
    end(services, job, Status.FAILED)
    answer = post(client, f"/jobs/{job}/{verb}", data=data, content_type=kind)
    assert answer.status_code == (status or {"cancel": 200, "retry": 202}[verb])
    assert len(services.submit.seen) == (2 if verb == "retry" and status is None else 1)
