"""A submit keeps the message: one transaction, one number, one answer per key."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from chatapp.errors import IdempotencyMismatch, NotFound, SessionBusy, TooManyOpenTurns
from chatapp.flows import submit as submit_flow
from chatapp.flows.submit import Idempotency, Submission
from chatapp.model import ModelOptions, Status, text_part
from chatapp.services import build
from config.settings import Settings


def test_a_new_session_begins_with_its_first_turn(services, submit):
    """The turn is queued and open, and the session has a title from it."""
    accepted = submit("  What is\n a queue? ")
    turn = services.turns.get(accepted.job_id)
    session = services.sessions.get(accepted.job_id.session_id)
    assert (turn.status, turn.attempt, session.turn_count, session.open_turns) == (Status.QUEUED, 0, 1, {1})
    assert session.title == "What is a queue?"


def test_a_key_gives_one_job_however_often_it_is_sent(services, submit):
    """The twins get the first one's answer, and nothing else is stored."""
    key = Idempotency("key-1", "payload")
    first, second = submit(idempotency=key), submit(idempotency=key)
    assert second.job_id == first.job_id
    assert (first.replayed, second.replayed) == (False, True)
    with pytest.raises(IdempotencyMismatch):
        submit(idempotency=Idempotency("key-1", "another payload"))


def test_twins_in_parallel_get_one_job(submit):
    """Ten at the same moment with one key: one turn."""
    with ThreadPoolExecutor(10) as pool:
        accepted = list(pool.map(lambda _: submit(idempotency=Idempotency("key-parallel", "p")), range(10)))
    assert len({a.job_id for a in accepted}) == 1
    assert sum(not a.replayed for a in accepted) == 1


def test_fifty_at_once_on_one_session_all_get_their_own_number(settings, user, submit, monkeypatch):
    """Over three processes' worth of services, without a refusal."""
    # The three seconds after which there would be one are the budget of a machine that does nothing else.
    monkeypatch.setattr(submit_flow, "GIVE_UP_SECONDS", 60)
    session_id = submit().job_id.session_id
    fleet = [build(settings) for _ in range(3)]

    def post(i):
        submission = Submission(user_id=user, session_id=session_id, input=(text_part(str(i)),), options=ModelOptions("m"))
        return fleet[i % 3].submit(submission)

    with ThreadPoolExecutor(50) as pool:
        accepted = list(pool.map(post, range(50)))
    assert sorted(a.job_id.turn for a in accepted) == list(range(2, 52))
    assert fleet[0].sessions.get(session_id).open_turns == frozenset(range(1, 52))


def test_another_users_session_is_not_found(services, submit):
    """And nothing is written into it."""
    session_id = submit().job_id.session_id
    with pytest.raises(NotFound):
        services.submit(Submission(user_id="eve", session_id=session_id, input=(text_part("x"),), options=ModelOptions("m")))
    assert services.sessions.get(session_id).turn_count == 1


def test_a_deleted_session_takes_nothing_more_but_replays_what_it_took(services, submit, user):
    """A key that was answered is answered the same."""
    first = submit()
    session_id = first.job_id.session_id
    kept = submit(session_id=session_id, idempotency=Idempotency("kept", "p"))
    services.delete_session(session_id, user)
    assert submit(session_id=session_id, idempotency=Idempotency("kept", "p")).job_id == kept.job_id
    with pytest.raises(NotFound):
        submit(session_id=session_id)


def test_reject_refuses_a_busy_session(submit):
    """`on_busy: reject` wants no open turn."""
    session_id = submit().job_id.session_id
    with pytest.raises(SessionBusy):
        submit(session_id=session_id, on_busy="reject")


def test_reject_is_decided_by_the_write_and_not_by_the_read(services, submit, user):
    """Two that both saw an idle session: one is refused."""
    accepted = submit()
    services.answer(accepted.job_id)
    session_id = accepted.job_id.session_id

    def post(_):
        try:
            return submit(session_id=session_id, on_busy="reject")
        except SessionBusy:
            return None

    with ThreadPoolExecutor(8) as pool:
        assert sum(a is not None for a in pool.map(post, range(8))) == 1


def test_a_session_with_too_many_open_turns_refuses(settings, user):
    """The limit is a setting."""
    services = build(settings.model_copy(update={"max_open_turns": 2}))

    def post(session_id=None):
        return services.submit(
            Submission(user_id=user, session_id=session_id, input=(text_part("x"),), options=ModelOptions("m"))
        )

    session_id = post().job_id.session_id
    post(session_id)
    with pytest.raises(TooManyOpenTurns):
        post(session_id)


def test_a_send_that_fails_does_not_fail_the_request(settings, services, user):
    """The turn is kept, and the relay is told to look at once."""
    away = Settings.model_validate(settings.model_dump() | {"sqs_queue_url_prefix": "http://127.0.0.1:1/000000000000/x-"})
    offline = build(away.model_copy(update={"aws_endpoint_url": "http://127.0.0.1:1"}))
    broken = build(settings)
    broken.__dict__["wakeups"] = offline.wakeups  # the queue refuses, everything else is there
    accepted = broken.submit(Submission(user_id=user, input=(text_part("x"),), options=ModelOptions("m")))
    turn = services.turns.get(accepted.job_id)
    assert turn.wake_at <= services.clock.now()


def test_a_big_input_does_not_weigh_on_the_item_of_the_lease(services, submit):
    """A renewal pays for the item it writes: the input stands apart, and is read with the turn."""
    text = "x" * 20_000
    accepted = submit(text)
    raw = services.dynamodb.get_item(
        TableName=services.settings.table_name("turns"),
        Key={"SessionId": {"S": accepted.job_id.session_id}, "Turn": {"N": "1"}},
    )["Item"]
    assert len(str(raw)) < 2_000
    assert services.turns.get(accepted.job_id).input[0]["text"] == text
    assert [t.number for t in services.turns.page(accepted.job_id.session_id, limit=10)] == [1]
