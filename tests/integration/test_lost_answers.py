"""Writes that were applied, and whose answers were lost: recognised as one's own. Nothing is doubled, nothing goes stale."""

import pytest

from chatapp.errors import StoreUnavailable
from chatapp.flows.submit import Idempotency, Submission
from chatapp.model import ModelOptions, Status, text_of, text_part
from chatapp.services import build
from tests.faults.kinds import Fault, conflict, late, lost, malformed, throttled
from tests.integration.test_answer import events, kinds, sent

UPDATE = "DynamoDB_20120810.UpdateItem"
TRANSACT = "DynamoDB_20120810.TransactWriteItems"


@pytest.fixture
def faulty(settings, proxy):
    """Services whose way to AWS leads through the proxy."""
    url = f"http://127.0.0.1:{proxy.port}"
    prefix = settings.sqs_queue_url_prefix.replace(settings.aws_endpoint_url, url)
    made = build(settings.model_copy(update={"aws_endpoint_url": url, "sqs_queue_url_prefix": prefix}))
    yield made
    made.redis.close()


@pytest.fixture
def claim(faulty):
    def claim(job_id, claim_id="c1", lease=20_000):
        now = faulty.clock.now()
        return faulty.turns.claim(job_id, claim_id=claim_id, now=now, lease_end=now + lease)

    return claim


def post(services, user, text="hello", **fields):
    return services.submit(Submission(user_id=user, input=(text_part(text),), options=ModelOptions(f"model-{user}"), **fields))


@pytest.mark.parametrize("times", [1, 2])
def test_a_submit_is_written_once(faulty, proxy, user, times):
    """Lost once the SDK sends it again; lost twice we do, under the same token."""
    with proxy.fault(TRANSACT, lost(), times=times) as fault:
        accepted = post(faulty, user)
        following = post(faulty, user, session_id=accepted.job_id.session_id)
    assert fault.hits == times
    session = faulty.sessions.get(accepted.job_id.session_id)
    assert (session.turn_count, session.open_turns, following.job_id.turn) == (2, {1, 2}, 2)


def test_a_submit_that_seems_to_have_failed_is_found_again_by_its_key(faulty, proxy, user):
    """The client was told 503 and sends it once more: one job."""
    key = Idempotency(key=f"key-{user}", fingerprint="same")
    with proxy.fault(TRANSACT, lost(), times=4) as fault, pytest.raises(StoreUnavailable):
        post(faulty, user, idempotency=key)
    assert fault.hits == 4
    again = post(faulty, user, idempotency=key)
    assert again.replayed
    assert faulty.sessions.get(again.job_id.session_id).turn_count == 1


def test_a_claim_is_known_as_ones_own(faulty, proxy, submit, claim):
    """One attempt, which goes on; somebody else's claim is refused all the same."""
    job_id = submit().job_id
    with proxy.fault(UPDATE, lost(), times=1) as fault:
        won, turn = claim(job_id)
    assert (fault.hits, won, turn.attempt) == (1, True, 1)
    assert claim(job_id, "other")[0] is False


def test_a_claim_of_a_lapsed_turn_is_known_as_ones_own(faulty, proxy, submit, claim):
    """It counts one crash and not two."""
    job_id = submit().job_id
    claim(job_id, "dead", lease=-1)
    faulty.clock.sleep(0.005)
    with proxy.fault(UPDATE, lost(), times=1, containing="#Crashes") as fault:
        won, turn = claim(job_id)
    assert (fault.hits, won, turn.attempt, turn.crashes) == (1, True, 2, 1)


def test_a_claim_whose_answer_is_late_is_known_as_ones_own(faulty, proxy, submit, claim):
    """Later than we wait for it: the SDK has sent it again meanwhile."""
    job_id = submit().job_id
    with proxy.fault(UPDATE, late(3.5), times=1) as fault:
        won, turn = claim(job_id)
    assert (fault.hits, won, turn.attempt) == (1, True, 1)


def test_a_renewal_is_simply_repeated(faulty, proxy, submit, claim):
    """It moves the lease to the same place."""
    _, turn = claim(submit().job_id)
    with proxy.fault(UPDATE, lost(), times=1) as fault:
        assert faulty.turns.renew(turn, lease_end=faulty.clock.now() + 30_000) is not None
    assert fault.hits == 1


def test_a_requeue_is_known_as_ones_own(faulty, proxy, submit, claim):
    """One failure is counted, and the message is hidden."""
    _, turn = claim(submit().job_id)
    now = faulty.clock.now()
    with proxy.fault(UPDATE, lost(), times=1) as fault:
        queued = faulty.turns.requeue(turn, due=now + 2_000, wake_at=now + 12_000, counted="failures")
    assert (fault.hits, queued.status, queued.failures) == (1, Status.QUEUED, 1)


