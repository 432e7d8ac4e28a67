"""What the delivery guarantees say of one turn: retries, dead letters, hand-backs, cancel, interrupt, merge, retry."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

from chatapp.errors import BreakerOpen, NotEnded, NotFound
from chatapp.flows.submit import Submission
from chatapp.flows.turn import HideUntil
from chatapp.model import JobId, ModelOptions, Status, text_of, text_part
from chatapp.services import build
from tests.integration.test_answer import events, kinds, sent
from tests.integration.workers import until


@pytest.fixture
def dead(services):
    """Read what is in the dead-letter queue, as (reason, job, attempt), and empty it."""
    sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url=services.settings.aws_endpoint_url)
    url = services.settings.queue_url("chat-dlq")

    def dead():
        found = []
        wanted = {"QueueUrl": url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
        while messages := sqs.receive_message(**wanted).get("Messages"):
            for message in messages:
                told = {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
                found.append((told["Reason"], told["JobId"], int(told["Attempt"])))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    dead()
    return dead


@pytest.fixture
def quick(settings):
    """Services whose retries are due within a tenth of a second."""
    made = build(settings.model_copy(update={"retry_seconds": 0.05}))
    yield made
    made.redis.close()


def until_due(services, job_id):
    """Wait for the time of a turn's next claim."""
    time.sleep(max(0, services.turns.get(job_id).due - services.clock.now()) / 1000 + 0.001)


def drive(services, job_id, most=10):
    """Look at a turn until its message has served its purpose. Returns: how often it was hidden."""
    for hidden in range(most):
        if services.answer(job_id) is None:
            return hidden
        until_due(services, job_id)
    raise AssertionError("the message never served its purpose")


def test_a_retryable_failure_ends_the_attempt_and_not_the_turn(services, submit):
    """The turn is queued again and due in 2 s or a quarter more; the client is told; the message is hidden until then."""
    job_id = submit("[[fail=1 status=500]] [[echo=fine]]").job_id
    before = services.clock.now()
    later = services.answer(job_id)
    early, turn = services.answer(job_id), services.turns.get(job_id)
    assert isinstance(later, HideUntil)
    assert isinstance(early, HideUntil)  # not due yet
    assert (turn.status, turn.failures, turn.crashes, turn.attempt) == (Status.QUEUED, 1, 0, 1)
    assert 2_000 <= turn.due - before <= 2_500 + (services.clock.now() - before)
    until(lambda: kinds(services, job_id)[-1:] == ["message_retrying"], 30, "the client is not told")
    told = events(services, job_id)[-1]
    assert (told["type"], told["reason"], told["failures"]) == ("message_retrying", "provider_unavailable", 1)
    assert 2 <= told["retry_in"] <= 2.5


def test_the_attempt_after_a_failure_begins_with_a_reset_and_may_succeed(quick, submit):
    """One log: started, retrying, reset, deltas, completed."""
    job_id = submit("once more [[fail=1 status=500]] [[echo=fine]]").job_id
    assert drive(quick, job_id) == 1
    turn = quick.turns.get(job_id)
    assert (turn.status, turn.answer, turn.attempt, turn.error) == (Status.COMPLETED, "fine", 2, None)
    assert kinds(quick, job_id) == [
        "message_started",
        "message_retrying",
        "message_reset",
        "message_delta",
        "message_completed",
    ]


def test_the_pauses_double(services, submit):
    """2, 4, 8 s and up to a quarter more."""
    job_id = submit("[[status=500]]").job_id
    pauses = []
    for _ in range(3):
        pauses.append(services.answer(job_id).seconds)
        services.dynamodb.update_item(
            TableName=services.settings.table_name("turns"),
            Key={"SessionId": {"S": job_id.session_id}, "Turn": {"N": "1"}},
            UpdateExpression="SET Due = :now",
            ExpressionAttributeValues={":now": {"N": "0"}},
        )
    assert [2 <= pauses[0] <= 2.5, 4 <= pauses[1] <= 5, 8 <= pauses[2] <= 10] == [True] * 3
    assert services.answer(job_id) is None


