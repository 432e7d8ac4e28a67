"""The flows, through the processes that production runs and with the client library: begun, answered, carried out, delivered."""

import hashlib
import hmac
import json
import secrets

import httpx2
import pytest

from chatapp.client import Client, Refused
from config.settings import DEV_OUTBOUND_SECRET, DEV_WEBHOOK_SECRET
from tests.integration.workers import until
from tests.outbound_kit import documented_verify


@pytest.fixture
def client(stack):
    """A user nobody else is."""
    with Client(stack.api, stack.token_for(f"user-{secrets.token_hex(4)}")) as made:
        yield made


@pytest.fixture
def write(stack):
    """Write to the service by WhatsApp, from a phone nobody else has."""
    phone = f"+55119{secrets.randbelow(10**8):08}"

    def write(text, to=httpx2):
        body = json.dumps({"message_id": secrets.token_hex(8), "phoneNumber": phone, "text": text}).encode()
        signature = hmac.new(DEV_WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={signature}"}
        answer = to.post(f"{stack.api}/webhook/ingest", content=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json()["job_id"]

    write.phone = phone
    return write


def test_an_interview_is_begun_answered_and_ended(client):
    """It speaks first, remembers several answers at once, and its result outlives it."""
    first = client.begin("interview", language="pt")
    assert "cidade" in first.text
    session = first.session_id
    told = client.chat("São Paulo, 5 mil reais, 2 adultos, em julho", session).text
    profile = client.state(session)["state"]["ProfileData"]
    assert "?" in told
    assert (profile["origin"]["city"], profile["budget"], profile["passengers"]["adults"]) == ("São Paulo", 5000, 2)
    result = client.end(session)["result"]
    assert result["profile"] == profile
    assert client.end(session)["result"] == result
    with pytest.raises(Refused) as refused:
        client.state(session)
    assert refused.value.code == "not_found"


def test_an_action_is_proposed_confirmed_and_carried_out_once(client, stack):
    """However often the user says yes, its target is called once."""
    answer = client.chat("PA 120x80", flow="orchestrator")
    assert "120" in answer.text
    (proposed,) = client.actions(answer.session_id)
    assert (proposed["name"], proposed["status"]) == ("clinical_note", "staged")
    for _ in range(5):
        client.confirm(answer.session_id, proposed["action_id"])
    until(lambda: client.actions(answer.session_id)[0]["status"] == "executed", 20, "the action is not carried out")
    calls = httpx2.get(f"{stack.partners}/actions").json()[f"{answer.session_id}/{proposed['action_id']}"]
    assert calls["calls"] == 1


def test_an_action_may_be_refused(client):
    """It is not carried out, and cannot be confirmed any more."""
    proposed = client.chat("PA 120x80", flow="orchestrator")
    assert proposed.text  # a no to what was not asked yet would not count
    session = proposed.session_id
    assert client.chat("não", session).text
    assert [action["status"] for action in client.actions(session)] == ["cancelled"]
    with pytest.raises(Refused) as refused:
        client.confirm(session, client.actions(session)[0]["action_id"])
    assert refused.value.code == "action_not_open"


def test_a_nurse_writes_by_whatsapp_and_is_answered_there(write, stack):
    """Arrival, yes, and what came of it: three signed deliveries to the number that wrote, and one call of the target."""

    def inbox():
        found = httpx2.get(f"{stack.partners}/outbound").json()["deliveries"]
        return [d for d in found if json.loads(d["body"])["data"].get("to") == write.phone]

    job_id = write("cheguei")
    until(lambda: len(inbox()) == 1, 20, "the question is not delivered")
    write("sim")
    until(lambda: len(inbox()) == 3, 20, "the outcome is not delivered")
    session_id = job_id.partition(".")[0]
    calls = httpx2.get(f"{stack.partners}/actions").json()
    called = [c for key, c in calls.items() if key.startswith(session_id)]
    assert [(c["name"], c["calls"]) for c in called] == [("shift_check_in", 1)]
    for delivery in inbox():
        documented_verify()(DEV_OUTBOUND_SECRET, delivery["headers"], delivery["body"].encode())
    assert {json.loads(d["body"])["type"] for d in inbox()} == {"message.completed", "action.executed"}


def test_a_phone_is_nobody_elses_user(write, stack):
    """What was written by phone is unknown to whoever holds a token."""
    job_id = write("cheguei")
    session_id = job_id.partition(".")[0]
    for path in (
        f"/jobs/{job_id}",
        f"/sessions/{session_id}",
        f"/sessions/{session_id}/state",
        f"/sessions/{session_id}/actions",
    ):
        assert httpx2.get(stack.api + path, headers=stack.headers()).status_code == 404
