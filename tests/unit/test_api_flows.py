"""State, actions, result and first words of a flow over HTTP, over fakes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chatapp.api import create_app
from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.flows.interview.flow import Interview
from chatapp.flows.port import Asked, Flow, Step
from chatapp.model import Session, Status, Summary
from tests.fakes import FakeServices, bearer, fake_services


class Opening(Flow):
    """A flow that speaks first, tells its state and has a result of its own."""

    name = "opening"
    opens = True

    def run(self, asked: Asked) -> Iterator[Step]:  # type: ignore[override]
        raise NotImplementedError

    def told(self, state: Any) -> tuple[str, dict[str, Any]]:
        return "profile_updated", {"profile": dict(state)}

    def result(self, session: Session) -> dict[str, Any]:
        return {"profile": dict(session.state), "efficiency": 0.5}


@pytest.fixture
def services() -> FakeServices:
    """Services in memory."""
    made = fake_services()
    made.flows["opening"] = Opening()
    return made


@pytest.fixture
def client(services):
    """A client of the app."""
    return create_app(services).test_client()


def call(client, method, path, user="ada", body=None, **headers):
    """Ask as a user."""
    return client.open(path, method=method, json=body, headers={**bearer(user), **headers})


@pytest.fixture
def session(services) -> Session:
    """A session of ada."""
    return services.sessions.create(user_id="ada", flow="opening", state={"budget": 5})


# --- its first words


def test_a_flow_that_speaks_first_gives_the_job_of_its_words(client, services):
    """Links and all, with the session; a flow that waits gives none."""
    answer = call(client, "POST", "/sessions", body={"flow": "opening", "language": "pt"})
    job = answer.json["job"]
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/sessions/{answer.json['session_id']}"
    assert (job["job_id"], job["status"]) == (f"{answer.json['session_id']}.1", "queued")
    assert job["links"]["events"] == f"/jobs/{job['job_id']}/events"
    assert (services.submit.seen[0].input, services.submit.seen[0].state) == ((), {"Language": "pt"})
    assert "job" not in call(client, "POST", "/sessions", body={"flow": "chat"}).json


@pytest.mark.parametrize("flow", ["chat", "opening"])
def test_a_session_is_begun_once_under_a_key(client, services, flow):
    """The same key and body: the same session and job, marked as a replay; another body is refused, another's key is another."""
    key = {"Idempotency-Key": "k-1"}
    first, again = (call(client, "POST", "/sessions", body={"flow": flow}, **key) for _ in range(2))
    assert (first.status_code, again.status_code, len(services.sessions.all)) == (201, 201, 1)
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    assert first.json == again.json
    other = call(client, "POST", "/sessions", body={"flow": flow, "title": "x"}, **key)
    assert (other.status_code, other.json["code"]) == (422, "idempotency_mismatch")
    assert call(client, "POST", "/sessions", "bob", {"flow": flow}, **key).json["session_id"] != first.json["session_id"]


# --- its state


def test_the_state_is_read_with_its_version(client, services, session):
    """As body and as ETag; nothing is sent again to who has it."""
    services.sessions.all[session.id] = replace(session, version=3)
    path = f"/sessions/{session.id}/state"
    answer = call(client, "GET", path)
    assert answer.json == {"session_id": session.id, "flow": "opening", "version": 3, "state": {"budget": 5}}
    assert answer.headers["ETag"] == '"3"'
    for known in ('"3"', 'W/"3"', '"1", "3"', "*"):
        same = call(client, "GET", path, **{"If-None-Match": known})
        assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", '"3"')
    assert call(client, "GET", path, **{"If-None-Match": '"2"'}).status_code == 200


@pytest.mark.parametrize("media", ["application/json", "application/merge-patch+json"])
def test_the_state_is_changed_on_condition(client, services, session, media):
    """A merge patch; the new version stands in the ETag and is told on the session's log."""
    answer = call(
        client, "PATCH", f"/sessions/{session.id}/state", body={"city": "Rome"}, **{"If-Match": '"0"', "Content-Type": media}
    )
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"1"')
    assert answer.json["state"] == {"budget": 5, "city": "Rome"}
    assert services.session_log.appended == [(session.id, "profile_updated", {"version": 1, "profile": answer.json["state"]})]


@pytest.mark.parametrize("seen", ['"7"', "7", 'W/"0"', '"00"', '"x"', '""', '"1", "2"', '"٠"'.encode().decode("latin-1")])
def test_another_version_changes_nothing(client, services, session, seen):
    """412 with the ETag that would be right."""
    answer = call(client, "PATCH", f"/sessions/{session.id}/state", body={"budget": 6}, **{"If-Match": seen})
    assert (answer.status_code, answer.json["code"], answer.headers["ETag"]) == (412, "version_mismatch", '"0"')
    assert services.sessions.all[session.id] == session


