"""SIGTERM: nothing more is taken, what runs is finished, and no message is left hidden."""

import signal

import pytest

from chatapp.model import JobId, Status, new_session_id
from config.celery import WAIT_SECONDS
from tests.integration.workers import asking, until


@pytest.fixture
def worker(settings, proxy, sqs, tmp_path):
    """One for each test."""
    sqs.purge_queue(QueueUrl=settings.queue_url("chat"))
    with asking(settings, proxy, tmp_path / "log") as running:
        yield running


def test_a_worker_that_is_told_to_stop_in_a_long_poll_takes_nothing_and_hides_nothing(worker, send, queue):
    """It hears the poll to its end, since SQS may have given it a message already, and gives back what comes."""
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    send(JobId(new_session_id(), 1))
    assert worker.process.wait(WAIT_SECONDS + 18) == 0  # a message that it hid would stay hidden for longer
    assert queue() == (1, 0)
    assert "received" not in worker.log()


def test_a_worker_that_is_told_to_stop_finishes_what_runs_and_takes_nothing_more(worker, submit, services, queue):
    """What was sent after the signal is seen by others at once."""
    running = submit("[[tokens=2 ttft=3]]").job_id
    until(lambda: services.turns.get(running).status is Status.RUNNING, 20, worker.log())
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    late = [submit().job_id for _ in range(3)]
    until(lambda: worker.process.poll() is not None, 60, worker.log())
    assert services.turns.get(running).status is Status.COMPLETED
    assert [services.turns.get(job).status for job in late] == [Status.QUEUED] * 3
    assert queue() == (3, 0)


def test_a_worker_that_is_told_to_stop_while_sqs_is_silent_ends_all_the_same(worker, proxy):
    """After the time-outs of one poll."""
    proxy.hole()
    try:
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(2 * (WAIT_SECONDS + 2) + 30) == 0
    finally:
        proxy.heal()