def test_a_provider_that_says_when_to_come_back_is_obeyed(services, submit):
    """Its Retry-After counts when it is longer than the pause of ours."""
    later = services.answer(submit("[[status=429 retry_after=7]]").job_id)
    assert later.seconds == 7


@pytest.mark.parametrize("directive", ["[[status=500]]", "[[cut=3]]", "[[garbage=2]]", "[[status=429]]"])
def test_the_last_failure_ends_the_turn_and_fills_the_dead_letter_queue(quick, submit, dead, directive):
    """Four attempts, an `error` event, one dead letter with its reason, the mark cleared, the next turn woken."""
    job_id = submit(f"please {directive}").job_id
    following = submit(session_id=job_id.session_id).job_id
    sent(quick)
    assert drive(quick, job_id) == 3
    turn = quick.turns.get(job_id)
    assert (turn.status, turn.attempt, turn.failures, turn.dlq_pending) == (Status.FAILED, 4, 4, False)
    assert dead() == [(turn.error["code"], str(job_id), 4)]
    assert events(quick, job_id)[-1]["code"] == turn.error["code"]
    assert sent(quick) == [str(following)]


def test_a_crash_between_the_end_and_the_dead_letter_is_made_good_by_the_relay(quick, submit, dead, monkeypatch):
    """The turn stays in the index of open work until the queue has its message."""
    job_id = submit("[[status=500]]").job_id
    with monkeypatch.context() as patch:
        patch.setattr(quick.endings, "bury", lambda _turn: None)  # the worker dies here
        drive(quick, job_id)
    assert quick.turns.get(job_id).dlq_pending
    assert dead() == []
    quick.relay._clock = _Ahead(quick.clock, 11_000)
    quick.relay.look()
    assert dead() == [("provider_unavailable", str(job_id), 4)]
    assert not quick.turns.get(job_id).dlq_pending
    quick.relay.look()
    assert dead() == []


class _Ahead:
    def __init__(self, clock, ahead):
        self._clock, self._ahead = clock, ahead

    def now(self):
        return self._clock.now() + self._ahead

    def monotonic(self):
        return self._clock.monotonic()


@pytest.mark.parametrize("directive", ["[[status=400]]", "[[status=413]]"])
def test_what_is_wrong_with_the_request_is_no_poison(quick, submit, dead, directive):
    """One attempt, acked, nothing for an operator to do."""
    job_id = submit(directive).job_id
    assert drive(quick, job_id) == 0
    assert quick.turns.get(job_id).attempt == 1
    assert dead() == []


def test_a_turn_that_kills_its_workers_ends_with_a_dead_letter(services, submit, dead):
    """Crashes are counted apart from failures."""
    job_id = submit().job_id
    for n in range(6):
        now = services.clock.now()
        services.turns.claim(job_id, claim_id=f"dead{n}", now=now, lease_end=now - 1)
    turn = services.turns.get(job_id)
    assert (turn.crashes, turn.failures) == (5, 0)
    time.sleep(0.005)
    assert services.answer(job_id) is None
    assert services.turns.get(job_id).error["code"] == "crashed"
    assert [d[:2] for d in dead()] == [("crashed", str(job_id))]


def test_restart_fail_ends_a_turn_that_fails_after_it_was_seen(quick, submit, dead):
    """Before the first visible delta it is tried again like any other."""
    seen, unseen = submit("[[cut=3]]", restart="fail").job_id, submit("unseen [[fail=1 status=500]]", restart="fail").job_id
    assert drive(quick, seen) == 0
    assert quick.turns.get(seen).error["code"] == "provider_unavailable"
    assert drive(quick, unseen) == 1
    assert quick.turns.get(unseen).status is Status.COMPLETED
    assert dead() == []


class _Open:
    """A model whose breaker is open."""

    def stream(self, _request):
        raise BreakerOpen(retry_after=3)
        yield


def test_a_fresh_turn_fails_at_once_while_the_breaker_is_open(settings, submit, dead):
    """No attempt to come, no dead letter; the user may try again."""
    services = build(settings)
    services.answer._llm = _Open()
    job_id = submit().job_id
    assert services.answer(job_id) is None
    turn = services.turns.get(job_id)
    assert (turn.status, turn.error["code"], turn.error["retryable"]) == (Status.FAILED, "provider_unavailable", True)
    assert dead() == []


