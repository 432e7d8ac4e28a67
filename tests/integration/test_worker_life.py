"""A real worker process: how it stops, how it lets go of a silent model, and what becomes of the turns it had."""

import dataclasses
import signal

import httpx2
import pytest

from chatapp.model import JobId, Status
from tasks.delivery import Deliveries, Delivery
from tests.integration.test_answer import events, kinds
from tests.integration.workers import env_of, started, until


@pytest.fixture
def worker(settings, tmp_path):
    """Start a worker on this module's queue; `more` are settings."""

    def worker(name="worker", **more):
        return started(env_of(settings) | more, tmp_path / f"{name}.log")

    return worker


@pytest.fixture(scope="module")
def impatient(settings, tmp_path_factory):
    """A worker for whom all that takes time takes little."""
    quick = {"LEASE_SECONDS": "3", "LEASE_RENEW_SECONDS": "1", "RETRY_SECONDS": "0.5", "ATTEMPT_DEADLINE_SECONDS": "6"}
    with started(env_of(settings) | quick, tmp_path_factory.mktemp("impatient") / "worker.log") as process:
        process.wait_for("worker ready")
        yield process


def stats(settings):
    return httpx2.get(settings.openai_base_url.removesuffix("/v1") + "/stats").json()


def is_running(services, job_id):
    return lambda: services.turns.get(job_id).status is Status.RUNNING


def has_said(services, job_id):
    return lambda: "message_delta" in kinds(services, job_id)


def has_ended(services, job_id):
    return lambda: services.turns.get(job_id).status.ended


def test_a_worker_that_is_stopped_lets_its_turns_finish(services, submit, worker):
    """Within its grace time nothing is handed back, and it exits by itself."""
    with worker(SHUTDOWN_GRACE_SECONDS="10") as process:
        process.wait_for("worker ready")
        job_id = submit("short [[tokens=40]] [[delay=0.02]]").job_id
        until(has_said(services, job_id), 20, "the turn does not begin")
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(20) == 0
    turn = services.turns.get(job_id)
    assert (turn.status, turn.attempt, turn.hand_backs) == (Status.COMPLETED, 1, 0)


def test_turns_that_outlast_the_grace_time_go_on_elsewhere_at_once(services, submit, worker):
    """No lease has to lapse and no message has to become visible by itself."""
    with worker("first", SHUTDOWN_GRACE_SECONDS="0.5") as holder:
        holder.wait_for("worker ready")
        job_id = submit("long [[tokens=3000]] [[delay=0.02]]").job_id
        until(has_said(services, job_id), 20, "the turn does not begin")
        with worker("second") as second:
            second.wait_for("worker ready")
            holder.process.send_signal(signal.SIGTERM)
            took = until(lambda: services.turns.get(job_id).attempt == 2, 30, "nobody goes on with the turn")
            assert holder.process.wait(20) == 0
            services.cancel(services.turns.get(job_id))
            until(has_ended(services, job_id), 30, "the turn does not end")
    turn = services.turns.get(job_id)
    assert (turn.attempt, turn.hand_backs, turn.crashes, turn.failures) == (2, 1, 0, 0)
    assert turn.answer
    assert took < 15  # neither a lease of 20 s nor a message hidden for 24 s was waited for


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("directive", ["[[hang]]", "[[tokens=50]] [[hang=30]]"])
def test_a_cancel_ends_the_wait_for_a_silent_model(settings, services, submit, directive):
    """Before its first word and after some: the provider's connection is closed, not left to its 60 s of silence."""
    aborted = stats(settings)["aborted_streams"]
    job_id = submit(f"wait {directive}").job_id
    until(is_running(services, job_id), 20, "the turn does not begin")
    until(lambda: stats(settings)["in_flight"] > 0, 30, "the model is not asked")
    services.cancel(services.turns.get(job_id))
    until(has_ended(services, job_id), 30, "the turn is not cancelled")
    until(lambda: stats(settings)["aborted_streams"] > aborted, 30, "the stream is still open")
    assert services.turns.get(job_id).status is Status.CANCELLED
    # The end is stored first and published then.
    until(lambda: events(services, job_id)[-1]["type"] == "message_cancelled", 30, "the end is not published")


def test_a_lost_lease_ends_the_wait_for_a_silent_model(settings, services, submit, impatient):
    """Somebody else ended the turn: the old attempt finds out at its next renewal, and closes its stream."""
    aborted = stats(settings)["aborted_streams"]
    job_id = submit("wait [[hang]]").job_id
    until(is_running(services, job_id), 20, "the turn does not begin")
    until(lambda: stats(settings)["in_flight"] > 0, 30, "the model is not asked")
    services.endings.by_other(services.turns.get(job_id), Status.CANCELLED)
    until(lambda: stats(settings)["aborted_streams"] > aborted, 30, "the stream is still open")
    impatient.wait_for(f"{job_id} stops: the lease was refused")