def test_without_a_condition_nothing_is_changed(client, services, session):
    """428; `*` is the word for any version."""
    path = f"/sessions/{session.id}/state"
    answer = call(client, "PATCH", path, body={"budget": 6})
    assert (answer.status_code, answer.json["code"]) == (428, "precondition_required")
    assert call(client, "PATCH", path, body={"budget": 6}, **{"If-Match": "*"}).json["version"] == 1


@pytest.mark.parametrize(
    ("body", "media", "refused"),
    [
        (b"[]", "application/json", (422, "invalid_request")),
        (b"null", "application/merge-patch+json", (422, "invalid_request")),
        (b'"x"', "application/json", (422, "invalid_request")),
        (b'{"a":1,"a":2}', "application/json", (400, "malformed_request")),
        (b'{"a":NaN}', "application/json", (400, "malformed_request")),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "application/json", (400, "malformed_request")),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "application/json", (422, "invalid_request")),
        (b'{"a":1e300}', "application/json", (422, "invalid_request")),
        (b'{"a":"\\u0000"}', "application/json", (422, "invalid_request")),
        (b"", "application/json", (400, "malformed_request")),
        (b"{}", "text/plain", (415, "unsupported_media_type")),
        (b"{}", "application/json-patch+json", (415, "unsupported_media_type")),
        (b'{"a":"' + b"x" * 70_000 + b'"}', "application/json", (422, "invalid_request")),
    ],
)
def test_a_patch_that_is_none_is_refused(client, session, body, media, refused):
    """Nothing is changed by it."""
    headers = {**bearer(), "If-Match": "*", "Content-Type": media}
    answer = client.patch(f"/sessions/{session.id}/state", data=body, headers=headers)
    assert (answer.status_code, answer.json["code"]) == refused
    assert call(client, "GET", f"/sessions/{session.id}/state").json["version"] == 0


def test_an_interviews_answers_are_changed_and_what_follows_is_worked_out(client, services):
    """By the names of the stored state; what no interview knows, or cannot be an answer, is refused by its place."""
    session = services.sessions.create(user_id="ada", flow="interview", state={"Language": "pt"})
    services.flows["interview"] = Interview()
    path, any_version = f"/sessions/{session.id}/state", {"If-Match": "*"}
    changed = call(client, "PATCH", path, body={"ProfileData": {"budget": 5000}, "Efficiency": 1}, **any_version).json["state"]
    assert (changed["ProfileData"]["budget"], changed["Language"], changed["Efficiency"] < 1) == (5000, "pt", True)
    assert services.session_log.appended[0][1] == "profile_updated"
    for wrong, pointer in (({"Budget": 1}, "/Budget"), ({"ProfileData": {"budget": "much"}}, "/ProfileData/budget")):
        refused = call(client, "PATCH", path, body=wrong, **any_version)
        assert (refused.status_code, [e["pointer"] for e in refused.json["errors"]]) == (422, [pointer])


# --- its actions


@pytest.fixture
def action(services, session) -> Effect:
    """An action that waits for a yes."""
    now = services.clock.now()
    made = Effect(
        id=EffectId(session.id, "a1-0"),
        user_id="ada",
        name="note",
        status=EffectStatus.STAGED,
        payload={"text": "x"},
        description="Write x",
        created_at=now,
        expires_at=now + 1_000,
    )
    services.actions.all[session.id, "a1-0"] = made
    return made


def test_actions_are_listed(client, session, action):
    """As the flow proposed them."""
    answer = call(client, "GET", f"/sessions/{session.id}/actions")
    assert answer.json == {
        "session_id": session.id,
        "actions": [
            {
                "action_id": "a1-0",
                "name": "note",
                "description": "Write x",
                "status": "staged",
                "payload": {"text": "x"},
                "requested_at": "2027-01-15T08:00:00.000Z",
                "expires_at": "2027-01-15T08:00:01.000Z",
            }
        ],
    }


@pytest.mark.parametrize(("word", "other", "status"), [("confirm", "cancel", "confirmed"), ("cancel", "confirm", "cancelled")])
def test_a_word_is_taken_once_and_not_taken_back(client, action, word, other, status):
    """Said again it is the same; the other one is too late."""
    path = f"/sessions/{action.id.session_id}/actions/a1-0/"
    for _ in range(2):
        answer = call(client, "POST", path + word)
        assert (answer.status_code, answer.json["status"]) == (200, status)
    late = call(client, "POST", path + other)
    assert (late.status_code, late.json["code"]) == (409, "action_not_open")


