"""Sessions in real tables: states that two change, ends, keys, surveys, and what is over."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from click.testing import CliRunner

from chatapp.cli import cli
from chatapp.errors import IdempotencyMismatch, NotFound
from chatapp.flows.submit import Idempotency
from chatapp.model import Ending, EventId, SessionWrite, Status, Summary
from chatapp.provision import Provisioner
from chatapp.services import build
from tests.integration.workers import env_of


@pytest.fixture
def store(services):
    """The store."""
    return services.sessions


@pytest.fixture
def session(store, user):
    """A session."""
    return store.create(user_id=user, flow="chat")


def test_a_state_is_kept_as_it_is(store, session):
    """Every kind of value, at every depth; the version rises by one."""
    state = {"a": [1, 2.5, True, None, "é", {}], "b": {"c": {"d": []}}, "big": 10**37, "small": 1e-100}
    written, now = store.change_state(session, state)
    assert (written, now.version, now.state) == (True, 1, state)
    assert store.get(session.id) == now


def test_one_of_many_writers_wins(store, session):
    """Who has seen an old version gets the session as it stands."""
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda n: store.change_state(session, {"n": n}), range(8)))
    won = [now for written, now in outcomes if written]
    assert len(won) == 1
    assert {now.version for _, now in outcomes} == {1}
    assert store.get(session.id).state == won[0].state


def test_a_write_whose_answer_was_lost_is_ours(services, store, session):
    """The client of DynamoDB sends it again, and is refused: by our own write, which is recognised."""
    once = services.dynamodb.update_item
    lost = []

    class Twice:
        """Sends each update twice, as after a lost answer."""

        def update_item(self, **request):
            lost.append(once(**request))
            return once(**request)

    store._client = Twice()
    assert store.change_state(session, {"a": 1})[0] is True
    assert (len(lost), services.sessions._client is store._client) == (1, True)


def test_a_state_of_somebody_elses_is_not_there(store, session):
    """Nor is a deleted one, or one that is over."""
    for gone in (replace(session, user_id="eve"), replace(session, id="f" * 32)):
        with pytest.raises(NotFound):
            store.change_state(gone, {})
        with pytest.raises(NotFound):
            store.conclude(gone, {})
    store.bury(session.id, user_id=session.user_id)
    with pytest.raises(NotFound):
        store.change_state(session, {})
    with pytest.raises(NotFound):
        store.conclude(session, {})


def test_an_ended_session_keeps_its_result(services, store, session):
    """The first result stays; it has left the list, and nothing changes its state."""
    assert store.conclude(session, {"profile": {}})[0] is True
    written, now = store.conclude(session, {"profile": {"other": 1}})
    assert (written, now.result, now.alive(0)) == (False, {"profile": {}}, False)
    assert store.list(session.user_id, 10)[0] == []
    with pytest.raises(NotFound):
        store.change_state(session, {"a": 1})


def test_an_end_waits_for_the_state_that_it_tells_of(services, store, session, user):
    """A result that was made of an older state is made anew."""
    store.change_state(session, {"a": 1})
    ended = services.end_session(session)
    assert ended.result == {"a": 1}


def test_open_turns_are_cancelled_by_the_end(services, submit, user):
    """As when a session is deleted."""
    job = submit().job_id
    services.end_session(services.sessions.get(job.session_id))
    assert services.turns.get(job).status is Status.CANCELLED


def test_twins_of_a_key_begin_one_session(store, user):
    """However many at once; another payload is refused."""
    once = Idempotency(f"key-{user}", "print")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: store.create_once(once, user_id=user, flow="chat", title="x"), range(8)))
    assert len({session.id for session, _ in made}) == 1
    assert [replayed for _, replayed in made].count(False) == 1
    assert len(store.list(user, 10)[0]) == 1
    with pytest.raises(IdempotencyMismatch):
        store.create_once(replace(once, fingerprint="other"), user_id=user, flow="chat")


def test_the_list_shows_summary_and_messages(services, store, submit, user):
    """From the index: what a flow stored with the end of a turn."""
    job = submit().job_id
    _, turn = services.turns.claim(job, claim_id="c", now=services.clock.now(), lease_end=services.clock.now() + 10_000)
    ending = Ending(status=Status.COMPLETED, end_id=EventId(1, 1), at=services.clock.now(), by="c", holder=True, answer="hi")
    summary = Summary("Lisbon", {"recommended_destination": "LIS"})
    services.turns.end(turn, ending, write=SessionWrite(seen=0, state={"a": 1}, summary=summary))
    (listed,) = store.list(user, 10)[0]
    assert (listed.summary, listed.message_count) == (summary, 2)


@pytest.fixture
def own(settings):
    """Services with tables of their own."""
    made = build(settings.model_copy(update={"dynamodb_table_prefix": settings.dynamodb_table_prefix + "own-"}))
    Provisioner(made.settings).apply()
    yield made
    made.redis.close()


def test_a_survey_counts_what_is_alive(own):
    """By flow, with the interviews' numbers; what is deleted or over is not counted. A bounded one says so."""
    for n in range(6):
        own.sessions.create(user_id="ada", flow="interview", state={"InterviewComplete": n > 3, "Efficiency": n / 2})
    for n in range(3):
        made = own.sessions.create(user_id="bob", flow="chat")
        if n:
            own.sessions.bury(made.id, user_id="bob")
    found = own.surveyor.recent()
    assert (found.active, dict(found.by_flow), found.whole) == (7, {"interview": 6, "chat": 1}, True)
    assert (found.interviews, found.interviews_complete, found.mean_efficiency) == (6, 2, 1.25)
    own.sessions.create(user_id="eve", flow="chat")
    assert own.surveyor.recent() is found
    assert own.surveyor.survey().active == 8
    nothing = own.surveyor.survey(max_pages=0)
    assert (nothing.active, nothing.whole) == (0, False)


