"""Sending wake-ups to an SQS that does not answer."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatapp.errors import QueueUnavailable
from chatapp.model import JobId, new_session_id
from chatapp.queue import CeleryWakeUps
from config.settings import Settings


@pytest.fixture
def hole():
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_many_sends_into_a_hole_fail_together_and_not_one_after_the_other(hole):
    """Who waits for a place in the pool learns from who was in it."""
    settings = {"aws_endpoint_url": hole, "sqs_queue_url_prefix": f"{hole}/000000000000/x-"}
    wakeups = CeleryWakeUps(Settings.model_validate(settings))

    def send(_):
        began = time.monotonic()
        with pytest.raises(QueueUnavailable):
            wakeups.send(JobId(new_session_id(), 1), user_id="u")
        return time.monotonic() - began

    with ThreadPoolExecutor(60) as pool:
        # 3.4 s for those in the pool, and room for a busy machine; one after the other would take 20 s.
        assert max(pool.map(send, range(60))) < 9