@pytest.mark.parametrize("times", [1, 2])
def test_an_answer_is_stored_once_and_published(faulty, proxy, submit, times):
    """The attempt knows its own end by its claim."""
    job_id = submit("[[echo=once]]").job_id
    following = submit(session_id=job_id.session_id).job_id
    sent(faulty)
    with proxy.fault(TRANSACT, lost(), times=times) as fault:
        assert faulty.answer(job_id) is None
    assert fault.hits == times
    assert faulty.turns.get(job_id).answer == "once"
    assert kinds(faulty, job_id)[-1] == "message_completed"
    assert sent(faulty) == [str(following)]


def test_an_end_by_another_is_known_as_its_own(faulty, proxy, submit):
    """A cancel of a queued turn publishes the end that it stored."""
    job_id = submit().job_id
    with proxy.fault(TRANSACT, lost(), times=2) as fault:
        ended = faulty.cancel(faulty.turns.get(job_id))
    assert (fault.hits, ended.status) == (2, Status.CANCELLED)
    assert [e["id"] for e in events(faulty, job_id)] == ["1-0"]


def test_a_merge_is_written_once(faulty, proxy, submit, user):
    """The text stands in the turn one time."""
    head = submit().job_id
    waiting = submit("one", session_id=head.session_id).job_id
    with proxy.fault(TRANSACT, lost(), times=2) as fault:
        merged = post(faulty, user, "two", session_id=head.session_id, on_busy="merge")
    assert (fault.hits, merged.merged) == (2, True)
    assert text_of(faulty.turns.get(waiting).input) == "one\ntwo"


def test_a_send_whose_answer_was_lost_is_a_message_too_many(faulty, proxy, user):
    """Whoever receives it drops it: the relay's copy of a message that had arrived."""
    with proxy.fault("AmazonSQS.SendMessage", lost(), times=1) as fault:
        job_id = post(faulty, user, "[[echo=one]]").job_id
    assert fault.hits == 1
    for _ in range(3):
        faulty.answer(job_id)
    assert faulty.turns.get(job_id).attempt == 1


def test_throttling_and_conflicts_are_ridden_out(faulty, proxy, submit):
    """At the claim, at the end: the turn is answered at its first attempt."""
    job_id = submit("[[echo=through]]").job_id
    with proxy.fault(UPDATE, throttled(), times=1) as slow, proxy.fault(TRANSACT, conflict(), times=3) as met:
        faulty.answer(job_id)
    assert (slow.hits, met.hits) == (1, 3)
    turn = faulty.turns.get(job_id)
    assert (turn.answer, turn.attempt) == ("through", 1)


def test_the_error_page_of_a_proxy_is_no_answer(faulty, proxy, submit, claim):
    """Not even one that is no UTF-8, of which the SDK makes an error of its own kind."""
    job_id = submit().job_id
    page = Fault("answer", status=503, body="<h1>dépassé</h1>".encode("latin-1"))
    with proxy.fault("DynamoDB_*", page) as fault:
        with pytest.raises(StoreUnavailable):
            claim(job_id)
        assert faulty.health.dynamodb() is False
    assert fault.hits >= 2
    assert claim(job_id)[0]


def test_only_dynamodb_sets_the_clock(faulty, proxy, submit):
    """A gateway that is an hour ahead, and answers in its place, does not."""
    before = faulty.clock.now() - faulty.clock.machine()
    page = Fault("answer", status=502, body=b"{}", headers=("Date: Sat, 01 Jan 2050 00:00:00 GMT",))
    with proxy.fault("DynamoDB_*", page) as fault, pytest.raises(StoreUnavailable):
        faulty.turns.get(submit().job_id)
    assert fault.hits
    assert abs(faulty.clock.now() - faulty.clock.machine() - before) < 2_000


def test_a_page_that_says_ok_is_not_taken_for_an_empty_answer(faulty, proxy, submit):
    """Or a turn that is there would be unknown, and its message poison."""
    job_id = submit().job_id
    with proxy.fault("DynamoDB_*", malformed()) as fault, pytest.raises(StoreUnavailable):
        faulty.answer(job_id)
    assert fault.hits
    assert faulty.turns.get(job_id).attempt == 0


def test_a_turn_that_goes_back_to_the_queue_insists(faulty, proxy, submit):
    """A moment without DynamoDB costs no crash in the place of a failure."""
    job_id = submit("insists [[status=500]]").job_id
    with proxy.fault(UPDATE, throttled(), times=4, containing="#Failures") as fault:
        faulty.answer(job_id)
    assert fault.hits == 4
    turn = faulty.turns.get(job_id)
    assert (turn.status, turn.failures, turn.crashes) == (Status.QUEUED, 1, 0)
