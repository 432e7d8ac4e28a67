"""SQS fails a worker in every way it can. The worker lives, hears of new work soon after, and loses nothing that runs."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import boto3
import pytest

from chatapp.model import JobId, Status
from chatapp.services import Services
from config.celery import WAIT_SECONDS
from tests.faults.kinds import dropped, lost, malformed, status, swallowed
from tests.faults.proxy import FaultProxy
from tests.integration.workers import RECEIVE, Worker, env_of, messages_in, started, until

DELETE = "AmazonSQS.DeleteMessage"
HEALED_SECONDS = 6.0
"""A second's pause after what failed, and room for a busy machine. Stock stays deaf for a minute, or for ever."""

SLOTS = 2
VISIBILITY = 4
COMPLAINTS = ("SQS gives no messages", "SQS deletes nothing", "SQS takes no messages back")


@pytest.fixture(scope="module")
def worker(settings, proxy, tmp_path_factory):
    """Behind the proxy, on a queue in which what is not acked is seen again soon."""
    sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url=settings.aws_endpoint_url)
    sqs.set_queue_attributes(QueueUrl=settings.queue_url("chat"), Attributes={"VisibilityTimeout": str(VISIBILITY)})
    log = tmp_path_factory.mktemp("worker") / "log"
    with started(env_of(settings, sqs=proxy.url), log, slots=SLOTS) as running:
        running.wait_for("worker ready")
        yield running
        assert running.process.poll() is None


@dataclass
class Scene:
    """A worker, the proxy before its SQS, and the truth."""

    worker: Worker
    proxy: FaultProxy
    services: Services

    def said(self) -> int:
        """How many lines the transport has logged about SQS."""
        return sum(any(text in line for text in COMPLAINTS) for line in self.worker.log().splitlines())

    def ended(self, job: JobId) -> bool:
        return self.services.turns.get(job).status is Status.COMPLETED

    def attempts(self, *jobs: JobId) -> list[int]:
        return [self.services.turns.get(job).attempt for job in jobs]

    def wait(self, condition, seconds=30.0) -> float:
        return until(condition, seconds, f"the worker's log ends:\n{self.worker.log()[-3000:]}")

    def queue_is_empty(self) -> bool:
        settings = self.services.settings
        sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url=settings.aws_endpoint_url)
        return messages_in(sqs, settings.queue_url("chat")) == (0, 0)

    @contextmanager
    def outage(self, submit) -> Iterator[None]:
        """In the block SQS fails. After it the worker asks again soon, answers, and has not flooded its log."""
        began, said = time.monotonic(), self.said()
        yield
        asked = self.proxy.requests[RECEIVE]
        job = submit().job_id
        self.wait(lambda: self.proxy.requests[RECEIVE] > asked or self.ended(job), HEALED_SECONDS)
        self.wait(lambda: self.ended(job))
        assert self.said() - said <= time.monotonic() - began + 1


@pytest.fixture
def scene(worker, proxy, services):
    """Each test begins with nothing on its way: a message of the one before must not meet this one's fault."""
    made = Scene(worker, proxy, services)
    made.wait(made.queue_is_empty, 4 * VISIBILITY)
    yield made
    proxy.heal()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(status(503), id="503"),
        pytest.param(status(500), id="500"),
        pytest.param(status(403), id="403"),
        pytest.param(status(400, "com.amazonaws.sqs#RequestThrottled"), id="throttled"),
        pytest.param(status(400, "com.amazonaws.sqs#QueueDoesNotExist"), id="no such queue"),
        pytest.param(dropped(), id="reset"),
    ],
)
def test_a_worker_survives_receives_that_fail(scene, submit, fault):
    """It asks once a second, and says so once a second."""
    said = scene.said()
    with scene.outage(submit), scene.proxy.fault(RECEIVE, fault) as rule:
        scene.proxy.cut()  # not at the end of the long poll: now
        scene.wait(lambda: scene.said() >= said + 2 and rule.hits >= 3)


