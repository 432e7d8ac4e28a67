"""Webhooks that come at the same time, whose process dies, or whose store is away: one turn each, and one answer."""

import os
import secrets
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatapp.effects import EffectId
from chatapp.errors import InFlight, RateLimited
from chatapp.incoming.messages import IngestedMessage
from chatapp.incoming.receive import Receive
from chatapp.model import JobId, ModelOptions
from chatapp.services import build
from chatapp.stores.idempotency import IdempotencyStore
from tests.faults.kinds import lost
from tests.integration.webhook_kit import SECRETS, TEMPLATE, gateway, message
from tests.integration.workers import until


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """Where faults are armed."""
    return tmp_path_factory.mktemp("points")


@pytest.fixture(scope="module")
def api(settings, proxy, points, tmp_path_factory):
    """The API, in two processes, on stores that can be taken away."""
    env = {"WEBHOOK_SECRETS": SECRETS[0], "AWS_ENDPOINT_URL": proxy.url, "FAIL_POINTS": str(points)}
    with gateway(settings, tmp_path_factory.mktemp("api"), **env) as made:
        until(lambda: len(made.workers()) == 2, 30, "there are not two workers")
        yield made


def test_fifty_at_once_are_one_turn_and_fifty_equal_answers(api, services):
    """Over two processes, for a phone that is new: one session, one turn, whatever came first."""
    body = message(api.phone())
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: api.send(body), range(50)))
    assert {a.status for a in answers} == {202}
    assert len({a.body for a in answers}) == 1
    assert sum("idempotency-replayed" not in a.headers for a in answers) == 1
    session = services.sessions.get(answers[0].json["session_id"])
    assert (session.turn_count, session.open_turns) == (1, frozenset({1}))
    assert services.phones.find(body["phoneNumber"]).session_id == session.id


def test_different_messages_at_once_for_a_new_phone_make_one_session(api, services):
    """Ten messages, ten turns, one session."""
    phone = api.phone()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: api.send(message(phone, f"message {n}")), range(10)))
    assert {a.status for a in answers} == {202}
    (session_id,) = {a.json["session_id"] for a in answers}
    assert services.sessions.get(session_id).turn_count == 10
    assert len({a.json["job_id"] for a in answers}) == 10


@pytest.mark.parametrize("point", ["webhook.began", "api.stored"])
def test_a_holder_that_is_killed_is_taken_over_and_there_is_one_turn(api, services, points, point):
    """Before the turn is stored, and after: who asks again waits for the lease to end and gets the answer."""
    body = message(api.phone())
    (points / point).write_text("kill")
    with pytest.raises(ConnectionError):
        api.send(body)
    assert (points / f"{point}.hit").exists()
    answer = api.send(body)
    assert answer.status == 202
    assert services.sessions.get(answer.json["session_id"]).turn_count == 1
    assert api.send(body).body == answer.body
    (points / f"{point}.hit").unlink()


def test_a_holder_that_sleeps_past_its_lease_says_the_same(api, services, points):
    """It was taken over meanwhile: its late write meets the turn that is there."""
    body = message(api.phone())
    before = api.workers()
    (points / "webhook.began").write_text("stop")
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(api.send, body)
        until((points / "webhook.began.hit").exists, 30, "nobody has stopped")
        asleep = int((points / "webhook.began.hit").read_text())
        assert asleep in before
        try:
            in_time = api.send(body)
        finally:
            os.kill(asleep, signal.SIGCONT)
        answers = [in_time, late.result()]
    assert [a.status for a in answers] == [202, 202]
    assert answers[0].body == answers[1].body
    assert services.sessions.get(answers[0].json["session_id"]).turn_count == 1