def test_what_is_over_is_deleted_and_nothing_else(own):
    """On condition that its time is still over; a limit is kept."""
    made = [own.sessions.create(user_id="ada", flow="chat") for _ in range(5)]
    table = own.settings.table_name("sessions")
    for session in made[:4]:
        own.dynamodb.update_item(
            TableName=table,
            Key={"SessionId": {"S": session.id}},
            UpdateExpression="SET ExpiresAt = :past",
            ExpressionAttributeValues={":past": {"N": "1000"}},
        )
    before = own.surveyor.survey().active
    assert own.surveyor.clean(limit=1) == 1
    assert own.surveyor.clean() == 3
    assert own.surveyor.clean() == 0
    assert (own.surveyor.survey().active, own.sessions.get(made[4].id)) == (before - 4, made[4])
    assert own.surveyor._delete({"SessionId": made[4].id, "ExpiresAt": 1}) is False


def test_operators_list_count_and_clean(own, monkeypatch):
    """The commands, over the same tables."""
    for name, value in env_of(own.settings).items():
        monkeypatch.setenv(name, value)
    made = own.sessions.create(user_id="ada", flow="chat", title="A \x1b title")

    def run(*words):
        ended = CliRunner().invoke(cli, ["sessions", *words])
        assert ended.exit_code == 0, ended.output
        return ended.output

    assert f"{made.id}  chat" in run("list", "ada")
    assert "\x1b" not in run("list", "ada")
    assert json.loads(run("list", "ada", "--json", "--limit", "1"))["session_id"] == made.id
    assert json.loads(run("count", "--json"))["by_flow"]["chat"] >= 1
    assert "active" in run("count")
    assert run("clean") == "0 deleted\n"


def test_tables_are_described(own):
    """Status, expiry and indexes of each; what cannot be described says why, beside the others."""
    found = {table["name"]: table for table in own.tables.describe()}
    assert found.keys() == {"sessions", "turns", "pending-actions", "locks", "idempotency"}
    assert found["sessions"]["status"] == "ACTIVE"
    assert found["sessions"]["ttl"] == {"attribute": "ExpiresAt", "status": "ENABLED"}
    assert [index["name"] for index in found["sessions"]["indexes"]] == ["UserIdIndex"]
    own.tables._names["turns"] = "there-is-none"
    broken = {table["name"]: table for table in own.tables.describe()}
    assert "ResourceNotFoundException" in broken["turns"]["error"]
    assert broken["locks"] == found["locks"]


def test_an_index_of_an_earlier_version_is_a_problem(own):
    """What lists show must be in it."""
    table = own.settings.table_name("sessions")
    assert Provisioner(own.settings).problems() == []
    definition = own.dynamodb.describe_table(TableName=table)["Table"]
    own.dynamodb.delete_table(TableName=table)
    index = {k: definition["GlobalSecondaryIndexes"][0][k] for k in ("IndexName", "KeySchema", "Projection")}
    index["Projection"]["NonKeyAttributes"].remove("MessageCount")
    own.dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=definition["KeySchema"],
        AttributeDefinitions=definition["AttributeDefinitions"],
        GlobalSecondaryIndexes=[index],
    )
    assert any("UserIdIndex" in line and "lacks MessageCount" in line for line in Provisioner(own.settings).problems())
    own.dynamodb.delete_table(TableName=table)
    Provisioner(own.settings).apply()