@pytest.mark.parametrize("answer", [{"Messages": "x"}, {"Messages": [{"Body": "x"}]}, {"Messages": [7]}, {"Messages": {"a": 1}}])
def test_a_worker_survives_messages_that_are_none(scene, submit, answer):
    """JSON of another shape, and a message without a receipt."""
    wrong = replace(status(200), body=json.dumps(answer).encode())
    with scene.outage(submit), scene.proxy.fault(RECEIVE, wrong, times=1) as rule:
        scene.proxy.cut()
        scene.wait(lambda: rule.hits)


@pytest.mark.parametrize("fault", [malformed(), replace(status(200), body=b"[]"), replace(status(200), body=b"\xff\xfe")])
def test_a_worker_survives_answers_that_cannot_be_read(scene, submit, fault):
    """To botocore some of them are an empty queue: then it asks again after the usual pause, not in a loop."""
    with scene.outage(submit), scene.proxy.fault(RECEIVE, fault) as rule:
        scene.proxy.cut()
        began = time.monotonic()
        scene.wait(lambda: rule.hits >= 3)
        assert rule.hits / (time.monotonic() - began) < 20


def test_a_worker_survives_an_sqs_that_refuses_connections_for_five_seconds(scene, submit):
    """And DynamoDB with it: nothing of AWS answers."""
    began, said = time.monotonic(), scene.said()
    with scene.outage(submit):
        scene.proxy.refuse()
        scene.wait(lambda: scene.said() >= said + 3 and time.monotonic() - began > 5)
        scene.proxy.heal()


def test_a_worker_survives_a_black_hole(scene, submit):
    """Connections are accepted and nothing is said on them, until the hole is closed."""
    said = scene.said()
    with scene.outage(submit):
        scene.proxy.hole()
        scene.proxy.cut()
        scene.wait(lambda: scene.said() > said)
        scene.proxy.heal()


def test_a_poll_that_is_never_answered_is_given_up(scene, submit):
    """Some seconds after it should have been. Stock waits for a minute, or for ever."""
    with scene.proxy.fault(RECEIVE, swallowed(), times=1) as rule:
        scene.proxy.cut()
        scene.wait(lambda: rule.hits)
        asked = scene.proxy.requests[RECEIVE]
        silent = scene.wait(lambda: scene.proxy.requests[RECEIVE] > asked)
    assert WAIT_SECONDS < silent < WAIT_SECONDS + 15  # a long poll is heard to its end
    job = submit().job_id
    scene.wait(lambda: scene.ended(job))


def test_what_runs_through_an_outage_is_acked_and_not_run_again(scene, submit):
    """One turn ends while SQS refuses everything but its ack, another after that."""
    jobs = [submit(f"[[tokens=3 ttft={seconds}]]").job_id for seconds in (1, 3)]
    scene.wait(lambda: all(scene.attempts(*jobs)))
    with scene.outage(submit), scene.proxy.fault(RECEIVE, status(503)) as rule:
        scene.proxy.cut()
        scene.wait(lambda: scene.ended(jobs[0]) and rule.hits >= 2)
    scene.wait(lambda: scene.ended(jobs[1]))
    scene.wait(scene.queue_is_empty)
    assert scene.attempts(*jobs) == [1, 1]


def test_deletes_that_fail_cost_neither_slots_nor_answers(scene, submit):
    """More of them than there are slots; the messages come again, and are acked then."""
    with scene.proxy.fault(DELETE, status(500)) as rule:
        jobs = [submit().job_id for _ in range(3 * SLOTS)]
        scene.wait(lambda: all(map(scene.ended, jobs)))
        assert rule.hits >= SLOTS
    scene.wait(scene.queue_is_empty, 4 * VISIBILITY)
    assert scene.attempts(*jobs) == [1] * len(jobs)


def test_a_delete_whose_answer_is_lost_does_no_harm(scene, submit):
    """It is asked for again, or the message has gone."""
    with scene.proxy.fault(DELETE, lost(), times=1) as rule:
        job = submit().job_id
        scene.wait(lambda: rule.hits and scene.ended(job))
    scene.wait(scene.queue_is_empty, 4 * VISIBILITY)
    assert scene.attempts(job) == [1]
