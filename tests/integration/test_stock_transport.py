"""What stock kombu and Celery do where ours does something else. A test that fails here says which of our code can go."""

import json
import secrets
import signal
from contextlib import ExitStack

import boto3
import pytest
from kombu import Connection

from tests.faults.kinds import delayed, status
from tests.faults.proxy import FaultProxy
from tests.integration.workers import RECEIVE, messages_in, started, until
from tests.wakeups import poison, wake_up

APP = "tests.integration.stock_app"
JOB = "0123456789abcdef0123456789abcdef.1"
ATTRIBUTES = "AmazonSQS.GetQueueAttributes"
START_SECONDS = 40
"""Four workers start at once, on a machine that may be busy."""


def fixed(code):
    return f"upstream has fixed this: delete {code} (see docs/decisions/0004)"


class Stock:
    """A stock worker, its queue (with a redrive policy) and the proxy between them."""

    def __init__(self, aws, folder, stack):
        self.proxy = stack.enter_context(FaultProxy(int(aws.rsplit(":", 1)[1])))
        self.sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url=aws)
        name = f"stock-{secrets.token_hex(4)}"
        dead = self.sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "10"})}
        self.url = self.sqs.create_queue(QueueName=name, Attributes=policy)["QueueUrl"]
        self._env = {
            "STOCK_ENDPOINT": self.proxy.url,
            "STOCK_QUEUE_URL": self.url.replace(aws, self.proxy.url),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        self._log, self._stack = folder / f"{name}.log", stack

    def start(self):
        self.worker = self._stack.enter_context(started(self._env, self._log, app=APP, slots=2))
        return self

    def send(self, body):
        self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def queue(self):
        return messages_in(self.sqs, self.url)

    def asks(self):
        """Whether it polls now, so that it has begun or survived."""
        return self.proxy.requests[RECEIVE] > 3

    def died(self):
        """Wait for its end, or for its going on; say whether it ended of an error."""
        ended = self.worker.process.poll
        until(lambda: ended() is not None or self.asks(), START_SECONDS, "it neither begins nor ends")
        return ended() == 1 and "Unrecoverable error" in self.worker.log()


@pytest.fixture(scope="module")
def stocks(aws, tmp_path_factory):
    """All workers, started side by side."""
    folder = tmp_path_factory.mktemp("stock")
    with ExitStack() as stack:
        made = {name: Stock(aws, folder, stack) for name in ("receive", "declare", "message", "living")}
        made["receive"].proxy.fault(RECEIVE, status(503))
        made["declare"].proxy.fault(ATTRIBUTES, status(503))
        made["message"].send(poison(JOB)["deep message"][0])
        yield {name: stock.start() for name, stock in made.items()}


@pytest.fixture
def living(stocks):
    """A worker that is not hurt, with an empty queue."""
    stock = stocks["living"]
    until(stock.asks, START_SECONDS, "it does not ask")
    stock.sqs.purge_queue(QueueUrl=stock.url)
    return stock


def test_a_receive_that_fails_ends_a_stock_worker(stocks):
    """Celery #4988, #8243; kombu #1172: errors of AWS are no connection errors to it."""
    assert stocks["receive"].died(), fixed("Channel._receive")


def test_an_sqs_that_fails_while_queues_are_declared_ends_a_stock_worker(stocks):
    """It asks for the queue's length, which nobody needs."""
    assert stocks["declare"].died(), fixed("Channel._size")


def test_a_malformed_message_ends_a_stock_worker(stocks):
    """Celery #7975, kombu #2421."""
    assert stocks["message"].died(), fixed("tasks/envelope.py, if tests/wakeups.py's other poison does no harm either")


def test_stock_deletes_a_message_that_it_cannot_decode(living):
    """Celery #4308: although the queue has a redrive policy."""
    living.send(poison(JOB)["deep body"][0])
    living.worker.wait_for("Can't decode message body")
    until(lambda: sum(living.queue()) == 0, 30, fixed("Consumer.on_decode_error"))


def test_stock_acks_where_the_message_says_that_it_came_from(living):
    """So it acks nothing, and the message comes again."""
    living.send(wake_up(JOB, properties={"body_encoding": "base64", "delivery_info": {"routing_key": "elsewhere"}}))
    living.worker.wait_for(f"answered {JOB}")
    living.worker.wait_for("UndefinedQueueException")
    assert living.queue() == (0, 1), fixed("the routing_key in Channel._hand_on")


def test_stock_hides_what_is_given_back(living):
    """For `wait_time_seconds`, from workers that have time for it."""
    living.send(wake_up("requeue"))
    until(lambda: living.proxy.requests["AmazonSQS.ChangeMessageVisibility"], 30, fixed("Channel.basic_reject"))
    assert living.queue() == (0, 1), fixed("Channel.basic_reject")


def test_stock_takes_new_work_when_it_was_told_to_stop(living):
    """For a poll cycle or two, the first of which is long here. The last test of this worker."""
    with living.proxy.fault(RECEIVE, delayed(6), times=1) as poll:
        until(lambda: poll.hits, START_SECONDS, "it does not ask")
        living.worker.process.send_signal(signal.SIGTERM)
        living.worker.wait_for("Warm shutdown")
        living.send(wake_up("late"))
        until(lambda: living.worker.process.poll() is not None, START_SECONDS, living.worker.log())
    assert "answered late" in living.worker.log(), fixed("the gate in Channel._get_bulk")


def test_stock_deletes_what_is_rejected_on_a_queue_without_a_redrive_policy(aws):
    """By design, upstream; a turn's message is never deleted for a failure."""
    sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url=aws)
    url = sqs.create_queue(QueueName=f"stock-{secrets.token_hex(4)}")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=wake_up(JOB))
    options = {"region": "us-east-1", "is_secure": False, "wait_time_seconds": 1, "predefined_queues": {"chat": {"url": url}}}
    with Connection(f"sqs://{aws.removeprefix('http://')}", transport_options=options) as connection:
        channel = connection.channel()
        channel.basic_consume("chat", no_ack=False, callback=lambda message: message.reject(), consumer_tag="t")
        channel.drain_events()
    assert messages_in(sqs, url) == (0, 0), fixed("Channel.basic_reject")
