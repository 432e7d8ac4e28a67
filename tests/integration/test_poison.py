"""A real worker gets every message that no worker can read, and goes on."""

import boto3
import pytest

from chatapp.model import JobId, Status, new_session_id
from tests.integration.workers import env_of, messages_in, started, until
from tests.wakeups import b64, poison, wake_up

NAMES_ITS_JOB = {"task unknown", "kwargs a list", "pickle", "another schema version", "callbacks", "body not base64"}


@pytest.fixture(scope="module")
def sqs(settings):
    return boto3.client("sqs", region_name="us-east-1", endpoint_url=settings.aws_endpoint_url)


@pytest.fixture(scope="module")
def worker(settings, tmp_path_factory):
    with started(env_of(settings), tmp_path_factory.mktemp("worker") / "log") as running:
        running.wait_for("worker ready")
        yield running


@pytest.fixture
def send(sqs, settings):
    return lambda body, queue="chat": sqs.send_message(QueueUrl=settings.queue_url(queue), MessageBody=body)


@pytest.fixture
def dead(sqs, settings):
    """Take everything out of the dead-letter queue: {body: attributes}."""

    def take():
        url, found = settings.queue_url("chat-dlq"), {}
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get(
            "Messages"
        ):
            for m in messages:
                found[m["Body"]] = {name: v["StringValue"] for name, v in m["MessageAttributes"].items()}
                sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        return found

    return take


@pytest.fixture
def left(sqs, settings):
    """How many messages are in the queue, seen and unseen."""
    return lambda: sum(messages_in(sqs, settings.queue_url("chat")))


@pytest.fixture
def answered(services, submit):
    """Send a good message, and wait for its answer."""

    def check():
        job = submit().job_id
        until(lambda: services.turns.get(job).status is Status.COMPLETED, 30, f"{job} is not answered")

    return check


def test_every_poison_reaches_the_dead_letter_queue_with_a_reason_and_the_worker_goes_on(worker, send, dead, left, answered):
    """Of all kinds, mixed with good messages; the same process answers afterwards."""
    dead()  # whatever other tests have left
    job = str(JobId(new_session_id(), 1))
    kinds = {raw: kind for kind, (raw, _) in poison(job).items()}
    for raw in kinds:
        send(raw)
    answered()
    until(lambda: left() == 0, 30, f"messages are left: {worker.log()[-4000:]}")
    found = dead()
    assert {kinds[raw]: said["Reason"] for raw, said in found.items()} == {kind: why for kind, (_, why) in poison(job).items()}
    assert all(said["Detail"] for said in found.values())
    assert {kinds[raw] for raw, said in found.items() if said.get("JobId") == job} >= NAMES_ITS_JOB
    assert worker.process.poll() is None
    answered()


@pytest.mark.parametrize("kind", ["plain text", "deep body", "kwargs a list", "unknown compression", "task an object"])
def test_after_each_kind_a_good_message_is_answered(worker, send, left, answered, kind):
    """Of those that kill a stock worker or are deleted by it, one by one."""
    send(poison(str(JobId(new_session_id(), 1)))[kind][0])
    answered()
    until(lambda: left() == 0, 30, f"messages are left: {worker.log()[-4000:]}")  # the next test counts what is said of poison
    assert worker.process.poll() is None


def test_wake_ups_for_turns_that_need_none_are_acked(worker, services, submit, send, left):
    """An unknown job, an ended one, five copies at once: no poison."""
    before = worker.log().count("poison in queue")
    job = submit().job_id
    for _ in range(5):
        send(wake_up(str(job)))
    until(lambda: services.turns.get(job).status.ended, 30, "not answered")
    send(wake_up(str(job)))
    send(wake_up(str(JobId(new_session_id(), 1))))
    until(lambda: left() == 0, 30, f"messages are left: {worker.log()[-4000:]}")
    assert services.turns.get(job).attempt == 1
    assert worker.log().count("poison in queue") == before


def test_nothing_of_a_message_is_written_to_the_log(worker, send, left):
    """Not even of poison: somebody may have sent a prompt."""
    send("canary-plain")
    send(wake_up("canary-id", task="canary.task", body=b64("canary-body")))
    until(lambda: left() == 0, 30, "messages are left")
    worker.wait_for("poison in queue chat")
    assert "canary" not in worker.log()