def test_a_store_that_is_away_is_told_to_the_sender(api, services, proxy):
    """503, so that it sends again; when the store is back the message is kept, once."""
    body = message(api.phone())
    proxy.refuse()
    answer = api.send(body)
    proxy.heal()
    assert (answer.status, answer.json["code"]) == (503, "store_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    answers = [api.send(body) for _ in range(2)]
    assert [a.status for a in answers] == [202, 202]
    assert services.sessions.get(answers[0].json["session_id"]).turn_count == 1


def test_an_answer_of_the_store_that_is_lost_costs_a_try_and_no_turn(api, services, proxy):
    """The turn was stored, its sender was told 503: the next try is told of that very turn."""
    phone = api.phone()
    session_id = api.send(message(phone)).json["session_id"]
    body = message(phone, "PA 120x80")
    with proxy.fault("DynamoDB_20120810.TransactWriteItems", lost(), times=4) as fault:
        assert api.send(body).status == 503
    assert fault.hits == 4
    answer = api.send(body)
    assert (answer.status, answer.json["job_id"]) == (202, f"{session_id}.2")
    assert answer.headers["idempotency-replayed"] == "true"
    assert services.sessions.get(session_id).turn_count == 2


# --- what needs no server of its own


@pytest.fixture
def told(services):
    """Receive a message, in this process."""

    def told(body, *, key=None):
        asked = IngestedMessage.model_validate(body, context=services.settings)
        return services.receive(asked, key=key, allow=lambda _user_id: None)

    return told


def impatient(services):
    """What another process has, which waits for nobody, under leases that nobody outlives."""
    table = services.settings.table_name("idempotency")
    return Receive(
        records=IdempotencyStore(services.dynamodb, table=table, clock=services.clock, lease_ms=60_000),
        phones=services.phones,
        submit=services.submit,
        options=ModelOptions("m"),
        clock=services.clock,
        remember_ms=60_000,
        wait_seconds=0.2,
    )


def number():
    """A phone's number."""
    return f"+5511{secrets.randbelow(10**9):09d}"


def test_who_waits_too_long_for_another_is_told_when_to_ask_again(services):
    """409, after a bounded wait, with what is left of the lease; twins in the same process are told so too."""
    body = IngestedMessage.model_validate(message(number()), context=services.settings)
    entered, leave = threading.Event(), threading.Event()

    def hold(_user_id):
        entered.set()
        assert leave.wait(20)

    receive, other = impatient(services), impatient(services)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(receive, body, key=None, allow=hold)
        assert entered.wait(20)
        for twin, least in ((receive, 1), (other, 30)):
            with pytest.raises(InFlight) as refused:
                twin(body, key=None, allow=hold)
            assert least <= refused.value.retry_after <= 60
        leave.set()
    assert other(body, key=None, allow=hold).answer == first.result().answer


def test_who_is_over_the_limit_may_try_again_at_once(services):
    """A message that was refused leaves nothing behind: no turn, and no record that says it is in flight."""
    body, users = IngestedMessage.model_validate(message(number()), context=services.settings), []
    receive = impatient(services)

    def refuse(user_id):
        users.append(user_id)
        raise RateLimited(retry_after=1)

    with pytest.raises(RateLimited):
        receive(body, key=None, allow=refuse)
    answer = receive(body, key=None, allow=users.append).answer
    assert services.sessions.get(answer["session_id"]).turn_count == 1
    assert set(users) == {services.sessions.get(answer["session_id"]).user_id}


@pytest.mark.parametrize("ended", ["deleted", "expired"])
def test_a_session_that_is_over_is_followed_by_another(services, told, ended):
    """The same user; what was accepted before is still answered as it was."""
    phone = number()
    first = message(phone)
    old = services.sessions.get(told(first).answer["session_id"])
    if ended == "deleted":
        services.sessions.bury(old.id, user_id=old.user_id)
    else:
        services.dynamodb.update_item(
            TableName=services.settings.table_name("sessions"),
            Key={"SessionId": {"S": old.id}},
            UpdateExpression="SET AliveUntil = :past",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )
    new = services.sessions.get(told(message(phone)).answer["session_id"])
    assert new.id != old.id
    assert (new.user_id, new.contact, new.turn_count) == (old.user_id, phone, 1)
    again = told(first, key=secrets.token_hex(8))
    assert (again.replayed, again.answer["session_id"]) == (True, old.id)
    assert services.sessions.get(new.id).turn_count == 1


def test_the_phones_flow_answers_and_owes_the_reply_to_the_phone(settings, api):
    """From the webhook to the owed delivery; what a template told is known when the next message comes."""
    flow = "tests.integration.webhook_kit:Repeat"
    made = build(settings.model_copy(update={"flows": ("chat", flow)}))
    phone = api.phone()
    fired = api.send({"phoneNumber": phone, "template": "shift_starts", "message_id": secrets.token_hex(8)}, TEMPLATE)
    jobs = [JobId.parse(answer.json["job_id"]) for answer in (fired, api.send(message(phone, "cheguei")))]
    for job in jobs:
        assert made.answer(job) is None
    assert [made.turns.get(job).answer for job in jobs] == ["", "cheguei after shift_starts"]
    owed = [made.effects.get(EffectId.reply(job.session_id, job.turn)) for job in jobs]
    assert owed[0] is None
    assert (owed[1].target, owed[1].status) == ("outbound", "confirmed")
    made.redis.close()
