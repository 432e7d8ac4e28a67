"""A worker that has its queue to itself."""

import pytest

from chatapp.model import JobId, Status
from tests.faults.kinds import status
from tests.faults.proxy import FaultProxy
from tests.integration.workers import env_of, started, until


@pytest.fixture
def worker(settings, tmp_path):
    """Start a worker on this module's queue; `more` are settings."""

    def worker(**more):
        return started(env_of(settings) | more, tmp_path / "worker.log")

    return worker


def test_a_worker_that_starts_on_a_paused_queue_takes_nothing(services, submit, worker):
    """It looks before it is ready, not a moment later."""
    services.pauses.pause("chat")
    try:
        job_id = submit().job_id
        with worker() as process:
            process.wait_for("worker ready")
            assert process.log().index("queue chat is paused") < process.log().index("worker ready")
            assert services.turns.get(job_id).status is Status.QUEUED
    finally:
        services.pauses.resume("chat")


def test_what_comes_back_to_a_session_that_is_full_waits_for_a_place(settings, services, submit, sqs, worker):
    """It is not lost, and stays what it is when a copy takes its place."""
    job_id = submit("[[status=400]]").job_id
    services.answer(job_id)
    following = submit("[[status=400]]", session_id=job_id.session_id).job_id
    attributes = {"Reason": {"StringValue": "provider_unavailable", "DataType": "String"}}
    body = services.composer(job_id, user_id="u")["MessageBody"]
    with worker(MAX_OPEN_TURNS="1") as process:
        services.pauses.pause("chat")
        process.wait_for("queue chat is paused")
        sqs.send_message(QueueUrl=settings.queue_url("chat"), MessageBody=body, MessageAttributes=attributes)
        services.pauses.resume("chat")
        until(lambda: services.turns.get(JobId(job_id.session_id, 3)), 60, "it is not tried again")
    assert services.turns.get(JobId(job_id.session_id, 3)).retry_of == 1
    assert services.turns.get(following).status.ended


def test_a_worker_receives_nothing_while_dynamodb_is_away(settings, services, submit, tmp_path):
    """It says so once, lives, and goes on when DynamoDB is back; the turn has lost nothing but time."""
    with FaultProxy(int(settings.aws_endpoint_url.rsplit(":", 1)[1])) as proxy:
        env = env_of(settings, sqs=f"http://127.0.0.1:{proxy.port}")
        with started(env, tmp_path / "worker.log") as process:
            process.wait_for("worker ready")
            with proxy.fault("DynamoDB_*", status(500)) as fault:
                job_id = submit("[[echo=patient]]").job_id
                process.wait_for("DynamoDB is away")
                asked = proxy.requests["AmazonSQS.ReceiveMessage"]
                met = fault.hits
                until(lambda: fault.hits >= met + 6, 30, "DynamoDB is not asked")  # by the watch, the relay, the look for a pause
                assert proxy.requests["AmazonSQS.ReceiveMessage"] <= asked + 1  # the poll that was under way
                assert process.log().count("DynamoDB is away") == 1
            process.wait_for("DynamoDB is back")
            until(lambda: services.turns.get(job_id).status.ended, 30, "the turn does not end")
    turn = services.turns.get(job_id)
    assert (turn.answer, turn.attempt) == ("patient", 1)