def test_a_turn_that_failed_before_waits_for_the_breaker_at_no_cost(settings, submit):
    """So does a fresh one with ON_BREAKER_OPEN=wait; it is due when the breaker half-opens."""
    failed, waiting = build(settings), build(settings.model_copy(update={"on_breaker_open": "wait"}))
    job_id = submit("[[status=500]]").job_id
    failed.answer(job_id)
    until_due(failed, job_id)
    failed.answer._llm = waiting.answer._llm = _Open()
    assert 3.3 <= failed.answer(job_id).seconds <= 4.5
    assert failed.turns.get(job_id).failures == 1
    fresh = submit().job_id
    assert 3.3 <= waiting.answer(fresh).seconds <= 4.5
    assert (waiting.turns.get(fresh).failures, waiting.turns.get(fresh).status) == (0, Status.QUEUED)


def test_a_turn_that_is_handed_back_goes_on_elsewhere_at_no_cost(services, submit):
    """Queued, due now, counted as a hand-back; the next attempt begins with a reset."""
    job_id = submit("long [[tokens=300]] [[delay=0.02]]").job_id
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(services.answer, job_id)
        while "message_delta" not in kinds(services, job_id):
            assert not running.done()
        assert services.leases.hand_back() == 1
        assert running.result() == HideUntil(0)
    turn = services.turns.get(job_id)
    assert (turn.status, turn.hand_backs, turn.failures, turn.crashes) == (Status.QUEUED, 1, 0, 0)
    assert turn.due <= services.clock.now()
    assert "message_retrying" not in kinds(services, job_id)


def test_a_queued_turn_is_cancelled_at_once(services, submit):
    """It ends, its event is out, and the next one is woken."""
    first = submit().job_id
    second = submit(session_id=first.session_id).job_id
    sent(services)
    turn = services.cancel(services.turns.get(first))
    assert turn.status is Status.CANCELLED
    assert kinds(services, first) == ["message_cancelled"]
    assert sent(services) == [str(second)]
    assert services.cancel(turn) == turn  # idempotent


def test_a_running_turn_is_cancelled_from_another_process_within_a_moment(settings, submit):
    """The word stands on the turn before the signal is sent; text and usage are kept. No heartbeat is needed for it."""
    worker, api = build(settings), build(settings)
    worker.signals.listen(worker.leases.look)
    job_id = submit("long [[tokens=1000]] [[delay=0.02]]").job_id
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(worker.answer, job_id)
        while "message_delta" not in kinds(worker, job_id):
            assert not running.done()
        asked = time.monotonic()
        assert api.cancel(api.turns.get(job_id)).cancel_requested
        running.result(15)
        assert time.monotonic() - asked < 10  # 20 s of answer were left
    turn = worker.turns.get(job_id)
    assert (turn.status, bool(turn.answer), turn.usage.estimated) == (Status.CANCELLED, True, True)
    assert events(worker, job_id)[-1]["text"] == turn.answer
    worker.channel.close()


def test_a_turn_whose_worker_is_dead_is_cancelled_with_what_clients_saw(services, submit):
    """Nobody holds it, so the cancel ends it itself, under the next attempt's number."""
    job_id = submit().job_id
    now = services.clock.now()
    _, turn = services.turns.claim(job_id, claim_id="dead", now=now, lease_end=now + 60)
    turn_log = services.events.open(turn)
    turn_log.emit("message_started", model="m")
    turn_log.delta("half an ans")
    turn_log.settle()
    until(lambda: "message_delta" in kinds(services, job_id) and services.clock.now() > now + 60, 30, "nothing was said")
    ended = services.cancel(services.turns.get(job_id))
    assert (ended.status, ended.answer, ended.attempt) == (Status.CANCELLED, "half an ans", 2)
    assert events(services, job_id)[-1]["text"] == "half an ans"


def test_an_interrupt_cancels_what_is_open_before_it(services, submit):
    """Queued ones end at once; the new turn is the head then."""
    first = submit().job_id
    queued = [submit(session_id=first.session_id).job_id for _ in range(3)]
    last = submit("[[echo=now]]", session_id=first.session_id, on_busy="interrupt").job_id
    assert {services.turns.get(j).status for j in (first, *queued)} == {Status.CANCELLED}
    assert services.answer(last) is None
    assert services.turns.get(last).answer == "now"


