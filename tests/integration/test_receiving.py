"""What a worker takes from the queue, and what it leaves to others."""

import signal
import time

import boto3
import psutil
import pytest

from chatapp.model import JobId, Status, new_session_id
from config.celery import WAIT_SECONDS
from tests.faults.proxy import FaultProxy
from tests.integration.workers import env_of, messages_in, started, until
from tests.wakeups import wake_up

RECEIVE = "AmazonSQS.ReceiveMessage"


@pytest.fixture
def sqs(settings):
    client = boto3.client("sqs", region_name="us-east-1", endpoint_url=settings.aws_endpoint_url)
    client.purge_queue(QueueUrl=settings.queue_url("chat"))
    return client


@pytest.fixture
def queue(sqs, settings):
    """How many messages are (to be seen, hidden)."""
    return lambda: messages_in(sqs, settings.queue_url("chat"))


@pytest.fixture
def proxy(aws):
    with FaultProxy(int(aws.rsplit(":", 1)[1])) as running:
        yield running


@pytest.fixture
def worker(settings, proxy, tmp_path):
    with started(env_of(settings, sqs=proxy.url), tmp_path / "log", slots=2) as running:
        running.wait_for("worker ready")
        until(lambda: proxy.requests[RECEIVE], 10, "it does not ask")
        yield running


def test_no_message_waits_in_a_worker_whose_slots_are_busy(worker, submit, services, queue):
    """It stays in the queue, where another worker may see it."""
    jobs = [submit("[[tokens=2 ttft=2]]").job_id for _ in range(3)]
    until(lambda: sum(services.turns.get(j).status is Status.RUNNING for j in jobs) == 2, 10, worker.log())
    assert queue() == (1, 2)
    until(lambda: all(services.turns.get(j).status is Status.COMPLETED for j in jobs), 15, worker.log())


def test_a_worker_that_is_told_to_stop_in_a_long_poll_takes_nothing_and_hides_nothing(worker, sqs, settings, queue):
    """It hears the poll to its end, since SQS may have given it a message already, and gives back what comes."""
    began = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    sqs.send_message(QueueUrl=settings.queue_url("chat"), MessageBody=wake_up(str(JobId(new_session_id(), 1))))
    assert worker.process.wait(WAIT_SECONDS + 3) == 0
    assert queue() == (1, 0)
    assert time.monotonic() - began < WAIT_SECONDS + 2
    assert "received" not in worker.log()


def test_a_worker_that_is_told_to_stop_finishes_what_runs_and_takes_nothing_more(worker, submit, services, queue, proxy):
    """What was sent after the signal is seen by others at once."""
    running = submit("[[tokens=2 ttft=3]]").job_id
    until(lambda: services.turns.get(running).status is Status.RUNNING, 10, worker.log())
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    late = [submit().job_id for _ in range(3)]
    until(lambda: worker.process.poll() is not None, 15, worker.log())
    assert services.turns.get(running).status is Status.COMPLETED
    assert [services.turns.get(job).status for job in late] == [Status.QUEUED] * 3
    assert queue() == (3, 0)


def test_a_worker_without_slots_stops_asking_and_does_not_spin(worker, submit, services, proxy):
    """While both slots are busy it sends no request, and uses hardly any processor."""
    jobs = [submit("[[tokens=2 ttft=3]]").job_id for _ in range(2)]
    until(lambda: all(services.turns.get(j).status is Status.RUNNING for j in jobs), 10, worker.log())
    asked, before, began = proxy.requests[RECEIVE], psutil.Process(worker.process.pid).cpu_times(), time.monotonic()
    until(lambda: time.monotonic() - began > 1.5, 3, "time stands still")
    after = psutil.Process(worker.process.pid).cpu_times()
    assert proxy.requests[RECEIVE] == asked
    assert after.user + after.system - before.user - before.system < 0.3
