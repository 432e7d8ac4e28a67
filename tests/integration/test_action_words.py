"""A yes or no to an action, by HTTP and over the socket, against real servers: it is one word, whichever way it comes."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatapp.auth import issue
from chatapp.effects import Effect, EffectId, EffectStatus
from chatapp.stores.dynamo import call
from chatapp.stores.effect_records import effect_item
from config.settings import DEV_JWT_SECRET
from tests.integration.attack_kit import pair
from tests.integration.ws_kit import signed_in


@pytest.fixture(scope="module")
def servers(settings, tmp_path_factory):
    """Both servers."""
    with pair(settings, tmp_path_factory.mktemp("words"), RATE_LIMIT_REQUESTS="1000") as running:
        yield running


@pytest.fixture
def stage(services, user):
    """Put an action into a session of the user's, as the end of a turn does. Gives its path."""
    session = services.sessions.create(user_id=user, flow="chat")

    def stage(number=0, life_ms=60_000):
        now = services.clock.now()
        action = Effect(
            id=EffectId.action(session.id, 1, number),
            user_id=user,
            name="note",
            status=EffectStatus.STAGED,
            payload={"text": "x"},
            description="Write x",
            created_at=now + number,
            expires_at=now + life_ms,
        )
        services.dynamodb.put_item(**call(services.settings.table_name("pending-actions"), item=effect_item(action)))
        return f"/sessions/{session.id}/actions/{action.id.id}"

    return stage


def test_a_yes_over_the_socket_is_the_same_as_by_http(servers, stage, user):
    """The socket is told its status and the event; a no comes too late."""
    path = stage()
    _, _, session_id, _, action_id = path.split("/")
    with signed_in(servers.ws, user) as socket:
        assert socket.ask("subscribe", session_id=session_id)["type"] == "subscribed"
        assert socket.ask("confirm", id=1, session_id=session_id, action_id=action_id) == {
            "type": "ack",
            "id": 1,
            "status": "confirmed",
        }
        told = socket.expect("action_updated")
    assert (told["action_id"], told["status"]) == (action_id, "confirmed")
    again = servers.send("POST", f"{path}/confirm", user=user)
    late = servers.send("POST", f"{path}/cancel", user=user)
    assert (again.status, again.json["status"]) == (200, "confirmed")
    assert (late.status, late.json["code"]) == (409, "action_not_open")


def test_of_a_yes_and_a_no_at_once_one_is_taken(servers, stage, user):
    """And each of the same kind is answered alike."""
    path = stage()
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda word: (word, servers.send("POST", f"{path}/{word}", user=user)), ["confirm", "cancel"] * 4)
        )
    found = Counter((word, answer.status) for word, answer in answers)
    assert found in (
        Counter({("confirm", 200): 4, ("cancel", 409): 4}),
        Counter({("cancel", 200): 4, ("confirm", 409): 4}),
    )


def test_what_has_expired_can_neither_be_confirmed_nor_cancelled(servers, stage, user):
    """409, and the list says why; the newest stands first."""
    path = stage(life_ms=-1)
    stage(number=1)
    assert {servers.send("POST", f"{path}/{word}", user=user).status for word in ("confirm", "cancel")} == {409}
    listed = servers.send("GET", path.rpartition("/")[0], user=user).json["actions"]
    assert [(a["action_id"], a["status"]) for a in listed] == [("a1-1", "staged"), ("a1-0", "expired")]


def test_admins_are_told_how_sessions_and_tables_stand(servers, stage, user):
    """Counts, and the tables by name."""
    stage()
    root = {"Authorization": f"Bearer {issue(DEV_JWT_SECRET, 'root', seconds=60, scopes=('admin',))}"}
    metrics = servers.send("GET", "/metrics/sessions", headers=root)
    assert (metrics.status, metrics.json["whole"], metrics.json["by_flow"]["chat"] > 0) == (200, True, True)
    tables = servers.send("GET", "/debug/dynamo/tables", headers=root).json["tables"]
    assert {table["name"]: table["status"] for table in tables} == dict.fromkeys(
        ("sessions", "turns", "pending-actions", "locks", "idempotency"), "ACTIVE"
    )