def test_an_interrupt_that_a_crash_left_half_done_is_finished_by_a_worker(services, submit, monkeypatch):
    """The word stands in the session: whoever looks at any of its turns carries it out."""
    first = submit().job_id
    with monkeypatch.context() as patch:
        patch.setattr(services.submit, "_interrupt", lambda _job_id: None)  # the API dies here
        last = submit("[[echo=now]]", session_id=first.session_id, on_busy="interrupt").job_id
    assert services.turns.get(first).status is Status.QUEUED
    assert services.answer(first) is None
    assert services.turns.get(first).status is Status.CANCELLED
    services.answer(last)
    assert services.turns.get(last).answer == "now"


def test_a_merged_message_joins_the_turn_that_still_waits(services, submit):
    """One job for both texts, in order; a replay of it is told the same."""
    head = submit().job_id
    waiting = submit("one", session_id=head.session_id)
    merged = submit("two", session_id=head.session_id, on_busy="merge")
    assert (merged.job_id, merged.merged) == (waiting.job_id, True)
    assert text_of(services.turns.get(waiting.job_id).input) == "one\ntwo"
    big = "three " * 2_000
    submit(big, session_id=head.session_id)
    joined = submit("four", session_id=head.session_id, on_busy="merge")
    assert text_of(services.turns.get(joined.job_id).input) == f"{big}\nfour"
    assert joined.job_id.turn == 3


def test_a_message_with_other_wishes_is_not_merged(services, submit, user):
    """One answer cannot be made by two sets of instructions."""
    head = submit().job_id
    submit("one", session_id=head.session_id)
    options = ModelOptions(f"model-{user}", instructions="Rhyme.")
    accepted = services.submit(
        Submission(user_id=user, session_id=head.session_id, input=(text_part("two"),), options=options, on_busy="merge")
    )
    assert (accepted.job_id.turn, accepted.merged) == (3, False)


def test_what_was_attempted_once_is_not_merged_into(services, submit):
    """The message is a turn of its own then."""
    head = submit("[[status=500]]").job_id
    services.answer(head)
    assert services.turns.get(head).status is Status.QUEUED
    accepted = submit("two", session_id=head.session_id, on_busy="merge")
    assert (accepted.job_id.turn, accepted.merged) == (2, False)


