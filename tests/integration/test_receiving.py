"""What a worker takes from the queue, and what it leaves to others."""

import time

import psutil
import pytest
from kombu import Connection

from chatapp.model import JobId, Status, new_session_id
from config.celery import worker_config
from tests.integration.workers import RECEIVE, asking, until
from tests.wakeups import wake_up


@pytest.fixture(scope="module")
def worker(settings, proxy, tmp_path_factory):
    """One that lives through the tests."""
    with asking(settings, proxy, tmp_path_factory.mktemp("worker") / "log") as running:
        yield running


def test_a_message_that_came_back_from_the_dead_letter_queue_can_be_told(settings, sqs):
    """Its attributes, its count and its age reach the task in `self.request.properties`. It runs before there is a worker."""
    config = worker_config(settings, bury=lambda *poison: pytest.fail(str(poison)))
    job = str(JobId(new_session_id(), 1))
    attributes = {"Reason": "crashed", "JobId": job, "Queue": "chat"}
    sqs.send_message(
        QueueUrl=settings.queue_url("chat"),
        MessageBody=wake_up(job),
        MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    )
    got = []
    options = {"transport": config["broker_transport"], "transport_options": config["broker_transport_options"]}
    with Connection(config["broker_url"], **options) as connection:
        channel = connection.channel()
        channel.basic_consume("chat", no_ack=False, callback=got.append, consumer_tag="t")
        channel.drain_events()
        message = got[0].properties["delivery_info"]["sqs_message"]
        assert {name: value["StringValue"] for name, value in message["MessageAttributes"].items()} == {
            "Reason": "crashed",
            "JobId": job,
        }
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"
        assert int(message["Attributes"]["SentTimestamp"]) > 0
        got[0].ack()


def test_no_message_waits_in_a_worker_whose_slots_are_busy(worker, submit, services, queue):
    """It stays in the queue, where another worker may see it."""
    jobs = [submit("[[tokens=2 ttft=4]]").job_id for _ in range(3)]
    until(lambda: sum(services.turns.get(j).status is Status.RUNNING for j in jobs) == 2, 20, worker.log())
    assert queue() == (1, 2)
    until(lambda: all(services.turns.get(j).status is Status.COMPLETED for j in jobs), 40, worker.log())


def test_a_worker_without_slots_stops_asking_and_does_not_spin(worker, submit, services, proxy):
    """While both slots are busy it sends no request, and uses hardly any processor."""
    jobs = [submit("[[tokens=2 ttft=8]]").job_id for _ in range(2)]
    until(lambda: all(services.turns.get(j).status is Status.RUNNING for j in jobs), 20, worker.log())
    asked, before, began = proxy.requests[RECEIVE], psutil.Process(worker.process.pid).cpu_times(), time.monotonic()
    until(lambda: time.monotonic() - began > 1.5, 10, "time stands still")
    after = psutil.Process(worker.process.pid).cpu_times()
    assert proxy.requests[RECEIVE] == asked
    assert after.user + after.system - before.user - before.system < 0.3