@pytest.mark.usefixtures("impatient")
def test_an_attempt_that_runs_too_long_ends_even_if_the_model_says_nothing(services, submit):
    """By the attempt's deadline, not by the longest silence of the provider."""
    job_id = submit("wait [[hang]]").job_id
    until(has_ended(services, job_id), 30, "the turn does not end")
    assert services.turns.get(job_id).error["code"] == "attempt_timed_out"


@pytest.mark.usefixtures("impatient")
def test_a_failing_turn_is_tried_again_by_real_workers_and_reaches_the_dead_letter_queue(services, submit):
    """Messages are hidden until the turn is due: the gaps grow, whoever receives them."""
    job_id = submit("really [[status=500]]").job_id
    until(has_ended(services, job_id), 30, "the turn does not end")
    until(lambda: not services.turns.get(job_id).dlq_pending, 30, "the dead-letter queue does not have it")
    assert [e["failures"] for e in events(services, job_id) if e["type"] == "message_retrying"] == [1, 2, 3]
    assert services.turns.get(job_id).attempt == 4


@pytest.mark.usefixtures("impatient")
def test_a_message_that_comes_back_from_the_dead_letter_queue_appends_a_new_turn_once(settings, services, submit, sqs):
    """AWS's own move keeps body and attributes; however often it is moved, there is one new turn."""
    job_id = submit("come back [[fail=4 status=500]] [[echo=alive]]").job_id
    until(has_ended(services, job_id), 30, "the turn does not end")
    until(lambda: not services.turns.get(job_id).dlq_pending, 30, "the dead-letter queue does not have it")
    dead, alive = settings.queue_url("chat-dlq"), settings.queue_url("chat")
    wanted = {"QueueUrl": dead, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
    messages = sqs.receive_message(**wanted)["Messages"]
    found = [m for m in messages if m["MessageAttributes"]["JobId"]["StringValue"] == str(job_id)]
    for _ in range(2):
        sqs.send_message(QueueUrl=alive, MessageBody=found[0]["Body"], MessageAttributes=found[0]["MessageAttributes"])
    again = JobId(job_id.session_id, 2)
    until(lambda: services.turns.get(again), 30, "there is no new turn")
    until(has_ended(services, again), 30, "the new turn does not end")
    assert services.turns.get(again).answer == "alive"
    assert services.turns.get(again).retry_of == 1
    assert services.sessions.get(job_id.session_id).turn_count == 2


def test_a_message_that_is_held_stays_hidden_and_is_seen_again_when_it_is_put_off(sqs, settings):
    """Extended for as long as its block lasts; then hidden for as long as the turn is not due."""
    url = sqs.create_queue(QueueName=f"{settings.dynamodb_table_prefix}held", Attributes={"VisibilityTimeout": "2"})["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    deliveries = Deliveries(sqs, longest=60, every=0.5)
    delivery = receive(sqs, url)
    assert delivery.receives == 1
    with deliveries.holding(delivery):
        held = deliveries._held[delivery.receipt]
        first = held.extend_at
        until(lambda: deliveries.beat() or held.extend_at > first, 30, "not extended")
        assert receive(sqs, url, wait=3) is None  # its queue would have shown it after 2 s
    assert deliveries.put_off(delivery, 0.4) is False
    again = receive(sqs, url, wait=5)
    assert again.receives == 2
    assert deliveries.put_off(dataclasses.replace(again, receives=8), 0) is True  # a copy takes its place
    assert receive(sqs, url, wait=5).receives == 1


def test_a_message_that_cannot_be_hidden_is_replaced_by_a_fresh_one(sqs, settings):
    """Its receipt is of no use any more, say."""
    url = sqs.create_queue(QueueName=f"{settings.dynamodb_table_prefix}gone")["QueueUrl"]
    stale = Delivery(url, "no-such-receipt", "the body", receives=1)
    assert Deliveries(sqs, longest=60).put_off(stale, 0) is True
    assert receive(sqs, url, wait=5).body == "the body"


def receive(sqs, url, wait=0):
    wanted = {"QueueUrl": url, "WaitTimeSeconds": wait, "MessageSystemAttributeNames": ["All"]}
    found = sqs.receive_message(**wanted).get("Messages")
    if not found:
        return None
    info = {"sqs_queue": url, "sqs_message": found[0]}
    return Delivery.of({"delivery_info": info, "delivery_tag": found[0]["ReceiptHandle"]})


def test_a_paused_queue_is_left_alone_until_it_is_resumed(settings, services, submit, impatient):
    """By every worker, within a few seconds, and without a restart."""
    services.pauses.pause("chat")
    try:
        impatient.wait_for("queue chat is paused")
        job_id = submit("[[echo=at last]]").job_id
        assert services.turns.get(job_id).status is Status.QUEUED
    finally:
        services.pauses.resume("chat")
    until(has_ended(services, job_id), 30, "the turn does not end")
    assert services.turns.get(job_id).answer == "at last"