def test_merges_at_once_lose_no_text(services, submit):
    """Whatever joins or does not: each text is in exactly one turn."""
    head = submit("[[echo=head]]").job_id
    texts = [f"text-{n}." for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        jobs = {a.job_id for a in pool.map(lambda t: submit(t, session_id=head.session_id, on_busy="merge"), texts)}
    said = "\n".join(text_of(services.turns.get(j).input) for j in jobs)
    assert [said.count(t) for t in texts] == [1] * len(texts)


@pytest.mark.parametrize("_round", range(10))
def test_a_merge_meets_the_claim_of_its_turn(services, submit, _round):
    """Either the text is in what the attempt was given, or it is a turn of its own."""
    job_id, go = submit("one").job_id, threading.Barrier(2)

    def claim():
        go.wait()
        now = services.clock.now()
        return services.turns.claim(job_id, claim_id="c", now=now, lease_end=now + 20_000)

    def merge():
        go.wait()
        return submit("two", session_id=job_id.session_id, on_busy="merge")

    with ThreadPoolExecutor(2) as pool:
        claimed, merged = pool.submit(claim), pool.submit(merge)
    won, turn = claimed.result()
    assert won
    assert ("two" in text_of(turn.input)) == merged.result().merged


def test_an_ended_turn_is_tried_again_once_as_a_new_one(quick, submit):
    """Same input and options; the history skips the old turn; asked again it is the same job."""
    first = submit("one [[echo=uno]]").job_id
    quick.answer(first)
    second = submit("two [[echo=dos]]", session_id=first.session_id).job_id
    quick.answer(second)
    accepted = quick.retry(quick.turns.get(second))
    again = quick.retry(quick.turns.get(second))
    assert (accepted.job_id.turn, accepted.replayed, again.job_id, again.replayed) == (3, False, accepted.job_id, True)
    turn = quick.turns.get(accepted.job_id)
    assert (turn.retry_of, turn.input) == (2, quick.turns.get(second).input)
    asked = []
    model, quick.answer._llm = quick.answer._llm, _Spy(quick.answer._llm, asked)
    quick.answer(accepted.job_id)
    assert [m.text for m in asked[0].messages] == ["one [[echo=uno]]", "uno", "two [[echo=dos]]"]
    following = submit("three", session_id=first.session_id).job_id
    quick.answer(following)
    assert [m.text for m in asked[1].messages] == ["one [[echo=uno]]", "uno", "two [[echo=dos]]", "dos", "three"]
    quick.answer._llm = model


class _Spy:
    def __init__(self, model, asked):
        self._model, self._asked = model, asked

    def stream(self, request):
        self._asked.append(request)
        return self._model.stream(request)


def test_an_open_turn_cannot_be_tried_again(services, submit, user):
    """Nor one of a deleted session."""
    job_id = submit().job_id
    with pytest.raises(NotEnded):
        services.retry(services.turns.get(job_id))
    services.delete_session(job_id.session_id, user)
    with pytest.raises(NotFound):
        services.retry(services.turns.get(job_id))


def test_a_head_without_an_item_blocks_its_session_no_longer(services, submit):
    """Whoever is sent to look at it takes it out, and wakes the next."""
    first = submit().job_id
    second = submit("[[echo=on]]", session_id=first.session_id).job_id
    services.dynamodb.delete_item(
        TableName=services.settings.table_name("turns"), Key={"SessionId": {"S": first.session_id}, "Turn": {"N": "1"}}
    )
    sent(services)
    assert services.answer(JobId(first.session_id, 1)) is None
    assert sent(services) == [str(second)]
    services.answer(second)
    assert services.turns.get(second).answer == "on"


def test_a_write_that_meets_a_transaction_on_its_item_is_sent_again(services, submit):
    """A claim and a merge at the same moment: neither is an outage."""
    job_id = submit().job_id
    real, tries = services.turns._client.update_item, []

    def conflicting(**request):
        tries.append(request)
        if len(tries) < 3:
            raise services.dynamodb.exceptions.TransactionConflictException(
                {"Error": {"Code": "TransactionConflictException", "Message": ""}}, "UpdateItem"
            )
        return real(**request)

    services.turns._client = _With(services.turns._client, update_item=conflicting)
    claimed, _ = services.turns.claim(job_id, claim_id="c", now=services.clock.now(), lease_end=services.clock.now() + 1)
    assert (claimed, len(tries)) == (True, 3)


class _With:
    """A client with some methods of ours."""

    def __init__(self, client, **methods):
        self.__dict__.update(methods, _client=client)

    def __getattr__(self, name):
        return getattr(self._client, name)


def test_a_merge_never_makes_a_turn_that_cannot_be_claimed(services, submit, user):
    """Many small parts count for more than their text: what does not fit is a turn of its own."""
    head = submit().job_id
    submit("first", session_id=head.session_id)
    crumbs = tuple(text_part("x") for _ in range(200))
    jobs = [services.submit(_merging(user, head, crumbs)) for _ in range(4)]
    assert [j.merged for j in jobs[:2]] == [True, False]
    assert {j.job_id.turn for j in jobs} == {2, 3}


def _merging(user, head, parts):
    return Submission(
        user_id=user, session_id=head.session_id, input=parts, options=ModelOptions(f"model-{user}"), on_busy="merge"
    )


def test_a_retry_of_a_retry_is_shown_neither_of_the_two(quick, submit):
    """Both are superseded."""
    first = submit("K [[echo=old]]").job_id
    quick.answer(first)
    retry = quick.retry(quick.turns.get(first)).job_id
    quick.answer(retry)
    again = quick.retry(quick.turns.get(retry)).job_id
    asked = []
    quick.answer._llm = _Spy(quick.answer._llm, asked)
    quick.answer(again)
    assert [m.text for m in asked[0].messages] == ["K [[echo=old]]"]