@pytest.mark.parametrize(
    ("status", "answers"),
    [
        ("confirmed", [200, 409]),
        ("executing", [200, 409]),
        ("executed", [200, 409]),
        ("failed", [200, 409]),
        ("unknown", [200, 409]),
        ("cancelled", [409, 200]),
    ],
)
def test_every_state_has_its_answer(client, services, action, status, answers):
    """A yes that was taken is taken, whatever came of it."""
    key = (action.id.session_id, "a1-0")
    services.actions.all[key] = replace(action, status=EffectStatus(status))
    path = f"/sessions/{key[0]}/actions/a1-0/"
    assert [call(client, "POST", path + word).status_code for word in ("confirm", "cancel")] == answers
    assert services.actions.all[key].status == status


@pytest.mark.parametrize("body", [{"sure": True}, [], "yes"])
def test_a_word_has_no_body(client, session, action, body):
    """422 for one that says something; `{}` says nothing."""
    path = f"/sessions/{session.id}/actions/a1-0/confirm"
    assert call(client, "POST", path, body=body).status_code == 422
    assert call(client, "POST", path, body={}).status_code == 200


def test_an_unknown_action_is_not_there(client, session):
    """404."""
    for name in ("a9-9", "d1", "x", "a" * 300):
        assert call(client, "POST", f"/sessions/{session.id}/actions/{name}/confirm").status_code == 404


# --- its end


def test_an_ended_session_answers_the_same_and_is_gone(client, services, session):
    """What its flow came to; every other way to it is closed, and it has left the list."""
    path = f"/sessions/{session.id}/end"
    job = call(client, "POST", "/chat", body={"message": "x", "session_id": session.id}).json["job_id"]
    first, again = (call(client, "POST", path) for _ in range(2))
    assert first.json == again.json
    assert first.json == {
        "session_id": session.id,
        "flow": "opening",
        "result": {"profile": {"budget": 5}, "efficiency": 0.5},
    }
    assert [t.status for t in services.turns.all.values() if str(t.job_id) == job] == [Status.CANCELLED]
    assert services.events.forgotten == [session.id]
    for method, gone in (("GET", ""), ("GET", "/state"), ("GET", "/conversation"), ("GET", "/actions"), ("DELETE", "")):
        assert call(client, method, f"/sessions/{session.id}{gone}").status_code == 404
    assert call(client, "GET", "/sessions").json["sessions"] == []
    assert call(client, "POST", path, "bob").status_code == 404


def test_what_was_deleted_has_no_result(client, session):
    """It cannot be ended any more."""
    assert call(client, "DELETE", f"/sessions/{session.id}").status_code == 204
    assert call(client, "POST", f"/sessions/{session.id}/end").status_code == 404


# --- what lists and conversations show


def test_lists_show_what_a_flow_found(client, services, session):
    """Summary, facts, and the destination at the top level too."""
    facts = {"recommended_destination": {"city": "Lisbon", "iata": "LIS"}}
    services.sessions.all[session.id] = replace(session, summary=Summary("Lisbon in May", facts), message_count=12)
    shown = call(client, "GET", "/sessions").json["sessions"][0]
    assert (shown["summary"], shown["facts"], shown["message_count"]) == ("Lisbon in May", facts, 12)
    assert shown["recommended_destination"] == facts["recommended_destination"]


def test_quick_replies_stand_with_the_last_message_only(client, services, session):
    """In the job they stay."""
    jobs = [call(client, "POST", "/chat", body={"message": "x", "session_id": session.id}).json["job_id"] for _ in range(2)]
    for job_id, turn in services.turns.all.items():
        services.turns.all[job_id] = replace(turn, status=Status.COMPLETED, answer="y", quick_replies=("yes", "no"))
    messages = call(client, "GET", f"/sessions/{session.id}/conversation").json["messages"]
    assert [m["quick_replies"] for m in messages] == [None, None, None, ["yes", "no"]]
    assert call(client, "GET", f"/jobs/{jobs[0]}").json["quick_replies"] == ["yes", "no"]


def test_a_turn_that_the_flow_began_has_no_users_message(client, services, session):
    """Only what it said."""
    submitted = call(client, "POST", "/sessions", body={"flow": "opening"}).json
    for job_id, turn in services.turns.all.items():
        services.turns.all[job_id] = replace(turn, status=Status.COMPLETED, answer="Hello")
    messages = call(client, "GET", f"/sessions/{submitted['session_id']}/conversation").json["messages"]
    assert [(m["role"], m["text"]) for m in messages] == [("assistant", "Hello")]
